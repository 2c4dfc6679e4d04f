"""The size of the cache of prepared data: what is removed, what stays, and what killed processes have left."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path
from threading import Timer

import pytest
import torch

from slipway.training.data.prepared import cache as cache_module
from slipway.training.data.prepared.cache import DataCache
from slipway.training.data.prepared.prepared import PreparedData
from tests.training.clip_sources import LONG_AGO, find, write_archive
from tests.training.disks import Operations

FULL = "the cache is full of data sets that other runs use or write"


@pytest.fixture
def cache(tmp_path: Path) -> DataCache:
    return DataCache(tmp_path / "cache")


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    return [write_archive(tmp_path / f"{number}.npz", number) for number in range(4)]


def entries(cache: DataCache) -> list[Path]:
    return sorted(path for path in cache._folder.iterdir() if len(path.name) == 32)


def hidden(cache: DataCache) -> list[str]:
    return sorted(path.name for path in cache._folder.glob(".*"))


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def keep(source: Path, cache: DataCache, used: int) -> Path:
    """Keep a source's data, used last at some time; return their folder."""
    folder = find(source, cache).folder
    assert folder is not None
    os.utime(folder / "manifest.json", (used, used))
    return folder


def test_data_larger_than_the_cache_may_be_are_not_kept(
    sources: list[Path], cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_MOST_BYTES", 1000)
    assert find(sources[0], cache).not_cached.startswith("it has 0 MiB, and the cache may hold")
    monkeypatch.undo()
    monkeypatch.setattr(cache_module, "_MOST_OF_FREE", 1e-12)
    assert find(sources[0], cache).not_cached.startswith("it has")
    assert entries(cache) == []


def test_the_longest_unused_go_first_and_none_that_a_run_uses(
    sources: list[Path], cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [keep(source, cache, LONG_AGO + age) for age, source in enumerate(sources[:3])]
    assert find(sources[0], cache).is_from_cache  # used: no longer the oldest
    monkeypatch.setattr(cache_module, "_MOST_BYTES", int(3.5 * size_of(folders[0])))
    new = find(sources[3], cache)
    assert new.not_cached == ""
    assert new.folder is not None
    assert entries(cache) == sorted([folders[0], folders[2], new.folder])
    # Held by a run, nothing goes.
    held = [find(source, cache) for source in (sources[0], sources[2])]
    assert all(preparation.is_from_cache for preparation in held)
    assert find(sources[1], cache).not_cached == FULL
    before = held[0].data.store.values.clone()
    del held[1:]
    find(sources[1], cache)
    assert folders[0].exists()
    assert not folders[2].exists()
    shutil.rmtree(folders[0])
    assert torch.equal(held[0].data.store.values.nan_to_num(), before.nan_to_num())


def test_an_entry_is_held_though_another_process_asks_just_then_whether_it_is(
    sources: list[Path], cache: DataCache
) -> None:
    folder = keep(sources[0], cache, LONG_AGO)
    with (folder / "manifest.json").open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        asked = Timer(0.2, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        asked.start()
        held = find(sources[0], cache)
        asked.join()
    assert held.is_from_cache
    assert cache_module.is_in_use(folder)
    del held
    assert not cache_module.is_in_use(folder)


def test_none_goes_where_that_would_not_make_room_enough(
    sources: list[Path], cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = keep(sources[0], cache, LONG_AGO)
    held = find(sources[1], cache)
    assert held.folder is not None
    monkeypatch.setattr(cache_module, "_MOST_BYTES", int(1.5 * size_of(unused)))
    assert find(sources[2], cache).not_cached == FULL
    assert entries(cache) == sorted([unused, held.folder])


def test_what_could_not_be_removed_counts(
    sources: list[Path], cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [keep(source, cache, LONG_AGO + age) for age, source in enumerate(sources[:2])]
    monkeypatch.setattr(cache_module, "_MOST_BYTES", int(2.5 * size_of(folders[0])))
    own = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    assert find(sources[2], cache).not_cached == f"unused data sets in {cache._folder} could not be removed"
    assert entries(cache) == []
    assert len(hidden(cache)) == 2  # nobody takes them for entries
    monkeypatch.setattr(shutil, "rmtree", own)
    assert find(sources[2], cache).not_cached == ""
    assert hidden(cache) == []


def die_while_writing(source: Path, cache: DataCache) -> None:
    """Prepare a source's data in a process that is killed when it writes an entry's facts."""
    pid = os.fork()
    if pid == 0:
        try:
            operations = Operations(None, lambda: os._exit(9))
            operations.is_chosen = lambda operation, path: path.endswith("facts.json")  # type: ignore[method-assign]
            with operations:
                find(source, cache)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_what_a_killed_process_left_goes_at_once(sources: list[Path], cache: DataCache) -> None:
    for source in sources[:3]:
        die_while_writing(source, cache)
        (left,) = hidden(cache)
        assert left.startswith(".partial-")
    assert find(sources[3], cache).not_cached == ""
    assert hidden(cache) == []


def test_what_another_process_writes_stays_and_counts(
    sources: list[Path], cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_while_writing(sources[0], cache)
    (left,) = hidden(cache)
    folder = cache._folder / left
    os.utime(folder, (LONG_AGO, LONG_AGO))
    with (folder / "manifest.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        monkeypatch.setattr(cache_module, "_MOST_BYTES", int(1.5 * size_of(folder)))
        assert find(sources[1], cache).not_cached == FULL
        assert hidden(cache) == [left]
    assert find(sources[1], cache).not_cached == ""
    assert hidden(cache) == []


def test_a_writer_holds_what_it_writes_from_the_start(
    sources: list[Path], cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, seen = cache_module._write, []

    def meanwhile(folder: Path, data: PreparedData) -> None:
        seen.append(find(sources[1], cache).not_cached)
        own(folder, data)
        seen.append(find(sources[2], cache).not_cached)

    calls = iter([meanwhile, own, own])
    monkeypatch.setattr(cache_module, "_write", lambda folder, data: next(calls)(folder, data))
    assert find(sources[0], cache).not_cached == ""
    assert seen == ["", ""]
    assert len(entries(cache)) == 3


@pytest.mark.parametrize("has_locks", [True, False])
def test_of_what_nothing_is_known_a_day_decides(
    has_locks: bool, sources: list[Path], cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache._make_folder()
    for name in (".partial-old", ".partial-new", ".removed-new"):
        (cache._folder / name).mkdir()
        (cache._folder / name / "values.npy").write_bytes(b"half")
    (cache._folder / "digests" / ".partial-old").touch()
    if not has_locks:
        (cache._folder / ".partial-new" / "manifest.json").touch()

        def no_locks(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", no_locks)
    for name in (".partial-old", "digests/.partial-old"):
        os.utime(cache._folder / name, (LONG_AGO, LONG_AGO))
    assert find(sources[0], cache).not_cached == ""
    assert hidden(cache) == [".partial-new"]
    assert not (cache._folder / "digests" / ".partial-old").exists()
