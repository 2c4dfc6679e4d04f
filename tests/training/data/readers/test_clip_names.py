"""Lists that name clips without ending or folder give each its class; lists of anything else are left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.training.data.readers.clip_names import names_clips
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading

NAMES = ("v00", "v01", "v02", "v03")
LABELS = ["no", "yes", "no", "yes"]
SPLITS = ["train", "train", "test", "test"]
NUMBERS = np.random.default_rng(0).random((4, 5, 27, 2), dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four clips in one folder."""
    for name, clip in zip(NAMES, NUMBERS, strict=True):
        (tmp_path / "clips").mkdir(exist_ok=True)
        np.save(tmp_path / "clips" / f"{name}.npy", clip)
    return tmp_path


def read(folder: Path, **options: object) -> RawClips:
    raw = read_raw(str(folder), Reading(**options))  # type: ignore[arg-type]
    assert raw.source_format == "manifest"
    return raw


def by_name(raw: RawClips) -> dict[str, bytes]:
    parts = np.split(raw.values, raw.offsets[1:-1])
    return {part.tobytes(): label for part, label in zip(parts, raw.labels, strict=True)}  # type: ignore[misc]


EXPECTED = {clip.tobytes(): label for clip, label in zip(NUMBERS, LABELS, strict=True)}


@pytest.mark.parametrize("ending", ["", ".npy", ".mp4"])
@pytest.mark.parametrize("header", ["name,label\n", "label_id,video_id,gloss\n", ""])
def test_a_csv_of_names_gives_the_classes(folder: Path, header: str, ending: str) -> None:
    number = "7," if header.startswith("label_id") else ""
    rows = [f"{number}{name}{ending},{label}" for name, label in zip(NAMES, LABELS, strict=True)]
    (folder / "train_labels.csv").write_text(header + "\n".join(rows))
    assert by_name(read(folder, label="gloss" if number else None)) == EXPECTED


ROWS = [{"file": f"clips/{n}.npy", "label": label} for n, label in zip(NAMES, LABELS, strict=True)]
LISTS: dict[str, Any] = {
    "objects": ROWS,
    "objects_below_a_key": {"clips": ROWS},
    "label_of_name": dict(zip(NAMES, LABELS, strict=True)),
    "object_of_name": {n: {"label": label, "frames": [1, 5]} for n, label in zip(NAMES, LABELS, strict=True)},
    "names_of_label": {"no": ["v00", "v02"], "yes": ["v01.npy", "v03.npy"]},
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_in_json_gives_the_classes(folder: Path, kind: str) -> None:
    (folder / "index.json").write_text(json.dumps(LISTS[kind]))
    assert by_name(read(folder)) == EXPECTED


@pytest.mark.parametrize("kind", ["wlasl", "splits"])
def test_a_list_in_json_gives_the_splits_and_signers_too(folder: Path, kind: str) -> None:
    rows = list(zip(NAMES, LABELS, SPLITS, strict=True))
    content: object = [
        {
            "gloss": label,
            "instances": [{"video_id": n, "split": s, "signer_id": int(n[1:])} for n, lab, s in rows if lab == label],
        }
        for label in ("no", "yes")
    ]
    if kind == "splits":
        content = {
            split: [{"id": n, "label": label, "signer": int(n[1:])} for n, label, s in rows if s == split]
            for split in ("train", "test")
        }
    (folder / "index.json").write_text(json.dumps(content))
    raw = read(folder)
    assert by_name(raw) == EXPECTED
    assert sorted(raw.splits or ()) == sorted(SPLITS)
    assert sorted(raw.groups["signer"]) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("label_map.json", '{"no": 0, "yes": 1}'),
        ("labels.json", '["no", "yes"]'),
        ("config.json", '{"epochs": 3, "names": ["v00"]}'),
        ("metrics.csv", "epoch,label\n1,a\n2,b\n"),
        ("broken.json", '{"v00": "no"'),
    ],
)
def test_other_files_beside_clips_are_no_lists_of_them(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    assert not names_clips(folder / name)
