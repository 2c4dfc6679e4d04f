"""The short form of the suite, as a test."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.limits import HANG_SECONDS
from tests.own_models.cases import BOUND, CASES, METRIC_BOUNDS
from tests.own_models.page import PAGE, saved_rows, written


@pytest.mark.timeout(3 * HANG_SECONDS)
def test_programs_end_where_the_loop_by_hand_ends_on_1_and_2_processes_killed_or_not() -> None:
    some = list(CASES)[::3]  # `make own-models` runs all
    for packages in ("sklearn", "transformers", "torchmetrics"):
        pytest.importorskip(packages)
    done = subprocess.run(
        [sys.executable, "-m", "tests.own_models", "--short", *some],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * HANG_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" agrees\n") == 2 * len(some), done.stdout
    assert done.stdout.count(" killed ") == len(some), done.stdout


def test_the_documentation_shows_what_the_last_complete_run_found_of_every_program() -> None:
    rows, page = saved_rows(), PAGE.read_text(encoding="utf-8")
    assert written(page, rows) == page, "python -m tests.own_models --save writes the table anew"
    for row in rows:
        assert row["weights"] <= BOUND, row
        assert row["metrics"] <= METRIC_BOUNDS.get(row["case"], BOUND), row
