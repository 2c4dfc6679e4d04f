"""The folder of a run that somebody sends: what it names is shown, and run only with `--trust`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import slipway
from slipway import TensorTask, TrainingConfig, UserError, train
from slipway.launcher import cli
from slipway.results.share import hub_folder
from slipway.training.common.program.trust import signed
from slipway.training.tasks.origin.factory import find_factory
from tests.hostile.proof import MARKER, marks, nothing_runs


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that was sent: everything that Python might import from it makes the marker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    folder = tmp_path / "sent"
    folder.mkdir()
    code = f"open({str(tmp_path / MARKER)!r}, 'w')\n"
    for name in ("hostile_run", "torch", "rich", "yaml", "sitecustomize", "usercustomize", "numpy"):
        (folder / f"{name}.py").write_text(code)
    (folder / "slipway.yaml").write_text("train:\n  task: hostile_run.py\n")
    return folder


def record(sent: Path, **command: Any) -> Path:
    run = sent / "runs" / "good-run"
    run.mkdir(parents=True)
    facts = {"module": None, "script": None, "arguments": [], "folder": str(sent), **command}
    content = {"state": "running", "name": "good-run", "plan": {"device": "cpu", "world_size": 1}, "command": facts}
    (run / "run.json").write_text(json.dumps(content))
    return run


COMMANDS: dict[str, dict[str, Any]] = {
    "a script": {"script": "SENT/hostile_run.py"},
    "a module": {"module": "hostile_run"},
    "a module of Python's own": {"module": "timeit", "arguments": ["open('it-ran', 'w')"]},
    "a script of mine with options": {"script": "MINE", "arguments": ["--task", "hostile_run.py"]},
    "a folder that hides the package": {"module": "torch"},
    "a signature of theirs": {"module": "hostile_run", "signature": "0" * 64},
    "a signature of another kind": {"module": "hostile_run", "signature": "MODEL"},
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_command_that_was_sent_is_shown_and_not_run(
    sent: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("import hostile_run\n")
    text = json.dumps(COMMANDS[kind]).replace("SENT", str(sent)).replace("MINE", str(tmp_path / "mine.py"))
    command = json.loads(text)
    if command.get("signature") == "MODEL":
        facts = {"module": "hostile_run", "script": None, "arguments": [], "folder": str(sent)}
        command = signed("model", facts)
    run = record(sent, **command)
    before = (run / "run.json").read_bytes()
    with nothing_runs(tmp_path):
        assert cli.main(["resume", str(run)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"error: slipway resume {run} would run `python ")
    assert f"in {sent}, and its run.json does not prove that you started it here" in error
    assert error.endswith("Read what it runs, then add --trust\n")
    assert all(str(word) in error for word in command.get("arguments", []) if "'" not in word)
    assert (run / "run.json").read_bytes() == before


def test_what_would_run_is_shown_as_one_line_of_text(
    sent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["\x1b[2K\x1b[1A", "--safe\n\nerror: nothing; go on with --trust", "\u202egpj.x", "x" * 100_000]
    run = record(sent, module="hostile_run", arguments=words)
    with nothing_runs(tmp_path):
        assert cli.main(["resume", str(run)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.rstrip("\n").isprintable()
    assert len(error) < 3000


def test_a_dry_run_shows_it_and_runs_nothing(sent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = record(sent, module="hostile_run")
    assert cli.main(["resume", "--dry-run", str(run)]) == 0
    assert "-m hostile_run" in capsys.readouterr().out
    assert marks(tmp_path) == []


def test_with_trust_it_runs_so_the_trap_is_one(sent: Path, tmp_path: Path) -> None:
    run = record(sent, module="hostile_run")
    for name in ("torch", "rich", "yaml", "sitecustomize", "usercustomize", "numpy"):
        (sent / f"{name}.py").unlink()
    assert cli.main(["resume", "--trust", str(run)]) == 0
    assert marks(tmp_path) == [tmp_path / MARKER]


def weights(folder: Path, spec: object) -> Path:
    best = folder / "runs" / "good-run" / "best"
    best.mkdir(parents=True)
    save_file(nn.Linear(3, 2).state_dict(), best / "model.safetensors")
    (best / "spec.json").write_text(json.dumps(spec))
    return best.parent


def call(name: str, module: str, *arguments: str, file: str | None = None, **more: object) -> dict[str, Any]:
    return {"module": module, "file": file, "name": name, "arguments": list(arguments), "options": {}, **more}


SPECS: dict[str, Any] = {
    "a function of Python's own": {"make_model": call("system", "os", f"touch {MARKER}")},
    "a module beside it": {"make_model": call("make", "hostile_run")},
    "a file": {"make_model": call("make", "own", file="SENT/hostile_run.py")},
    "a file that says it is ours": {
        "make_model": call("Net", "slipway.training.tasks.images", file="SENT/hostile_run.py")
    },
    "a function reached through ours": {"make_model": call("Path.unlink", "slipway.training.tasks.images", "SENT")},
    "a task": {"task": {"name": "SENT/hostile_run.py:make", "arguments": {}}},
    "a task of a module": {"task": {"name": "hostile_run:make", "arguments": {}}},
    "a signature of theirs": {"make_model": call("make", "hostile_run", signature="0" * 64)},
    "a signature of another value": {"make_model": {**signed("model", call("a", "b")), "module": "hostile_run"}},
}


@pytest.mark.parametrize("kind", SPECS)
def test_code_that_a_model_names_is_told_and_not_run(sent: Path, tmp_path: Path, kind: str) -> None:
    run = weights(sent, json.loads(json.dumps(SPECS[kind]).replace("SENT", str(sent))))
    with nothing_runs(tmp_path), pytest.raises(UserError) as raised:
        slipway.load(run)
    message = str(raised.value)
    assert "/best/spec.json would run " in message
    assert f"read that code first, then slipway.load('{run}', trust=True)" in message
    assert "make_model=..." in message


def test_what_we_name_ourselves_is_ours_wherever_the_folder_says_it_lies(sent: Path, tmp_path: Path) -> None:
    spec = call("Network", "slipway.training.tasks.images", file=str(sent / "hostile_run.py"))
    spec["arguments"] = [2, 1, 8, "centred", 8, "group", 0.1]
    run = weights(sent, {"make_model": spec})
    with nothing_runs(tmp_path), pytest.raises(UserError, match="weights are of another model"):
        slipway.load(run)


def test_with_trust_the_model_is_made_so_the_trap_is_one(sent: Path, tmp_path: Path) -> None:
    run = weights(sent, {"make_model": call("make", "own", file=str(sent / "hostile_run.py"))})
    with pytest.raises(UserError, match="there is no 'make' in it"):
        slipway.load(run, trust=True)
    assert marks(tmp_path) == [tmp_path / MARKER]


def test_predictions_and_reports_run_nothing_that_was_sent(
    sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = {"make_model": call("make", "hostile_run"), "task": {"name": "hostile_run:make", "arguments": {}}}
    run = weights(sent, code)
    content = {"state": "failed", "name": "good-run", "recipe": {"resolution": {}, "task": {"name": "<script>"}}}
    (run / "run.json").write_text(json.dumps(content))
    np.save(sent / "clips.npy", np.zeros((4, 3), np.float32))
    monkeypatch.chdir(sent)
    with nothing_runs(tmp_path):
        assert cli.main(["predict", "good-run", "clips.npy"]) == 2
        cli.main(["report", "good-run"])
    assert "Traceback" not in capsys.readouterr().err
    page = run / "report.html"
    assert not page.exists() or '<script>"' not in page.read_text()


def test_a_bundled_task_takes_no_module_from_the_folder_of_its_data(
    sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sent)
    before = [*sys.path]
    with nothing_runs(tmp_path):
        find_factory("images")
        find_factory("text")
    assert sys.path == before


def test_lists_of_runs_and_their_completion_run_nothing(
    sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(sent, module="hostile_run")
    monkeypatch.chdir(sent)
    with nothing_runs(tmp_path):
        assert cli.main(["runs"]) == 0
        assert cli.main(["runs", "--json"]) == 0
    assert "good-run" in capsys.readouterr().out


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a run of three classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub_folder, "write_pictures", lambda content, folder: None)
    splits = {split: (torch.randn(12, 4), torch.arange(12) % 3) for split in ("train", "validation", "test")}
    task = TensorTask(lambda: nn.Linear(4, 3), splits, class_names=["a", "b", "c"])
    config = TrainingConfig(device="cpu", max_steps=2, experiment_name="one", report=False)
    return train(config, task).folder


def test_a_card_is_not_written_where_a_link_in_the_run_leads(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (trained / "hub").symlink_to(elsewhere)
    for command in (["card", str(trained)], ["card", str(trained), "--force"], ["push", str(trained), "--to", "a/b"]):
        capsys.readouterr()
        assert cli.main(command) == 2
        assert "hub: is a link, and nothing is written where it leads" in capsys.readouterr().err
    assert not list(elsewhere.iterdir())


def test_what_a_record_says_is_text_in_the_card(trained: Path) -> None:
    evil = "x\n---\nlicense: evil\n<script>alert(1)</script>\x1b[2J|`x`"
    for name, path in (("run.json", ("data", "signers")), ("answers.json", ("split",)), ("run.json", ("name",))):
        file = trained / name
        before = json.loads(file.read_text())
        changed = inside = json.loads(file.read_text())
        for key in path[:-1]:
            inside = inside.setdefault(key, {})
        inside[path[-1]] = {evil: ["ann", "ben"]} if path[-1] == "signers" else evil
        file.write_text(json.dumps(changed))
        assert cli.main(["card", str(trained), "--force"]) == 0
        card = (trained / "hub" / "README.md").read_text()
        assert card.count("\n---\n") == 1, path
        assert "\x1b" not in card
        assert "<script>" not in re.sub(r"(`+)[^`].*?\1", "", card.split("\n---\n")[1]), path
        file.write_text(json.dumps(before))


@pytest.mark.parametrize("name", ["run.json", "best/spec.json"])
def test_a_record_that_is_nested_deeply_is_refused_in_one_line(
    trained: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((trained / name).read_text())
    inner: dict[str, Any] = {}
    content["layout"] = content["data"] = inner
    for _ in range(400):
        inner["a"] = inner = {}
    (trained / name).write_text(json.dumps(content))
    capsys.readouterr()
    assert cli.main(["card", str(trained)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nested too deeply" in error
