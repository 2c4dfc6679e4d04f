"""A training that starts itself on all devices: when it does, with what, and what it costs when it does not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from slipway.launcher.launch import self_launch
from slipway.training.common.errors import UserError
from slipway.training.common.program.launched import LAUNCH_VARIABLES
from tests.conftest import ROOT
from tests.launcher.machines import machine, machines


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return what is launched, on a machine with eight H100."""
    calls: list[list[str]] = []

    def launch(arguments: list[str]) -> int:
        calls.append(arguments)
        return 42

    for name in (*LAUNCH_VARIABLES, "SLIPWAY_PLAN", "SLIPWAY_MULTI_GPU", "SLIPWAY_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    on(monkeypatch, machines()["8xh100"])
    monkeypatch.setattr("slipway.launcher.launch.command.main", launch)
    return calls


def on(monkeypatch: pytest.MonkeyPatch, hardware: Any) -> None:
    monkeypatch.setattr("slipway.launcher.hardware.detect.load_hardware", lambda path: hardware)


def test_multi_gpu_starts_the_script_with_its_arguments_on_all_devices(started: list[list[str]]) -> None:
    arguments = ["--multi-gpu", "--epochs", "3"]
    assert self_launch.launch_on_all_devices("bin/train.py", arguments) == 42
    assert started == [["--device", "auto", "bin/train.py", *arguments]]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--multi-gpu", "--no-multi-gpu"],
        ["--multi-gpu", "--no-data-parallel"],
        ["--multi-gpu", "--device", "cpu"],
        ["--multi-gpu", "--device=cpu"],
    ],
)
def test_without_it_or_with_a_contradiction_this_process_goes_on(
    started: list[list[str]], arguments: list[str]
) -> None:
    assert self_launch.launch_on_all_devices("bin/train.py", arguments) is None
    assert started == []


@pytest.mark.parametrize(
    "variables",
    [
        {"SLIPWAY_PLAN": "plan.json"},
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "none"},
        {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
        {"WORLD_SIZE": "many"},
    ],
)
def test_a_launched_process_does_not_launch_again_and_reports_what_is_wrong_itself(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert self_launch.launch_on_all_devices("bin/train.py", ["--multi-gpu"]) is None
    assert started == []


@pytest.mark.parametrize("name", ["LOCAL_RANK", "RANK", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"])
def test_what_another_launch_left_does_not_keep_it_from_launching(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "0")
    assert self_launch.launch_on_all_devices("bin/train.py", ["--multi-gpu"]) == 42


def test_one_device_is_nothing_to_start(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    for hardware in (machine(), machines()["t4"]):
        on(monkeypatch, hardware)
        assert self_launch.launch_on_all_devices("bin/train.py", ["--multi-gpu"]) is None


def test_the_variable_is_as_good_as_the_flag_and_the_flag_wins(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_MULTI_GPU", "true")
    assert self_launch.launch_on_all_devices("bin/train.py", []) == 42
    assert self_launch.launch_on_all_devices("bin/train.py", ["--no-multi-gpu"]) is None


def test_what_torch_calls_cuda_may_be_rocm(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, machines()["8xmi300x"])
    assert self_launch.launch_on_all_devices("bin/train.py", ["--multi-gpu", "--device", "cuda"]) == 42
    assert started[0][:2] == ["--device", "rocm"]


def test_an_error_of_the_launch_is_one_line(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(arguments: list[str]) -> int:
        raise UserError("no")

    monkeypatch.setattr("slipway.launcher.launch.command.main", refuse)
    assert self_launch.launch_on_all_devices("bin/train.py", ["--multi-gpu"]) == 2
    assert capsys.readouterr().err == "error: no\n"


def test_it_imports_nothing_where_it_is_not_asked_for() -> None:
    program = (
        "import sys, slipway; before = set(sys.modules)\n"
        "from slipway.launcher.launch.self_launch import launch_on_all_devices\n"
        "launch_on_all_devices('bin/train.py', ['--epochs', '3'])\n"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith('slipway.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "['slipway.launcher', 'slipway.launcher.launch', 'slipway.launcher.launch.self_launch']\n"
