"""Hostile places, made for real: small and closed disks, limits, no network, half a processor, a clock that jumps."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from tests.chaos.faults.trial import Start, Trial

_CGROUPS = Path("/sys/fs/cgroup")
WITHOUT_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner,-sys_resource")
"""Root without what lets it write everywhere, as another user."""


def run(*command: object) -> None:
    """Run a command of the system. Raises `RuntimeError` with what it said."""
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {ended.stderr.strip()}")


def plain(**settings: object) -> Callable[[Trial], AbstractContextManager[Start]]:
    """Return a place that differs only in how the command is started."""

    @contextmanager
    def place(trial: Trial) -> Iterator[Start]:
        yield Start(**settings)  # type: ignore[arg-type]

    return place


def shell(text: str) -> Callable[[Trial], AbstractContextManager[Start]]:
    """Return a place that a shell makes before it starts the command, such as a limit or a namespace of its own."""
    return plain(prefix=["sh", "-c", f'{text}\nexec "$@"', "sh"])


def disk(size: str, *, prefix: tuple[str, ...] = ()) -> Callable[[Trial], AbstractContextManager[Start]]:
    """Return a place whose runs are on a small disk of their own. The mount ends with the suite's namespace."""

    @contextmanager
    def place(trial: Trial) -> Iterator[Start]:
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", trial.runs)
        try:
            yield Start(prefix=prefix)
        finally:
            run("umount", "-l", trial.runs)

    return place


def fill(trial: Trial, left: int = 0) -> None:
    """Fill the disk of the runs up to so many bytes."""
    block = bytes(1 << 12)
    with (trial.runs / "filler").open("ab", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(block)
        if left:
            file.truncate(max(0, file.tell() - left))


def empty(trial: Trial) -> None:
    """Make room on the disk of the runs."""
    (trial.runs / "filler").unlink(missing_ok=True)


@contextmanager
def under_quota(trial: Trial) -> Iterator[Start]:
    """Make a disk with a quota of which little is left at the gate: btrfs counts for root too."""
    image = trial.folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(128 << 20)
    run("mkfs.btrfs", "-q", "--mixed", image)
    run("mount", "-o", "loop", image, trial.runs)
    try:
        run("btrfs", "quota", "enable", trial.runs)
        run("btrfs", "subvolume", "create", trial.runs / "limited")
        run("mount", "--bind", trial.runs / "limited", trial.runs)
        yield Start()
    finally:
        run("umount", "-l", trial.runs)
        run("umount", "-l", trial.runs)


@contextmanager
def control_group(trial: Trial, controller: str, **limits: object) -> Iterator[Start]:
    """Start the command in a group of processes of its own, with these limits (version 1 of cgroups)."""
    group = _CGROUPS / controller / f"slipway-faults-{os.getpid()}-{trial.folder.name}"
    group.mkdir()
    try:
        for name, value in limits.items():
            (group / name.replace("_", ".", 1)).write_text(str(value))
        yield Start(prefix=["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"])
    finally:
        with suppress(OSError):
            group.rmdir()


def group_of(trial: Trial, controller: str) -> Path:
    """Return the folder of the group that `control_group` made."""
    return _CGROUPS / controller / f"slipway-faults-{os.getpid()}-{trial.folder.name}"
