"""Tables of frames are cut into the segments of other tables; what does not fit together is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused


def clips_of(data: LandmarkData) -> list[np.ndarray]:
    return [data.clip(index) for index in range(len(data))]


def labels_of(data: LandmarkData) -> list[str]:
    return [data.class_names[label] for label in data.labels]


def test_a_frame_table_is_split_into_segments_with_end_frames_included(tmp_path: Path) -> None:
    rows = [f"v{video},{frame},{frame},1,{10 * frame},2,0,0" for video in (1, 2) for frame in (5, 6, 7, 9)]
    header = "video,frame,left-x,left-y,right-x,right-y,nose-x,nose-y"
    (tmp_path / "hands.csv").write_text("\n".join([header, *reversed(rows)]))
    (tmp_path / "train_words.csv").write_text("video,speaker,word,startframe,endframe\nv1,ann,GO,5,7\n")
    (tmp_path / "test_words.csv").write_text("video,speaker,word,startframe,endframe\nv2,bob,MUST,7,9\n")
    data = read_landmarks(str(tmp_path))
    test, train = clips_of(data)
    assert train[:, 0, 0].tolist() == [5.0, 6.0, 7.0]
    assert np.isnan(train[:, 2]).all(), "a landmark at (0, 0) is missing"
    assert np.isnan(test[:, 0, 0]).tolist() == [False, True, False], "frame 8 is not in the table"
    assert labels_of(data) == ["MUST", "GO"]
    assert list(data.signers) == ["bob", "ann"]
    assert list(data.own_split) == ["test", "train"]
    assert (data.layout.center, data.layout.mirror) == ((2,), (1, 0, 2))


def test_a_landmark_of_confidence_zero_is_missing(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("clip,frame,wrist_x,wrist_y,wrist_confidence\na,0,1,1,0.9\na,1,1,1,0\n")
    (tmp_path / "s.csv").write_text("clip,start,end,gloss\na,0,1,hi\n")
    assert np.isnan(clips_of(read_landmarks(str(tmp_path)))[0][:, 0, 0]).tolist() == [False, True]


FRAMES = "video,frame,left-x,left-y\nv1,0,1,2\nv1,1,3,4\n"
SEGMENTS = "video,start,end,word\n"
FAULTS: dict[str, dict[str, str]] = {
    "an unknown video": {"hands": FRAMES, "words": SEGMENTS + "v9,0,1,GO\n"},
    "frames the video has not": {"hands": FRAMES, "words": SEGMENTS + "v1,0,7,GO\n"},
    "an end before its start": {"hands": FRAMES, "words": SEGMENTS + "v1,1,0,GO\n"},
    "a word as a frame": {"hands": FRAMES, "words": SEGMENTS + "v1,0,last,GO\n"},
    "no label": {"hands": FRAMES, "words": SEGMENTS + "v1,0,1,\n"},
    "several": {"hands": FRAMES, "words": SEGMENTS + f"v1,{'x' * 60},1,GO\nv9,0,1,GO\n"},
    "one of two names without a split": {
        "hands": FRAMES,
        "words": SEGMENTS + "v1,0,0,GO\n",
        "train_words": SEGMENTS + "v1,0,0,GO\n",
    },
    "a landmark without y": {"hands": "video,frame,left-x\nv1,0,1\n", "words": SEGMENTS + "v1,0,0,GO\n"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_together_is_named(tmp_path: Path, fault: str) -> None:
    for name, text in FAULTS[fault].items():
        (tmp_path / f"{name}.csv").write_text(text)
    assert_refused(f"frame_table.{fault}", tmp_path)


def test_a_table_of_frames_without_segments_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "hands.csv").write_text(FRAMES)
    assert_refused("frame_table.no_segments", tmp_path / "hands.csv", root=tmp_path)
