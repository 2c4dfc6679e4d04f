"""Data sets and optimizers of users reach the weights of a plain loop, whatever the plan.

A few of them here; `make exactness` trains all, and `.ci/run` all of them on two processes.
"""

from __future__ import annotations

import pytest

from benchmarks.own_exactness import ALL, BOUND, ON_DATA_SETS, measure


@pytest.mark.parametrize(
    ("world_size", "cut", "names"), [(2, "uneven", [*ALL][::3]), (3, "empty", [*ON_DATA_SETS][-2:])]
)
def test_any_plan_reaches_the_weights_of_a_plain_loop_with_what_a_user_brings(
    world_size: int, cut: str, names: list[str]
) -> None:
    rows = measure(world_size, [cut], names)
    assert [row["what"] for row in rows] == names
    for row in rows:
        assert row["difference"] <= BOUND, row
        assert row["moved"] > 1e-2, row
