"""Generates the embedded data set: fingerspelled letters by an articulated hand, so that a run needs no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..landmarks import SIGNER, LandmarkData
from ..layouts.mediapipe import one_hand
from .handshapes import (
    ANGLES_PER_FINGER,
    BONES,
    FINGER_ANGLES,
    LETTERS,
    NUM_LANDMARKS,
    ORIENTATION_ANGLES,
    POSE_ANGLES,
    POSES,
    ROOTS,
    STROKES,
    THUMB_ANGLES,
    TURNS,
    hand_points,
    rotations,
)

MIN_FRAMES, MAX_FRAMES = 16, 48
TEST_SHARE = VALIDATION_SHARE = 0.15

_FRAMES_PER_SECOND = 25.0
_FLEXIONS = [angle for angle in range(FINGER_ANGLES) if angle % ANGLES_PER_FINGER != ANGLES_PER_FINGER - 1]
_FREEDOM = np.concatenate(
    [np.tile([1.0, 1.0, 1.0, 0.45], 4), np.full(THUMB_ANGLES, 0.9), np.full(ORIENTATION_ANGLES, 1.4)]
)
"""How freely each angle of a pose varies: a finger's spread distinguishes U and V, so less than the rest."""


@dataclass(frozen=True, kw_only=True)
class _Signer:
    """A person: hand, habits and camera. Angles in degrees, lengths in hand lengths."""

    roots: np.ndarray
    bones: np.ndarray
    accent: np.ndarray
    """What this signer adds to each letter's pose, [26, POSE_ANGLES]."""
    view: np.ndarray
    """Yaw, pitch and roll of the camera."""
    pace: float
    """Frames of a clip, as a share of the way from the fewest to the most."""
    tremor: float
    noise: float
    """The tracker's error for this signer, as a factor of the usual error."""


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """The random choices of a clip, before anything is computed."""

    frames: int
    letters: np.ndarray
    """The letter before, the clip's own, and the one after, [3]."""
    marks: np.ndarray
    """When the letter begins to form, is formed, begins to dissolve, is gone: in clip lengths, [4]."""
    reach: float
    """How much of the letter's shape is reached: in fast signing less than all."""
    looseness: np.ndarray
    """What all frames of the clip add to the pose, [POSE_ANGLES]."""
    tremor: np.ndarray
    """Size, frequency in hertz and phase of the tremor of each angle, [3, POSE_ANGLES]."""
    places: np.ndarray
    """The place of the hand for each of the three letters, [3, 3]."""
    stroke: float
    """How large a moving letter is drawn, as a factor of its size in the table."""
    view: np.ndarray
    distance: float
    """Of the camera from the hand, in hand lengths."""
    size: float
    """Of a hand length in the image, in image widths."""
    position: np.ndarray
    depth: float
    """The share of the true depth that the tracker sees."""
    bias: np.ndarray
    """The tracker's error in all frames of the clip, [21, 3]."""
    noise: np.ndarray
    """Its error in each frame, [frames, 21, 3]."""
    lost: np.ndarray
    """The points that it does not see, [frames, 21]."""


def make_fingerspelling(*, seed: int = 0, clips_per_letter: int = 120, num_signers: int = 40) -> LandmarkData:
    """Return clips of the 26 letters of the American manual alphabet, [frames, 21, 3] each, by right-handed signers.

    A clip goes from a random letter's shape through its own letter's towards a third one's. Axes are right, down and
    away from the camera, in image widths; missing points are NaN. The `split` column keeps signers apart: 70 % of them
    are in train, 15 % in validation, 15 % in test. Signers take turns over the clips of a letter, and a clip is a
    function of (seed, signer, clip). Raises ValueError where a split would lack a letter.
    """
    if num_signers < 3 or clips_per_letter < num_signers:
        raise ValueError(
            "every split needs a signer and every signer every letter: 3 <= num_signers <= clips_per_letter, "
            f"got num_signers={num_signers} and clips_per_letter={clips_per_letter}"
        )
    layout = one_hand(num_coords=3)
    signers = [_draw_signer(seed, number) for number in range(num_signers)]
    labels = np.tile(np.arange(len(LETTERS)), clips_per_letter)
    signer_of = np.repeat(np.arange(clips_per_letter) % num_signers, len(LETTERS))
    draws = [
        _draw_clip(signers[signer], int(label), _generator(seed, int(signer), clip))
        for clip, (label, signer) in enumerate(zip(labels, signer_of, strict=True))
    ]
    landmarks, lengths = _render(signers, signer_of, draws)
    splits = _split_signers(seed, num_signers)
    return LandmarkData(
        name="synthetic-fingerspelling",
        source_format="synthetic",
        layout=layout,
        values=landmarks.astype(np.float32, copy=False),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        labels=labels,
        class_names=tuple(LETTERS),
        groups={SIGNER: [f"signer-{number:02d}" for number in signer_of]},
        own_split=[splits[number] for number in signer_of],
        synthetic=True,
    )


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _split_signers(seed: int, num_signers: int) -> list[str]:
    """Return the split of each signer, at least one signer in each."""
    order = _generator(seed).permutation(num_signers)
    num_test = max(1, round(TEST_SHARE * num_signers))
    num_validation = max(1, round(VALIDATION_SHARE * num_signers))
    splits = np.full(num_signers, "train", dtype=object)
    splits[order[:num_test]] = "test"
    splits[order[num_test : num_test + num_validation]] = "validation"
    return list(splits)


