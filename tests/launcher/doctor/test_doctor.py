"""`slipway doctor` as a person and a script meet it: situations are really made, and the report names them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.launcher.doctor.check import DOCTOR_SCHEMA_VERSION, Check, Report
from tests.conftest import ROOT
from tests.launcher.helpers import assert_one_line_error
from tests.launcher.machines import FOLDER, machines
from tests.limits import HANG_SECONDS

NAMES = [
    "torch", "devices", "p2p", "cpus", "sharing", "memory", "shared_memory", "disk", "open_files", "leftover_launch",
    "environment", "default_config", "port", "collective", "world",
]  # fmt: skip
SLIPWAY = [sys.executable, "-c", "import sys; from slipway.launcher.cli import main; sys.exit(main())"]


@pytest.fixture(autouse=True)
def no_traces_of_the_developer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Check]]:
    """Return the exit code and the checks by name."""
    code = cli.main(["doctor", "--json", *arguments])
    captured = capsys.readouterr()
    assert captured.err == ""
    found = Report.from_json(captured.out)
    assert [check.name for check in found.checks] == NAMES
    assert (code, found.state == "fail") in ((0, False), (3, True))
    return code, {check.name: check for check in found.checks}


def quick(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Check]]:
    return report(capsys, "--quick", "--device", "cpu", *arguments)


def test_all_checks_run_on_this_machine_and_none_fails() -> None:
    done = subprocess.run(
        [*SLIPWAY, "doctor", "--json", "--device", "cpu", "--num-processes", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check.name: check for check in Report.from_json(done.stdout).checks}
    assert checks["collective"].state == "pass"
    assert "right sum" in checks["collective"].evidence
    assert checks["collective"].measured["megabytes_per_second"] > 0
    assert checks["world"].state == "pass"
    assert "2 processes formed one world on cpu" in checks["world"].evidence
    assert checks["world"].measured["processes"] == 2


def test_quick_starts_no_process_and_loads_neither_torch_nor_accelerate() -> None:
    code = (
        "import subprocess, sys\n"
        "class Never:\n"
        "    def __init__(self, *a, **k): raise SystemExit('a process was started')\n"
        "from slipway.launcher import cli\n"
        "from slipway.launcher.doctor import command as doctor\n"
        "from slipway.launcher.hardware import detect\n"
        "subprocess.Popen = Never\n"
        "recorded = detect.load_hardware('tests/launcher/fixtures/machines/t4.json')\n"
        "doctor.load_hardware = lambda path: recorded\n"
        "cli.main(['doctor', '--quick'])\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'accelerate', 'numpy')]\n"
        "bad += [m for m in sys.modules if m.startswith('slipway.training.') and '.common' not in m]\n"
        "sys.exit(f'loaded {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
    assert "skip  collective       --quick starts no process" in done.stdout


def test_a_busy_port_is_found_with_who_holds_it(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, checks = quick(capsys, "--main-process-port", str(port))
    assert code == 3
    assert checks["port"].state == "fail"
    assert checks["port"].evidence.startswith(f"{port} is taken by process {os.getpid()} ")
    other = (checks["port"].remedy or "").removeprefix("--main-process-port ")
    assert other.isdigit()
    assert other != str(port)
    code, checks = quick(capsys, "--main-process-port", str(port))
    assert (code, checks["port"].state) == (0, "pass")


def test_a_stale_default_config_is_found_with_what_it_would_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hf" / "accelerate" / "default_config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("distributed_type: MULTI_GPU\nnum_processes: 8\nmixed_precision: fp16\nuse_cpu: true\n")
    code, checks = quick(capsys)
    assert code == 0
    assert checks["default_config"].state == "warn"
    assert checks["default_config"].evidence == (
        f"{path}: distributed_type MULTI_GPU (plan: NO), num_processes 8 (plan: 1), mixed_precision fp16 (plan: no); "
        "a launch without --config_file reads it"
    )
    assert checks["default_config"].remedy == f"mv {path} {path}.unused"
    path.unlink()
    assert quick(capsys)[1]["default_config"].state == "pass"


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """Have a file system of 1 MiB at a folder; skip where none can be mounted."""
    if not shutil.which("mount"):
        pytest.skip("no mount here")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mounted(tmp_path):
        code, checks = quick(capsys, "--runs-dir", str(tmp_path / "deep" / "runs"))
        assert code == 3
        assert checks["disk"].state == "fail"
        assert checks["disk"].evidence == f"1 MiB free at {tmp_path}: a run needs at least 1 GiB"
        assert checks["disk"].measured == {"free_bytes": 1 << 20}
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "big").write_bytes(bytes(1 << 20))
        _, checks = quick(capsys, "--runs-dir", str(tmp_path))
        assert checks["disk"].evidence == f"{tmp_path} cannot be written: No space left on device"


def test_a_shared_memory_that_is_too_small_is_found() -> None:
    if not shutil.which("unshare"):
        pytest.skip("no unshare here")
    inside = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", inside, "sh", *SLIPWAY, "doctor", "--json", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS)
    if "schema_version" not in done.stdout:
        pytest.skip(f"no mount of its own here: {done.stderr}")
    check = next(one for one in Report.from_json(done.stdout).checks if one.name == "shared_memory")
    assert check.state == "warn"
    assert check.measured == {"shm_total_bytes": 1 << 20, "shm_free_bytes": 1 << 20}
    assert "--shm-size" in (check.remedy or "")


@pytest.mark.parametrize("leftover", [{"WORLD_SIZE": "4"}, {"LOCAL_RANK": "0"}, {"PET_NNODES": "2", "RANK": "1"}])
def test_what_another_launch_left_in_the_environment_fails(
    leftover: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in leftover.items():
        monkeypatch.setenv(name, value)
    code, checks = quick(capsys)
    assert code == 3
    assert checks["leftover_launch"].state == "fail"
    assert all(f"{name}={value}" in checks["leftover_launch"].evidence for name, value in leftover.items())
    assert checks["leftover_launch"].remedy == f"unset {' '.join(leftover)}"


def test_what_a_real_torchrun_set_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    code, checks = quick(capsys)
    assert (code, checks["leftover_launch"].state) == (0, "warn")
    assert "rank 1 of a torchrun" in checks["leftover_launch"].evidence


def test_a_cpu_only_torch_beside_a_gpu_fails_with_the_command_that_mends_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, checks = report(capsys, "--hardware", str(FOLDER / "rtx4090_cpu_only_torch.json"))
    assert code == 3
    assert checks["torch"].state == "fail"
    assert checks["torch"].evidence == "1 x NVIDIA GeForce RTX 4090, but torch 2.9.1+cpu is CPU-only"
    assert (checks["torch"].remedy or "").startswith("pip install --force-reinstall torch --index-url")


@pytest.mark.parametrize("name", machines())
def test_of_a_recorded_machine_only_its_record_is_checked(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, checks = report(capsys, "--hardware", str(FOLDER / f"{name}.json"))
    elsewhere = {name for name, check in checks.items() if check.evidence.startswith("--hardware names a record")}
    assert elsewhere == {"sharing", "disk", "open_files", "default_config", "port", "collective", "world"}
    assert {checks[name].state for name in elsewhere} == {"skip"}
    assert all(check.evidence for check in checks.values())
    assert all(check.remedy for check in checks.values() if check.state in ("warn", "fail"))


def test_json_holds_every_check_and_the_worst_state(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["doctor", "--json", "--hardware", str(FOLDER / "container_2_of_64_cores.json")])
    data = json.loads(capsys.readouterr().out)
    assert data["schema_version"] == DOCTOR_SCHEMA_VERSION
    assert data["state"] == "warn"
    assert [check["name"] for check in data["checks"]] == NAMES
    shared = next(check for check in data["checks"] if check["name"] == "shared_memory")
    assert set(shared) == {"name", "state", "evidence", "measured", "remedy"}
    assert (shared["state"], shared["measured"]["shm_total_bytes"]) == ("warn", 64 << 20)


def test_in_a_pipe_a_check_is_one_line_in_words_and_what_mends_it_is_the_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["doctor", "--hardware", str(FOLDER / "2xrtx4090.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "\x1b" not in "".join(lines)
    where = next(i for i, line in enumerate(lines) if line.startswith("warn  p2p"))
    assert lines[where].endswith(
        "no P2P between 0-1 (NVIDIA GeForce RTX 4090 has no P2P); NCCL_P2P_DISABLE=1 is planned"
    )
    assert lines[where + 1].startswith("      to fix: export NCCL_P2P_DISABLE=1")
    states = [line[:4] for line in lines[:-1] if not line.startswith("      to fix: ")]
    assert len(states) == len(NAMES)
    assert set(states) == {"pass", "warn", "skip"}
    counted = ", ".join(f"{states.count(state)} {state}" for state in ("pass", "warn", "fail", "skip"))
    assert lines[-1] == f"{len(NAMES)} checks: {counted}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--timeout-second", "3"], "(did you mean '--timeout-seconds'?)"),
        (["--timeout-seconds", "0"], "--timeout-seconds 0: must be above 0"),
        (["--timeout-seconds", "nan"], "--timeout-seconds nan: must be above 0"),
        (["--hardware", "/nowhere.json"], "--hardware /nowhere.json: No such file or directory"),
        (["--hardware", str(FOLDER / "2xrtx4090.json"), "--num-processes", "3"], "3 processes, but 2 cuda devices"),
    ],
)
def test_what_cannot_be_checked_costs_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line_error(["doctor", *arguments], message, capsys)


def test_a_terminal_of_80_columns_shows_whole_words_in_colour_and_copies_a_remedy_whole() -> None:
    pexpect = pytest.importorskip("pexpect")
    record = str(FOLDER / "2xrtx4090.json")
    arguments = [*SLIPWAY[1:], "doctor", "--hardware", record]
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    for plain in ({}, {"NO_COLOR": "1"}):
        child = pexpect.spawn(
            SLIPWAY[0], arguments, cwd=str(ROOT), env={**environ, **plain}, dimensions=(60, 80), timeout=HANG_SECONDS
        )
        screen = child.read().decode()
        child.close()
        assert child.exitstatus == 0
        assert "to fix: export NCCL_P2P_DISABLE=1 (planned: `slipway launch` sets it)" in screen
        assert ("\x1b[1;33mwarn" in screen) == (not plain)
        shown = [line for line in screen.splitlines() if "to fix" not in line and not line.startswith("\x1b")]
        assert all(len(line) <= 80 for line in shown)
