"""Examples of arrays: X and y with what stands beside them, windows, and what the numbers of a frame are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from slipway.training.data.specs import Reading

from .bodies import HANDS, HOLISTIC, ISLR, POSE_HANDS, WORDS, Clip, clips_of, flat, truth
from .example import Example, Made, frame_by_frame, made

ANGLES = 15


def stack(clips: Sequence[Clip], *forms: str, missing: float = 0.0) -> np.ndarray:
    """Return [clips, frames, numbers]."""
    return np.stack([flat(clip, *forms, missing=missing) for clip in clips])


def classes(clips: Sequence[Clip]) -> np.ndarray:
    """Return the number of the class of each clip."""
    return np.array([clip.class_number for clip in clips])


def numbered(of_clips: Made) -> Made:
    """Return the same clips where only the numbers of their classes are known."""
    names = {word: str(number) for number, word in enumerate(WORDS)}
    return Made(
        clips=of_clips.clips,
        labels=[names[label] for label in of_clips.labels],
        groups=of_clips.groups,
        splits=of_clips.splits,
    )


def train_and_test(label_map: object, *, one_hot: bool = True) -> Callable[[Path], Made]:
    """Return what writes X_train.npy and its kin, with a label map if there is one."""

    def write(root: Path) -> Made:
        clips = clips_of("hand", clips=6, centred=True)
        splits = ["test" if clip.number >= 4 else "train" for clip in clips]
        for split in ("train", "test"):
            of_split = [clip for clip, own in zip(clips, splits, strict=True) if own == split]
            y = classes(of_split)
            np.save(root / f"X_{split}.npy", stack(of_split, "xyz"))
            np.save(root / f"y_{split}.npy", np.eye(3)[y] if one_hot else y)
        if label_map is not None:
            (root / "label_map.json").write_text(json.dumps(label_map), encoding="utf-8")
        expected = made(clips, splits=splits)
        return expected if label_map is not None else numbered(expected)

    return write


def in_npz(y: Callable[[np.ndarray], np.ndarray], first: int = 0, **options: object) -> Callable[[Path], Made]:
    """Return what writes X and y of one `.npz`, the labels in another form."""

    def write(root: Path) -> Made:
        clips = clips_of("hand", centred=True)
        np.savez(root / "data.npz", X=stack(clips, "xyz"), y=y(classes(clips)))
        expected = numbered(made(clips))
        return Made(clips=expected.clips, labels=[str(int(label) + first) for label in expected.labels])

    return write


def splits_in_npz(root: Path) -> Made:
    clips = clips_of("hand", clips=6)
    names = {0: "train", 1: "train", 2: "train", 3: "train", 4: "val", 5: "test"}
    arrays = {}
    for split in ("train", "val", "test"):
        of_split = [clip for clip in clips if names[clip.number] == split]
        arrays |= {f"X_{split}": stack(of_split, "xyz"), f"y_{split}": classes(of_split)}
    np.savez(root / "data.npz", **arrays)
    splits = ["validation" if names[clip.number] == "val" else names[clip.number] for clip in clips]
    return numbered(made(clips, splits=splits))


def texts_and_signers(root: Path) -> Made:
    clips = clips_of("hand", frames=(4, 5, 6, 7))
    signers = [f"s{clip.number % 2}" for clip in clips]
    lengths = [len(clip.body["hand"]) for clip in clips]
    padded = np.zeros((len(clips), 7, 21, 3), dtype=np.float32)
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip.body["hand"])] = clip.body["hand"]
    np.savez(
        root / "signs.npz", landmarks=padded, labels=[clip.label for clip in clips], lengths=lengths, signers=signers
    )
    return made(clips, groups={"signer": signers})


def of_another_type(write_array: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Made]:
    """Return what writes data.npy and labels.npy, the numbers in another type or order in memory."""

    def write(root: Path) -> Made:
        clips = clips_of("hand", pixels=True)
        values = write_array(stack(clips, "xy"))
        np.save(root / "data.npy", values)
        np.save(root / "labels.npy", np.array([clip.label for clip in clips]))
        back = values.astype(np.float32).reshape(len(clips), -1, 21, 2)
        return Made(clips=list(back), labels=[clip.label for clip in clips])

    return write


def single_frames(shape: Sequence[int], form: str) -> Callable[[Path], Made]:
    """Return what writes X of single frames, [frames, points, coords] or [frames, numbers]."""

    def write(root: Path) -> Made:
        clips = clips_of("hand")
        values = stack(clips, form)
        np.savez(root / "frames.npz", X=values.reshape(-1, *shape), y=np.repeat(classes(clips), values.shape[1]))
        return frame_by_frame(numbered(made(clips, len(form))))

    return write


def vectors(parts: Sequence[str], forms: Sequence[str], coords: int = 3, **options: object) -> Callable[[Path], Made]:
    """Return what writes [clips, frames, numbers] of some parts."""

    def write(root: Path) -> Made:
        clips = clips_of(*parts, **options)  # type: ignore[arg-type]
        np.savez(root / "data.npz", X=stack(clips, *forms), y=[clip.label for clip in clips])
        return made(clips, coords)

    return write


def channels(root: Path) -> Made:
    values = np.random.default_rng(0).normal(size=(9, 20, 34)).astype(np.float32)
    np.savez(root / "data.npz", X=values, y=list("abc") * 3)
    return Made(clips=list(values[..., None]), labels=list("abc") * 3)


def other_joints(root: Path) -> Made:
    values = np.random.default_rng(0).uniform(0.1, 0.9, (9, 20, 17, 2)).astype(np.float32)
    np.savez(root / "data.npz", X=values.reshape(9, 20, 34), y=list("abc") * 3)
    return Made(clips=list(values), labels=list("abc") * 3)


# windows


def windows_of(clip: Clip, length: int, *, angles: int = ANGLES, form: str = "xyzv", label: bool = True) -> np.ndarray:
    """Return [windows, length, numbers]: the points, angles in degrees, and the number of the class."""
    points = flat(clip, form)
    rng = np.random.default_rng(clip.class_number)
    degrees = np.clip(rng.uniform(20, 160, angles) + rng.normal(0, 5, (len(points), angles)), 0, 180)
    columns = [points, degrees, *([np.full((len(points), 1), float(clip.class_number))] if label else [])]
    rows = np.concatenate(columns, axis=1)
    return np.stack([rows[start : start + length] for start in range(len(rows) - length)])


def windows_made(clips: Sequence[Clip], length: int, recordings: Sequence[str], coords: int = 3) -> Made:
    """Return what must be understood of the windows of recordings."""
    of_clips = [truth(clip, coords) for clip in clips]
    parts = [[values[start : start + length] for start in range(len(values) - length)] for values in of_clips]
    return Made(
        clips=[window for part in parts for window in part],
        labels=[clip.label for clip, part in zip(clips, parts, strict=True) for _ in part],
        groups={"recording": [name for name, part in zip(recordings, parts, strict=True) for _ in part]}
        if recordings[0]
        else {},
    )


def seq_and_raw(root: Path) -> Made:
    clips = clips_of("hand", frames=20, clips=1, words=("come", "away", "spin"))
    for clip in clips:
        np.save(root / f"raw_{clip.label}_1627646273.npy", windows_of(clip, 1)[:, 0])
        np.save(root / f"seq_{clip.label}_1627646273.npy", windows_of(clip, 10))
    return windows_made(clips, 10, [f"seq_{clip.label}_1627646273" for clip in clips])


def in_hangul(root: Path) -> Made:
    clips = clips_of("hand", frames=20, clips=2, words=tuple("ㄱㄴㄷ"))
    names = [f"{clip.label}_오른손_idx_{clip.number + 1}_1-0mp4" for clip in clips]
    for name, clip in zip(names, clips, strict=True):
        np.save(root / f"{name}.npy", windows_of(clip, 10, angles=12, form="xy"))
    return windows_made(clips, 10, names, coords=2)


def windows_in_npz(*, label: bool) -> Callable[[Path], Made]:
    """Return what writes all windows as one array, with or without the label in each frame."""

    def write(root: Path) -> Made:
        clips = clips_of("hand", frames=16, clips=1)
        every = [windows_of(clip, 8, label=label) for clip in clips]
        y = np.repeat(classes(clips), [len(windows) for windows in every])
        np.savez(root / "windows.npz", X=np.concatenate(every), y=y)
        return numbered(windows_made(clips, 8, [""] * len(clips)))

    return write


def _vectors() -> list[Example]:
    """Return an example for each known count of numbers."""
    pose_xyzv = ("xyzv", "xyz", "xyz")
    face_xyzv = ("xyzv", "xyz", "xyz", "xyz")
    known: list[tuple[int, str, Sequence[str], Sequence[str], int, dict[str, object]]] = [
        (42, "a hand", ("hand",), ("xy",), 2, {}),
        (63, "a hand", ("hand",), ("xyz",), 3, {"lost": "hand"}),
        (63, "a hand in pixels with confidences", ("hand",), ("xyc",), 2, {"pixels": True, "lost": "hand"}),
        (84, "a hand with visibility 0", ("hand",), ("xyzv",), 3, {"lost": "hand"}),
        (84, "both hands", HANDS, ("xy",), 2, {"lost": "left_hand"}),
        (99, "a pose", ("pose",), ("xyz",), 3, {}),
        (126, "both hands", HANDS, ("xyz",), 2, {"lost": "left_hand"}),
        (132, "a pose", ("pose",), ("xyzv",), 3, {}),
        (168, "both hands with visibility 0", HANDS, ("xyzv",), 2, {"lost": "right_hand"}),
        (225, "a pose and both hands", POSE_HANDS, ("xyz",), 2, {"lost": "right_hand"}),
        (258, "a pose with visibility and both hands", POSE_HANDS, pose_xyzv, 2, {"lost": "left_hand"}),
        (300, "a pose and both hands, all with visibility", POSE_HANDS, ("xyzv",), 2, {"lost": "left_hand"}),
        (1404, "a face", ("face",), ("xyz",), 3, {}),
        (1503, "a pose and a face", ("pose", "face"), ("xyz",), 2, {}),
        (1536, "a pose with visibility and a face", ("pose", "face"), ("xyzv", "xyz"), 2, {}),
        (1629, "pose, face, left hand, right hand", HOLISTIC, ("xyz",), 2, {"lost": "left_hand"}),
        (1629, "Google's order: face, left hand, pose, right hand", ISLR, ("xyz",), 2, {"lost": "left_hand"}),
        (1662, "pose with visibility, face, both hands", HOLISTIC, face_xyzv, 2, {"lost": "right_hand"}),
        (225, "left hand, right hand, pose", (*HANDS, "pose"), ("xyz",), 2, {}),
        (225, "left hand, pose, right hand", ("left_hand", "pose", "right_hand"), ("xyz",), 2, {"lost": "left_hand"}),
        (258, "left hand, right hand, pose with visibility", (*HANDS, "pose"), ("xyz", "xyz", "xyzv"), 2, {}),
        (
            1662,
            "face, pose with visibility, both hands",
            ("face", "pose", *HANDS),
            ("xyz", "xyzv", "xyz", "xyz"),
            2,
            {},
        ),
        (1662, "pose with visibility, both hands, face", (*POSE_HANDS, "face"), ("xyzv", "xyz", "xyz", "xyz"), 2, {}),
        (2004, "pose and face with visibility", ("pose", "face"), ("xyzv",), 2, {}),
        (2172, "pose, face, both hands, all with visibility", HOLISTIC, ("xyzv",), 2, {"lost": "left_hand"}),
    ]
    return [
        Example(on_disk=f"{count} numbers a frame: {what}", write=vectors(parts, forms, coords, **options))
        for count, what, parts, forms, coords, options in known
    ]


def one_hot(numbers_: np.ndarray) -> np.ndarray:
    return np.eye(3)[numbers_]


ARRAYS = [
    Example(
        on_disk="`X_train.npy`, `y_train.npy` (one-hot), ... and `label_map.json`, a list",
        write=train_and_test(list(WORDS)),
    ),
    Example(
        on_disk="the same, a number for each name",
        write=train_and_test({word: n for n, word in enumerate(WORDS)}, one_hot=False),
    ),
    Example(on_disk="the same without names, labels as numbers", write=train_and_test(None, one_hot=False)),
    Example(on_disk="X, y (one-hot) in one `.npz`", write=in_npz(one_hot)),
    Example(on_disk="X, y (0.0, 1.0, ...) in one `.npz`", write=in_npz(lambda y: y.astype(np.float64))),
    Example(on_disk="X, y (from 1) in one `.npz`", write=in_npz(lambda y: y[:, None] + 1, first=1)),
    Example(on_disk="X_train, y_train, X_val, ... in one `.npz`", write=splits_in_npz),
    Example(on_disk="landmarks, labels (texts), lengths, signers in one `.npz`", write=texts_and_signers),
    Example(
        on_disk="`data.npy` (float64, big endian) and `labels.npy`",
        write=of_another_type(lambda x: x.astype(">f8")),
    ),
    Example(on_disk="the same, int16 pixels", write=of_another_type(lambda x: x.round().astype(np.int16))),
    Example(on_disk="the same, float16 in Fortran order", write=of_another_type(lambda x: np.asfortranarray(x, "f2"))),
    Example(on_disk="X [frames, 21, 3], single frames", write=single_frames((21, 3), "xyz")),
    Example(on_disk="X [frames, 21, 2], single frames", write=single_frames((21, 2), "xy")),
    Example(on_disk="X [frames, 63], single frames", write=single_frames((63,), "xyz")),
    Example(on_disk="X [clips, frames, 84]", write=vectors(("hand",), ("xyzv",), 3, frames=30)),
    Example(on_disk="`seq_come_1627646273.npy` [windows, frames, 100] beside `raw_`", write=seq_and_raw),
    Example(on_disk="`ㄱ_오른손_idx_1_1-0mp4.npy` [windows, frames, 55]", write=in_hangul),
    Example(on_disk="all windows in one `.npz`, 100 numbers with the label", write=windows_in_npz(label=True)),
    Example(on_disk="all windows in one `.npz`, 99 numbers", write=windows_in_npz(label=False)),
    *_vectors(),
    Example(on_disk="34 numbers a frame", write=channels, reading=Reading(landmarks="channels")),
    Example(
        on_disk="34 numbers a frame, 17 joints of another tracker",
        write=other_joints,
        reading=Reading(landmarks="points", coords="xy"),
    ),
]
