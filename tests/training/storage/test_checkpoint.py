"""Checkpoints are complete or absent: damage is reported, and the newest undamaged one is found, whatever the clock."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from slipway.training.storage import checkpoint
from slipway.training.storage.checkpoint import (
    Content,
    DamagedCheckpoint,
    newest_checkpoint,
    read_manifest,
    read_state,
    read_tensors,
    verify,
    write_checkpoint,
)
from tests.training.checkpoints import FILES, content, flip_a_byte, folders, newest
from tests.training.helpers import catch


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path: Path) -> None:
    tensors = {
        "plain": torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),
        "transposed": torch.arange(12.0).view(3, 4).t(),
        "half": torch.arange(5).to(torch.bfloat16),
        "flags": torch.tensor([True, False, True]),
        "count": torch.tensor(7),
        "none": torch.zeros(0, 4),
        'a "name" of 手話': torch.arange(3, dtype=torch.float64),
    }
    written = write_checkpoint(tmp_path, Content(step=3, tensors={"model": tensors}, state={"é": [1, None]}), keep=1)
    found, problems = newest_checkpoint(tmp_path)
    assert found == written
    assert problems == []
    assert (found.step, found.sequence, found.folder.name) == (3, 1, "000001-step-3")
    assert read_state(found) == {"é": [1, None]}
    read = read_tensors(found)["model"]
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype
    sizes = {path.name: path.stat().st_size for path in found.folder.iterdir()}
    assert found.num_bytes == sum(sizes.values()) - sizes["manifest.json"]


def test_a_tensor_of_a_type_that_the_format_lacks_is_named(tmp_path: Path) -> None:
    tensors = {"model": {"phase": torch.zeros(2, dtype=torch.complex128)}}
    error = catch(write_checkpoint, tmp_path, Content(step=1, tensors=tensors, state={}), keep=1)
    assert "phase is torch.complex128, which a safetensors file cannot hold" in str(error)
    assert folders(tmp_path) == []


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_keep_keeps_the_newest(tmp_path: Path, keep: int) -> None:
    for step in (10, 20, 30, 40, 50):
        write_checkpoint(tmp_path, content(step), keep)
        assert newest(tmp_path).step == step
    assert folders(tmp_path) == [f"{number:06d}-step-{number}0" for number in range(6 - keep, 6)]


def test_after_going_back_the_newest_is_the_one_written_last_not_the_one_furthest_on(run: Path) -> None:
    write_checkpoint(run, content(15), keep=3)
    assert newest(run).step == 15
    assert folders(run) == ["000001-step-10", "000002-step-20", "000003-step-15"]


def test_a_clock_that_goes_back_changes_no_order(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2031, 1, 1, tzinfo=UTC)

    class Backwards(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            nonlocal now
            now -= timedelta(days=400)
            return now

    monkeypatch.setattr(checkpoint, "datetime", Backwards)
    for step in (30, 40):
        write_checkpoint(run, content(step), keep=3)
    for age, name in enumerate(folders(run)):
        for path in ((run / "checkpoints" / name), *(run / "checkpoints" / name).iterdir()):
            os.utime(path, (1e9 - 1e6 * age, 1e9 - 1e6 * age))
    manifest = newest(run)
    assert manifest.step == 40
    assert manifest.written.startswith("2028")
    write_checkpoint(run, content(50), keep=2)
    assert folders(run) == ["000004-step-40", "000005-step-50"]


def test_everyone_who_may_read_the_run_may_read_a_checkpoint(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder = write_checkpoint(tmp_path, content(10), keep=1).folder
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def remove(path: Path) -> None:
    path.unlink()


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, empty, lengthen, flip_a_byte, remove, replace_by_a_folder])
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(
    run: Path, name: str, damage: Callable[[Path], None]
) -> None:
    file = run / "checkpoints" / "000002-step-20" / name
    damage(file)
    assert newest(run).step == 10
    (problem,) = newest_checkpoint(run)[1]
    assert str(file.parent) in problem
    assert name in problem
    assert "\n" not in problem


def test_no_flipped_bit_of_a_manifest_goes_unseen(run: Path) -> None:
    file = run / "checkpoints" / "000002-step-20" / "manifest.json"
    whole, original = read_manifest(file.parent), file.read_bytes()
    draw = random.Random(7)
    for position in range(len(original)):
        data = bytearray(original)
        data[position] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
        with suppress(DamagedCheckpoint):
            assert read_manifest(file.parent) == whole, position


NO_MANIFESTS = ["", "{}", "[]", "null", "7", '"x"', "[" * 100_000, '{"schema_version": 1}']


@pytest.mark.parametrize("text", [*NO_MANIFESTS, '{"schema_version": 1, "sha256": 3}'])
def test_whatever_stands_in_a_manifest_it_is_no_traceback(run: Path, text: str) -> None:
    (run / "checkpoints" / "000002-step-20" / "manifest.json").write_text(text)
    assert newest(run).step == 10


def test_a_checkpoint_of_another_version_is_reported_as_such(run: Path) -> None:
    file = run / "checkpoints" / "000002-step-20" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 9}))
    assert newest(run).step == 10
    assert newest_checkpoint(run)[1] == [f"{file.parent}: written by another version (schema 9)"]


def test_where_all_are_damaged_each_is_named(run: Path) -> None:
    flip_a_byte(run / "checkpoints" / "000001-step-10" / "state.json")
    remove(run / "checkpoints" / "000002-step-20" / "manifest.json")
    manifest, problems = newest_checkpoint(run)
    assert manifest is None
    assert len(problems) == 2


def test_damage_that_is_older_than_the_newest_good_one_is_not_spoken_of(run: Path) -> None:
    remove(run / "checkpoints" / "000001-step-10" / "manifest.json")
    assert newest_checkpoint(run)[1] == []
    assert newest(run).step == 20


def test_a_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) == (None, [])
    (tmp_path / "checkpoints").mkdir()
    assert newest_checkpoint(tmp_path) == (None, [])


@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
def test_a_damaged_checkpoint_does_not_stand_in_the_way_of_the_same_step(run: Path, name: str) -> None:
    """The run goes on from step 10 and comes by step 20 once more."""
    remove(run / "checkpoints" / "000002-step-20" / name)
    write_checkpoint(run, content(20), keep=2)
    manifest = newest(run)
    assert (manifest.step, manifest.sequence) == (20, 3)


def test_a_damaged_checkpoint_is_not_counted_among_those_that_are_kept(run: Path) -> None:
    truncate(run / "checkpoints" / "000002-step-20" / "model.safetensors")
    write_checkpoint(run, content(30), keep=2)
    assert folders(run) == ["000001-step-10", "000002-step-20", "000003-step-30"]
    write_checkpoint(run, content(40), keep=2)
    assert folders(run) == ["000003-step-30", "000004-step-40"]


def test_what_others_put_beside_the_checkpoints_is_left_alone(run: Path) -> None:
    parent = run / "checkpoints"
    (parent / "notes.txt").write_text("the good one is 2")
    (parent / ".gitignore").write_text("*")
    (parent / ".snapshots" / "hourly").mkdir(parents=True)
    (parent / "thesis").mkdir()
    (parent / "latest").symlink_to(parent / "000002-step-20")
    shutil.copytree(parent / "000001-step-10", parent / "before the deadline")
    foreign = {".gitignore", ".snapshots", "before the deadline", "latest", "notes.txt", "thesis"}
    assert newest_checkpoint(run)[1] == []
    for step in (30, 40, 50):
        write_checkpoint(run, content(step), keep=1)
        assert newest(run).step == step
        assert newest_checkpoint(run)[1] == []
    assert set(folders(run)) == {*foreign, "000005-step-50"}
    assert (parent / ".snapshots" / "hourly").is_dir()
    assert load_file(parent / "before the deadline" / "model.safetensors")["bias"][0] == 10


def test_verify_finds_a_file_that_changed_after_it_was_found(run: Path) -> None:
    manifest = newest(run)
    flip_a_byte(manifest.folder / "model.safetensors")
    with pytest.raises(DamagedCheckpoint, match=r"model\.safetensors: its content is not what was written"):
        verify(manifest)
