"""A data set says in one sentence, and in a record, what was understood of it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np

from slipway.training.common.conversion import from_mapping
from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.layouts.mediapipe import channels, one_hand
from slipway.training.data.understanding.summary import Understood, summarise


def hands(lengths: list[int], **fields: object) -> LandmarkData:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.ones((offsets[-1], 21, 3), dtype=np.float32)
    given = {
        "name": "coords",
        "source": ("coords.csv",),
        "source_format": "landmark_csv",
        "layout": one_hand(3),
        "values": values,
        "offsets": offsets,
        "labels": np.arange(len(lengths)) % 3,
        "class_names": ("fist", "open", "victory"),
        **fields,
    }
    return LandmarkData(**given)  # type: ignore[arg-type]


def test_the_sentence_says_clips_landmarks_classes_signers_and_files() -> None:
    data = hands([1] * 180, groups={"signer": ["ann", "bob"] * 90})
    assert str(summarise(data)) == (
        "180 clips of 1 frame, 21 landmarks (hand) x, y, z, 0 % missing, 3 classes, 2 signers; from coords.csv"
    )


def test_clips_of_unequal_length_and_little_that_is_missing_are_said() -> None:
    data = hands([2, 3, 1200])
    data.values[0, 0] = np.nan
    assert str(summarise(data)) == (
        "3 clips of 2 to 1,200 frames (median 3), 21 landmarks (hand) x, y, z, 0.004 % missing, 3 classes; "
        "from coords.csv"
    )


def test_channels_have_no_coordinates() -> None:
    data = hands([4, 4], layout=channels(5), values=np.zeros((8, 5, 1), dtype=np.float32))
    understood = summarise(data)
    assert str(understood) == "2 clips of 4 frames, 5 channels, 0 % missing, 3 classes; from coords.csv"
    assert (understood.layout, understood.coords, understood.landmarks) == ("channels", "", 5)


def test_the_record_counts_what_is_known_and_comes_back_from_json() -> None:
    groups = {"signer": ["ann", "", "bob", "ann"], "recording": ["1", "1", "2", "3"]}
    data = hands([1, 2, 2, 5], groups=groups, own_split=["train", "train", "test", ""], notes=("a",), warnings=("b",))
    data.values[:5, 7] = np.nan
    understood = summarise(data)
    assert understood.classes == {"fist": 2, "open": 1, "victory": 1}
    assert understood.signers == {"ann": 2, "bob": 1}
    assert understood.groups == {"recording": 3}
    assert understood.splits == {"train": 2, "test": 1}
    assert understood.missing_by_landmark["hand.index_finger_dip"] == 0.5
    assert understood.missing_share == 0.5 / 21
    assert (understood.frames.min, understood.frames.median, understood.frames.max) == (1, 2.0, 5)
    assert from_mapping(Understood, json.loads(json.dumps(asdict(understood))), "facts") == understood


def test_landmarks_with_names_are_counted_by_them() -> None:
    layout = replace(one_hand(3), names=tuple(f"hand.{number}" for number in range(21)))
    assert list(summarise(hands([1, 1], layout=layout)).missing_by_landmark)[:2] == ["hand.0", "hand.1"]
