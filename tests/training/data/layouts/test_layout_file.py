"""A skeleton of one's own is described in a file; what is wrong in it is named by its key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.layouts.layout_file import read_layout
from slipway.training.data.prepared.cache import DataCache
from slipway.training.data.prepared.prepare import find_or_prepare
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.specs import DataSpec, Reading
from slipway.training.data.understanding.understand import understand
from tests.training.data.golden import assert_golden

TEXT = """\
title: upper body
names: [head, left_shoulder, right_shoulder, left_hand, left_thumb, right_hand, right_thumb]
coords: xy
center: head
shoulders: [left_shoulder, right_shoulder]
bones: [[left_shoulder, right_shoulder], [left_hand, left_thumb]]
parts:
  left: [left_hand, left_thumb]
  right: [right_hand, right_thumb]
"""


def source(numbers: int = 14) -> RawClips:
    values = np.random.default_rng(0).uniform(0.1, 0.9, (12, numbers)).astype(np.float32)
    return RawClips(
        name="set",
        source_format="test",
        values=values,
        offsets=np.arange(13),
        labels=["a", "b"] * 6,
        where=lambda index: f"clip {index}",
    )


def write(folder: Path, text: str = TEXT) -> str:
    (folder / "body.yaml").write_text(text)
    return str(folder / "body.yaml")


def test_a_file_gives_names_sides_origin_unit_bones_and_parts(tmp_path: Path) -> None:
    raw = source()
    raw.values[2, 6:10] = 0.0  # the left hand
    expected = raw.values.reshape(12, 7, 2).copy()
    expected[2, 3:5] = np.nan
    data = understand(raw, Reading(layout=write(tmp_path)))
    np.testing.assert_array_equal(data.values, expected)
    layout = data.layout
    assert (layout.title, layout.center, layout.scale) == ("upper body", (0,), ((1, 2),))
    assert layout.mirror == (0, 2, 1, 5, 6, 3, 4)
    assert layout.bones == ((1, 2), (3, 4))
    assert layout.parts == ((3, 5, 3), (5, 7, 5))


def test_sides_may_be_given_and_coords_come_from_the_data(tmp_path: Path) -> None:
    path = write(tmp_path, "names: [a, b, c, d, e]\nsides: [[a, b]]\nwrist: c\n")
    data = understand(source(15), Reading(layout=path))
    assert data.layout.mirror == (1, 0, 2, 3, 4)
    assert (data.layout.num_coords, data.layout.center) == (3, (2,))
    assert data.layout.title == "body"


def test_landmarks_of_a_file_may_be_kept_by_name(tmp_path: Path) -> None:
    data = understand(source(), Reading(layout=write(tmp_path), keep="head,right_hand"))
    assert data.layout.names == ("head", "right_hand")
    assert data.layout.title == "head, right_hand"


WRONG = {
    "no names": "coords: xy\n",
    "an unknown key": "names: [a]\nbone: [[a, a]]\n",
    "a name twice": "names: [a, b, a]\n",
    "an unknown name": "names: [elbow, wrist]\nbones: [[elbow, wrst]]\n",
    "no pair": "names: [a, b]\nbones: [[a]]\n",
    "coords": "names: [a]\ncoords: xyw\n",
    "two centers": "names: [a]\ncenter: a\nwrist: a\n",
    "a scattered part": "names: [a, b, c]\nparts: {left: [a, c]}\n",
    "not YAML": "names: [a, b\n",
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_fault_is_named_by_file_and_key(tmp_path: Path, fault: str) -> None:
    path = write(tmp_path, WRONG[fault])
    with pytest.raises(UserError) as raised:
        read_layout(path)
    assert_golden(f"layout.{fault}", str(raised.value), tmp_path)


def test_another_count_than_the_data_have_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        understand(source(16), Reading(layout=write(tmp_path)))
    assert_golden("layout.another count", str(raised.value), tmp_path)
    with pytest.raises(UserError) as raised:
        read_layout(str(tmp_path / "nothing.yaml"))
    assert_golden("layout.no file", str(raised.value), tmp_path)


def test_a_changed_layout_file_is_another_data_set_to_the_cache(tmp_path: Path) -> None:
    np.savez(tmp_path / "clips.npz", X=np.random.default_rng(0).uniform(size=(20, 3, 14)), y=np.arange(20) % 2)
    cache = DataCache(tmp_path / "cache")
    spec = DataSpec(source=str(tmp_path / "clips.npz"), reading=Reading(layout=write(tmp_path)))
    assert not find_or_prepare(spec, 0, cache).is_from_cache
    assert find_or_prepare(spec, 0, cache).is_from_cache
    write(tmp_path, TEXT.replace("upper body", "body"))
    found = find_or_prepare(spec, 0, cache)
    assert not found.is_from_cache
    assert found.data.facts.layout.title == "body"
