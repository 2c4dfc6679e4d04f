"""Cross-validation: which tests there are."""

from __future__ import annotations

from ...common.errors import UserError
from ..landmarks import LandmarkData
from ..specs import DataSpec
from ..text import natural_key


def fold_values(data: LandmarkData, spec: DataSpec) -> tuple[int, ...] | tuple[str, ...]:
    """Return the tests of a cross-validation, for `DataSpec.with_test`: the folds from 0, or the values that are left out.

    Empty for a spec without `folds` and `leave_out`. Raises `UserError` if the data cannot be divided so.
    """
    if spec.folds is not None:
        if spec.folds > len(data):
            raise UserError(f"--folds {spec.folds}: {data.name} has {len(data)} clips only")
        return tuple(range(spec.folds))
    if spec.leave_out is None:
        return ()
    values = data.group(spec.leave_out)
    unknown = sum(value == "" for value in values)
    if unknown:
        raise UserError(f"--leave-out {spec.leave_out}: it is not given for {unknown} of {len(data)} clips")
    found = tuple(sorted(set(values), key=natural_key))
    if len(found) < 2:
        raise UserError(f"--leave-out {spec.leave_out}: all clips are of one, {found[0]}")
    return found
