"""AI-Hub's Korean signs: classes, times, people, recordings and views come from the names and the morpheme files."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused
from tests.training.data.readers.keypoints.openpose_files import as_json, expected, person, write_frame

WORDS = {"WORD1501": "고민", "WORD1502": "왼쪽"}


def write_clip(root: Path, name: str, frames: int = 12) -> np.ndarray:
    """Write the frames of a clip and return their landmarks."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    people = [person(rng) for _ in range(frames)]
    for number, points in enumerate(people):
        write_frame(root / "keypoint" / "01" / name, name, number, as_json(points))
    return np.stack([expected(points) for points in people])


def write_morpheme(root: Path, name: str, *signs: tuple[float, float, str], duration: float = 0.4) -> None:
    folder = root / "morpheme" / "01"
    folder.mkdir(parents=True, exist_ok=True)
    data = [{"start": start, "end": end, "attributes": [{"name": word}]} for start, end, word in signs]
    content = {"metaData": {"url": "https://example.org", "name": f"{name}.mp4", "duration": duration}, "data": data}
    (folder / f"{name}_morpheme.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def test_a_clip_is_the_named_seconds_and_views_are_one_recording(tmp_path: Path) -> None:
    clips = {}
    for word, label in WORDS.items():
        for person_number in (1, 2):
            for view in "FLRUD":
                name = f"NIA_SL_{word}_REAL{person_number:02d}_{view}"
                clips[name] = write_clip(tmp_path, name)[3:9]
                write_morpheme(tmp_path, name, (0.1, 0.3, label))
    data = read_landmarks(str(tmp_path))
    assert data.source_format == "aihub"
    assert set(data.class_names) == set(WORDS.values())
    assert set(data.signers) == {"REAL01", "REAL02"}
    assert set(data.group("view")) == set("FLRUD")
    for index in range(len(data)):
        name = Path(data.where(index)).name
        np.testing.assert_array_equal(data.clip(index), clips[name])
        assert data.class_names[data.labels[index]] == WORDS[name.split("_")[2]]
        assert data.group("recording")[index] == "_".join(name.split("_")[2:4])


def test_a_sentence_is_a_clip_for_each_of_its_signs(tmp_path: Path) -> None:
    for number in (1, 2):
        name = f"NIA_SL_SEN0001_REAL0{number}_F"
        clip = write_clip(tmp_path, name)
        write_morpheme(tmp_path, name, (0.0, 0.2, "여기"), (0.2, 0.4, "길"))
    data = read_landmarks(str(tmp_path))
    assert [data.class_names[label] for label in data.labels] == ["여기", "길"] * 2
    np.testing.assert_array_equal(np.concatenate([data.clip(2), data.clip(3)]), clip)
    assert data.group("recording")[:2] == ["SEN0001_REAL01"] * 2


def test_without_its_own_morpheme_file_a_clip_takes_the_nearest_one_and_says_so(tmp_path: Path) -> None:
    for name in ("WORD0001_REAL01_F", "WORD0001_REAL01_L", "WORD0001_REAL02_F", "WORD0002_REAL01_F"):
        write_clip(tmp_path, f"NIA_SL_{name}")
    write_morpheme(tmp_path, "NIA_SL_WORD0001_REAL01_F", (0.1, 0.3, "고민"))
    data = read_landmarks(str(tmp_path))
    assert [data.class_names[label] for label in data.labels] == ["고민", "고민", "고민", "WORD0002"]
    assert np.diff(data.offsets).tolist() == [6, 6, 12, 12]
    assert sum("morpheme file" in note for note in data.notes) == 3


def test_times_are_cut_by_the_duration_where_the_frames_are_not_thirty_a_second(tmp_path: Path) -> None:
    for number in (1, 2):
        name = f"NIA_SL_WORD000{number}_REAL01_F"
        write_clip(tmp_path, name, frames=60)
        write_morpheme(tmp_path, name, (0.5, 0.8, "가다"), duration=1.0)
    data = read_landmarks(str(tmp_path))
    assert np.diff(data.offsets).tolist() == [18, 18]
    assert any("30 frames a second" in note for note in data.notes)


def test_faults_of_the_set_are_listed_at_once(tmp_path: Path) -> None:
    for name in ("NIA_SL_WORD0001_REAL01_F", "NIA_SL_WORD0002_REAL01_F"):
        write_clip(tmp_path, name)
    write_morpheme(tmp_path, "NIA_SL_WORD0001_REAL01_F", (3.0, 4.0, "고민"))
    write_morpheme(tmp_path, "NIA_SL_WORD0002_REAL01_F")
    assert_refused("aihub.faults", tmp_path)
