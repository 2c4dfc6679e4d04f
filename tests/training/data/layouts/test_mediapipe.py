"""Layouts of a body: the mirror image is a body too."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.training.data.layouts import mediapipe as layouts


@pytest.mark.parametrize(
    "layout", [layouts.one_hand(), layouts.two_hands(), layouts.pose(), layouts.pose_and_hands(lips=True)]
)
def test_mirroring_a_layout_twice_gives_it_back(layout: layouts.LandmarkLayout) -> None:
    mirror = np.array(layout.mirror)
    assert sorted(mirror) == list(range(layout.num_landmarks))
    np.testing.assert_array_equal(mirror[mirror], np.arange(layout.num_landmarks))


def test_mirroring_swaps_the_sides_of_a_body() -> None:
    mirror = layouts.pose_and_hands(lips=True).mirror
    left_shoulder, right_ankle, nose, left_wrist, right_wrist = 11, 28, 0, 33, 54
    assert [mirror[point] for point in (left_shoulder, right_ankle, nose, left_wrist)] == [12, 27, 0, right_wrist]
    corner, other_corner, middle = (75 + layouts.LIPS.index(point) for point in (61, 291, 0))
    assert (mirror[corner], mirror[middle]) == (other_corner, middle)
