"""The site of the documentation: its sources hold every page, option, message and name, and their links lead somewhere.

`make docs` builds it, and `make docs-run` runs what its pages show.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from markdown_it import MarkdownIt

import slipway
from docs.site import reference, sources
from docs.site.accessible import mend
from slipway.launcher.cli import COMMANDS
from slipway.training.common.errors import flag_of
from slipway.training.run.training_config import TrainingConfig
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the sources of the site: the text of each page by its name."""
    folder = tmp_path_factory.mktemp("site") / "sources"
    sources.write(folder)
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}


def test_every_page_is_in_the_table_of_contents_once_and_a_new_one_by_itself(site: dict[str, str]) -> None:
    listed = [page for block in toctrees(site["index"]) for page in block]
    assert sorted(listed) == sorted(set(site) - {"index"})
    assert ["new-page"] in toctrees(sources.with_contents("# Title\n\n## Start\n\n[a](a.md)\n", {"new-page": "News"}))


def test_links_between_pages_lead_to_a_heading_that_is_there(site: dict[str, str]) -> None:
    anchors = {page: set(headings(text)) for page, text in site.items()}
    wrong = []
    for page, text in site.items():
        for target, anchor in re.findall(r"\]\(([\w-]*)(?:\.md)?#([^)\s]+)\)", text):
            if anchor not in anchors.get(target or page, ()):
                wrong.append(f"docs/{page}.md: {target}#{anchor}")
    assert wrong == []


def test_every_option_of_every_command_is_on_the_page_of_options(site: dict[str, str]) -> None:
    options = site["options"]
    assert [one.name for one in COMMANDS if f"## slipway {one.name}\n" not in options and one.name != "train"] == []
    assert [one.name for one in dataclasses.fields(TrainingConfig) if f"`{flag_of(one.name)}`" not in options] == []


def test_every_public_name_is_on_the_page_of_python(site: dict[str, str]) -> None:
    public = {name for name in slipway.__all__ if not name.startswith("__")}
    assert set(re.findall(r":: slipway\.(\w+)", site["reference"])) == public
    grouped = [name for names in reference.GROUPS.values() for name in names]
    assert [name for name in grouped if name not in public] == []


def test_what_troubleshooting_quotes_is_said_by_the_program() -> None:
    said = (ROOT / "tests" / "messages" / "golden_messages.txt").read_text(encoding="utf-8")
    for package in ("training", "launcher", "results"):
        said += "".join(path.read_text(encoding="utf-8") for path in (ROOT / package).rglob("*.py"))
    said = re.sub(r"\"\s*\n\s*f?\"", "", said)
    quoted = re.findall(r"^\| `(.+?)` \|", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.M)
    assert len(quoted) > 30
    assert [message for message in quoted if message not in said] == []


def toctrees(index: str) -> list[list[str]]:
    """Return the pages of each table of contents."""
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", index, flags=re.DOTALL)
    return [[line for line in block.splitlines() if line and not line.startswith(":")] for block in blocks]


def headings(text: str) -> Iterator[str]:
    """Yield the anchors of a page's headings, as GitHub and MyST make them."""
    tokens = MarkdownIt("commonmark").parse(text)
    for token, inner in pairwise(tokens):
        if token.type == "heading_open":
            words = "".join(child.content for child in inner.children or ())
            yield re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")


def test_a_page_lacks_nothing_that_a_keyboard_or_a_screen_reader_needs() -> None:
    page = (
        '<p role="heading">Start</p><dt>f(<dl>\n<dd>a,</dd>\n<dd>b,</dd>\n</dl>)</dt>'
        "<dl><dt>x</dt><dd>y</dd></dl><pre>code</pre>"
    )
    assert mend(page) == (
        '<p role="heading" aria-level="2">Start</p><dt>f(<div class="sig-lines"><span class="sig-line">a,</span>\n'
        '<span class="sig-line">b,</span>\n</div>)</dt><dl><dt>x</dt><dd>y</dd></dl><pre tabindex="0">code</pre>'
    )
    assert mend(mend(page)) == mend(page)
