"""Of two processes that write one run the second is refused with the name of the first; a dead one does not count."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slipway.training.common.errors import TrainingFailed, UserError
from slipway.training.storage.files import write_json
from slipway.training.storage.run_folder import create_run_folder
from slipway.training.storage.run_lock import lock_run
from tests.limits import HANG_SECONDS
from tests.training.disks import fill, read_only, small_disk
from tests.training.helpers import catch

_HOLD = """
import sys, time
from pathlib import Path
from slipway.training.storage.run_lock import lock_run
with lock_run(Path(sys.argv[1]), 0.0):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold a run."""
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def take(folder: Path, wait_seconds: float = 0.0) -> None:
    with lock_run(folder, wait_seconds):
        pass


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        error = str(catch(take, tmp_path))
        assert error == (
            f"{tmp_path}: process {process.pid} on {socket.gethostname()} is training this run; wait for it, or stop it"
        )
        with pytest.raises(OSError, match=os.strerror(errno.EWOULDBLOCK)), (tmp_path / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_second_writer_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with lock_run(tmp_path, 0.0):
        assert f"process {os.getpid()} on" in str(catch(take, tmp_path))
    take(tmp_path)


def test_a_killed_holder_leaves_no_stale_lock(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with lock_run(tmp_path, 0.0):
            assert (tmp_path / "lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert (tmp_path / "lock").read_text() == ""


def test_a_holder_that_is_about_to_go_is_waited_for(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGSTOP)
        waiting = subprocess.Popen(
            [sys.executable, "-c", _HOLD.replace("0.0", str(HANG_SECONDS)), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            time.sleep(0.2)
            process.kill()
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "held\n"
        finally:
            waiting.kill()
            waiting.communicate()


def test_whoever_only_looks_whether_a_run_is_held_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    file = (tmp_path / "lock").open()
    fcntl.flock(file, fcntl.LOCK_SH)
    looking = threading.Timer(0.05, file.close)
    looking.start()
    take(tmp_path)
    assert file.closed
    looking.join()


def test_where_the_file_system_has_no_locks_the_named_process_counts_while_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(fcntl, "flock", no_locks)
    try:
        (tmp_path / "lock").write_text(f"process {other.pid} on {socket.gethostname()}\n")
        assert f"process {other.pid} on" in str(catch(take, tmp_path))
        (tmp_path / "lock").write_text(f"process {other.pid} on another-host\n")
        take(tmp_path)
    finally:
        other.kill()
        other.wait()
    for left in (
        f"process {other.pid} on {socket.gethostname()}\n",
        f"process {os.getpid()} on {socket.gethostname()}\n",
    ):
        (tmp_path / "lock").write_text(left)
        take(tmp_path)


def test_a_folder_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    with read_only(tmp_path):
        assert str(catch(take, tmp_path)) == (
            f"{tmp_path / 'lock'}: Read-only file system; choose a folder that can be written"
        )


def test_on_a_full_disk_the_lock_holds_without_a_name(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        (disk / "lock").write_text("")
        fill(disk, 0)
        with lock_run(disk, 0.0):
            assert "another process is training this run" in str(catch(take, disk))


def test_a_run_that_is_being_trained_cannot_be_overwritten(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path, "signs", overwrite=False)
    write_json(folder / "run.json", {"state": "running"})
    with holder(folder) as process:
        assert f"process {process.pid} on" in str(catch(create_run_folder, tmp_path, "signs", overwrite=True))
        assert (folder / "run.json").is_file()
    assert create_run_folder(tmp_path, "signs", overwrite=True) == folder
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_replaced_while_its_lock_is_taken_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of the old folder, which was moved aside, is no lock of the new one."""
    run, aside = tmp_path / "run", tmp_path / "aside"
    run.mkdir()
    flock = fcntl.flock

    def replace_first(handle: int, operation: int) -> None:
        if not aside.exists():
            run.rename(aside)
            run.mkdir()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", replace_first)
    with lock_run(run, 5.0):
        assert f"process {os.getpid()} on" in str(catch(take, run))
        take(aside)


def test_a_lock_that_was_removed_is_taken_again_and_a_folder_too(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with lock_run(folder, 0.0) as lock:
        assert not lock.renew()
        (folder / "lock").unlink()
        assert lock.renew()
        shutil.rmtree(folder)
        assert lock.renew()
        assert not lock.renew()
        with pytest.raises(UserError, match="is training this run"), lock_run(folder, 0.0):
            pass


def test_a_run_is_never_trained_by_two_though_its_lock_was_removed(tmp_path: Path) -> None:
    with lock_run(tmp_path, 0.0) as first:
        (tmp_path / "lock").unlink()
        with (
            lock_run(tmp_path, 0.0),
            pytest.raises(TrainingFailed, match=rf"process {os.getpid()} on .* trains it now: this one stops"),
        ):
            first.renew()


def test_nothing_is_written_to_another_run_that_was_put_in_the_place_of_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with lock_run(folder, 0.0) as lock:
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        (folder / "run.json").write_text("{}")
        with pytest.raises(TrainingFailed, match="another run was put in its place"):
            lock.renew()
        assert (folder / "run.json").read_text() == "{}"
