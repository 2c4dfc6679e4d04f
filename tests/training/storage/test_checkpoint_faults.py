"""No older checkpoint is lost while one is written: full and read-only disks, a crash between any two operations."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slipway.training.storage import files as durable
from slipway.training.storage.checkpoint import Content, newest_checkpoint, write_checkpoint
from tests.training.checkpoints import FILES, content, flip_a_byte, folders, newest
from tests.training.disks import Operations, read_only, small_disk


def kill_at(number: int | None, call: Callable[[], object]) -> bool:
    """Do something in a process that is killed at an operation on files; return whether it was."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with Operations(number, lambda: os._exit(9)):
                call()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 9)
    return status == 9


@pytest.mark.parametrize(("steps", "keep"), [((), 1), ((10,), 1), ((10, 20), 2), ((10, 20, 30, 40), 2)])
def test_a_crash_between_any_two_operations_loses_nothing(tmp_path: Path, steps: tuple[int, ...], keep: int) -> None:
    before = tmp_path / "before"
    before.mkdir()
    for step in steps:
        write_checkpoint(before, content(step), keep=9)
    outcomes = []
    while True:
        run = tmp_path / f"run-{len(outcomes)}"
        shutil.copytree(before, run)
        was_killed = kill_at(len(outcomes), lambda run=run: write_checkpoint(run, content(50), keep))  # type: ignore[misc]
        manifest, problems = newest_checkpoint(run)
        assert problems == []
        if manifest is not None or steps:
            outcomes.append(newest(run).step)
        else:
            outcomes.append(0)
        write_checkpoint(run, content(60), keep)
        assert newest(run).step == 60
        assert len(folders(run)) <= keep, "what the crash left is gone"
        shutil.rmtree(run)
        if not was_killed:
            break
    old = steps[-1] if steps else 0
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {old, 50}
    assert len(outcomes) > 20


def test_an_error_of_any_one_operation_loses_nothing(run: Path, tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    refused = chosen = 0
    while True:
        copy = tmp_path / "copy"
        shutil.copytree(run, copy)
        error = None
        try:
            with Operations(chosen, fail) as operations:
                write_checkpoint(copy, content(50), keep=2)
        except OSError as caught:
            error = caught
        if error is not None:
            assert error.errno == errno.ENOSPC
            assert folders(copy)[:2] == ["000001-step-10", "000002-step-20"], "nothing old is deleted"
            refused += 1
        assert newest(copy).step in (20, 50)
        assert newest_checkpoint(copy)[1] == []
        write_checkpoint(copy, content(60), keep=2)
        assert newest(copy).step == 60
        assert len(folders(copy)) == 2
        shutil.rmtree(copy)
        if len(operations.done) <= chosen:
            break
        chosen += 1
    assert refused > 10


def test_everything_is_on_the_disk_before_it_counts_and_nothing_old_goes_before_that(run: Path) -> None:
    with Operations(None, lambda: None) as operations:
        write_checkpoint(run, content(50), keep=1)
    done = [(name, Path(path)) for name, path in operations.done]
    draft = run / "checkpoints" / ".000003-step-50"
    renamed = done.index(("rename", draft))
    files = {path for name, path in done if name == "open"}
    assert {path.name for path in files} == set(FILES)
    for path in files:
        last_write = max(place for place, one in enumerate(done) if one == ("write", path))
        assert last_write < done.index(("fsync", path)) < done.index(("fsync", draft)) < renamed
    first_deleted = done.index(("rename", run / "checkpoints" / "000001-step-10"))
    assert renamed < done.index(("fsync", run / "checkpoints")) < first_deleted


def test_a_disk_that_gives_back_something_else_is_found_out_before_anything_is_deleted(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = durable.write_durably

    def spoil(path: Path, pieces: Any) -> Any:
        written = write(path, pieces)
        if path.name == "model.safetensors":
            flip_a_byte(path)
        return written

    monkeypatch.setattr(durable, "write_durably", spoil)
    with pytest.raises(OSError, match=r"read back, it is not what was written: .*model\.safetensors"):
        write_checkpoint(run, content(30), keep=1)
    assert newest(run).step == 20
    assert folders(run) == ["000001-step-10", "000002-step-20"]


def test_a_full_disk_keeps_the_last_one_and_is_not_filled_to_the_brim(tmp_path: Path) -> None:
    large = Content(step=30, tensors={"model": {"weight": torch.zeros(200_000)}}, state={})
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        for step in (10, 20):
            write_checkpoint(disk, content(step), keep=2)
        (disk / "ballast").write_bytes(bytes(500_000))
        free = shutil.disk_usage(disk).free
        with pytest.raises(OSError, match=r"No space left on device: 800,000 bytes are needed, [\d,]+ are free"):
            write_checkpoint(disk, large, keep=1)
        assert shutil.disk_usage(disk).free == free
        assert newest(disk).step == 20
        assert folders(disk) == ["000001-step-10", "000002-step-20"]
        (disk / "ballast").unlink()
        assert write_checkpoint(disk, large, keep=1).step == 30
        assert folders(disk) == ["000003-step-30"]


def test_a_disk_that_fills_up_in_the_middle_of_a_checkpoint_keeps_the_last_one(tmp_path: Path) -> None:
    many = Content(step=30, tensors={f"group{number}": {"a": torch.zeros(1)} for number in range(60)}, state={})
    with small_disk(tmp_path / "disk", 128 << 10) as disk:
        write_checkpoint(disk, content(20), keep=1)
        free = shutil.disk_usage(disk).free
        with pytest.raises(OSError, match=r"No space left on device: .*/group\d+\.safetensors"):
            write_checkpoint(disk, many, keep=1)
        assert shutil.disk_usage(disk).free == free, "what was half written is gone"
        assert newest(disk).step == 20
        assert write_checkpoint(disk, content(30), keep=1).step == 30


def test_a_read_only_folder_keeps_the_last_one(run: Path) -> None:
    with read_only(run):
        with pytest.raises(OSError, match="Read-only file system"):
            write_checkpoint(run, content(30), keep=1)
        assert newest(run).step == 20
    assert write_checkpoint(run, content(30), keep=1).step == 30
    assert folders(run) == ["000003-step-30"]


def test_a_file_in_the_place_of_the_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(OSError, match="File exists") as caught:
        write_checkpoint(tmp_path, content(10), keep=1)
    assert durable.describe_os_error(caught.value) == f"File exists ({tmp_path / 'checkpoints'})"
    assert newest_checkpoint(tmp_path) == (None, [])
