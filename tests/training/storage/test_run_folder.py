"""The folder of a run: its name, what overwriting may remove, and files that are complete or absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from slipway.training.storage import run_folder
from slipway.training.storage.files import write_json
from slipway.training.storage.run_folder import create_run_folder, folder_name, save_weights
from tests.training.helpers import catch


def finish(folder: Path) -> Path:
    """Make a folder look like that of a run."""
    write_json(folder / "run.json", {"state": "finished"})
    return folder


def test_a_second_run_of_a_name_gets_a_number_and_the_first_stays(tmp_path: Path) -> None:
    first = finish(create_run_folder(tmp_path / "runs", "signs", overwrite=False))
    names = [create_run_folder(tmp_path / "runs", "signs", overwrite=False).name for _ in range(2)]
    assert (first.name, *names) == ("signs", "signs-2", "signs-3")
    assert (first / "run.json").is_file()


def test_a_name_taken_by_a_file_gets_a_number_too(tmp_path: Path) -> None:
    (tmp_path / "signs").write_text("notes")
    assert create_run_folder(tmp_path, "signs", overwrite=False).name == "signs-2"
    assert (tmp_path / "signs").read_text() == "notes"


def test_overwrite_replaces_the_run_of_that_name_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    old = finish(create_run_folder(tmp_path, "signs", overwrite=False))
    (old / "best").mkdir()
    new = create_run_folder(tmp_path, "signs", overwrite=True)
    assert new == old
    assert list(new.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["signs"]


def test_overwrite_without_a_run_of_that_name_is_a_new_run(tmp_path: Path) -> None:
    assert create_run_folder(tmp_path, "signs", overwrite=True).name == "signs"


def test_overwrite_refuses_what_is_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "signs").mkdir()
    (tmp_path / "signs" / "thesis.txt").write_text("three years")
    error = catch(create_run_folder, tmp_path, "signs", overwrite=True)
    assert "is not a run (it has no run.json)" in str(error)
    assert (tmp_path / "signs" / "thesis.txt").read_text() == "three years"


def test_overwrite_brings_the_old_run_back_where_the_new_one_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = finish(create_run_folder(tmp_path, "signs", overwrite=False))
    make = Path.mkdir

    def full(path: Path, *arguments: object, **options: object) -> None:
        if path == old:
            raise OSError(28, "No space left on device")
        make(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", full)
    assert "No space left on device" in str(catch(create_run_folder, tmp_path, "signs", overwrite=True))
    assert (old / "run.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["signs"]


@pytest.mark.parametrize("name", ["", "../signs", "a/b", ".hidden", "two words", "signs\n", "-rf"])
def test_a_name_that_is_not_a_folders_is_refused(tmp_path: Path, name: str) -> None:
    error = catch(create_run_folder, tmp_path / "runs", name, overwrite=False)
    assert str(error).startswith("--experiment-name: ")
    assert "\n" not in str(error)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("text", ["my data (1)-minimal", "user/signs-default", "../../etc", "- -", "x" * 300, "手話"])
def test_any_data_sets_name_makes_a_folders_name(tmp_path: Path, text: str) -> None:
    assert create_run_folder(tmp_path, folder_name(text), overwrite=False).parent == tmp_path


def test_a_runs_dir_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = catch(create_run_folder, tmp_path / "file" / "runs", "signs", overwrite=False)
    assert str(error).startswith(f"--runs-dir {tmp_path / 'file' / 'runs'}: ")
    assert "choose a folder that can be written" in str(error)


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"state": "running"})

    def fail(source: Path, target: Path) -> None:
        assert json.loads(Path(source).read_text()) == {"state": "finished"}
        assert json.loads(path.read_text()) == {"state": "running"}
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(run_folder.os, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_json(path, {"state": "finished"})
    assert json.loads(path.read_text()) == {"state": "running"}


def test_a_number_that_json_does_not_have_is_null_and_named(tmp_path: Path) -> None:
    content = {"result": {"test_loss": float("nan"), "stages": [{"loss": float("inf")}], "steps": 3}}
    write_json(tmp_path / "run.json", content)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    read = json.loads((tmp_path / "run.json").read_text(), parse_constant=refuse)
    assert read["result"] == {"test_loss": None, "stages": [{"loss": None}], "steps": 3}
    assert read["non_finite"] == ["result.test_loss", "result.stages.0.loss"]


def test_weights_come_back_as_they_were_views_and_shared_ones_too(tmp_path: Path) -> None:
    buffer = torch.arange(12, dtype=torch.float64)
    state = {"a": buffer[:6].view(2, 3).t(), "b": buffer[6:], "tied": buffer[6:], "steps": torch.tensor(7)}
    save_weights(tmp_path / "best", state, {"model": "Tiny"})
    read = load_file(tmp_path / "best" / "model.safetensors")
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype
    assert json.loads((tmp_path / "best" / "spec.json").read_text()) == {"model": "Tiny"}
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["model.safetensors", "spec.json"]


def test_weights_that_cannot_be_written_leave_the_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(tmp_path / "best", {"a": torch.zeros(3)}, {})

    def fill(path: Path, tensors: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "write_tensors", fill)
    error = catch(save_weights, tmp_path / "best", {"a": torch.ones(3)}, {})
    assert "the weights cannot be written: No space left on device; make room there" in str(error)
    assert torch.equal(load_file(tmp_path / "best" / "model.safetensors")["a"], torch.zeros(3))
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["model.safetensors", "spec.json"]
