"""The `slipway` command as a person and a script meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.launcher.hardware.record import SCHEMA_VERSION, DeviceProcess, Environment, Fault, Hardware, Mask
from slipway.launcher.hardware.show import warnings
from slipway.training.common.json_records import json_schema
from tests.conftest import ROOT
from tests.launcher.helpers import assert_one_line_error
from tests.launcher.machines import FOLDER, machines
from tests.limits import HANG_SECONDS

SLIPWAY = [sys.executable, "-c", "import sys; from slipway.launcher.cli import main; sys.exit(main())"]


def test_detect_prints_json_that_describes_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["detect", "--json"]) == 0
    hardware = Hardware.from_json(capsys.readouterr().out)
    assert hardware.schema_version == 1
    assert hardware.cpu.logical_cores == os.cpu_count()
    assert hardware.memory.total_bytes > 1 << 28


@pytest.mark.parametrize("name", machines())
def test_a_recorded_machine_is_drawn_and_printed_again(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(FOLDER / f"{name}.json")
    assert cli.main(["detect", "--json", "--hardware", path]) == 0
    assert capsys.readouterr().out == machines()[name].to_json() + "\n"
    assert cli.main(["detect", "--hardware", path]) == 0
    shown = capsys.readouterr().out
    assert "usable CPUs" in shown
    hardware = machines()[name]
    assert ("Accelerators" in shown) == bool(hardware.accelerators)
    assert shown.count("warning:") == len(list(warnings(hardware)))


def test_a_gpu_with_a_cpu_only_torch_is_the_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["detect", "--hardware", str(FOLDER / "rtx4090_cpu_only_torch.json")])
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("warning: 1 x NVIDIA GeForce RTX 4090, but torch 2.9.1+cpu is CPU-only: pip install")


def test_what_limits_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["detect", "--hardware", str(FOLDER / "container_2_of_64_cores.json")])
    shown = capsys.readouterr().out
    assert "2, limited by cgroup quota" in shown
    assert "4.0 GiB, limited by cgroup limit" in shown
    assert "warning: /dev/shm has 64 MiB" in shown


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema", "hardware"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema(Hardware, SCHEMA_VERSION)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detct"], "unknown command 'detct' (did you mean 'detect'?)"),
        (["--versoin"], "(did you mean '--version'?)"),
        (["detect", "--jsn"], "unknown argument '--jsn' (did you mean '--json'?)"),
        (["detect", "--js"], "unknown argument '--js'"),
        (["detect", "--hardwear=x"], "(did you mean '--hardware'?)"),
        (["detect", "--hardware"], "--hardware: expected one argument"),
        (["detect", "--hardware", "/nowhere.json"], "--hardware /nowhere.json: No such file or directory"),
        (["schema"], "the following arguments are required"),
        (["schema", "hardwar"], "'hardwar' is none of hardware, plan, doctor, data (did you mean 'hardware'?)"),
    ],
)
def test_a_typo_costs_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line_error(arguments, message, capsys)


def test_a_broken_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(b"\xff\xfe")
    assert cli.main(["detect", "--hardware", str(path)]) == 2
    path.write_text('{"cpu": 1}', encoding="utf-8")
    assert cli.main(["detect", "--hardware", str(path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == (
        f"error: --hardware {path}: is not UTF-8 text (byte 0); save it as UTF-8; `slipway detect --json > FILE` writes one "
        "on its machine"
    )
    assert errors[1].startswith(f"error: {path}: ")


def test_help_and_version_name_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    named = {line.split()[1]: line for line in shown.splitlines() if line.startswith("  slipway ")}
    assert [*named] == [*(command.name for command in cli.COMMANDS), "--version"]
    assert all(command.help in named[command.name] for command in cli.COMMANDS)
    assert max(map(len, shown.splitlines())) <= 80
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.count(".") >= 1
    assert cli.main([]) == 2


def test_the_launcher_loads_neither_torch_nor_training() -> None:
    code = (
        "import sys, pkgutil, importlib, slipway.launcher as launcher\n"
        "from slipway.launcher import cli\n"
        "for module in pkgutil.walk_packages(launcher.__path__, 'slipway.launcher.'): importlib.import_module(module.name)\n"
        "assert cli.main(['detect', '--json']) == 0\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'accelerate', 'numpy', 'rich')]\n"
        "bad += [m for m in sys.modules if m.startswith('slipway.training.') and '.common' not in m]\n"
        "sys.exit(f'loaded {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr


def test_what_will_go_wrong_is_warned_of() -> None:
    hardware = machines()["8xh100"]
    assert list(warnings(hardware)) == []
    busy = replace(hardware.accelerators[0], processes=(DeviceProcess(pid=42, memory_used_bytes=None),))
    mask = Mask(variable="CUDA_VISIBLE_DEVICES", value="9", applied=True, note="'9' names no device here")
    broken = replace(
        hardware,
        accelerators=(busy,),
        environment=Environment(masks=(mask,), visible=(), variables={}),
        faults=(Fault(probe="nvidia", message="GPU 1: GPU is lost"),),
    )
    assert list(warnings(broken)) == [
        "the nvidia probe could not answer: GPU 1: GPU is lost",
        "CUDA_VISIBLE_DEVICES=9: '9' names no device here",
        "no accelerator is visible: the masks of the environment hide them all",
        "cuda 0 (NVIDIA H100 80GB HBM3) is in use by process 42",
    ]


@contextmanager
def limited_cgroup() -> Iterator[list[Path]]:
    """Yield `cgroup.procs` files of new cgroups with 0.5 CPU and 512 MiB; skip where they cannot be made."""
    root, name = Path("/sys/fs/cgroup"), f"slipway-test-{uuid.uuid4().hex[:8]}"
    limits: dict[Path, dict[str, str]]
    if (root / "cgroup.controllers").exists():
        limits = {root / name: {"cpu.max": "50000 100000", "memory.max": str(512 << 20)}}
    else:
        limits = {
            root / "cpu" / name: {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"},
            root / "memory" / name: {"memory.limit_in_bytes": str(512 << 20)},
        }
    with ExitStack() as stack:
        try:
            for folder, files in limits.items():
                folder.mkdir()
                stack.callback(folder.rmdir)
                for file, value in files.items():
                    (folder / file).write_text(value, encoding="ascii")
        except OSError as error:
            pytest.skip(f"no cgroup can be made here: {error}")
        yield [folder / "cgroup.procs" for folder in limits]


def test_inside_a_real_cgroup_its_limits_are_said() -> None:
    enter = "import os, sys\nfor path in sys.argv.pop(1).split(':'): open(path, 'w').write(str(os.getpid()))\n"
    with limited_cgroup() as procs:
        done = subprocess.run(
            [sys.executable, "-c", enter + SLIPWAY[2], ":".join(map(str, procs)), "detect", "--json"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
        )
    assert done.returncode == 0, done.stderr
    hardware = Hardware.from_json(done.stdout)
    assert (hardware.cpu.usable_cpus, hardware.cpu.limited_by) == (0.5, "cgroup quota")
    assert (hardware.memory.usable_bytes, hardware.memory.limited_by) == (512 << 20, "cgroup limit")
