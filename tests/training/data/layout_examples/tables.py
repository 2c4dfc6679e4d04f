"""Examples of tables: coords.csv, keypoint.csv and their kin, encodings, lists of files, SPOTER, time series."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from slipway.training.data.layouts.openpose import HAND, UPPER_BODY
from slipway.training.data.specs import Reading

from .bodies import HANDS, HOLISTIC, POSE_HANDS, Clip, clips_of, flat, numbers, truth
from .example import Example, Made, frame_by_frame, made

KOREAN = ("주먹", "보", "가위")


def write_rows(
    file: Path, rows: Sequence[Sequence[object]], header: Sequence[str] = (), *, sep: str = ",", encoding: str = "utf-8"
) -> None:
    """Write a text table."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding=encoding, newline="") as opened:
        csv.writer(opened, delimiter=sep, lineterminator="\n").writerows([*([header] if header else []), *rows])


def frames_with_labels(clips: Sequence[Clip], *forms: str, number: bool = False) -> list[list[object]]:
    """Return a row for each frame: the label, or the number of the class, and the numbers."""
    return [
        [clip.class_number if number else clip.label, *frame] for clip in clips for frame in flat(clip, *forms).tolist()
    ]


def coords_csv(*parts: str) -> Callable[[Path], Made]:
    """Return what writes coords.csv of the body-language tutorial."""

    def write(root: Path) -> Made:
        clips = clips_of(*parts)
        rows = frames_with_labels(clips, "xyzv")
        header = ["class", *(f"{axis}{n}" for n in range(1, len(rows[0]) // 4 + 1) for axis in "xyzv")]
        write_rows(root / "coords.csv", rows, header)
        return frame_by_frame(made(clips))

    return write


def keypoint_csv(root: Path) -> Made:
    clips = clips_of("hand", centred=True)
    write_rows(root / "keypoint.csv", frames_with_labels(clips, "xy", number=True))
    write_rows(root / "keypoint_classifier_label.csv", [["hello"], ["thanks"], ["yes"]], encoding="utf-8-sig")
    return frame_by_frame(made(clips, 2))


def point_history(root: Path) -> Made:
    rng = np.random.default_rng(0)
    tracks = rng.uniform(-0.2, 0.2, (9, 16, 1, 2)).round(5)
    rows = [[n // 3, *track.reshape(-1).tolist()] for n, track in enumerate(tracks)]
    write_rows(root / "point_history.csv", rows)
    return Made(clips=list(tracks.astype(np.float32)), labels=[str(n // 3) for n in range(9)])


def in_pixels(root: Path) -> Made:
    clips = clips_of("hand", pixels=True)
    rows = [[*frame, clip.label] for clip in clips for frame in flat(clip, "xy").round().astype(int).tolist()]
    write_rows(root / "train.csv", rows, [*map(str, range(42)), "label"])
    return frame_by_frame(
        Made(clips=[np.round(truth(clip, 2)) for clip in clips], labels=[clip.label for clip in clips])
    )


def with_more_columns(root: Path) -> Made:
    clips = clips_of("hand", clips=4)
    signers = [f"P{clip.number % 2}" for clip in clips]
    rows: list[list[object]] = []
    for clip, signer in zip(clips, signers, strict=True):
        for frame in flat(clip, "xyz").tolist():
            rows.append([len(rows), 0.04 * len(rows), signer, *frame, clip.label])
    axes = [f"{axis}{n}" for n in range(21) for axis in "xyz"]
    write_rows(root / "data.csv", rows, ["", "Time", "subject_id", *axes, "gesture"])
    return frame_by_frame(made(clips, groups={"signer": signers}))


def with_commas(root: Path) -> Made:
    clips = clips_of("hand")
    rows = [[clip.label, *(str(x).replace(".", ",") for x in frame)] for clip in clips for frame in flat(clip, "xyz")]
    write_rows(root / "data.csv", rows, ["Klasse", *(f"{a}{n}" for n in range(21) for a in "xyz")], sep=";")
    return frame_by_frame(made(clips))


def rows_of_clips(root: Path) -> Made:
    clips = clips_of("hand", frames=(5, 6, 7, 8))
    rows = [
        [f"{clip.label}_{clip.number}", number, clip.label, *frame]
        for clip in clips
        for number, frame in enumerate(flat(clip, "xyz").tolist())
    ]
    header = ["sequence_id", "frame", "label", *(f"{a}_{n}" for a in "xyz" for n in range(21))]
    order = np.array([3 * point + axis for axis in range(3) for point in range(21)])
    rows = [[*row[:3], *np.array(row[3:])[order].tolist()] for row in rows]
    write_rows(root / "landmarks.csv", rows, header)
    recordings = [f"{clip.label}_{clip.number}" for clip in clips]
    return made(clips, groups={"recording": recordings})


def in_korean(encoding: str) -> Callable[[Path], Made]:
    """Return what writes keypoint.csv with its names in an encoding."""

    def write(root: Path) -> Made:
        clips = clips_of("hand", words=KOREAN, centred=True)
        write_rows(root / "keypoint.csv", frames_with_labels(clips, "xy"), encoding=encoding)
        return frame_by_frame(made(clips, 2))

    return write


def manifest(suffix: str) -> Callable[[Path], Made]:
    """Return what writes a list of clips, and an `.npz` for each in the folder of its signer."""

    def write(root: Path) -> Made:
        clips = clips_of("hand", frames=(5, 6, 7, 8), lost="hand")
        rows = []
        for clip in clips:
            path = f"user{clip.number % 2}/{clip.label}_{clip.number}.npz"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            np.savez(root / path, landmarks=numbers(clip, "xyz").astype(np.float32))
            rows.append([clip.label, f"user{clip.number % 2}", path, 30.0, "test" if clip.number > 2 else "train"])
        table = pd.DataFrame(rows, columns=["symbol", "signer_id", "landmark_path", "fps", "split"])
        if suffix == "csv":
            table.to_csv(root / "manifest.csv", index=False)
        else:
            table.to_parquet(root / "manifest.parquet")
        signers = [f"user{clip.number % 2}" for clip in clips]
        splits = ["test" if clip.number > 2 else "train" for clip in clips]
        return made(clips, groups={"signer": signers}, splits=splits)

    return write


def spoter(root: Path) -> Made:
    rng = np.random.default_rng(0)
    names = [f"pose.{name}" for name in UPPER_BODY] + [f"{side}.{name}" for side in HANDS for name in HAND]
    columns = [_spoter_name(name) for name in names]
    rows, clips, labels = [], [], []
    for number in range(6):
        clip = rng.uniform(0.1, 0.9, (4 + number % 2, len(names), 2)).round(5)
        clip[1, 12:33] = 0.0
        cells = [str(clip[:, point, axis].tolist()) for point in range(len(names)) for axis in range(2)]
        rows.append([*cells, number // 2])
        clips.append(np.where((clip == 0).all(axis=2, keepdims=True), np.nan, clip).astype(np.float32))
        labels.append(str(number // 2))
    write_rows(root / "WLASL100_train.csv", rows, [*(f"{name}_{axis}" for name in columns for axis in "XY"), "labels"])
    return Made(clips=clips, labels=labels)


def _spoter_name(name: str) -> str:
    part, point = name.split(".")
    if part == "pose":
        first, *rest = point.split("_")
        return first + "".join(word.title() for word in rest)
    words = {"thumb_mcp": "thumb_MP", "thumb_cmc": "thumb_CMC", "thumb_ip": "thumb_IP"}.get(point, point)
    finger, _, joint = words.partition("_")
    finger = "little" if finger == "pinky" else finger
    joint = joint.title() if joint == "tip" else joint.upper()
    return f"{finger}{joint}_{'left' if part == 'left_hand' else 'right'}"


def frame_table(root: Path) -> Made:
    rng = np.random.default_rng(0)
    videos = {f"v{number}": rng.uniform(1, 300, (20, 2, 2)).round(2) for number in range(3)}
    rows = [[name, n, *frame.reshape(-1).tolist()] for name, video in videos.items() for n, frame in enumerate(video)]
    write_rows(root / "hands.csv", rows, ["video", "frame", "left-x", "left-y", "right-x", "right-y"])
    segments = [
        (f"v{n}", start, start + 5, word, f"s{n}") for n in range(3) for start, word in ((2, "GO"), (10, "HOUSE"))
    ]
    write_rows(root / "train_words.csv", segments[:4], ["video", "start", "end", "word", "speaker"])
    write_rows(root / "test_words.csv", segments[4:], ["video", "start", "end", "word", "speaker"])
    return Made(
        clips=[videos[video][start : end + 1].astype(np.float32) for video, start, end, _, _ in segments],
        labels=[word for *_, word, _ in segments],
        groups={"signer": [signer for *_, signer in segments], "recording": [video for video, *_ in segments]},
        splits=["train"] * 4 + ["test"] * 2,
    )


def libras(root: Path) -> Made:
    tracks = np.random.default_rng(0).uniform(0.1, 0.9, (6, 45, 1, 2)).round(5)
    lines = [" ".join([*map(str, track.reshape(-1).tolist()), str(n // 2 + 1)]) for n, track in enumerate(tracks)]
    (root / "movement_libras.data").write_text("\n".join(lines) + "\n")
    return Made(clips=list(tracks.astype(np.float32)), labels=[str(n // 2 + 1) for n in range(6)])


def uea(root: Path) -> Made:
    rng = np.random.default_rng(0)
    series = {split: rng.normal(size=(4, 5, 8)).round(5) for split in ("TRAIN", "TEST")}
    for split, cases in series.items():
        lines = ["@problemName Signs", "@timeStamps false", "@univariate false", "@classLabel true a b", "@data"]
        for number, case in enumerate(cases):
            lines.append(":".join([*(",".join(map(str, channel)) for channel in case.tolist()), "ab"[number % 2]]))
        (root / f"Signs_{split}.ts").write_text("\n".join(lines) + "\n")
    cases = np.concatenate([series["TRAIN"], series["TEST"]])
    return Made(
        clips=[case.T[:, :, None].astype(np.float32) for case in cases],
        labels=list("abab" * 2),
        splits=["train"] * 4 + ["test"] * 4,
    )


def sensors(root: Path) -> Made:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(12, 11)) * (rng.random((12, 11)) > 0.2)).round(4)
    header = [*(f"flex{n}" for n in range(5)), *(f"{kind}_{a}" for kind in ("acc", "gyro") for a in "xyz"), "sign"]
    write_rows(root / "glove.csv", [[*row, "ab"[n % 2]] for n, row in enumerate(values.tolist())], header)
    return Made(clips=list(values[:, None, :, None].astype(np.float32)), labels=list("ab" * 6))


def named_points(root: Path) -> Made:
    clips = clips_of("hand")
    names = [f"{name}_{axis}" for name in HAND for axis in "xyz"]
    write_rows(root / "hand.csv", frames_with_labels(clips, "xyz"), ["label", *names])
    return frame_by_frame(made(clips))


TABLES = [
    Example(on_disk="`coords.csv` (class, x1, y1, z1, v1, ...), a hand", write=coords_csv("hand")),
    Example(on_disk="`coords.csv`, a pose", write=coords_csv("pose")),
    Example(on_disk="`coords.csv`, pose and face (501 points)", write=coords_csv("pose", "face")),
    Example(on_disk="`coords.csv`, pose, face, both hands (543 points)", write=coords_csv(*HOLISTIC)),
    Example(on_disk="`coords.csv`, pose and both hands (75 points)", write=coords_csv(*POSE_HANDS)),
    Example(
        on_disk="`keypoint.csv`, class numbers first, names in `keypoint_classifier_label.csv`", write=keypoint_csv
    ),
    Example(on_disk="`point_history.csv`", write=point_history),
    Example(on_disk="a CSV 0, 1, ..., 41, label, in pixels", write=in_pixels),
    Example(on_disk="a CSV of row numbers, Time, subject_id, x0, ..., gesture", write=with_more_columns),
    Example(on_disk="a CSV with semicolons and decimal commas", write=with_commas),
    Example(on_disk="a CSV of sequence_id, frame, label, x_0, x_1, ..., z_20", write=rows_of_clips),
    Example(on_disk="a CSV of wrist_x, wrist_y, ..., pinky_tip_z", write=named_points),
    Example(on_disk="a CSV in UTF-8 with a mark (BOM), Hangul classes", write=in_korean("utf-8-sig")),
    Example(on_disk="a CSV in cp949, Hangul classes", write=in_korean("cp949"), reading=Reading(encoding="cp949")),
    Example(
        on_disk="a CSV of a data glove",
        write=sensors,
        reading=Reading(landmarks="channels"),
    ),
    Example(on_disk="`manifest.csv` and an `.npz` a clip", write=manifest("csv")),
    Example(on_disk="`manifest.parquet` and an `.npz` a clip", write=manifest("parquet")),
    Example(on_disk="SPOTER's CSV, a list in each cell", write=spoter),
    Example(on_disk="a table of frames and tables of segments", write=frame_table),
    Example(on_disk="`movement_libras.data`", write=libras),
    Example(on_disk="UEA `_TRAIN.ts` and `_TEST.ts`", write=uea),
]
