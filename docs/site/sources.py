"""What the site is made of: the pages of `docs/` as they stand, with links that lead out of it sent to the repository."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

from . import messages, options, reference

ROOT = Path(__file__).resolve().parents[2]
_PAGE = re.compile(r"\]\(([\w-]+)\.md\b")
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
_REFERENCE = """## Reference

- [Options](options.md) of every command, made from the code.
- [All messages](messages.md) by which a start is refused.
- [Python](reference.md): every public name.
"""


def write(folder: Path) -> None:
    """Write the sources of the site into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("site", "__pycache__"))
    titles = {}
    for path in sorted(folder.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        path.write_text(with_links_out(page), encoding="utf-8")
        if path.stem != "index":
            titles[path.stem] = title_of(page)
    for name, text in (
        ("options.md", options.page()),
        ("messages.md", messages.page(ROOT / "tests" / "messages" / "golden_messages.txt")),
        ("reference.md", reference.page()),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    index = folder / "index.md"
    index.write_text(with_contents(index.read_text(encoding="utf-8"), titles), encoding="utf-8")


def with_links_out(text: str) -> str:
    """Return a page whose links to files outside of `docs/` lead to the repository."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return _LINK.sub(
        lambda link: f"]({urls['Repository']}/blob/main/{link[1][3:]}" if link[1].startswith("../") else link[0], text
    )


def with_contents(index: str, titles: Mapping[str, str]) -> str:
    """Return the front page with a table of contents: of each of its sections the pages that it links to.

    Pages of `titles`, name to title, that it does not link to get a section of their own. Those that are made from the code,
    which the repository does not hold, come last.
    """
    linked = set(_PAGE.findall(index + _REFERENCE))
    more = "".join(f"- [{title}]({name}.md)\n" for name, title in titles.items() if name not in linked)
    whole = "\n\n".join([index.rstrip(), *([f"## More\n\n{more}"] if more else []), _REFERENCE])
    contents = []
    for section in re.split(r"^## ", whole, flags=re.MULTILINE)[1:]:
        if pages := dict.fromkeys(_PAGE.findall(section)):
            contents += ["```{toctree}", ":hidden:", f":caption: {section.splitlines()[0]}", "", *pages, "```", ""]
    return whole.rstrip() + "\n\n" + "\n".join(contents)


def title_of(page: str) -> str:
    """Return the title of a page: its first line, without the mark of a heading."""
    return page.splitlines()[0].removeprefix("# ")
