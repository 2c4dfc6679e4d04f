"""`slipway predict` as a user types it: data sets, one clip in a file, frames on standard input, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from slipway.launcher import cli
from slipway.training.tasks.origin.factory import find_factory
from slipway.training.tasks.origin.spec import model_spec
from slipway.training.tasks.sign.predict import SignPredictor
from slipway.training.tasks.task import Batch
from tests.results.conftest import CLASSES, Made


def predict(*words: object) -> int:
    return cli.main(["predict", *map(str, words)])


@pytest.fixture
def expected(sign_run: Made) -> np.ndarray:
    return SignPredictor.load(sign_run.folder / "best").probabilities(sign_run.clips)


def test_a_data_set_is_predicted_in_its_order_with_all_probabilities_in_three_forms(
    sign_run: Made, expected: np.ndarray, tmp_path: Path
) -> None:
    for ending in ("csv", "parquet", "json"):
        assert predict(sign_run.folder, sign_run.data, "--out", tmp_path / f"p.{ending}") == 0
    names = SignPredictor.load(sign_run.folder / "best").class_names
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "p.parquet").to_pydict()
    listed = json.loads((tmp_path / "p.json").read_text())
    for found in (
        [[float(row[f"p({name})"]) for name in names] for row in rows],
        [list(one) for one in zip(*(table[f"p({name})"] for name in names), strict=True)],
        [[row["probabilities"][name] for name in names] for row in listed],
    ):
        np.testing.assert_allclose(found, expected, atol=2e-6)
    assert [row["label"] for row in rows] == [CLASSES[number % 3] for number in range(len(rows))]
    assert [row["prediction"] for row in rows] == [names[index] for index in expected.argmax(axis=1)]
    assert table["prediction_2"] == [names[index] for index in np.argsort(-expected, axis=1, kind="stable")[:, 1]]


@pytest.mark.parametrize("form", ["npy", "csv", "json", "txt", "numbers.npy", "npz"])
def test_a_file_of_one_clip_is_predicted_without_a_label(
    form: str, sign_run: Made, expected: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, path = sign_run.clips[4], tmp_path / f"clip.{form}"
    flat = clip.reshape(len(clip), -1)
    if form == "csv":
        np.savetxt(path, flat, delimiter=",", header=",".join(f"n{i}" for i in range(42)), comments="")
    elif form == "txt":
        np.savetxt(path, flat)
    elif form == "json":
        path.write_text(json.dumps(clip.tolist()))
    elif form == "npz":
        np.savez(path, landmarks=clip)
    else:
        np.save(path, flat if form.startswith("numbers") else clip)
    assert predict(sign_run.folder, path, "--top", 1) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert list(row) == ["sample", "prediction", "probability"]
    assert float(row["probability"]) == pytest.approx(expected[4].max(), abs=1e-5)


def test_a_folder_of_clips_and_an_array_of_clips_need_no_labels(
    sign_run: Made, expected: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(3):
        np.save(tmp_path / "clips" / f"{number}.npy", sign_run.clips[number])
    assert predict(sign_run.folder, tmp_path / "clips", "--out", tmp_path / "a.json") == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert [row["probability"] for row in found] == pytest.approx(expected[:3].max(axis=1), abs=1e-5)
    np.save(tmp_path / "several.npy", np.stack([sign_run.clips[0]] * 2))
    assert predict(sign_run.folder, tmp_path / "several.npy", "--out", tmp_path / "b.json") == 0
    assert [row["sample"] for row in json.loads((tmp_path / "b.json").read_text())] == [
        f"{tmp_path / 'several.npy'}, clip {number}" for number in range(2)
    ]


def test_frames_on_stdin_are_a_prediction_each_over_the_window_that_they_end(
    sign_run: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = sign_run.clips[9]
    lines = [
        ",".join(map(str, frame.reshape(-1))) if number % 2 else json.dumps(frame.tolist())
        for number, frame in enumerate(clip)
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    assert predict(sign_run.folder, "-", "--window", 4) == 0
    shown = capsys.readouterr()
    found = [json.loads(line) for line in shown.out.splitlines()]
    predictor = SignPredictor.load(sign_run.folder / "best")
    windows = [clip[max(0, end - 4) : end] for end in range(1, len(clip) + 1)]
    wanted = predictor.probabilities(windows)
    assert [row["frame"] for row in found] == list(range(1, len(clip) + 1))
    assert [row["probability"] for row in found] == pytest.approx(wanted.max(axis=1), abs=1e-5)
    assert "ms each (median)" in shown.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,x,4", "stdin, line 2: 'x' is not a number"),
        ("1,2,inf", "stdin, line 2: an infinite number; a missing one is written as nan"),
        ("[1, 2", "stdin, line 2: is no JSON list of numbers; a line is one frame"),
        ("1 2 3", "stdin, frame 2: 3 numbers, where the frames before have 42"),
    ],
)
def test_a_line_that_is_no_frame_is_named(
    line: str, message: str, sign_run: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ",".join(["0.5"] * 42)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{good}\n{line}\n{good}\n"))
    assert predict(sign_run.folder, "-") == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_what_stands_in_names_of_files_and_classes_is_shown_as_text(
    sign_run: Made, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.save(tmp_path / "a\x1b[31m.npy", sign_run.clips[0])
    assert predict(sign_run.folder, tmp_path / "a\x1b[31m.npy") == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "a\\x1b[31m.npy" in shown.out
    assert "=yes\\x1b[2J" in shown.out


def test_what_cannot_be_predicted_is_refused_in_one_line_that_says_what_to_do(
    sign_run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "other.npy", np.zeros((5, 7, 3), np.float32))
    (tmp_path / "there.csv").write_text("")
    for words, message in (
        ((sign_run.folder, tmp_path / "other.npy"), "but the run's model takes 21 landmarks (hand"),
        ((sign_run.folder, tmp_path / "gone.npy"), "no such file or folder"),
        ((tmp_path / "no-run", "x.npy"), "no such run"),
        (
            (sign_run.folder, sign_run.data, "--out", "p.xlsx"),
            "its ending says how it is written; give .csv, .parquet, .json",
        ),
        (
            (sign_run.folder, sign_run.data, "--out", tmp_path / "there.csv"),
            "is there already; give --force to replace it",
        ),
        ((sign_run.folder, sign_run.data, "--top", "0"), "--top 0: give from 1 to 1000"),
        ((sign_run.folder, sign_run.data, "--window", "5"), "--window: for frames on standard input"),
        ((sign_run.folder, "-", "--out", "p.csv"), "predictions of a stream go to standard output"),
    ):
        assert predict(*words) == 2, words
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


TASK = """
import torch
from slipway import DatasetTask

