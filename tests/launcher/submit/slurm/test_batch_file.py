"""The file for sbatch: bash reads it, names are quoted or refused, and it says what a cluster wants to know."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from slipway.launcher.submit.slurm.batch_file import SlurmJob, quoted_for_sbatch, to_batch_file
from slipway.training.common.errors import UserError

JOB = SlurmJob(
    name="train",
    nodes=2,
    cpus_per_task=8,
    folder="/home/ada",
    job_folder="/home/ada/runs/.jobs/one",
    launch=("/venv/bin/python", "-P", "-m", "slipway", "launch", "--num-processes", "4", "train.py", "--lr", "1e-3"),
)
HOSTILE = (
    "$(touch x)",
    "`touch x`",
    "a;touch x",
    "'; touch x; '",
    '"; touch x; "',
    "a b",
    "a#b",
    "x\\",
    "&|<>*?[]{}!~",
    "é日本",
)
NO_LINES = ("a\nb", "a\n#SBATCH --uid=0", "a\rb", "a\x1b[2Jb", "a\0b", "\u2028")


def bash(text: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", *options], input=text, capture_output=True, text=True)


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]


def test_one_task_a_node_with_its_own_port_that_saves_and_returns_to_the_queue() -> None:
    text = to_batch_file(
        replace(JOB, time="4:00:00", partition="gpu", gpus_per_node="a100:4", gpu_spelling="gpus-per-node")
    )
    assert directives(text) == [
        "--job-name=train", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=8", "--gpus-per-node=a100:4",
        "--time=4:00:00", "--partition=gpu", "--chdir=/home/ada", "--output=/home/ada/runs/.jobs/one/%j.log",
        "--signal=B:USR1@120", "--requeue", "--open-mode=append",
    ]  # fmt: skip
    assert "port=$((20000 + SLURM_JOB_ID % 10000))" in text
    assert not re.search(r"29500|machine.rank|NODEID|PROCID", text)
    assert bash(text, "-n").returncode == 0


def test_gpus_are_asked_for_as_older_versions_spell_them() -> None:
    assert "--gres=gpu:a100:4" in directives(to_batch_file(replace(JOB, gpus_per_node="a100:4")))


def test_nodes_with_different_gpus_are_the_parts_of_one_job() -> None:
    job = replace(
        JOB, nodes=3, gpus_per_node="a100:4,a100:4,2", cpus_per_task=None, partition="gpu", more=("--exclusive",)
    )
    text = to_batch_file(job)
    first, second = (part.split() for part in "\n".join(directives(text)).split("hetjob\n"))
    assert {
        "--nodes=2",
        "--cpus-per-task=16",
        "--gres=gpu:a100:4",
        "--partition=gpu",
        "--requeue",
        "--exclusive",
    } <= set(first)
    assert {"--nodes=1", "--cpus-per-task=8", "--gres=gpu:2", "--partition=gpu", "--exclusive"} <= set(second)
    assert "srun --het-group=0-1 --ntasks-per-node=1" in text
    for wrong in (replace(job, nodes=2), replace(job, array="0-1")):
        with pytest.raises(UserError, match="--gpus-per-node"):
            to_batch_file(wrong)


def test_the_tasks_of_an_array_have_a_log_each() -> None:
    lines = directives(to_batch_file(replace(JOB, array="0-7%2")))
    assert "--array=0-7%2" in lines
    assert "--output=/home/ada/runs/.jobs/one/%A_%a.log" in lines


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_words_in_the_file_and_never_syntax(name: str, tmp_path: Path) -> None:
    words = (*JOB.launch[:5], "train.py", name)
    folder = name.replace("\\", "")
    text = to_batch_file(
        replace(JOB, name=name, partition=name, folder=name, job_folder=folder, setup=name, launch=words)
    )
    # In place of what runs the command something that prints its last words.
    shown = 'exec() { printf "%s\\n" "${@: -2}"; }'
    seen = bash(f"{shown}\nSLURM_JOB_ID=7\ncd {tmp_path}\n{text.replace('source --', 'true')}")
    assert seen.stdout.splitlines() == ["train.py", name]
    assert list(tmp_path.iterdir()) == []
    assert f"--job-name={quoted_for_sbatch(name)}" in directives(text)


@pytest.mark.parametrize("name", NO_LINES)
@pytest.mark.parametrize(
    "field", ["name", "partition", "account", "qos", "constraint", "folder", "job_folder", "setup"]
)
def test_names_that_would_end_a_line_are_refused(field: str, name: str) -> None:
    with pytest.raises(UserError, match="printable letters only"):
        to_batch_file(replace(JOB, **{field: name}))


def test_an_argument_may_have_lines_but_none_that_sbatch_refuses() -> None:
    text = to_batch_file(replace(JOB, launch=(*JOB.launch, "one\n#SBATCH --uid=0")))
    assert len(directives(text.split("\n\n")[0])) == 9
    assert bash(text, "-n").returncode == 0
    with pytest.raises(UserError, match="sbatch takes no file"):
        to_batch_file(replace(JOB, launch=(*JOB.launch, "one\r\ntwo")))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("time", "soon", "--time soon: give a time of SLURM"),
        ("memory", "much", "--memory much: give a size"),
        ("gpus_per_node", "0", "--gpus-per-node 0: give a number"),
        ("gpus_per_node", "a,b:2", "--gpus-per-node a,b:2"),
        ("array", "all", "--array all"),
        ("nodes", 0, "--nodes 0: must be from 1"),
        ("save_seconds", 100_000, "--save-seconds 100000: must be from 1 to 65535"),
        ("max_requeues", -1, "--max-requeues -1"),
        ("job_folder", "/a\\b", "--jobs-dir"),
        ("more", ("exclusive",), "--sbatch 'exclusive'"),
        ("more", ("--nodes=9",), "the file says it already"),
        ("more", ("--comment=a\nb",), "--sbatch"),
    ],
)
def test_what_slurm_would_refuse_is_refused_by_its_option(field: str, value: object, said: str) -> None:
    with pytest.raises(UserError) as error:
        to_batch_file(replace(JOB, **{field: value}))  # type: ignore[arg-type]
    assert said in str(error.value)
