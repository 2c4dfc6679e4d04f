"""The faults that are tried."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

from tests.chaos.faults import places
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.places import (
    WITHOUT_RIGHTS,
    control_group,
    disk,
    empty,
    fill,
    group_of,
    plain,
    shell,
    under_quota,
)
from tests.chaos.faults.trial import Start, Trial

STOP_SECONDS = 20.0


def _stop(pids: Callable[[Trial], list[int]]) -> Callable[[Trial], None]:
    """Stop processes for `STOP_SECONDS` from the gate on; the others go on meanwhile."""

    def strike(trial: Trial) -> None:
        stopped = pids(trial)
        _send(stopped, signal.SIGSTOP)
        trial.open_gate()
        time.sleep(STOP_SECONDS)
        _send(stopped, signal.SIGCONT)

    return strike


def _send(pids: list[int], signum: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


def _everything(trial: Trial) -> list[int]:
    root = psutil.Process(trial.pid)
    return [root.pid, *(child.pid for child in root.children(recursive=True))]


def _launcher(trial: Trial) -> list[int]:
    ranks = trial.pids()
    return [pid for pid in _everything(trial) if pid not in ranks and pid in (trial.pid, *_parents(ranks))]


def _parents(pids: list[int]) -> set[int]:
    return {parent.pid for pid in pids for parent in psutil.Process(pid).parents()}


@contextmanager
def _own_clock(trial: Trial) -> Iterator[Start]:
    library, shift = trial.folder / "clock.so", trial.folder / "clock"
    places.run("cc", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("clock.c"), "-ldl")
    shift.write_bytes(bytes(8))
    yield Start(environment={"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(shift)}, options=["--hang-timeout=60s"])


def _set_clock(hours: int, trial: Trial) -> None:
    with (trial.folder / "clock").open("r+b") as file:
        file.write(struct.pack("q", hours * 3600))


def _limit_address_space(trial: Trial) -> None:
    for pid in trial.pids():
        size = psutil.Process(pid).memory_info().vms
        resource.prlimit(pid, resource.RLIMIT_AS, (size + (1 << 20), resource.RLIM_INFINITY))


def _limit_files(trial: Trial) -> None:
    for pid in trial.pids():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 1, 1 << 12))


def _limit_processes(trial: Trial) -> None:
    group = group_of(trial, "pids")
    (group / "pids.max").write_text((group / "pids.current").read_text())


def _close_disk(trial: Trial) -> None:
    # A disk on which files are open for writing cannot be remounted: a closed view of it is put in its place.
    view = trial.folder / "view"
    view.mkdir()
    places.run("mount", "--bind", trial.runs, view)
    places.run("mount", "-o", "remount,bind,ro", view)
    places.run("mount", "--bind", view, trial.runs)


def _open_disk(trial: Trial) -> None:
    places.run("umount", "-l", trial.runs)
    places.run("umount", "-l", trial.folder / "view")


def _remove(folder: Path) -> None:
    while folder.exists():  # the run still writes there
        shutil.rmtree(folder, ignore_errors=True)


def _close(trial: Trial) -> None:
    for folder in (trial.run / "checkpoints", trial.run, trial.runs):
        folder.chmod(0o555)


def _open(trial: Trial) -> None:
    for folder in (trial.run / "checkpoints", trial.run, trial.runs):
        folder.chmod(0o755)


def _fill_shm(trial: Trial) -> None:
    for pid in trial.pids():
        subprocess.run(
            ["nsenter", "-t", str(pid), "-m", "dd", "if=/dev/zero", "of=/dev/shm/filler", "bs=64k"],
            stderr=subprocess.DEVNULL,
            check=False,
        )


def _limit_quota(trial: Trial) -> None:
    places.run("sync", "-f", trial.runs)
    used = sum(path.stat().st_size for path in trial.run.rglob("*") if path.is_file())
    places.run("btrfs", "qgroup", "limit", used + (64 << 10), trial.runs)


def _lift_quota(trial: Trial) -> None:
    places.run("btrfs", "qgroup", "limit", "none", trial.runs)


@contextmanager
def _left_by_reader(trial: Trial) -> Iterator[Start]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield Start(streams={"stdout": writer, "stderr": writer})
    finally:
        os.close(writer)


@contextmanager
def _with_reader(trial: Trial) -> Iterator[Start]:
    reader, writer = os.pipe()
    trial.reader = reader
    try:
        yield Start(streams={"stdout": writer, "stderr": writer})
    finally:
        os.close(writer)


def _leave(trial: Trial) -> None:
    os.close(trial.reader)


@contextmanager
def _logs_on_small_disk(trial: Trial) -> Iterator[Start]:
    """Everything that is printed goes to a disk that has room for the start."""
    logs = trial.folder / "launches"
    logs.mkdir(exist_ok=True)
    places.run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", logs)
    try:
        with (logs / "said").open("a") as said:
            yield Start(streams={"stdout": said, "stderr": said})
    finally:
        places.run("umount", "-l", logs)


def _fill_logs(trial: Trial) -> None:
    with (trial.folder / "launches" / "filler").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 10))


def _empty_logs(trial: Trial) -> None:
    (trial.folder / "launches" / "filler").unlink()


_NO_SHM = """
d=$(mktemp -d) && mount -t tmpfs tmpfs $d
for n in null zero full random urandom; do touch $d/$n && mount --bind /dev/$n $d/$n; done
ln -s /proc/self/fd $d/fd; ln -s /proc/self/fd/1 $d/stdout; ln -s /proc/self/fd/2 $d/stderr
mount --move $d /dev"""


_GROUPS = ("/sys/fs/cgroup/pids/cgroup.procs", "/sys/fs/cgroup/cpu/cgroup.procs")
_COPIED = "cannot be handed over in shared memory"
_WRITTEN_AGAIN = "or its lock was removed while the run trains: it goes on, and writes there again"
_NOT_SAVED = "older ones stay: .*tried again in 60 s"
_NO_END = "trained to the end, but .* cannot be written"


def _own_shm(text: str) -> Callable[[Trial], AbstractContextManager[Start]]:
    return plain(prefix=["unshare", "--mount", "sh", "-ec", f'{text}\nexec "$@"', "sh"])


FAULTS = (
    Fault(
        name="one rank stopped for 20 s", place=plain(), strike=_stop(lambda trial: trial.pids()[-1:]), opens_gate=True
    ),
    Fault(
        name="all stopped for 20 s",
        place=plain(options=["--hang-timeout=10s"]),
        strike=_stop(_everything),
        opens_gate=True,
    ),
    Fault(name="launcher stopped for 20 s", strike=_stop(_launcher), opens_gate=True, world_sizes=(2,)),
    Fault(name="clock set 5 h ahead", place=_own_clock, strike=partial(_set_clock, 5), needs=("cc",)),
    Fault(name="clock set back 5 h", place=_own_clock, strike=partial(_set_clock, -5), needs=("cc",)),
    Fault(
        name="half a processor",
        place=lambda trial: control_group(trial, "cpu", cpu_cfs_period_us=100_000, cpu_cfs_quota_us=50_000),
        tells=("usable CPU",),
        needs=_GROUPS,
        world_sizes=(2,),
    ),
    Fault(name="64 open files", place=shell("ulimit -n 64")),
    Fault(name="no further open file", strike=_limit_files, codes=(0, 1), tells=(_COPIED,)),
    Fault(
        name="no further thread",
        place=lambda trial: control_group(trial, "pids"),
        strike=_limit_processes,
        tells=("no further thread can be started",),
        needs=_GROUPS,
    ),
    Fault(
        name="no further memory",
        strike=_limit_address_space,
        tells=("memory ran out|out of memory|no further thread",),
        is_exact=False,
    ),
    Fault(
        name="/dev/shm of 64 kB",
        place=_own_shm("mount -t tmpfs -o size=64k tmpfs /dev/shm"),
        tells=(_COPIED,),
        has_mounts=True,
    ),
    Fault(
        name="/dev/shm fills",
        place=_own_shm("mount -t tmpfs -o size=64m tmpfs /dev/shm"),
        strike=_fill_shm,
        tells=(_COPIED,),
        has_mounts=True,
        needs=("nsenter",),
    ),
    Fault(name="no /dev/shm", place=_own_shm(_NO_SHM), tells=(_COPIED,), has_mounts=True, is_short=True),
    Fault(name="stdout closed", place=shell("exec >&-")),
    Fault(name="stderr closed", place=shell("exec 2>&-")),
    Fault(name="all streams closed", place=shell("exec <&- >&- 2>&-")),
    Fault(name="stdout and stderr full", place=shell("exec >/dev/full 2>/dev/full"), world_sizes=(2, 1), is_short=True),
    Fault(name="reader gone", place=_left_by_reader),
    Fault(name="reader leaves", place=_with_reader, strike=lambda trial: os.close(trial.reader)),
    Fault(
        name="disk under the log fills",
        place=_logs_on_small_disk,
        strike=_fill_logs,
        mend=_empty_logs,
        has_mounts=True,
    ),
    Fault(name="run removed", strike=lambda trial: _remove(trial.run), tells=(_WRITTEN_AGAIN,)),
    Fault(name="runs removed", strike=lambda trial: _remove(trial.runs), tells=(_WRITTEN_AGAIN,)),
    Fault(
        name="run renamed",
        strike=lambda trial: trial.run.rename(trial.runs / "other"),
        tells=(_WRITTEN_AGAIN,),
        is_short=True,
    ),
    Fault(name="runs renamed", strike=lambda trial: trial.runs.rename(trial.folder / "other"), tells=(_WRITTEN_AGAIN,)),
    Fault(
        name="disk becomes read-only",
        place=disk("16m"),
        strike=_close_disk,
        mend=_open_disk,
        codes=(1,),
        tells=(_NOT_SAVED, _NO_END),
        has_mounts=True,
    ),
    Fault(
        name="no longer allowed to write",
        place=plain(prefix=WITHOUT_RIGHTS if os.geteuid() == 0 else ()),
        strike=_close,
        mend=_open,
        codes=(1,),
        tells=(_NOT_SAVED, _NO_END),
    ),
    Fault(
        name="disk full",
        place=disk("16m"),
        strike=fill,
        mend=empty,
        codes=(1,),
        tells=(_NOT_SAVED, _NO_END),
        has_mounts=True,
        is_short=True,
    ),
    Fault(
        name="disk full but for 60 kB",
        place=disk("16m"),
        strike=partial(fill, left=60_000),
        mend=empty,
        codes=(1,),
        tells=(_NOT_SAVED, _NO_END),
        has_mounts=True,
    ),
    Fault(
        name="disk full but for 900 kB",
        place=disk("16m"),
        strike=partial(fill, left=900_000),
        mend=empty,
        codes=(0, 1),
        tells=(_NOT_SAVED,),
        has_mounts=True,
    ),
    Fault(
        name="quota used up",
        place=under_quota,
        strike=_limit_quota,
        mend=_lift_quota,
        codes=(0, 1),
        tells=("Disk quota exceeded",),
        has_mounts=True,
        needs=("mkfs.btrfs", "btrfs", "/dev/loop-control"),
    ),
)
