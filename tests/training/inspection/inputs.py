"""Wrong and doubtful data as people have them: how each is made, the options it is started with, and how the start ends."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.training.data.layout_examples.arrays import classes, stack
from tests.training.data.layout_examples.bodies import clips_of, flat
from tests.training.data.layout_examples.tables import write_rows

WORDS = ("hello", "thanks", "yes")
HEADER = [f"{axis}{point}" for point in range(21) for axis in "xyz"]


@dataclass(frozen=True, kw_only=True)
class Input:
    """What a person starts with."""

    write: Callable[[Path], Path]
    """Writes it below a folder and returns the path that is named."""
    options: str = ""
    """PATH in them is the folder."""
    is_refused: bool = True
    """Whether the start ends with exit code 2; else it goes on after a warning."""


def rows(*, labels: Callable[[int], str] = lambda row: WORDS[row % 3], count: int = 36) -> list[list[object]]:
    """Return rows of a label and the numbers of a hand."""
    clips = clips_of("hand", frames=1, clips=(count + 2) // 3)
    numbers = [flat(clip, "xyz")[0].tolist() for clip in sorted(clips, key=lambda clip: clip.number)]
    return [[labels(row), *numbers[row]] for row in range(count)]


def csv(
    content: list[list[object]], header: list[str] | None = None, *, name: str = "hand.csv", **more: str
) -> Callable[[Path], Path]:
    """Return what writes a CSV."""

    def write(root: Path) -> Path:
        write_rows(root / name, content, ["label", *HEADER] if header is None else header, **more)
        return root / name

    return write


def with_column(name: str, cell: Callable[[int], object], place: int = 1) -> Callable[[Path], Path]:
    """Return what writes a CSV with one more column."""
    content = [[*row[:place], cell(number), *row[place:]] for number, row in enumerate(rows())]
    header = ["label", *HEADER]
    return csv(content, [*header[:place], name, *header[place:]])


def npz(**arrays: object) -> Callable[[Path], Path]:
    """Return what writes an archive."""

    def write(root: Path) -> Path:
        np.savez(root / "data.npz", **arrays)  # type: ignore[arg-type]
        return root / "data.npz"

    return write


def hands(**options: object) -> Callable[[Path], Path]:
    """Return what writes clips of a hand."""
    clips = clips_of("hand", **options)  # type: ignore[arg-type]
    return npz(X=stack(clips, "xyz"), y=[clip.label for clip in clips])


def random(*shape: int, low: float = 0.1, high: float = 0.9) -> np.ndarray:
    return np.random.default_rng(0).uniform(low, high, shape)


def folder(**files: bytes) -> Callable[[Path], Path]:
    """Return what writes files; `__` in a name is `/`, `_DOT_` a dot."""

    def write(root: Path) -> Path:
        for name, content in files.items():
            file = root / name.replace("__", "/").replace("_DOT_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return root

    return write


def faulty_folder(root: Path) -> Path:
    """Write MP_Data with 13 faults of two kinds."""
    for clip in clips_of("hand", frames=8):
        for number, frame in enumerate(flat(clip, "xyz")):
            file = root / "MP_Data" / clip.label / str(clip.number) / f"{number}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, frame)
    for number in range(6):
        np.save(root / "MP_Data" / "hello" / "0" / f"{number}.npy", np.zeros(132))
    for number in range(7):
        (root / "MP_Data" / "thanks" / "1" / f"{number}.npy").write_bytes(b"\x93NUMPY\x01")
    return root / "MP_Data"


def manifest(root: Path) -> Path:
    """Write a table of clips of which some are not there."""
    np.savez(root / "0.npz", landmarks=random(5, 21, 3))
    write_rows(root / "clips.csv", [[f"{number}.npz", WORDS[number % 2]] for number in range(4)], ["path", "label"])
    return root / "clips.csv"


def layout_file(text: str) -> Callable[[Path], Path]:
    """Return what writes a CSV and a file that describes a skeleton."""

    def write(root: Path) -> Path:
        (root / "body.yaml").write_text(text)
        return csv(rows())(root)

    return write


def zipped(root: Path) -> Path:
    with zipfile.ZipFile(root / "MP_Data.zip", "w") as archive:
        archive.writestr("MP_Data/hello/0/0.npy", "1")
    return root / "MP_Data.zip"


def labels_as_numbers_too_many(root: Path) -> Path:
    clips = clips_of("hand")
    np.savez(root / "data.npz", X=stack(clips, "xyz"), y=classes(clips))
    (root / "label_map.json").write_text(json.dumps(["hello", "thanks"]))
    return root / "data.npz"


TUTORIAL = pickle.dumps({"data": [[0.5] * 42] * 4, "labels": ["0", "0", "1", "1"]})
LONG = "a very long cell of a table, which was pasted from a description of the sign"

INPUTS: dict[str, Input] = {
    # doubtful: told, and trained on
    "one clip": Input(write=npz(X=random(1, 6, 42), y=["a"]), is_refused=False),
    "one class": Input(write=csv(rows(labels=lambda row: "hello")), is_refused=False),
    "as many classes as clips": Input(write=csv(rows(labels=lambda row: f"w{row}")), is_refused=False),
    "a feature constant in each class": Input(
        write=with_column("state", lambda row: [3, 7, 7][row % 3], place=5),
        options="--landmarks channels",
        is_refused=False,
    ),
    "a first column called Time": Input(write=with_column("Time", lambda row: row / 30, place=0), is_refused=False),
    "a hand that is never there": Input(
        write=npz(X=np.concatenate([np.zeros((9, 6, 63)), random(9, 6, 63, low=-0.5)], axis=2), y=list("abc" * 3)),
        is_refused=False,
    ),
    "coords said against the numbers": Input(
        write=npz(X=random(9, 6, 84, low=-2), y=list("abc" * 3)),
        options="--landmarks hand --coords xyzv",
        is_refused=False,
    ),
    "pixels beside coordinates from 0 to 1": Input(
        write=npz(X=random(9, 6, 42) * np.array([640] * 3 + [1] * 6)[:, None, None], y=list("abc" * 3)),
        is_refused=False,
    ),
    # what it is made of
    "wholly missing": Input(write=npz(X=np.zeros((9, 6, 63)), y=list("abc" * 3))),
    "no path": Input(write=lambda root: root / "MP_Dta"),
    "an empty folder": Input(write=folder()),
    "an unknown format": Input(write=folder(a_DOT_bvh=b"HIERARCHY", b_DOT_bvh=b"HIERARCHY")),
    "a format of another file": Input(write=csv(rows()), options="--data-format npz"),
    "a mistyped format": Input(write=csv(rows()), options="--data-format landmarks_csv"),
    "a pickle": Input(write=folder(data_DOT_pickle=TUTORIAL)),
    "an archive": Input(write=zipped),
    "a tar": Input(write=folder(MP_Data_DOT_tar_DOT_gz=b"\x1f\x8b\x08")),
    "videos": Input(write=folder(hello__1_DOT_mp4=b"\0\0\0\x18ftypmp42", thanks__2_DOT_mp4=b"\0\0\0\x18ftypmp42")),
    # faults in it
    "thirteen faults of a folder": Input(write=faulty_folder),
    "long cells": Input(
        write=csv([*rows()[:3], *([word, LONG, *row[2:]] for word, row in zip(WORDS, rows(), strict=False))])
    ),
    "a row too short": Input(write=csv([*rows(), rows()[0][:30]])),
    "another encoding": Input(write=csv(rows(labels=lambda row: ("주먹", "보", "가위")[row % 3]), encoding="cp949")),
    "a mistyped encoding": Input(write=csv(rows()), options="--encoding cp99"),
    "missing files of a table": Input(write=manifest),
    "a class without a name": Input(write=labels_as_numbers_too_many),
    "labels and clips of other counts": Input(write=npz(X=random(9, 6, 42), y=list("abc"))),
    # what the numbers are
    "an unknown count": Input(write=npz(X=random(9, 6, 34), y=list("abc" * 3))),
    "frames or points": Input(write=npz(X=random(9, 25, 3), y=list("abc" * 3))),
    "coords that do not fit": Input(write=csv(rows()), options="--coords xyzv"),
    "landmarks that do not fit": Input(write=csv(rows()), options="--landmarks pose"),
    "a mistyped kind of landmarks": Input(write=csv(rows()), options="--landmarks hnad"),
    "a mistyped kind of coords": Input(write=csv(rows()), options="--coords zyx"),
    "landmarks to keep that are not there": Input(write=csv(rows()), options="--keep-landmarks wirst,thumb_tip"),
    "no file of a layout": Input(write=csv(rows()), options="--layout PATH/body.yaml"),
    "a layout of other numbers": Input(write=layout_file("names: [a, b]\n"), options="--layout PATH/body.yaml"),
    "a layout with a mistyped key": Input(write=layout_file("name: [a, b]\n"), options="--layout PATH/body.yaml"),
    # columns and splits
    "no column of the class": Input(write=csv([row[1:] for row in rows()], HEADER)),
    "an unknown label": Input(write=csv(rows()), options="--label lable"),
    "an unknown signer": Input(write=with_column("user", lambda row: f"u{row % 3}"), options="--signer users"),
    "an unknown group": Input(write=csv(rows()), options="--group session"),
    "a group that is not known": Input(write=csv(rows()), options="--group signer"),
    "a split by signers that are not known": Input(write=csv(rows()), options="--split signer"),
    "an own split that is not there": Input(write=csv(rows()), options="--split own"),
    "a mistyped split": Input(write=csv(rows()), options="--split singer"),
    "a share of 2": Input(write=csv(rows()), options="--train-ratio 2"),
    "one signer": Input(write=with_column("user", lambda row: "ann"), options="--split signer"),
}
"""What `slipway data inspect` and a training are started with."""

STUDIES: dict[str, Input] = {
    "more folds than clips": Input(write=csv(rows()), options="--folds 100"),
    "one fold": Input(write=csv(rows()), options="--folds 1"),
    "a signer left out of none": Input(write=csv(rows()), options="--leave-out signer"),
    "an unknown column left out": Input(write=csv(rows()), options="--leave-out session"),
    "folds and a signer left out": Input(write=csv(rows()), options="--folds 3 --leave-out signer"),
    "classes of too few clips": Input(write=csv(rows()), options="--min-clips 20"),
}
"""What a training alone is started with."""