def _draw_signer(seed: int, number: int) -> _Signer:
    rng = _generator(seed, number)
    roots = ROOTS * rng.normal(1.0, (0.10, 0.03, 0.03), 3)
    digits = rng.normal(1.0, 0.05) * rng.normal(1.0, 0.05, (5, 1))
    return _Signer(
        roots=roots,
        bones=BONES * digits * rng.normal(1.0, 0.03, BONES.shape),
        accent=(rng.normal(0.0, 4.0, POSE_ANGLES) + rng.normal(0.0, 5.0, (len(LETTERS), POSE_ANGLES))) * _FREEDOM,
        view=rng.normal(0.0, (22.0, 14.0, 12.0)),
        pace=rng.uniform(-0.25, 0.25),
        tremor=rng.uniform(0.5, 2.0),
        noise=rng.uniform(0.6, 1.4),
    )


def _draw_clip(signer: _Signer, label: int, rng: np.random.Generator) -> _Clip:
    share = np.clip(rng.uniform() ** 1.5 + signer.pace, 0.0, 1.0)
    frames = round(MIN_FRAMES + share * (MAX_FRAMES - MIN_FRAMES))
    others = (label + rng.integers(1, len(LETTERS), 2)) % len(LETTERS)
    begins, leaves = rng.uniform(-0.15, 0.10), rng.uniform(0.65, 0.90)
    sees_depth_badly = rng.random() < 0.25
    error = np.array([1.0, 1.0, 6.0 if sees_depth_badly else 2.5]) * signer.noise
    lost = rng.random((frames, NUM_LANDMARKS)) < 0.01
    lost |= rng.random((frames, 1)) < 0.03
    if rng.random() < 0.3:
        first = rng.integers(0, frames)
        lost[first : first + rng.integers(2, 5)] = True
    return _Clip(
        frames=frames,
        letters=np.array([others[0], label, others[1]]),
        marks=np.array([begins, begins + rng.uniform(0.15, 0.30), leaves, leaves + rng.uniform(0.15, 0.30)]),
        reach=rng.uniform(0.88, 1.0),
        looseness=rng.normal(0.0, 4.0, POSE_ANGLES) * _FREEDOM,
        tremor=np.stack(
            [
                rng.normal(0.0, signer.tremor, POSE_ANGLES),
                rng.uniform(2.0, 7.0, POSE_ANGLES),
                rng.uniform(0.0, 2.0 * np.pi, POSE_ANGLES),
            ]
        ),
        places=rng.normal(0.0, 0.12, (3, 3)),
        stroke=rng.uniform(0.7, 1.2),
        view=signer.view + rng.normal(0.0, (15.0, 12.0, 12.0)),
        distance=rng.uniform(6.0, 14.0),
        size=rng.uniform(0.06, 0.18),
        position=rng.uniform(0.25, 0.75, 2),
        depth=rng.uniform(0.4, 1.1),
        bias=rng.normal(0.0, 0.02, (NUM_LANDMARKS, 3)) * error,
        noise=rng.normal(0.0, 0.02, (frames, NUM_LANDMARKS, 3)) * error,
        lost=lost,
    )


