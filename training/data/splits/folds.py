"""Cross-validation: which tests there are, and the division into folds."""

from __future__ import annotations

import numpy as np

from ...common.errors import UserError
from ..landmarks import LandmarkData
from ..specs import DataSpec
from ..text import natural_key
from .clips import TEST, TRAIN, Clips, check_kind
from .held_out import people
from .stratified import deal


def fold_values(data: LandmarkData, spec: DataSpec) -> tuple[int, ...] | tuple[str, ...]:
    """Return the tests of a cross-validation, for `DataSpec.with_test`: the folds from 0, or the values that are left out.

    Empty for a spec without `folds` and `leave_out`. Raises `UserError` if the data cannot be divided so.
    """
    if spec.folds is not None:
        if spec.folds > len(data):
            raise UserError(
                f"--folds {spec.folds}: {data.name} has {len(data)} clips only; give a smaller number, such as 5"
            )
        return tuple(range(spec.folds))
    if spec.leave_out is None:
        return ()
    option = f"--leave-out {spec.leave_out}"
    check_kind(data, spec.leave_out, "--leave-out")
    values = data.group(spec.leave_out)
    unknown = sum(value == "" for value in values)
    if unknown:
        raise UserError(f"{option}: no {spec.leave_out} is given for {unknown} of {len(data)} clips")
    found = tuple(sorted(set(values), key=natural_key))
    if len(found) < 2:
        raise UserError(f"{option}: all clips are of one {spec.leave_out}, {found[0]}")
    return found


def test_fold(
    parts: np.ndarray, clips: Clips, folds: int, fold: int, by_signer: bool, rng: np.random.Generator
) -> None:
    """Give the clips of one of `folds` to test; every clip of train is in one of them, with all of its signer if asked."""
    rows = np.flatnonzero(parts == TRAIN)
    together = people(clips, rows, clips.signers, "--split signer") if by_signer else clips.together(rows)
    num_units = int(together.max()) + 1
    if folds > num_units:
        what = "signers" if by_signer else "different clips" if clips.group is None else f"groups ({clips.group})"
        raise UserError(f"--folds {folds}: {clips.name} has {num_units} {what} only")
    parts[rows[deal(together, clips.labels[rows], folds, rng) == fold]] = TEST
