"""Predictions of frames as they come: a line a frame on standard input, a window that slides, a line for each frame."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ...training.common.errors import UserError
from ...training.common.program.streams import print_to_stderr
from ...training.data.readers.raw import RawClips, cut
from ...training.data.specs import Reading
from ...training.data.understanding.columns import look_at
from ...training.data.understanding.decode import decode
from ...training.data.understanding.interpretation import Interpretation, as_they_are, interpret
from ...training.data.understanding.marks import marks_of
from .inputs.landmarks import LandmarkPredictor, misfit
from .inputs.samples import check_finite, predictions_of
from .trained import Trained

_USUAL_WINDOW, _LONGEST_WINDOW = 30, 10_000
_LONGEST_LINE = 1 << 20


class Stream:
    """The last frames that came, and what a model says of them."""

    def __init__(self, predictor: LandmarkPredictor, window: int) -> None:
        self._predictor, self._frames = predictor, deque[np.ndarray](maxlen=window)
        self._read_as: tuple[Interpretation, tuple[float, ...]] | None = None

    def push(self, numbers: np.ndarray) -> np.ndarray:
        """Return class probabilities, [classes], of the window that a frame, float32 [numbers], ends.

        Until the window is full it holds the frames that there are. Raises `UserError` for frames of another size.
        """
        if self._frames and len(numbers) != len(self._frames[0]):
            raise UserError(f"{len(numbers)} numbers, where the frames before have {len(self._frames[0])}")
        self._frames.append(numbers)
        values = np.stack(self._frames)
        if self._read_as is None:
            self._read_as = self._interpret(values)
        clip, _ = decode(values, *self._read_as)
        return self._predictor.probabilities([clip])[0]

    def _interpret(self, values: np.ndarray) -> tuple[Interpretation, tuple[float, ...]]:
        """Return what the numbers of a frame are, and what marks a missing point: those of the run's data, the model's own
        points in their order, or else what data of such numbers would be.
        """
        layout, count, known = self._predictor.layout, values.shape[1], self._predictor.known
        if known is not None and known[0].fits(count, ()):
            return known[0].interpretation(layout), known[0].marks
        if count == layout.num_landmarks * layout.num_coords:
            return as_they_are(layout), ()
        for reading in self._predictor.readings:
            raw = RawClips(
                name="stdin",
                source_format="stream",
                values=values,
                offsets=np.array([0, len(values)]),
                labels=["-"],
                where=lambda _: "stdin",
            )
            try:
                read_as = interpret(raw, values, _look_at(values), reading)
            except UserError:
                continue
            if misfit(read_as.layout, layout) is None:
                return read_as, marks_of(values, read_as, _look_at(values))
        usual = "" if known is None else f", or {known[0].numbers} as its data have them"
        raise UserError(
            f"{count} numbers in a frame, where the run's model takes {layout.num_landmarks} x {layout.num_coords}{usual}"
        )


def _look_at(values: np.ndarray) -> Any:
    return look_at(values, np.zeros(1, dtype=np.int64), np.array([len(values)]), 1)


def frames_of(lines: Iterable[str]) -> Iterator[np.ndarray]:
    """Yield the numbers of each line, float32: between commas or spaces, or as a JSON list, also nested; missing ones NaN.

    Raises `UserError` that names the line.
    """
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        where = f"stdin, line {number}"
        if len(text) > _LONGEST_LINE:
            raise UserError(f"{where}: longer than {_LONGEST_LINE:,} characters; a line is one frame")
        if number == 1 and not any(map(_is_number, _cells(text))) and text[0] not in "[{":
            print_to_stderr("line 1 is taken for the names of the numbers")
            continue
        cells = _json_cells(text, where) if text[0] in "[{" else _cells(text)
        try:
            frame = np.array([math.nan if cell in (None, "null") else float(cell) for cell in cells], dtype=np.float32)
        except (TypeError, ValueError):
            wrong = next(cell for cell in cells if not _is_number(cell))
            raise UserError(
                f"{where}: {cut(wrong)} is not a number; a line is a frame, its numbers between commas or spaces, nan for a "
                "missing one"
            ) from None
        if np.isinf(frame).any():
            raise UserError(f"{where}: an infinite number; a missing one is written as nan")
        yield frame


def _cells(text: str) -> list[str]:
    return text.replace(",", " ").replace(";", " ").split()


def _json_cells(text: str, where: str) -> list[Any]:
    try:
        return list(_flat(json.loads(text)))
    except (ValueError, RecursionError):
        raise UserError(f"{where}: is no JSON list of numbers; a line is one frame") from None


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    elif isinstance(value, dict):
        if not {"x", "y"} <= value.keys():
            raise ValueError
        yield from (value[axis] for axis in ("x", "y", "z") if axis in value)
    else:
        yield value


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return cell in (None, "null")
    return not isinstance(cell, bool)


def usual_window(trained: Trained) -> int:
    """Return the frames of a usual clip of the run: their median."""
    frames = ((trained.record.get("data") or {}).get("understood") or {}).get("frames") or {}
    median = frames.get("median")
    return max(1, round(median)) if isinstance(median, (int, float)) and math.isfinite(median) else _USUAL_WINDOW


def predict_stream(trained: Trained, reading: Reading | None, window: int | None, top: int) -> int:
    """Print a line of JSON for each frame on standard input, at once; return 0. Raises `UserError`."""
    if trained.kind != "sign":
        raise UserError(
            f"-: frames on standard input are for landmarks; {trained.name} is of another task: name a file"
        )
    window = usual_window(trained) if window is None else window
    if not 1 <= window <= _LONGEST_WINDOW:
        raise UserError(f"--window {window}: give from 1 to {_LONGEST_WINDOW:,} frames")
    predictor = trained.predictor(reading)
    assert isinstance(predictor, LandmarkPredictor)
    print_to_stderr(f"a line a frame on standard input; each prediction looks back on {window} frames")
    stream, seconds, number = Stream(predictor, window), list[float](), 0
    for number, frame in enumerate(frames_of(sys.stdin), start=1):
        began = time.perf_counter()
        try:
            row = check_finite(stream.push(frame)[None], ["the window"])
        except UserError as error:
            raise UserError(f"stdin, frame {number}: {error}", option=error.option) from None
        (found,) = predictions_of(predictor.class_names, row)
        best = {name: round(probability, 6) for name, probability in found.top(top)}
        print(
            json.dumps(
                {"frame": number, "prediction": found.label, "probability": round(found.probability, 6), "top": best}
            ),
            flush=True,
        )
        seconds.append(time.perf_counter() - began)
    if seconds:
        usual, slow = np.quantile(seconds, [0.5, 0.99]) * 1e3
        print_to_stderr(f"{number:,} frames: {usual:.1f} ms each (median), {slow:.1f} ms (99 of 100 are faster)")
    return 0
