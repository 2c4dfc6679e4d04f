"""`slipway data record`: write clips of a sign from a camera or from videos."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np
from rich.console import Console

from ...common.conversion import convert
from ...common.errors import EXIT_INTERRUPTED, UserError
from ...common.small_files import expanded
from ...observers.screen.console import make_console
from ..texts import count, percent
from .clip_files import ClipFolder
from .sources import FrameSource, open_camera, open_video
from .trackers import HandsTracker, HolisticTracker, Tracker

_TRACKERS: dict[str, Callable[[], Tracker]] = {"hands": HandsTracker, "holistic": HolisticTracker}
_COUNTDOWN_SECONDS = 3
_CAMERA_SECONDS = 2.0
_MOST_EMPTY = 3
"""Clips in a row in which nothing is seen, before a recording from a camera ends."""

Frames = Iterable[tuple[float, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be recorded."""

    label: str
    signer: str
    clips: int | None
    """None: one from a camera, all from a video."""
    seconds: float | None
    """The length of a clip; None: 2 s from a camera, a whole video."""


def run(options: argparse.Namespace) -> int:
    """Record clips and say what was written; return 0, or 130 after an interrupt. Raises `UserError`."""
    wanted = _read_options(options)
    if options.camera is not None and options.videos:
        raise UserError("--camera and videos are two sources: give one of them")
    camera = convert(options.camera or "0", int, "--camera")
    tracker = _TRACKERS[options.landmarks]()
    folder = ClipFolder(expanded(options.out))
    console = make_console(stderr=False)
    written = 0
    try:
        if options.videos:
            for video in options.videos:
                with_source = open_video(expanded(video))
                for _ in record_video(with_source, tracker, wanted, folder, console):
                    written += 1
        else:
            for _ in record_camera(open_camera(camera), tracker, wanted, folder, console):
                written += 1
    except KeyboardInterrupt:
        console.print(f"stopped: {count(written, 'clip')} kept in {folder.folder}", soft_wrap=True)
        return EXIT_INTERRUPTED
    finally:
        tracker.close()
    if not written:
        raise UserError(
            "no landmarks were seen in any clip, so none was kept: is the signer in the picture, in good light?"
        )
    console.print(f"{count(written, 'clip')} added to {folder.folder}", soft_wrap=True)
    console.print(f"look at them: slipway data inspect {quote(str(folder.folder))}", soft_wrap=True)
    return 0


def _read_options(options: argparse.Namespace) -> Wanted:
    clips = None if options.clips is None else convert(options.clips, int, "--clips")
    seconds = None if options.seconds is None else convert(options.seconds, float, "--seconds")
    if clips is not None and clips < 1:
        raise UserError(f"--clips: must be at least 1, got {clips}")
    if seconds is not None and seconds <= 0:
        raise UserError(f"--seconds: must be above 0, got {seconds:g}")
    if not options.label.strip():
        raise UserError("--label: give the name of the sign")
    return Wanted(label=options.label.strip(), signer=options.signer.strip(), clips=clips, seconds=seconds)


def record_video(
    source: FrameSource, tracker: Tracker, wanted: Wanted, folder: ClipFolder, console: Console
) -> Iterator[Path]:
    """Write the clips of a video and yield their files: the whole of it, or pieces of `wanted.seconds` each.

    A last piece that is shorter is left out, and so are clips in which nothing is seen; both are said.
    """
    seconds = wanted.seconds
    pieces = itertools.groupby(
        source.frames(), key=lambda frame: 0 if seconds is None else int(frame[0] / seconds + 1e-9)
    )
    full = 0
    try:
        for number, (_, frames) in enumerate(pieces, 1):
            if wanted.clips is not None and number > wanted.clips:
                return
            points, times = _track(frames, tracker, console, f"{source.name}, clip {number}")
            full = max(full, len(points))
            if seconds is not None and len(points) < full - 1:
                console.print(f"{source.name}: the last {count(len(points), 'frame')} left out, less than a clip")
            elif path := _keep(points, times, source, tracker, wanted, folder, console):
                yield path
    finally:
        source.close()
    if not full:
        raise UserError(f"{source.name}: holds no frames")


