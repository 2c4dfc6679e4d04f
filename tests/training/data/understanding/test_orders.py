"""Parts of a body that stand in another order are found where the numbers say, and the usual order stays what it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from slipway.training.data.readers.raw import RawClips
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import understand
from tests.training.data.layout_examples.bodies import HANDS, HOLISTIC, POSE_HANDS, Clip, clips_of, flat, truth


def raw(clips: list[Clip], vectors: list[np.ndarray]) -> RawClips:
    return RawClips(
        name="set",
        source_format="test",
        values=np.concatenate(vectors).astype(np.float32),
        offsets=np.cumsum([0, *map(len, vectors)]),
        labels=[clip.label for clip in clips],
        where=lambda index: f"clip {index}",
    )


ORDERS = [
    order
    for parts in (POSE_HANDS, HOLISTIC)
    for order in itertools.permutations(parts)
    if [part for part in order if part in HANDS] == [*HANDS]
]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("lost", ["", "left_hand"])
def test_each_order_of_the_parts_is_told_by_the_numbers(order: tuple[str, ...], pixels: bool, lost: str) -> None:
    clips = clips_of(*order, pixels=pixels, lost=lost)
    for of_pose in ("xyz", "xyzv"):
        forms = [of_pose if part == "pose" else "xyz" for part in order]
        data = understand(raw(clips, [flat(clip, *forms) for clip in clips]), Reading())
        np.testing.assert_array_equal(data.values, np.concatenate([truth(clip) for clip in clips]))


def test_parts_that_were_brought_to_one_size_are_read_in_the_usual_order() -> None:
    clips = clips_of(*POSE_HANDS, centred=True)
    for clip in clips:
        for part, points in clip.body.items():
            clip.body[part] = (points / np.abs(points).max()).round(5)
    data = understand(raw(clips, [flat(clip, "xyz") for clip in clips]), Reading())
    np.testing.assert_array_equal(data.values, np.concatenate([truth(clip) for clip in clips]))


def test_a_hand_with_one_visibility_at_every_point_is_not_two_hands() -> None:
    clips = clips_of("hand", lost="hand")
    vectors = []
    for clip in clips:
        points = clip.body["hand"]
        four = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=2)
        vectors.append(np.where(np.isnan(points[..., :1]), 0.0, four).reshape(len(points), -1))
    data = understand(raw(clips, vectors), Reading())
    np.testing.assert_array_equal(data.values, np.concatenate([truth(clip) for clip in clips]))
