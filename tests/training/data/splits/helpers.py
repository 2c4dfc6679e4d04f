"""Small data sets, and what the tests of splits ask of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import settings

from slipway.training.data.landmarks import LandmarkData, end_to_end
from slipway.training.data.layouts.mediapipe import points
from slipway.training.data.specs import DataSpec, Reading
from slipway.training.data.splits import split as splits_module
from slipway.training.data.splits.split import Splits

CLASSES = ("a", "b", "c", "d")
repeatable = settings(max_examples=60, deadline=None, derandomize=True)


def make_data(
    contents: Sequence[int],
    labels: Sequence[int],
    signers: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> LandmarkData:
    """Make a data set of clips of which those of equal content are exact copies."""
    layout = points(1, 2)
    values, offsets = end_to_end([np.full((1 + content % 3, 1, 2), content, dtype=np.float32) for content in contents])
    return LandmarkData(
        name="toy",
        source_format="test",
        layout=layout,
        values=values,
        offsets=offsets,
        labels=np.array(labels, dtype=np.int64),
        class_names=CLASSES,
        groups={**({} if signers is None else {"signer": list(signers)}), **(groups or {})},
        own_split=() if splits is None else splits,
    )


def spec(*, mode: str = "auto", group: str | None = None, **options: Any) -> DataSpec:
    return DataSpec(split=mode, reading=Reading(group=group), **options)


def split(data: LandmarkData, *, seed: int, **options: Any) -> Splits:
    return splits_module.split(data, spec(**options), seed=seed)


def parts(splits: Splits) -> list[np.ndarray]:
    return [splits.train, splits.validation, splits.test]


def sizes(splits: Splits) -> tuple[int, ...]:
    return tuple(len(part) for part in parts(splits))


def assert_nothing_shared(splits: Splits, values: np.ndarray) -> None:
    """No value of a clip appears in two splits."""
    found = [set(values[part].tolist()) for part in parts(splits)]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]


def said(splits: Splits) -> str:
    return "; ".join(splits.notes)


def warned(splits: Splits) -> str:
    return "; ".join(splits.warnings)
