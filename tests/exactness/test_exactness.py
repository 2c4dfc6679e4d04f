"""The exactness contract on real process groups: a small version of `benchmarks/exactness.py`."""

from __future__ import annotations

from itertools import product

import pytest

from benchmarks.exactness import BOUNDS, NUM_CLIPS, Case, cases_for, measure

EPOCHS = 2


def chosen(world_size: int) -> list[Case]:
    """Return float64 with every share and reduction, cut as finely and as coarsely as can be; the rest once for each share.

    The rest is float32, and the device's form of the update in both precisions. Balanced classes come with all of that, but
    not cut so finely. Of two processes `.ci/run` measures the whole grid, so that here uneven shares stand for the rest.
    """
    return [
        case
        for case in cases_for(world_size)
        if (
            (case.precision == "float64" and case.micro_batch_size in (1, None) and case.update == "host")
            or (
                case.micro_batch_size == 5 and case.reduction == "flat" and (world_size != 2 or case.shares == "uneven")
            )
        )
        and (case.classes == "as they are" or case.micro_batch_size != 1)
    ]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_any_plan_reaches_the_weights_of_a_plain_loop(world_size: int) -> None:
    rows = measure(world_size, chosen(world_size), EPOCHS)
    assert len(rows) == len(chosen(world_size))
    assert {(row["precision"], row["update"]) for row in rows} == set(product(BOUNDS, ("host", "device")))
    for row in rows:
        assert row["difference"] <= BOUNDS[row["precision"]], row
        assert row["moved"] > 1e-3, row
        assert sum(row["computed"]) == EPOCHS * NUM_CLIPS, row
        if row["shares"] == "empty":
            assert row["computed"][0] == 0, row
        if row["shares"] == "uneven":
            assert row["computed"][0] > 2 * row["computed"][1], row
