"""`slipway report`: what it writes, that nothing in it is markup of others, and that it can be made of any run."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from slipway import UserError
from slipway.launcher.cli import main
from slipway.results.report.content import read_content
from slipway.results.report.files import write_report
from slipway.results.report.page import make_page
from slipway.results.report.samples import answer_of, draw_sample
from slipway.training.tasks.answers import pack_clip
from tests.results.report.runs import HOSTILE, train_small


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run whose class names are hostile."""
    return train_small(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of it that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


class Tags(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_command_writes_page_pictures_and_table_and_prints_the_path(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    assert {path.name for path in run.iterdir()} >= {"report.html", "results.csv"}
    assert (run / "report.html").stat().st_size < 300_000
    kind = "png" if importlib.util.find_spec("resvg_py") else "svg"
    for name in ("results", "confusion_matrix"):
        assert (run / f"{name}.{kind}").stat().st_size > 1000
    assert not list(run.glob(".*part"))


def test_names_full_of_markup_and_commands_come_out_as_text(run: Path) -> None:
    stages = json.loads((run / "run.json").read_text())
    stages["name"] = "<script>alert(2)</script>"
    stages["recipe"]["stages"][0]["name"] = "<style>*{display:none}</style>"
    (run / "run.json").write_text(json.dumps(stages))
    page = make_page(read_content(run))
    found = Tags(page)
    assert found.tags.count("script") == found.tags.count("style") == 1
    assert not {"img", "b", "iframe", "link"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
    for name in (
        HOSTILE[0],
        HOSTILE[1],
        HOSTILE[3],
        "bell\\x07 and \\x1b[2Jclear\\u202e\\x00",
        "<script>alert(2)</script>",
    ):
        assert name in found.text


def test_the_page_asks_for_nothing_and_only_its_own_script_may_run(run: Path) -> None:
    page = make_page(read_content(run))
    found = Tags(page)
    assert not [value for name, value in found.attributes if name in ("src", "action") or "url(" in value]
    assert all(value.startswith("#") for name, value in found.attributes if name == "href")
    script = re.search(r"<script>(.*)</script>", page, re.S)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = next(value for _, value in found.attributes if value.startswith("default-src"))
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}';")


def test_the_pictures_are_valid_svg_with_the_same_words(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    _, remark = write_report(read_content(run))
    assert "pip install 'slipway[report]'" in remark
    for name in ("results", "confusion_matrix"):
        text = "".join(ElementTree.parse(run / f"{name}.svg").getroot().itertext())
        assert "var(" not in text
    assert "<img src=x onerr" in text


def test_the_table_has_a_row_for_each_epoch_and_no_formula(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    record["recipe"]["stages"][0]["name"] = "=cmd|' /C calc'!A0"
    (run / "run.json").write_text(json.dumps(record))
    write_report(read_content(run))
    with (run / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[0]["stage"] == "'=cmd|' /C calc'!A0"
    epochs = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines() if '"epoch"' in line[:20]]
    assert [float(row["validation_accuracy"]) for row in rows] == [one["validation"]["accuracy"] for one in epochs]


def test_the_numbers_of_the_classes_are_those_of_the_confusion_matrix(run: Path) -> None:
    confusion = read_content(run).confusion
    assert confusion is not None
    matrix = np.array(json.loads((run / "run.json").read_text())["result"]["test_confusion_matrix"])
    rows = {row.name: row for row in confusion.rows()}
    for number, name in enumerate(HOSTILE):
        if matrix[number].sum():
            assert rows[name].recall == pytest.approx(matrix[number, number] / matrix[number].sum())
            assert rows[name].said == matrix[:, number].sum()
    assert confusion.mistakes == matrix.sum() - matrix.trace()


def test_a_clip_is_drawn_as_a_skeleton_that_moves(run: Path) -> None:
    clip = np.random.default_rng(0).normal(size=(6, 3, 2))
    clip[2] = np.nan
    answers = json.loads((run / "answers.json").read_text())
    answers["worst"][0]["clip"] = pack_clip(clip)
    answers["worst"][1]["clip"] = {"frames": 1e9, "landmarks": -3, "points": "<b>"}
    answers["worst"][2]["text"] = "<i>a text</i>"
    (run / "answers.json").write_text(json.dumps(answers))
    layout = {"num_landmarks": 3, "num_coords": 2, "bones": [[0, 1], [1, 2]]}
    change(run / "best/spec.json", layout=layout)
    found = Tags(make_page(read_content(run)))
    frames = [value for name, value in found.attributes if name == "data-frames"]
    assert [len(value.split(";")) for value in frames] == [6]
    assert frames[0].split(";")[2] == "- - -"
    assert ("max", "5") in found.attributes
    assert "<i>a text</i>" in found.text


@pytest.mark.parametrize("keep", [0, 1, 5, 9])
def test_a_run_that_has_just_begun_is_reported(run: Path, keep: int) -> None:
    record = json.loads((run / "run.json").read_text())
    del record["result"]
    (run / "run.json").write_text(json.dumps({**record, "state": "running"}))
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(lines[:keep]) + '{"event": "st')
    (run / "answers.json").unlink()
    page, _ = write_report(read_content(run))
    assert "no process trains it" in page.read_text()


def test_records_of_wrong_types_are_shown_without_what_is_wrong(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    answers = json.loads((run / "answers.json").read_text())
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    for wrong in (None, -1, 10**400, "text", [1, None, {"a": []}, [1, 2, 3]], {"a": {"b": None}, "seconds": "x"}):
        for path, content in ((run / "run.json", record), (run / "answers.json", answers)):
            at_top = dict.fromkeys(content, wrong)
            below = {name: dict.fromkeys(one, wrong) if isinstance(one, dict) else one for name, one in content.items()}
            for changed in (at_top, below):
                path.write_text(json.dumps({**changed, "name": "run"}))
                assert "</html>" in make_page(read_content(run))
            path.write_text(json.dumps(content))
        damaged = [{**event, name: wrong} for event in events for name in event if name != "event"]
        (run / "events.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in damaged))
        assert "</html>" in make_page(read_content(run))


@pytest.mark.parametrize(
    "wrong",
    [
        {"picture": 'iVBORw0KGgo" onerror="alert(1)'},
        {"picture": "data:text/html;base64,AAAA"},
        {"curves": [["a", [1, "x"]], ["b", [1e999, 1.0]], ["c", [None, 1]], ["d", [2]], ["e", 3], 4]},
        {"curves": {"a": [1, 2]}, "values": [["a"], "b", {"c": 1}]},
        {"output": ["x"], "target": [1]},
    ],
)
def test_what_is_seen_of_a_sample_and_is_not_as_it_had_to_be_is_left_out(wrong: dict[str, object]) -> None:
    assert list(draw_sample(wrong, "sample 1")) == []
    assert answer_of(wrong) == ()


def test_a_thousand_classes_make_a_page_below_a_megabyte(run: Path) -> None:
    names = [f"class {number} of many" for number in range(1000)]
    confusion = [[number, (number * 7) % 1000, 3] for number in range(1000)] + [[one, one, 20] for one in range(1000)]
    change(run / "answers.json", class_names=names, confusion=confusion)
    page, _ = write_report(read_content(run))
    assert page.stat().st_size < 1_000_000
    assert "40 of 1,000 classes" in page.read_text()


def test_a_link_in_the_folder_is_replaced_and_not_followed(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.html"
    outside.write_text("mine")
    (run / "report.html").symlink_to(outside)
    write_report(read_content(run))
    assert outside.read_text() == "mine"
    assert not (run / "report.html").is_symlink()


def test_a_folder_that_cannot_be_written_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "report.html").mkdir()
    with pytest.raises(UserError, match=r"report\.html: .*cannot be written"):
        write_report(read_content(run))
