"""`slipway submit slurm`, `status`, `logs`, `cancel`: what a user sees, with commands of SLURM that answer as told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.launcher.submit.slurm import installed

ANSWERS = {
    "sbatch": 'if [ "$1" = --version ]; then echo "slurm 23.11.4"; else echo "4711"; fi',
    "scontrol": "echo 'SelectType = select/cons_tres'",
    "squeue": "printf 'RUNNING\\tNone\\t1:02\\tn[1-2]\\n'",
    "scancel": ":",
}


class Cluster:
    """A folder in which jobs are handed in, and commands that note what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._bin = folder, folder / "bin"
        self._bin.mkdir()
        (folder / "train.py").write_text("print(1)\n")
        for name, does in ANSWERS.items():
            self.answers(name, does)

    def answers(self, name: str, does: str) -> None:
        """Have a command do this."""
        (self._bin / name).write_text(
            f'#!/bin/sh\nfor word in {name} "$@"; do echo "$word"; done >> {self.folder}/asked\n{does}\n'
        )
        (self._bin / name).chmod(0o755)

    def asked(self) -> list[str]:
        """Return the words of all commands."""
        return (self.folder / "asked").read_text().splitlines()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return Cluster(tmp_path)


def test_a_job_is_written_handed_in_and_followed(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["submit", "slurm", "--nodes", "2", "--gpus-per-node", "2", "train.py", "--token", "s3cret"]) == 0
    out, err = capsys.readouterr()
    (file,) = cluster.folder.glob("runs/.jobs/*/job.sbatch")
    assert (out, file.stat().st_mode & 0o777) == ("4711\n", 0o600)
    assert "8 CPUs of each node are asked for" in err
    assert "#SBATCH --gpus-per-node=2" in file.read_text()
    assert "s3cret" not in (file.parent / "job.json").read_text()
    assert str(file) in cluster.asked()
    assert cli.main(["submit", "status"]) == 0
    assert "4711  train  RUNNING, 1:02 on n[1-2]" in capsys.readouterr().out
    (file.parent / "4711.log").write_text("all of it\n")
    rank = file.parent / "launches" / "one"
    rank.mkdir()
    (rank / "rank_3.log").write_text("of rank 3\n")
    for words, said in (([], "all of it\n"), (["4711"], "all of it\n"), (["train", "--rank", "3"], "of rank 3\n")):
        assert cli.main(["submit", "logs", *words]) == 0
        assert capsys.readouterr().out == said
    assert cli.main(["submit", "cancel", "train"]) == 0
    assert cluster.asked()[-2:] == ["scancel", "4711"]


def test_a_refused_job_leaves_no_folder_and_says_why(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answers("sbatch", "echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1")
    assert cli.main(["submit", "slurm", "--partition", "gpu", "train.py"]) == 2
    assert "SLURM has not taken the job: sbatch: sbatch: error: invalid partition" in capsys.readouterr().err
    assert list(cluster.folder.glob("runs/.jobs/*")) == []


def test_without_slurm_the_file_can_be_shown_and_not_handed_in(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli.main(["submit", "slurm", "train.py"]) == 2
    assert "sbatch is not installed here: use a login node" in capsys.readouterr().err
    assert cli.main(["submit", "slurm", "--gpus-per-node", "2", "--dry-run", "--json", "train.py"]) == 0
    shown = json.loads(capsys.readouterr().out)
    (text,) = shown["files"].values()
    assert "#SBATCH --gres=gpu:2" in text  # which every version takes
    assert subprocess.run(["/bin/bash", "-n"], input=text, text=True).returncode == 0
    assert list(cluster.folder.glob("runs")) == []


@pytest.mark.parametrize(
    ("version", "select", "spelling"),
    [
        ("slurm 23.11.4", "select/cons_tres", "gpus-per-node"),
        ("slurm-wlm 22.05.8", "select/cons_tres", "gpus-per-node"),
        ("slurm 20.11.9", "select/cons_res", "gres"),
        ("slurm 18.08.1", "select/cons_tres", "gres"),
        ("unknown", "select/cons_tres", "gres"),
    ],
)
def test_gpus_are_asked_for_as_the_installed_version_spells_them(
    version: str, select: str, spelling: str, cluster: Cluster
) -> None:
    cluster.answers("sbatch", f"echo '{version}'")
    cluster.answers("scontrol", f"echo 'SelectType = {select}'")
    assert installed.gpu_spelling() == spelling


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--machine-rank", "1", "train.py"], "--machine-rank: each machine of the job finds it by itself"),
        (["--num-machines", "2", "train.py"], "of a job it is --nodes"),
        (["--num-processes", "two", "train.py"], "--num-processes"),
        (["--processes-per-node", "2,1", "train.py"], "2 numbers of processes or GPUs for --nodes 1"),
        (["--processes-per-node", "2", "--num-processes", "2", "train.py"], "said twice"),
        (["--json", "train.py"], "add --dry-run"),
        (["--setup", "nothing", "train.py"], "--setup nothing: no such file"),
        (["--name", "a\nb", "train.py"], "printable letters only"),
        (["nothing.py"], "slipway submit slurm: no such file: nothing.py"),
        ([], "slipway submit slurm: name the SCRIPT"),
        (["--time", "soon", "train.py"], "--time soon"),
        (["--nodes", "0", "train.py"], "--nodes 0"),
    ],
)
def test_what_cannot_work_is_told_before_the_job_waits(
    words: list[str], said: str, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["submit", "slurm", *words]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert (out, len(err.splitlines())) == ("", 1)
    assert not (cluster.folder / "runs").exists()


def test_jobs_that_are_not_there_are_named(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["submit", "logs"]) == 2
    assert cli.main(["submit", "cancel", "4711"]) == 2
    assert "4711: no job of this id or name in runs/.jobs" in capsys.readouterr().err
    assert cli.main(["submit", "slurm", "train.py"]) == 0
    assert cli.main(["submit", "cancel", "trian"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err
    cluster.answers("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert cli.main(["submit", "status"]) == 0
    assert "not known to slurm any more; its log tells how it ended" in capsys.readouterr().out
