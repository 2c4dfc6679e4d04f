"""Reads `.pose` files by the package pose-format: `<class>/<clip>.pose`, or with a table of their classes beside.

The format is https://github.com/sign-language-processing/pose/blob/master/docs/specs/v0.1.md: a header names components,
their points and limbs; a body holds frames, people, points and their confidence, of which 0 is a missing point.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....common.errors import UserError
from ...landmarks import LandmarkLayout
from ...layouts.mediapipe import LIPS, pose_and_hands
from ...layouts.openpose import mirror_of
from ...specs import Reading
from ..growing import GrowingClips
from ..raw import Faults, RawClips
from ..walk import files_by_folder, first_file
from .clip_folders import facts_of_clips

if TYPE_CHECKING:
    from pose_format import Pose
    from pose_format.pose_header import PoseHeader

NAME = "pose"
LOOKS_FOR = "<class>/<clip>.pose of pose-format"
USES: tuple[str, ...] = ("label", "signer")

_ENDING = ".pose"
_SIDE = re.compile(r"^([LR])(?=[A-Z][a-z])")
_ORDER = ("pose", "left_hand", "right_hand")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The points of a file that are kept."""

    points: list[int]
    """Their places among all points of the file."""
    layout: LandmarkLayout
    notes: tuple[str, ...]


def detect(path: Path) -> bool:
    """Return whether a folder holds `.pose` files."""
    return path.suffix.lower() == _ENDING if path.is_file() else first_file(path, _ENDING) is not None


def read(path: Path, reading: Reading) -> RawClips:
    """Return the points of all files by their names; of a face only the lips, world landmarks not at all.

    Raises `UserError` without the package, and with all faults at once.
    """
    pose_class = _pose_class(path)
    folders = files_by_folder(path, _ENDING)
    places = [folder / name for folder, names in folders.items() for name in names]
    if not places:
        raise UserError(f"{path}: no {LOOKS_FOR} in it")
    facts = facts_of_clips(path, places, reading)
    files = [path / places[index] for index in facts.kept]
    faults = Faults(path)
    first: tuple[Path, PoseHeader] | None = None
    selection: Selection | None = None
    clips: GrowingClips | None = None
    num_with_several = 0
    for file in files:
        try:
            pose = _load(pose_class, file)
            if selection is None or clips is None or first is None:
                first, selection = (file, pose.header), _select(pose.header, file)
                clips = GrowingClips(len(selection.points), selection.layout.num_coords)
            elif _points_of(pose.header) != _points_of(first[1]):
                raise UserError(f"{file}: has other points than {first[0]}; estimate all clips with the same model")
            values, num_of_clip = _surest_person(pose)
            num_with_several += num_of_clip
            clips.add(values[:, selection.points, : selection.layout.num_coords])
        except UserError as error:
            faults.add(str(error))
    faults.check()
    assert clips is not None
    assert selection is not None
    values, offsets = clips.finish()
    several = f"in {num_with_several:,} frames with several people the one of highest confidence is kept"
    return RawClips(
        name=path.resolve().name,
        source_format=NAME,
        values=values,
        offsets=offsets,
        labels=facts.labels,
        groups={"signer": facts.signers},
        splits=facts.splits,
        layout=selection.layout,
        notes=(*facts.notes, *selection.notes, *([several] if num_with_several else [])),
        where=lambda index: str(files[index]),
    )


def _pose_class(path: Path) -> type[Pose]:
    try:
        from pose_format import Pose
    except ImportError:
        raise UserError(f"{path}: .pose files need the package pose-format: pip install 'slipway[pose]'") from None
    return Pose


def _load(pose_class: type[Pose], file: Path) -> Pose:
    try:
        return pose_class.read(file.read_bytes())
    except (
        Exception
    ) as error:  # the package raises what its bytes lead to: struct.error, ValueError, UnicodeDecodeError
        raise UserError(f"{file}: is not a complete .pose file ({type(error).__name__}); estimate it again") from None


def _points_of(header: PoseHeader) -> list[tuple[str, list[str]]]:
    return [(component.name, list(component.points)) for component in header.components]


