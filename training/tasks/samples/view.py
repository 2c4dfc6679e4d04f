"""What a person sees of a sample of any data set: a picture, a text, curves, or numbers, as plain values of some kilobytes."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .calls import inputs_and_targets
from .structure import as_mapping

_MOST_SIDE = 96
"""Of a picture, in dots."""
_LEAST_SIDE, _LEAST_GREY = 4, 8
_MOST_LETTERS = 2000
_MOST_POINTS, _MOST_CURVES = 240, 4
_MOST_NUMBERS, _MOST_VALUES = 12, 16


def describe_sample(sample: Any) -> dict[str, Any]:
    """Return what is shown of a sample as a data set returns it: what is found first of each kind.

    `picture` is a PNG in base64, `text` a text, `curves` are [name, numbers] each, `values` are [name, words] each.
    """
    inputs, target = inputs_and_targets(sample)
    found: dict[str, Any] = {}
    values: list[list[str]] = []
    for name, part in _leaves(inputs, ""):
        if (text := _text(part)) is not None:
            found.setdefault("text", text)
        elif (picture := _picture(part)) is not None:
            found.setdefault("picture", picture)
        elif (array := _array(part)) is not None:
            curves = _curves(name, array)
            if curves and "curves" not in found:
                found["curves"] = curves
            else:
                values.append([name, _words(array)])
        else:
            values.append([name, type(part).__name__])
    aim = _array(target)
    if aim is not None and aim.dtype.kind == "f":
        values.append(["target", _words(aim)])
    if values:
        found["values"] = values[:_MOST_VALUES]
    return found


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a sample by the keys and places that lead to them."""
    mapping = as_mapping(value)
    if mapping is not None:
        for key, part in mapping.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (tuple, list)) and not all(isinstance(part, (int, float)) for part in value):
        for place, part in enumerate(value):
            yield from _leaves(part, f"{name or 'input'} {place}")
    elif value is not None:
        yield name or "input", value


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    return value[:_MOST_LETTERS] if isinstance(value, str) else None


def _array(value: Any) -> np.ndarray | None:
    """Return numbers as an array on the host; None for what is none."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float().numpy() if value.dtype in (torch.bfloat16, torch.float16) else value.numpy()
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return None
    return array if array.dtype.kind in "biuf" and array.size else None


def _picture(value: Any) -> str | None:
    """Return a picture as PNG in base64: of PIL, [channels, height, width], [height, width, channels], or grey [height, width].

    Of several pictures, as of a video, it is the one in the middle.
    """
    if callable(getattr(value, "convert", None)) and callable(getattr(value, "getbands", None)):
        value = np.asarray(value.convert("RGB"))
    array = _array(value)
    if array is None:
        return None
    if array.ndim == 4:
        array = array[len(array) // 2]
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and min(array.shape[1:]) >= _LEAST_SIDE:
        array = array.transpose(1, 2, 0)
    elif array.ndim == 3 and not (array.shape[2] in (1, 3, 4) and min(array.shape[:2]) >= _LEAST_SIDE):
        return None
    elif array.ndim == 2 and min(array.shape) >= _LEAST_GREY:
        array = array[:, :, None]
    if array.ndim != 3:
        return None
    return b64encode(_png(_as_bytes(_smaller(array[:, :, : 1 if array.shape[2] == 1 else 3])))).decode()


def _smaller(array: np.ndarray) -> np.ndarray:
    """Return every n-th dot of a picture, so that it is of `_MOST_SIDE` dots at most."""
    step = -(-max(array.shape[:2]) // _MOST_SIDE)
    return array[::step, ::step]


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """Return levels from 0 to 255; of numbers that are neither within 1 nor within 255, from the least to the largest."""
    if array.dtype == np.uint8:
        return array
    levels = np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = levels.min(), levels.max()
    if low >= 0 and high <= 1:
        levels *= 255
    elif low < 0 or high > 255:
        levels = (levels - low) * (255 / ((high - low) or 1.0))
    return levels.round().astype(np.uint8)


def _png(levels: np.ndarray) -> bytes:
    """Return uint8 [height, width, 1 or 3] as a PNG (RFC 2083)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, channels = levels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), levels.reshape(height, -1)], axis=1)  # no filter
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _curves(name: str, array: np.ndarray) -> list[list[Any]]:
    """Return a sequence of numbers, or [steps, channels] with few channels, as curves; empty for what is none."""
    if array.dtype.kind != "f" or array.ndim not in (1, 2) or max(array.shape) <= _MOST_NUMBERS:
        return []
    channels = [array] if array.ndim == 1 else list(array if array.shape[0] < array.shape[1] else array.T)
    step = -(-len(channels[0]) // _MOST_POINTS)
    shown = [np.nan_to_num(one[::step].astype(np.float64)) for one in channels[:_MOST_CURVES]]
    named = [name] if len(channels) == 1 else [f"{name} {place}" for place in range(len(shown))]
    return [[title, [float(f"{value:.4g}") for value in one]] for title, one in zip(named, shown, strict=True)]


def _words(array: np.ndarray) -> str:
    """Return numbers as they are read: the first, and how many there are."""
    flat = array.reshape(-1)
    shown = ", ".join(f"{value:.4g}" if array.dtype.kind == "f" else str(int(value)) for value in flat[:_MOST_NUMBERS])
    if len(flat) <= _MOST_NUMBERS:
        return shown
    return f"{shown}, ... ({' x '.join(map(str, array.shape))})"