def _render(signers: list[_Signer], signer_of: np.ndarray, clips: list[_Clip]) -> tuple[np.ndarray, np.ndarray]:
    """Return all clips end to end, float32 [total_frames, 21, 3] with lost points as NaN, and their lengths [clips]."""
    lengths = np.array([clip.frames for clip in clips])
    clip_of = np.repeat(np.arange(len(clips)), lengths)
    frame = np.arange(len(clip_of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)

    def of_clip(name: str) -> np.ndarray:
        return np.stack([getattr(clip, name) for clip in clips])[clip_of]

    def of_signer(name: str) -> np.ndarray:
        return np.stack([getattr(signer, name) for signer in signers])[signer_of][clip_of]

    weights, progress = _blend(frame / (lengths[clip_of] - 1), of_clip("marks"), of_clip("reach"))
    letters = of_clip("letters")
    accents = np.stack([signer.accent for signer in signers])[signer_of[clip_of][:, None], letters]
    poses = np.einsum("fl,fla->fa", weights, POSES[letters] + accents)
    size, hertz, phase = of_clip("tremor").transpose(1, 0, 2)
    tremor = size * np.sin(2.0 * np.pi * hertz * frame[:, None] / _FRAMES_PER_SECOND + phase)
    stroke, turn = _movement(letters[:, 1], progress)
    poses = poses + of_clip("looseness") + tremor
    poses[:, -ORIENTATION_ANGLES:] += turn * weights[:, 1:2]
    poses[:, _FLEXIONS] = np.maximum(poses[:, _FLEXIONS], -8.0)
    points = hand_points(poses, of_signer("roots"), of_signer("bones"))
    path = np.einsum("fl,fla->fa", weights, of_clip("places"))
    path[:, :2] += stroke * (weights[:, 1] * of_clip("stroke"))[:, None]
    points += path[:, None]
    points = points @ rotations(of_clip("view")).transpose(0, 2, 1)
    seen = _camera(points, of_clip("distance"), of_clip("depth"))
    seen += np.concatenate([clip.bias + clip.noise for clip in clips])
    seen *= of_clip("size")[:, None, None]
    seen[:, :, :2] += of_clip("position")[:, None]
    seen[np.concatenate([clip.lost for clip in clips])] = np.nan
    # Rounded, so that the last bits of a sine, which differ between processors, do not change the data.
    return np.round(seen, 5).astype(np.float32), lengths


def _blend(time: np.ndarray, marks: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the three letters in each frame, [frames, 3], and the progress of its stroke, [frames].

    `time` is [frames] in clip lengths, `marks` [frames, 4] and `reach` [frames] as in `_Clip`.
    """
    forming = _ease((time - marks[:, 0]) / (marks[:, 1] - marks[:, 0]))
    passing = _ease((time - marks[:, 1]) / (marks[:, 2] - marks[:, 1]))
    dissolving = _ease((time - marks[:, 2]) / (marks[:, 3] - marks[:, 2]))
    own = reach * forming * (1.0 - dissolving)
    starts = marks[:, :2].mean(axis=1)
    progress = np.clip((time - starts) / (marks[:, 2] - starts), 0.0, 1.0)
    return np.stack([(1.0 - own) * (1.0 - passing), own, (1.0 - own) * passing], axis=1), progress


def _ease(fraction: np.ndarray) -> np.ndarray:
    """Return the course of a minimum-jerk movement (Flash and Hogan, 1985): 0 before it, 1 after it."""
    fraction = np.clip(fraction, 0.0, 1.0)
    return fraction**3 * (10.0 - 15.0 * fraction + 6.0 * fraction**2)


def _movement(letters: np.ndarray, progress: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the place in the stroke of a moving letter, [frames, 2], and how far it has turned the hand, [frames, 3]."""
    stroke, turn = np.zeros((len(letters), 2)), np.zeros((len(letters), 3))
    for letter, path in STROKES.items():
        chosen = letters == LETTERS.index(letter)
        corners = np.linspace(0.0, 1.0, len(path))
        stroke[chosen] = np.stack([np.interp(progress[chosen], corners, axis) for axis in path.T], axis=1)
    for letter, angles in TURNS.items():
        chosen = letters == LETTERS.index(letter)
        turn[chosen] = progress[chosen, None] * np.array(angles)
    return stroke, turn


def _camera(points: np.ndarray, distance: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return the points as a camera in front of the hand sees them: right, down and away from it, near ones larger."""
    nearness = 1.0 / (1.0 - points[:, :, 2] / distance[:, None])
    return np.stack(
        [points[:, :, 0] * nearness, -points[:, :, 1] * nearness, -points[:, :, 2] * depth[:, None]], axis=2
    )