def _surest_person(pose: Pose) -> tuple[np.ndarray, int]:
    """Return the points [frames, points, coords] of the surest person of each frame, and the frames with several."""
    confidence = np.asarray(pose.body.confidence, dtype=np.float32)
    values = np.array(pose.body.data.filled(np.nan) if hasattr(pose.body.data, "filled") else pose.body.data)
    if confidence.shape[1] == 0:
        return np.full((len(values), *values.shape[2:]), np.nan, dtype=np.float32), 0
    sums = confidence.sum(axis=2)
    rows, best = np.arange(len(values)), sums.argmax(axis=1)
    chosen, certain = values[rows, best], confidence[rows, best]
    chosen[~(certain > 0)] = np.nan
    return chosen, int(((sums > 0).sum(axis=1) > 1).sum())


# points


def _select(header: PoseHeader, file: Path) -> Selection:
    """Return the points to keep, part by part, with what their names and limbs say."""
    found: dict[str, tuple[int, Any]] = {}
    left_out, first = [], 0
    for component in header.components:
        part = _part_of(component.name)
        if part is None or part in found:
            left_out.append(component.name)
        else:
            found[part] = (first, component)
        first += len(component.points)
    face = found.pop("face", None)
    if not found:
        raise UserError(f"{file}: has no pose and no hand, but {', '.join(left_out) or 'only a face'}")
    points: list[int] = []
    names: list[str] = []
    bones: list[tuple[int, int]] = []
    hands: dict[str, range] = {}
    for part in sorted(found, key=lambda part: (part not in _ORDER, _ORDER.index(part) if part in _ORDER else 0)):
        start, component = found[part]
        if part.endswith("hand"):
            hands[part] = range(len(names), len(names) + len(component.points))
        bones += [(len(names) + a, len(names) + b) for a, b in component.limbs]
        names += [f"{part}.{_plain_name(point)}" for point in component.points]
        points += range(start, start + len(component.points))
    mirror = mirror_of(names)
    notes = [f"{', '.join(left_out)} left out"] if left_out else []
    if face is not None and (lips := _lips_of(face[1].points)):
        notes.append("of the face the 40 points of the lips are kept")
        lips_mirror = [len(names) + point - 75 for point in pose_and_hands(2, lips=True).mirror[75:]]
        points += [face[0] + lip for lip in lips]
        names += [f"face.{point}" for point in LIPS]
        mirror = (*mirror, *lips_mirror) if mirror else ()
    elif face is not None:
        notes.append("the face is left out")
    num_parts = len({name.split(".")[0] for name in names})
    num_coords = 2 if num_parts > 1 else min(3, header.num_dims())
    if num_parts > 1 and header.num_dims() > 2:
        notes.append("x and y are kept: the depths of several parts have different origins")
    shoulders = tuple(names.index(name) for name in ("pose.left_shoulder", "pose.right_shoulder") if name in names)
    has_shoulders = len(shoulders) == 2
    layout = LandmarkLayout(
        num_landmarks=len(names),
        num_coords=num_coords,
        center=shoulders if has_shoulders else tuple(hand.start for hand in hands.values()),
        scale=((shoulders[0], shoulders[1]),) if has_shoulders else (),
        mirror=mirror,
        parts=tuple((hand.start, hand.stop, hand.start) for hand in hands.values()),
        title=", ".join(dict.fromkeys(_title(name) for name in names)).replace("left hand, right hand", "both hands"),
        names=tuple(names),
        bones=tuple(bones),
    )
    return Selection(points=points, layout=layout, notes=tuple(notes))


def _title(name: str) -> str:
    part = name.split(".")[0]
    return "lips" if part == "face" else part.replace("_", " ")


def _part_of(name: str) -> str | None:
    """Return the part of a body that a component is; `None` for landmarks in metres (world), which say the same again."""
    plain = name.lower()
    if "world" in plain:
        return None
    if "hand" in plain and ("left" in plain or "right" in plain):
        return "left_hand" if "left" in plain else "right_hand"
    if "face" in plain:
        return "face"
    return "pose" if "pose" in plain or "body" in plain else plain


def _plain_name(point: str) -> str:
    """Return a point's name as the layouts write it: `LEFT_SHOULDER` and `LShoulder` are `left_shoulder`."""
    sided = _SIDE.sub(lambda side: {"L": "left_", "R": "right_"}[side[1]], point)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", sided).lower().replace("_finger_", "_")


def _lips_of(points: list[str]) -> list[int]:
    """Return the places of MediaPipe's lips among the points of a face, which it names by number; empty if one is not there."""
    places = {point: place for place, point in enumerate(points)}
    found = [places.get(str(lip)) for lip in LIPS]
    return [place for place in found if place is not None] if None not in found else []