def record_camera(
    source: FrameSource,
    tracker: Tracker,
    wanted: Wanted,
    folder: ClipFolder,
    console: Console,
    countdown_seconds: float = _COUNTDOWN_SECONDS,
) -> Iterator[Path]:
    """Write clips from a camera and yield their files, each after a countdown; one in which nothing is seen is repeated.

    Raises `UserError` when nothing is seen several times in a row.
    """
    frames = source.frames()
    wanted_clips = wanted.clips or 1
    number, empty = 1, 0
    try:
        while number <= wanted_clips:
            title = f"{wanted.label}, clip {number} of {wanted_clips}"
            with console.status("") as status:
                start = None
                for moment, _ in frames:  # read during the countdown too: a camera hands out old frames first
                    start = moment if start is None else start
                    left = countdown_seconds - (moment - start)
                    if left <= 0:
                        break
                    status.update(f"{title}: in {left:.0f} s")
                status.update(f"{title}: recording")
                taken = _take(frames, wanted.seconds or _CAMERA_SECONDS)
            points, times = _track(taken, tracker, console, title)
            path = _keep(points, times, source, tracker, wanted, folder, console)
            if path is not None:
                number, empty = number + 1, 0
                yield path
                continue
            empty += 1
            if empty == _MOST_EMPTY:
                raise UserError(
                    f"nothing was seen in {empty} clips in a row: is the signer in the picture, in good light?"
                )
    finally:
        source.close()


def _take(frames: Iterator[tuple[float, np.ndarray]], seconds: float) -> list[tuple[float, np.ndarray]]:
    """Return the frames of the next seconds. They are kept until all are taken: to track takes longer than a frame."""
    taken: list[tuple[float, np.ndarray]] = []
    for moment, frame in frames:
        if taken and moment - taken[0][0] >= seconds:
            break
        taken.append((moment, frame.copy()))
    return taken


def _track(frames: Frames, tracker: Tracker, console: Console, title: str) -> tuple[np.ndarray, list[float]]:
    """Return the points of frames, float32 [frames, points, 3], and the seconds of each."""
    tracker.restart()
    found, times = [], []
    with console.status(f"{title}: finding landmarks") as status:
        for moment, frame in frames:
            found.append(tracker.track(frame))
            times.append(moment)
            status.update(f"{title}: finding landmarks, {count(len(found), 'frame')}")
    return np.stack(found) if found else np.empty((0, sum(tracker.parts.values()), 3), dtype=np.float32), times


def _keep(
    points: np.ndarray,
    times: list[float],
    source: FrameSource,
    tracker: Tracker,
    wanted: Wanted,
    folder: ClipFolder,
    console: Console,
) -> Path | None:
    """Write a clip and say what was seen; return its file, or `None` if nothing was seen."""
    seen = _seen(points, tracker.parts)
    if not any(seen.values()):
        console.print(f"{source.name}: nothing seen in {count(len(points), 'frame')}, not kept")
        return None
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
    path = folder.add(
        points,
        label=wanted.label,
        signer=wanted.signer,
        recording=source.name,
        about={
            "frames_per_second": round(rate, 3),
            "parts": list(tracker.parts),
            "recorded": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    )
    shown = ", ".join(f"{part.replace('_', ' ')} {percent(share)}" for part, share in seen.items())
    console.print(f"{path.name}: {count(len(points), 'frame')}, {rate:.0f} a second; seen: {shown}", soft_wrap=True)
    return path


def _seen(points: np.ndarray, parts: dict[str, int]) -> dict[str, float]:
    """Return the share of frames in which each part is seen."""
    edges = np.cumsum([0, *parts.values()])
    return {
        part: float((~np.isnan(points[:, start:stop, 0])).any(axis=1).mean())
        for part, (start, stop) in zip(parts, itertools.pairwise(edges.tolist()), strict=True)
    }
