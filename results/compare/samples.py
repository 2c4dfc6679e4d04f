"""What a run kept of its answer to each sample of a split, for tests on the same samples."""

from __future__ import annotations

import math
import struct
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from ..common.values import is_count, number, rows, text


def right_of(answers: Mapping[str, Any], split: str) -> Sequence[int] | None:
    """Return 1 or 0 for each sample of a split, whether its class was said; None if that is not known.

    A run of before they were kept tells it if all of its mistakes are listed.
    """
    count = count_of(answers, split)
    if count is None:
        return None
    packed = _bytes(answers, "right")
    if packed is not None and len(packed) == -(-count // 8):
        return [packed[place >> 3] >> (7 - (place & 7)) & 1 for place in range(count)]
    listed = [index for row in rows(answers, "worst") if is_count(index := row.get("index"))]
    if number(answers, "mistakes") != len(listed) or any(index >= count for index in listed):
        return None
    missed = set(listed)
    return [int(place not in missed) for place in range(count)]


def losses_of(answers: Mapping[str, Any], split: str) -> Sequence[float] | None:
    """Return the loss of each sample of a split; None if they are not known, or one is not finite."""
    count, packed = count_of(answers, split), _bytes(answers, "losses")
    if count is None or packed is None or len(packed) != 4 * count:
        return None
    found = struct.unpack(f"<{count}f", packed)
    return found if all(map(math.isfinite, found)) else None


def count_of(answers: Mapping[str, Any], split: str) -> int | None:
    """Return how many samples of a split were answered; None if that is not known."""
    count = answers.get("samples")
    return count if text(answers, "split") == split and is_count(count) and isinstance(count, int) and count else None


def _bytes(answers: Mapping[str, Any], name: str) -> bytes | None:
    packed = answers.get(name)
    if not isinstance(packed, str):
        return None
    try:
        return b64decode(packed, validate=True)
    except ValueError:
        return None
