"""Build the site into `build/site`. A link that leads nowhere, every other warning, and what a page would fetch is an error."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from sphinx.cmd.build import main as sphinx

from .accessible import mend_all
from .sources import ROOT, write

_FETCHED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def main() -> int:
    """Build the site; return the exit code of Sphinx."""
    sources, site = ROOT / "build" / "site-sources", ROOT / "build" / "site"
    write(sources)
    code = sphinx(
        [
            "-q",
            "-b",
            "html",
            "-E",
            "-a",
            "-W",
            "--keep-going",
            "-c",
            str(Path(__file__).parent),
            str(sources),
            str(site),
        ]
    )
    mend_all(site)
    if fetched := list(fetches(site)):
        print("\n".join(fetched))
        return 1
    if code == 0:
        print(f"the site: {(site / 'index.html').relative_to(ROOT)}")
    return code


def fetches(site: Path) -> Iterator[str]:
    """Yield what pages of a site would fetch from elsewhere: it opens offline."""
    for page in sorted(site.rglob("*.html")):
        for tag in _FETCHED.findall(page.read_text(encoding="utf-8")):
            yield f"{page.relative_to(site)}: {tag}"


if __name__ == "__main__":
    sys.exit(main())
