"""`slipway data inspect`: in the terminal, as JSON and as a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from slipway.launcher import cli
from slipway.training.common.conversion import from_mapping
from slipway.training.common.json_records import json_schema
from slipway.training.inspection.findings import INSPECTION_SCHEMA_VERSION, Inspection
from tests.launcher.helpers import assert_one_line_error

from .clips import CHANNELS, write_channels, write_hands

GOLDEN = Path(__file__).with_name("terminal.txt")


def test_the_terminal_says_what_was_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "inspect", str(write_hands(tmp_path))]) == 0
    shown = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()) + "\n"
    assert shown == GOLDEN.read_text(encoding="utf-8")


def test_many_classes_are_told_by_the_largest_and_a_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.concatenate([np.arange(40), np.zeros(5, dtype=int)])
    np.savez(tmp_path / "many.npz", X=np.random.default_rng(0).normal(size=(45, 2, 21, 2)), y=labels)
    assert cli.main(["data", "inspect", str(tmp_path / "many.npz")]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"classes +0 +6 +█+", shown)
    assert "and 16 more classes, the smallest with 1 clip" in shown


def test_json_alone_is_printed_and_its_schema_describes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "inspect", str(write_hands(tmp_path)), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["frames"] == {"min": 3, "median": 4.0, "max": 5}
    assert (found["format"], found["clips"], found["landmarks"]) == ("npz", 12, 42)
    assert found["classes"] == {"<b>yes</b>": 4, "no & no": 4, "감사": 4}
    assert found["signers"] == {"ann": 6, "bob": 6}
    assert found["missing_share"] == pytest.approx(9 * 21 / (48 * 42))
    assert found["lengths"] == {"3": 4, "4": 4, "5": 4}
    assert found["split"]["dropped"] == 1
    jsonschema.validate(found, json_schema(Inspection, INSPECTION_SCHEMA_VERSION))
    assert json.loads(json.dumps(found)) == found
    assert from_mapping(Inspection, found, "json").sentence == found["sentence"]
    assert cli.main(["schema", "data"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema(Inspection, INSPECTION_SCHEMA_VERSION)


def test_options_of_training_change_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_hands(tmp_path))
    options = ["--split", "signer", "--seed", "3", "--duplicates", "keep"]
    assert cli.main(["data", "inspect", source, "--json", *options]) == 0
    split = json.loads(capsys.readouterr().out)["split"]
    assert (split["mode"], split["seed"], split["dropped"]) == ("signer", 3, 0)


class Page(HTMLParser):
    """The elements of a page; asserts that each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(source: Path, out: Path, *options: str) -> Page:
    assert cli.main(["data", "inspect", str(source), "--out", str(out), *options]) == 0
    text = out.read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img", text)
    return Page(text)


@pytest.mark.parametrize(("write", "options"), [(write_hands, []), (write_channels, CHANNELS)])
def test_the_page_is_one_whole_file_with_a_drawing_of_each_class(
    write: Callable[[Path], Path], options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = page_of(write(tmp_path), tmp_path / "new" / "page.html", *options)
    drawings = [attributes for tag, attributes in page.tags if tag == "svg" and attributes["class"] == "clip"]
    assert len(drawings) == 3
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawings)
    assert [tag for tag, _ in page.tags].count("title") >= 1
    assert "b" not in [tag for tag, _ in page.tags]
    tables = [tag for tag, _ in page.tags if tag in ("table", "caption")]
    assert tables.count("table") == tables.count("caption") > 0
    assert capsys.readouterr().err == f"page: {tmp_path / 'new' / 'page.html'}\n"


def test_a_clip_that_is_wholly_missing_and_one_of_one_frame_are_drawn(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(6, 1, 21, 2))
    values[:2] = np.nan
    np.savez(tmp_path / "gone.npz", X=values, y=np.arange(6) // 2)
    page = page_of(tmp_path / "gone.npz", tmp_path / "page.html")
    assert "all missing" in page.text


def test_250_classes_of_all_landmarks_make_a_page_below_5_mb(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(250, 8, 75, 3)).astype(np.float32)
    np.savez(tmp_path / "many.npz", X=values, y=np.arange(250))
    page_of(tmp_path / "many.npz", tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["inspct"], "'inspct' is none of inspect, convert, record (did you mean 'inspect'?)"),
        (["inspect"], "the following arguments are required: PATH"),
        (["inspect", "/nowhere"], "no such file or folder"),
        (["inspect", "/nowhere", "--splt", "own"], "unknown argument '--splt' (did you mean '--split'?)"),
        (["inspect", "/nowhere", "--split", "owm"], "--split: 'owm' is none of auto, stratified, signer, own"),
        (["inspect", "/nowhere", "--seed", "x"], "--seed: expected a whole number, got 'x'"),
        (["inspect", "/nowhere", "--out", "page.pdf"], "--out page.pdf: the page is HTML; name it page.html"),
        (["inspect", "/nowhere", "--out", "/"], "--out /: is a folder; name a file in it, such as /inspect.html"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line_error(["data", *arguments], message, capsys)


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    source = str(write_hands(tmp_path))
    assert_one_line_error(
        ["data", "inspect", source, "--out", str(tmp_path / "file" / "page.html")], "cannot be written", capsys
    )
    assert (tmp_path / "file").read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize("name", ["mp_holistic_actions/MP_Data", "japanese_vowels", "libras_movement"])
def test_real_sets_make_pages_with_a_drawing_of_each_class(shared_data: Path, name: str, tmp_path: Path) -> None:
    page = page_of(shared_data / name, tmp_path / "page.html")
    drawings = [tag for tag, attributes in page.tags if tag == "svg" and attributes["class"] == "clip"]
    assert len(drawings) == {"mp_holistic_actions/MP_Data": 3, "japanese_vowels": 9, "libras_movement": 15}[name]
