"""Where frames come from: a camera or a video, by OpenCV."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...common.errors import UserError
from .extra import import_extra

_USUAL_RATE = 30.0


class Capture(Protocol):
    """What this module needs of `cv2.VideoCapture`."""

    def read(self) -> tuple[bool, Any]:
        """Return whether there was a frame, and the frame, uint8 [height, width, BGR]."""

    def get(self, property_number: int) -> float:
        """Return a property, 0 if it is unknown."""

    def release(self) -> None:
        """Give the camera or the file back."""


class FrameSource:
    """Frames with their time.

    Attributes:
        name: The name of the recording: a video's file, or when the camera was opened.
        is_live: Whether frames come as time passes, and are lost if nobody reads them.

    """

    def __init__(
        self, capture: Capture, name: str, *, is_live: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` tells the seconds of a live source."""
        self.name = name
        self.is_live = is_live
        self._capture = capture
        self._clock = clock
        rate = 0.0 if is_live else float(capture.get(_FRAMES_PER_SECOND))
        self._rate = rate if 1.0 <= rate <= 1000.0 else _USUAL_RATE

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield the frames that are left, each as (seconds, uint8 [height, width, RGB]); a camera's never end."""
        number = 0
        while True:
            there, frame = self._capture.read()
            if not there:
                if self.is_live:
                    raise UserError(
                        f"{self.name}: the camera gives no more frames; is it unplugged, or used elsewhere?"
                    )
                return
            yield self._clock() if self.is_live else number / self._rate, frame[..., ::-1]
            number += 1

    def close(self) -> None:
        """Give the camera or the file back."""
        self._capture.release()


_FRAMES_PER_SECOND = 5
"""`cv2.CAP_PROP_FPS`."""


def open_camera(number: int) -> FrameSource:
    """Return the frames of a camera by its number. Raises `UserError` if it does not open."""
    capture = import_extra("cv2").VideoCapture(number)
    if not capture.isOpened():
        raise UserError(f"--camera {number}: no camera opens; give another number, or the paths of videos")
    return FrameSource(capture, time.strftime("camera %Y-%m-%d %H:%M:%S"), is_live=True)


def open_video(path: Path) -> FrameSource:
    """Return the frames of a video. Raises `UserError` for a file that is none."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    capture = import_extra("cv2").VideoCapture(str(path))
    if not capture.isOpened():
        raise UserError(f"{path}: is not a video that OpenCV opens")
    return FrameSource(capture, path.name, is_live=False)