def make_task(data: str = "a", classes: bool = True):
    generator = torch.Generator().manual_seed(len(data))
    inputs = torch.randn(30, 4, generator=generator)
    targets = (inputs[:, 0] > 0).long() if classes else inputs.sum(dim=1, keepdim=True)
    return DatasetTask(
        lambda: torch.nn.Linear(4, 2 if classes else 1), (inputs, targets), test=(inputs[:7], targets[:7]), name="mine",
        loss=torch.nn.CrossEntropyLoss() if classes else torch.nn.MSELoss(), class_names=["no", "yes"] if classes else None,
    )
"""


@pytest.mark.parametrize("classes", [True, False])
def test_the_samples_of_an_own_task_are_predicted_through_the_task_where_its_code_is_the_users(
    classes: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text(TASK)
    task = find_factory(f"{tmp_path / 'own.py'}:make_task")
    made = task.make(task.bind({"classes": classes}, data="abc", seed=0))
    weights = tmp_path / "runs" / "own" / "best"
    weights.mkdir(parents=True)
    model = made.build_model()
    save_file(dict(model.state_dict()), weights / "model.safetensors")
    (weights / "spec.json").write_text(json.dumps(model_spec(made)))
    assert predict(weights, "abcd", "--out", tmp_path / "p.json") == 0
    rows = json.loads((tmp_path / "p.json").read_text())
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(4))
    outputs = model(inputs).detach()
    assert [row["sample"] for row in rows][28:] == ["train 28", "train 29", *(f"test {number}" for number in range(7))]
    if classes:
        assert [row["prediction"] for row in rows][:30] == [("no", "yes")[index] for index in outputs.argmax(dim=1)]
        assert [row["label"] for row in rows][:30] == [("no", "yes")[int(one > 0)] for one in inputs[:, 0]]
    else:
        assert [row["output_0"] for row in rows][:30] == pytest.approx(outputs[:, 0].tolist(), abs=1e-6)

    spec = json.loads((weights / "spec.json").read_text())
    spec["task"]["arguments"]["data"] = "other"
    (weights / "spec.json").write_text(json.dumps(spec))
    assert predict(weights, "abcd") == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "read that code first, then add --trust to slipway predict" in line
    assert predict(weights, "abcd", "--trust") == 0


def test_pictures_and_texts_are_read_as_those_that_were_trained_on(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")  # noqa: N806 - the name in Pillow
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(rng.integers(0, 255, (12, 12), dtype=np.uint8)).save(
                tmp_path / "pets" / name / f"{number}.png"
            )
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"good {n},yes\nbad {n},no\n" for n in range(20)))
    for name, data in (("images", tmp_path / "pets"), ("text", tmp_path / "texts.csv")):
        factory = find_factory(name)
        made = factory.make(factory.bind({"width": 16}, data=str(data), seed=0))
        weights = tmp_path / name / "best"
        weights.mkdir(parents=True)
        model = made.build_model().eval()
        save_file(dict(model.state_dict()), weights / "model.safetensors")
        (weights / "spec.json").write_text(json.dumps(model_spec(made)))
        assert predict(weights, data, "--out", tmp_path / f"{name}.json") == 0
        rows = json.loads((tmp_path / f"{name}.json").read_text())
        with torch.no_grad():
            batch = Batch(torch.arange(2), None, made.fetch("test", torch.arange(2)))
            wanted = made.forward(model, batch).softmax(dim=1)[:, 0].tolist()
        found = [row["probabilities"][made.class_names[0]] for row in rows]
        assert all(min(abs(one - other) for other in found) < 1e-5 for one in wanted)
    assert predict(tmp_path / "images", tmp_path / "pets" / "cat" / "3.png") == 0
    (tmp_path / "one.txt").write_text("good one")
    assert predict(tmp_path / "text", tmp_path / "one.txt") == 0
