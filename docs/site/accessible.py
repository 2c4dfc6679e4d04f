"""What the generator's pages lack for people who use a keyboard or a screen reader."""

from __future__ import annotations

import re
from pathlib import Path

_MENDED = (
    # A heading says of which level.
    (re.compile(r'role="heading"(?! aria-level)'), 'role="heading" aria-level="2"'),
    # What is wider than its box is moved by the arrow keys.
    (re.compile(r'<(pre|div class="table-wrapper[^"]*")>'), r'<\1 tabindex="0">'),
    # The lines of a signature are no terms with definitions.
    (re.compile(r"<dl>\s*((?:<dd>(?:(?!<dl>).)*?</dd>\s*)+)</dl>", re.DOTALL), r'<div class="sig-lines">\1</div>'),
    (re.compile(r'<aside class="sidebar-drawer">'), '<aside class="sidebar-drawer" aria-label="Pages">'),
    (re.compile(r'<aside class="toc-drawer">'), '<aside class="toc-drawer" aria-label="This page">'),
)
_LINES = re.compile(r'<div class="sig-lines">.*?</div>', re.DOTALL)


def mend(page: str) -> str:
    """Return the HTML of a page with what it lacks."""
    for pattern, mended in _MENDED:
        page = pattern.sub(mended, page)
    return _LINES.sub(
        lambda found: found[0].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>"), page
    )


def mend_all(site: Path) -> None:
    """Mend every page of a site."""
    for path in site.rglob("*.html"):
        path.write_text(mend(path.read_text(encoding="utf-8")), encoding="utf-8")
