"""`slipway card`: a folder for the Hub, with a card that tells what the run has measured, and nothing of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

import slipway
from slipway import TensorTask, TrainingConfig, train
from slipway.launcher import cli
from slipway.results.share.card.markdown import code, without_places
from tests.results.conftest import CLASSES, Made
from tests.results.share.runs import PLACE, private_run


def card(*words: object) -> int:
    return cli.main(["card", *map(str, words)])


def test_the_card_is_one_of_the_hub_and_tells_what_was_measured_and_where_the_weights_come_from(
    sign_run: Made, tmp_path: Path
) -> None:
    run = private_run(sign_run, tmp_path / "signs")
    assert card(run, "--license", "cc-by-4.0") == 0
    read = ModelCard.load(run / "hub" / "README.md")
    assert read.data.license == "cc-by-4.0"
    assert read.data.library_name == "slipway"
    measured = {(one.dataset_split, one.metric_type): one.metric_value for one in read.data.eval_results}
    assert measured[("test", "accuracy")] == 0.75
    assert measured[("validation", "accuracy")] == 0.875
    for heading in ("Results", "Intended use", "Data", "Limits", "How to use it", "How it was trained", "Lineage"):
        assert f"## {heading}\n" in read.text
    assert "| starts from | the best weights of `middle`, step 414, weights `abcd`, recipe `1111` |" in read.text
    assert "| which starts from | the best weights of `first`, step 414, weights `abcd`, recipe `2222` |" in read.text
    assert "![Curves" not in read.text  # the run has no journal
    assert "![Which class was taken for which](confusion_matrix." in read.text


def test_nothing_in_the_folder_names_a_place_or_a_person_of_this_machine(
    sign_run: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_TOKEN", "a-secret-of-the-environment")
    run = private_run(sign_run, tmp_path / "signs")
    record = json.loads((run / "run.json").read_text())
    record["command"]["arguments"] += ["--note", "a-secret-of-the-environment"]
    (run / "run.json").write_text(json.dumps(record))
    assert card(run) == 0
    for path in (run / "hub").iterdir():
        for private in ("annika", "secret", "ws-17", "/home", str(tmp_path), str(sign_run.data.parent), "signer "):
            assert private.encode() not in path.read_bytes(), (path.name, private)
    text = (run / "hub" / "README.md").read_text()
    assert "slipway train --data 'my clips.npz' --layout=hand.json --experiment-name signs --note ***" in text


def test_names_of_classes_and_runs_are_text_in_the_card(sign_run: Made, tmp_path: Path) -> None:
    run = private_run(sign_run, tmp_path / "signs")
    assert card(run) == 0
    text = (run / "hub" / "README.md").read_text()
    assert "# `` signs\\|<b>*two*</b>` ``\n" in text
    assert "`=yes\\x1b[2J`" in text
    assert "\x1b" not in text
    assert json.loads((run / "hub" / "labels.json").read_text()) == sorted(CLASSES)


def test_the_folder_alone_predicts_as_the_run_does(
    sign_run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "elsewhere"
    assert card(private_run(sign_run, tmp_path / "signs"), "--out", out) == 0
    clips = sign_run.clips[:4]
    found = [one.probabilities for one in slipway.load(out).predict(clips)]
    assert found == [one.probabilities for one in slipway.load(sign_run.folder).predict(clips)]
    clip = tmp_path / "clip.npy"
    np.save(clip, clips[0])
    capsys.readouterr()
    assert cli.main(["predict", str(out), str(clip)]) == 0  # it is read as the clips of the run were
    assert cli.main(["evaluate", str(out), "--data", str(sign_run.data)]) == 0
    assert cli.main(["evaluate", str(out)]) == 2
    assert "where its data are is not told" in capsys.readouterr().err


class Net(torch.nn.Linear):
    def __init__(self, width: int, places: str = "") -> None:
        super().__init__(4, width)


def make_net() -> Net:
    return Net(3)


def test_the_code_in_the_card_loads_a_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, labels = torch.randn(24, 4), torch.arange(24) % 3
    splits = {"train": (inputs, labels), "validation": (inputs, labels)}
    config = TrainingConfig(runs_dir=str(tmp_path), epochs=1, save_every="never", report=False)
    run = train(config, TensorTask(make_net, splits)).folder
    assert card(run) == 0
    text = (run / "hub" / "README.md").read_text()
    assert "There is no test" in text
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo: run / "hub")
    monkeypatch.syspath_prepend(Path(__file__).parent)
    names: dict[str, object] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert isinstance(model := names["model"], torch.nn.Linear)
    assert torch.equal(model.weight, slipway.load(run).weight)
    spec = json.loads((run / "hub" / "spec.json").read_text())
    assert spec["make_model"]["file"] == "test_card.py"
    assert "signature" not in spec["make_model"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{PLACE}/my clips.npz", "my clips.npz"),
        (f"--data={PLACE}/x.npz", "--data=x.npz"),
        ("~/lab/x.npz", "x.npz"),
        (r"C:\Users\ann lee\x.npz", "x.npz"),
        (r"read C:\Users\ann\x.npz here", "read x.npz here"),
        ("file:///home/ann/x.npz", "x.npz"),
        ("see /home/ann/a/b.py:12 and //host/share/c", "see b.py:12 and c"),
        ("PATH=bin:/home/ann/bin", "PATH=bin:bin"),
        ("hub:ann/signs", "hub:ann/signs"),
        ("/home/ann", "~"),
        ("in /Users/ann", "in "),
        ("//host/share/c", "c"),
        ("<b>bold</b> and </script>/x", "<b>bold</b> and </script>/x"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("a relative/path and 3/4", "a relative/path and 3/4"),
    ],
)
def test_paths_of_a_machine_are_cut_to_their_last_part(text: str, shown: str) -> None:
    assert without_places(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a", "`a`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("a|b", "`a\\|b`"), ("", "`(no name)`"), ("a\nb", "`a\\nb`")],
)
def test_a_text_is_one_span_of_code(text: str, shown: str) -> None:
    assert code(text) == shown


def test_what_is_no_run_with_weights_is_refused_in_one_line(
    sign_run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = private_run(sign_run, tmp_path / "signs")
    assert card(run) == 0
    capsys.readouterr()
    for words, message in (
        ((run,), "hub: is there already; give --force"),
        ((run / "hub",), "is ready for the Hub already"),
        ((tmp_path / "nothing",), "no such run"),
        ((tmp_path / "middle",), "has no best/ yet"),
        ((run, "--license", "My Own", "--force"), "--license My Own: give the name that the Hub has"),
    ):
        assert card(*words) == 2, words
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
