"""The names of columns say which parts of a body they are, in whatever order they stand."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.training.data.understanding.column_names import points_by_names


@pytest.mark.parametrize(
    "style", ["{part}_{point}_{axis}", "{part}_{axis}{point}", "{axis}_{part}_{point}", "{part}_{axis}_{point}"]
)
@pytest.mark.parametrize(("left", "right"), [("left_hand", "right_hand"), ("left", "right"), ("lh", "rh")])
@pytest.mark.parametrize("first", [0, 1])
def test_hands_are_known_by_their_names_though_the_right_one_stands_first(
    style: str, left: str, right: str, first: int
) -> None:
    names = [
        style.format(part=part, point=point + first, axis=axis)
        for part in (right, left)
        for point in range(21)
        for axis in "xyz"
    ]
    found = points_by_names(names)
    assert found is not None
    assert [(part.name, part.form) for part in found.parts] == [("right_hand", "xyz"), ("left_hand", "xyz")]
    assert np.array_equal(found.parts[1].columns.reshape(-1), np.arange(63, 126))


def test_a_pose_with_visibility_and_hands_without_are_known_together() -> None:
    names = [f"pose_{point}_{axis}" for point in range(33) for axis in ("x", "y", "z", "visibility")]
    names += [f"{hand}_hand_{point}_{axis}" for hand in ("left", "right") for point in range(21) for axis in "xyz"]
    found = points_by_names(names)
    assert found is not None
    assert [(part.name, part.form) for part in found.parts] == [
        ("pose", "xyzv"),
        ("left_hand", "xyz"),
        ("right_hand", "xyz"),
    ]


def test_a_part_without_all_its_points_is_not_taken_for_a_whole_one() -> None:
    found = points_by_names([f"pose_{point}_{axis}" for point in range(25) for axis in "xyz"])
    assert found is not None
    assert found.parts == ()
    assert len(found.columns) == 25


def test_a_box_beside_the_points_is_no_point() -> None:
    names = ["bbox_x", "bbox_y", *(f"{axis}{point}" for point in range(21) for axis in "xyz")]
    found = points_by_names(names)
    assert found is not None
    assert found.form == "xyz"
    assert len(found.columns) == 21
    assert found.others == (0, 1)
