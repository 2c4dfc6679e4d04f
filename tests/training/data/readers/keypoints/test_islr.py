"""Google's signs arrive landmark by landmark, whatever the order of their rows; all faults are told at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from slipway.training.data.layouts.mediapipe import LIPS
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused

SIZES = {"face": 468, "left_hand": 21, "pose": 33, "right_hand": 21}
KEPT = [*range(489, 522), *range(468, 489), *range(522, 543), *LIPS]


def long_form(frames: list[int], seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows of a clip as the set has them, and x and y, [frames, 543, 2]."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 1, (len(frames), 543, 3))
    values[rng.random(len(frames)) < 0.5, 468:489] = np.nan
    table = pd.DataFrame(values.reshape(-1, 3), columns=["x", "y", "z"])
    table.insert(
        0, "landmark_index", np.tile([i for size in SIZES.values() for i in range(size)], len(frames)).astype("int16")
    )
    table.insert(0, "type", np.tile([name for name, size in SIZES.items() for _ in range(size)], len(frames)))
    table.insert(0, "frame", np.repeat(frames, 543).astype("int16"))
    table.insert(1, "row_id", [f"{row}-id" for row in range(len(table))])
    return table, values[..., :2].astype(np.float32)


def write_set(root: Path, *tables: pd.DataFrame) -> None:
    lines = ["path,participant_id,sequence_id,sign"]
    for number, table in enumerate(tables):
        name = f"train_landmark_files/{number % 2}/{number}.parquet"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(root / name)
        lines.append(f"{name},{number % 2},{number},{'tv' if number % 2 else 'after'}")
    (root / "train.csv").write_text("\n".join(lines) + "\n")


def test_clips_arrive_landmark_by_landmark(tmp_path: Path) -> None:
    clips = [long_form([20, 21, 22], seed) for seed in range(3)]
    write_set(tmp_path, *(table for table, _ in clips))
    data = read_landmarks(str(tmp_path))
    assert (data.source_format, data.class_names, list(data.signers)) == ("islr", ("after", "tv"), ["0", "1", "0"])
    for index, (_, values) in enumerate(clips):
        np.testing.assert_array_equal(data.clip(index), values[:, KEPT])
    assert data.layout.title == "pose, both hands, lips"


def test_rows_out_of_order_frames_without_rows_and_missing_rows_find_their_places(tmp_path: Path) -> None:
    table, values = long_form([5, 6, 9])
    expected = np.full((5, 543, 2), np.nan, dtype=np.float32)
    expected[[0, 1, 4]] = values
    expected[4, 489] = np.nan
    dropped = table[~((table.frame == 9) & (table.type == "pose") & (table.landmark_index == 0))]
    write_set(tmp_path, dropped.sample(frac=1, random_state=0), long_form([0])[0])
    data = read_landmarks(str(tmp_path))
    np.testing.assert_array_equal(data.clip(0), expected[:, KEPT])
    assert "2 frames without rows are missing frames" in data.notes
    assert any("put in order" in note for note in data.notes)


def test_types_in_another_order_are_not_taken_for_each_other(tmp_path: Path) -> None:
    table, values = long_form([0, 1])
    order = pd.Categorical(table.type, ["right_hand", "pose", "left_hand", "face"], ordered=True)
    moved = table.assign(order=order).sort_values(["frame", "order", "landmark_index"]).drop(columns="order")
    write_set(tmp_path, moved, table)
    data = read_landmarks(str(tmp_path))
    np.testing.assert_array_equal(data.clip(0), values[:, KEPT])


def test_faults_are_listed_at_once(tmp_path: Path) -> None:
    good, _ = long_form([0, 1])
    write_set(
        tmp_path,
        good,
        good.iloc[:0],
        good.assign(type="arm"),
        pd.concat([good, good.iloc[:1]]),
        good.assign(landmark_index=good.landmark_index + 1),
        good.assign(frame=good.frame * 1000),
        good.drop(columns=["x"]),
        good.drop(columns=["frame"]).iloc[1:],
        good,
        good,
    )
    (tmp_path / "train_landmark_files" / "0" / "8.parquet").unlink()
    (tmp_path / "train_landmark_files" / "1" / "9.parquet").write_bytes(b"PAR1")
    assert_refused("islr.faults", tmp_path)


def test_the_set_of_phrases_is_named_and_refused(tmp_path: Path) -> None:
    header = "path,file_id,sequence_id,participant_id,phrase\n"
    (tmp_path / "supplemental_metadata.csv").write_text(header + "supplemental_landmarks/1.parquet,1,2,3,hello there\n")
    assert_refused("islr.phrases_supplemental", tmp_path)
    (tmp_path / "train.csv").write_text(header + "train_landmarks/1.parquet,1,2,3,+1 555\n")
    assert_refused("islr.phrases", tmp_path)


def test_a_face_that_is_asked_for_is_not_left_out_by_the_reader(tmp_path: Path) -> None:
    from slipway.training.data.readers.read import read_raw

    table, values = long_form([0, 1])
    write_set(tmp_path, table, table)
    raw = read_raw(str(tmp_path), Reading(keep="face"))
    np.testing.assert_array_equal(raw.values[:2], values)
    assert raw.parts == tuple(SIZES)
