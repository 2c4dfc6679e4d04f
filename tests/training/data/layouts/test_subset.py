"""A part of the landmarks is kept by name, with everything that refers to them."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.layouts.mediapipe import compose, one_hand, pose_and_hands
from slipway.training.data.layouts.subset import chosen_landmarks, subset
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import understand
from tests.training.data.golden import assert_golden

HOLISTIC = pose_and_hands(lips=True)


def test_a_part_alone_is_the_layout_of_that_part() -> None:
    for part, names in (("left_hand", "left hand"), ("pose", "pose")):
        kept = subset(HOLISTIC, chosen_landmarks(HOLISTIC, part).tolist())
        alone = compose((part,), 2)
        assert kept == alone
        assert kept.title == names


def test_names_parts_and_names_in_every_part_may_be_mixed() -> None:
    chosen = chosen_landmarks(HOLISTIC, "pose.nose, right_hand, thumb_tip")
    layout = subset(HOLISTIC, chosen.tolist())
    assert layout.names[0] == "pose.nose"
    assert layout.names[1] == "left_hand.thumb_tip"
    assert layout.names[2:] == tuple(name for name in HOLISTIC.names if name.startswith("right_hand."))
    assert (layout.parts, layout.center) == (((2, 23, 2),), (2,))
    assert layout.title == "right hand, 1 of pose, 1 of left hand"


def test_both_hands_are_still_exchanged_by_a_flip_and_bones_follow() -> None:
    layout = subset(HOLISTIC, chosen_landmarks(HOLISTIC, "left_hand,right_hand").tolist())
    assert layout == compose(("left_hand", "right_hand"), 2)


def test_without_the_other_side_of_some_there_is_no_mirror_image() -> None:
    layout = subset(HOLISTIC, chosen_landmarks(HOLISTIC, "pose.left_shoulder,pose.right_shoulder,left_hand").tolist())
    assert layout.mirror == ()
    assert layout.scale == ((0, 1),)


@pytest.mark.parametrize("name", ["left_hnd", "pose.nos", "thumb_tipp"])
def test_a_name_that_is_not_there_is_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(UserError) as raised:
        chosen_landmarks(HOLISTIC, name)
    assert_golden(f"keep.{name}", str(raised.value))


def holistic() -> RawClips:
    rng = np.random.default_rng(0)
    values = rng.uniform(0.1, 0.9, (12, 1662)).astype(np.float32)
    values[3, -63:] = 0.0
    return RawClips(
        name="set",
        source_format="test",
        values=values,
        offsets=np.arange(13),
        labels=["a", "b"] * 6,
        where=lambda index: f"clip {index}",
    )


def test_kept_landmarks_are_those_of_the_data_and_missing_by_their_whole_part() -> None:
    numbers = holistic().values.copy()
    data = understand(holistic(), Reading(keep="right_hand.wrist,lips"))
    assert data.values.shape == (12, 41, 2)
    expected = numbers[:, -63:-61].copy()
    expected[3] = np.nan
    np.testing.assert_array_equal(data.values[:, 0], expected)
    assert data.notes[-1] == "kept 41 of 115 landmarks: lips, 1 of right hand"


def test_a_complete_face_is_kept_if_it_is_asked_for() -> None:
    numbers = holistic().values.copy()
    data = understand(holistic(), Reading(keep="face"))
    np.testing.assert_array_equal(data.values, numbers[:, 132 : 132 + 1404].reshape(12, 468, 3)[..., :2])
    assert data.layout.title == "face"


def test_a_hand_of_its_own_is_named_without_its_part() -> None:
    assert chosen_landmarks(one_hand(), "wrist,hand.pinky_tip").tolist() == [0, 20]
