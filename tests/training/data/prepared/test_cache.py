"""The cache of prepared data: what hits, what misses; a cache that is damaged, full or read-only fails no run."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slipway.training.data.prepared import cache as cache_module
from slipway.training.data.prepared import content, prepare
from slipway.training.data.prepared.cache import DataCache
from slipway.training.data.prepared.prepare import SYNTHETIC, prepare_data
from slipway.training.data.prepared.prepared import PreparedData
from slipway.training.data.specs import DataSpec
from slipway.training.storage import entries as entries_module
from tests.limits import HANG_SECONDS
from tests.training.clip_sources import assert_same, changed_byte, find, write_archive, write_folder
from tests.training.disks import Operations, fill, read_only, small_disk


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "clips")


@pytest.fixture
def cache(tmp_path: Path) -> DataCache:
    return DataCache(tmp_path / "cache")


def entries(cache: DataCache) -> list[Path]:
    return sorted(path for path in cache._folder.iterdir() if len(path.name) == 32)


def test_the_second_time_nothing_is_read_and_every_bit_is_the_same(
    source: Path, cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find(source, cache)
    assert (first.is_from_cache, first.not_cached, first.damaged) == (False, "", "")
    monkeypatch.setattr(prepare, "prepare_data", lambda *_: pytest.fail("was prepared again"))
    second = find(source, cache)
    assert second.is_from_cache
    assert second.folder == first.folder
    plain = prepare_data(DataSpec(source=str(source)), 0)
    for preparation in (first, second):
        assert_same(preparation.data, plain)
    assert cache._folder.stat().st_mode & 0o777 == 0o700


def test_generated_data_are_kept_too(cache: DataCache) -> None:
    first = find(SYNTHETIC, cache)
    second = find(SYNTHETIC, cache)
    assert (first.is_from_cache, second.is_from_cache) == (False, True)
    assert_same(first.data, second.data)


def test_the_same_content_at_another_path_is_found(source: Path, cache: DataCache, tmp_path: Path) -> None:
    find(source, cache)
    shutil.copytree(source, tmp_path / "elsewhere" / "clips")
    (tmp_path / "link").symlink_to(source)
    assert find(tmp_path / "elsewhere" / "clips", cache).is_from_cache
    assert find(tmp_path / "link", cache).is_from_cache
    find(write_archive(tmp_path / "a" / "signs.npz"), cache)
    again = find(write_archive(tmp_path / "b" / "signs.npz"), cache)
    assert again.is_from_cache
    # What a data set is called belongs to it.
    renamed = find(source.rename(tmp_path / "signs"), cache)
    assert not renamed.is_from_cache
    assert renamed.data.facts.name == "signs"


def test_a_source_that_changes_while_it_is_read_is_not_kept(
    source: Path, cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = prepare.prepare_data

    def meanwhile(spec: DataSpec, seed: int) -> PreparedData:
        changed_byte(source)
        return own(spec, seed)

    monkeypatch.setattr(prepare, "prepare_data", meanwhile)
    found = find(source, cache)
    assert found.not_cached == f"{source} changed while it was read"
    assert entries(cache) == []


def truncated(folder: Path) -> None:
    os.truncate(folder / "values.npy", (folder / "values.npy").stat().st_size - 4)


def flipped(folder: Path, name: str = "values.npy", place: int = -3) -> None:
    data = bytearray((folder / name).read_bytes())
    data[place] ^= 1
    (folder / name).write_bytes(bytes(data))


def wrong_facts(folder: Path) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps({**facts, "class_names": ["thanks", "hello"]}))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": truncated,
    "a flipped bit": flipped,
    "a flipped bit in a header": lambda folder: flipped(folder, place=30),
    "a flipped bit of the split": lambda folder: flipped(folder, "train.npy"),
    "a missing file": lambda folder: (folder / "labels.npy").unlink(),
    "wrong facts": wrong_facts,
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "no whole manifest": lambda folder: (folder / "manifest.json").write_text('{"schema_version": 1'),
    "another manifest": lambda folder: (folder / "manifest.json").write_text('{"schema_version": 0, "files": {}}'),
    "an empty manifest": lambda folder: (folder / "manifest.json").write_text('{"schema_version": 1, "files": {}}'),
    "an odd manifest": lambda folder: (folder / "manifest.json").write_text("[]"),
    "nothing but its folder": lambda folder: [file.unlink() for file in folder.iterdir()],
    "a file in its place": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
    "a link that leads nowhere": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_prepared_anew(damage: str, source: Path, cache: DataCache) -> None:
    plain = prepare_data(DataSpec(source=str(source)), 0)
    folder = find(source, cache).folder
    assert folder is not None
    DAMAGES[damage](folder)
    found = find(source, cache)
    assert not found.is_from_cache
    assert found.damaged.startswith(str(folder))
    assert found.not_cached == ""
    assert_same(found.data, plain)
    again = find(source, cache)
    assert (again.is_from_cache, again.damaged) == (True, "")
    assert_same(again.data, plain)
    assert list(cache._folder.glob(".*")) == []


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema_version": 1, "files": []}', '{"schema_version": 1, "fi'])
def test_a_file_that_is_not_a_manifest_is_reported_as_that(text: str, source: Path, cache: DataCache) -> None:
    folder = find(source, cache).folder
    assert folder is not None
    (folder / "manifest.json").write_text(text)
    assert find(source, cache).damaged == f"{folder}: manifest.json is not a manifest"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES])
def test_an_entry_that_cannot_be_read_this_time_stays(
    number: int, source: Path, cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = find(source, cache).folder

    def fail(path: Path) -> str:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(entries_module, "sha256_of", fail)
        found = find(source, cache)
    assert (found.folder, found.damaged) == (None, "")
    assert found.not_cached == f"{os.strerror(number)} ({folder})"
    assert_same(found.data, prepare_data(DataSpec(source=str(source)), 0))
    assert find(source, cache).is_from_cache


def test_a_damaged_entry_stays_while_a_run_uses_it(source: Path, cache: DataCache) -> None:
    held = find(source, cache)
    assert held.folder is not None
    flipped(held.folder, "train.npy")
    files = {path.name: path.read_bytes() for path in held.folder.iterdir()}
    found = find(source, cache)
    assert found.folder is None
    assert found.damaged == f"{held.folder}: train.npy is not what was written; it stays while a run uses it"
    assert found.not_cached == found.damaged
    assert_same(found.data, prepare_data(DataSpec(source=str(source)), 0))
    assert {path.name: path.read_bytes() for path in held.folder.iterdir()} == files
    del held
    assert find(source, cache).not_cached == ""
    assert find(source, cache).is_from_cache


def test_a_cache_that_cannot_be_written_is_read_and_else_done_without(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    cache = DataCache(folder / "cache")
    find(source, cache)
    with read_only(folder):
        assert find(source, cache).is_from_cache
        other = find(source, cache, seed=1)
        assert_same(other.data, prepare_data(DataSpec(source=str(source)), 1))
        assert "Read-only file system" in other.not_cached
        assert "Read-only file system" in find(source, DataCache(folder / "another")).not_cached
    assert len(entries(cache)) == 1


def test_a_user_without_a_home_trains_without_the_cache(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    found = find(source, DataCache.of_user())
    assert not found.is_from_cache
    assert found.not_cached == "Not a directory (/dev/null/slipway/data)"
    assert_same(found.data, prepare_data(DataSpec(source=str(source)), 0))


@pytest.mark.parametrize("leave_bytes", [0, 8 << 10, 12 << 10, 16 << 10, 24 << 10])
def test_a_full_disk_is_no_failure_and_keeps_no_half_entry(
    leave_bytes: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: None
) -> None:
    monkeypatch.setattr(cache_module, "_MOST_OF_FREE", 100.0)
    monkeypatch.setattr(cache_module, "_num_bytes", lambda data: 0)
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        cache = DataCache(disk / "cache")
        cache._make_folder()
        fill(disk, leave_bytes)
        found = find(source, cache)
        assert re.search(r"No space left on device|only in part \(.*/disk/cache\)", found.not_cached)
        assert_same(found.data, prepare_data(DataSpec(source=str(source)), 0))
        assert sorted(path.name for path in cache._folder.iterdir()) == ["digests"]


def test_any_operation_may_fail(source: Path, tmp_path: Path) -> None:
    plain = prepare_data(DataSpec(source=str(source)), 0)

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for number in itertools.count():
        cache = DataCache(tmp_path / f"cache-{number}")
        with Operations(number, fail) as operations:
            found = find(source, cache)
        assert_same(found.data, plain)
        assert "No space left" in found.not_cached or found.folder is not None
        again = find(source, cache)
        assert (again.damaged, again.not_cached) == ("", "")
        assert_same(again.data, plain)
        if len(operations.done) <= number:
            break
    assert number > 10


def test_a_process_may_be_killed_at_any_operation(source: Path, tmp_path: Path) -> None:
    plain = prepare_data(DataSpec(source=str(source)), 0)
    for number in itertools.count():
        cache = DataCache(tmp_path / f"cache-{number}")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                with Operations(number, lambda: os._exit(9)):
                    find(source, cache)
                status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        again = find(source, cache)
        assert (again.damaged, again.not_cached) == ("", "")
        assert_same(again.data, plain)
        if status == 0:
            break
        assert status == 9
    assert number > 10


def prepare_in_process(source: Path, folder: Path, barrier: Any, results: Any) -> None:
    own = prepare.prepare_data

    def at_once(spec: DataSpec, seed: int) -> PreparedData:
        data = own(spec, seed)
        barrier.wait(HANG_SECONDS)
        return data

    prepare.prepare_data = at_once
    found = find(source, DataCache(folder))
    results.put((found.not_cached, str(found.folder), found.data.facts.fingerprint))


def test_two_processes_that_prepare_at_once_keep_one_entry(source: Path, cache: DataCache) -> None:
    context = get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=prepare_in_process, args=(source, cache._folder, barrier, results)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=HANG_SECONDS) for _ in processes]
    for process in processes:
        process.join(HANG_SECONDS)
        assert process.exitcode == 0
    assert found[0] == found[1]
    assert found[0][:2] == ("", str(entries(cache)[0]))
    assert sorted(path.name for path in cache._folder.iterdir()) == sorted([entries(cache)[0].name, "digests"])
    assert find(source, cache).is_from_cache


def test_a_folder_of_much_else_is_not_looked_at(
    source: Path, cache: DataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_MOST_SOURCE_BYTES", 100)
    monkeypatch.setattr(content, "sha256_of", lambda path: pytest.fail("was read"))
    assert find(source, cache).not_cached == f"{source} holds 0 GiB, more than is hashed"


def test_a_name_on_the_hub_is_left_to_datasets(source: Path, cache: DataCache, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = prepare_data(DataSpec(source=str(source)), 0)
    monkeypatch.setattr(prepare, "prepare_data", lambda *_: plain)
    found = find("somebody/signs", cache)
    assert (found.folder, found.not_cached) == (None, "")
    assert not cache._folder.exists()


def test_parquet_is_kept(tmp_path: Path, cache: DataCache) -> None:
    rows = np.random.default_rng(0).normal(size=(12, 3, 42)).tolist()
    pq.write_table(pa.table({"landmarks": rows, "label": ["a", "b"] * 6}), tmp_path / "clips.parquet")
    first, second = (find(tmp_path / "clips.parquet", cache) for _ in range(2))
    assert (first.not_cached, second.is_from_cache) == ("", True)
    assert_same(first.data, second.data)
