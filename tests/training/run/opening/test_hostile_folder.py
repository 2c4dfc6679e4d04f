"""The folder of a run that somebody sends: nothing is written through its links. And what a run writes, who may change it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch
from torch import nn

from slipway.training.common.errors import UserError
from slipway.training.run.train import train
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.tensors import TensorTask

_PLANTED = "planted-7f3a-secret"


def run_once(runs: Path, **options: object) -> Path:
    inputs = torch.linspace(-1, 1, 64).reshape(16, 4)
    labels = (inputs[:, 0] > 0).long()
    task = TensorTask(lambda: nn.Linear(4, 2), {"train": (inputs, labels), "validation": (inputs, labels)})
    config = TrainingConfig(
        runs_dir=str(runs),
        experiment_name="run",
        device="cpu",
        batch_size=4,
        epochs=2,
        **{"log_level": "warning", **options},
    )
    return train(config, task).folder


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Return the folder of a run that goes on when it is resumed."""
    folder = run_once(tmp_path / "runs", max_steps=3)
    text = (folder / "run.json").read_text().replace('"state": "finished"', '"state": "running"')
    (folder / "run.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    "name", ["lock", "events.jsonl", "run.json.partial", "stacks/rank_0.txt", "logs/rank_0.log", "new"]
)
def test_a_link_to_a_file_is_refused_and_what_it_leads_to_stays(stopped: Path, tmp_path: Path, name: str) -> None:
    keys = tmp_path / "authorized_keys"
    keys.write_text("ssh-ed25519 mine\n")
    link = stopped / name
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(keys)
    with pytest.raises(UserError, match="is a link"):
        run_once(tmp_path / "runs", max_steps=3, resume="auto")
    assert keys.read_text() == "ssh-ed25519 mine\n"


@pytest.mark.parametrize("name", ["checkpoints", "best", "last", "stacks", "profile"])
def test_a_link_to_a_folder_is_refused_and_what_it_leads_to_stays(stopped: Path, tmp_path: Path, name: str) -> None:
    mine = tmp_path / "mine"
    (stopped / name).rename(mine) if (stopped / name).exists() else mine.mkdir()
    (mine / "thesis.txt").write_text("two years")
    before = sorted(mine.rglob("*"))
    (stopped / name).symlink_to(mine, target_is_directory=True)
    with pytest.raises(UserError, match=f"{name} is a link to .*mine, and Slipway writes through none"):
        run_once(tmp_path / "runs", max_steps=3, resume="auto")
    assert sorted(mine.rglob("*")) == before


def test_a_pipe_in_place_of_the_journal_is_refused(stopped: Path, tmp_path: Path) -> None:
    (stopped / "events.jsonl").unlink()
    os.mkfifo(stopped / "events.jsonl")
    with pytest.raises(UserError, match=r"events\.jsonl is neither a file nor a folder"):
        run_once(tmp_path / "runs", max_steps=3, resume="auto")


def test_with_umask_0_nothing_is_for_everybody_to_change(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = run_once(tmp_path / "runs", max_steps=2, save_every="1step")
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    written = [folder, *folder.rglob("*")]
    assert len(written) > 8
    assert [path for path in written if path.stat().st_mode & stat.S_IWOTH] == []


def test_tokens_of_command_and_environment_are_in_no_file_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", f"{_PLANTED}-1")
    token = "hf_" + "Planted9" * 4
    command = ["own.py", f"--hf-token={_PLANTED}-2", "--api-key", f"{_PLANTED}-3", f"https://a:{_PLANTED}@h/", token]
    monkeypatch.setattr("sys.argv", [*command, f"{_PLANTED}-1"])
    folder = run_once(tmp_path / "runs", max_steps=2)
    texts = {path: path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()}
    assert [path for path, text in texts.items() if _PLANTED in text or token in text] == []
    assert "--hf-token=***" in texts[folder / "run.json"]
