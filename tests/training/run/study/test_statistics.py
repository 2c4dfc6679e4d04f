"""The numbers of a study against tables and against their definitions."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from slipway.training.run.study.statistics import student_t, summarise


def row(name: str, options: dict[str, Any], accuracy: float, **metrics: Any) -> dict[str, Any]:
    return {"name": name, "options": options, "test_accuracy": accuracy, "steps": 10, "seconds": 1.5, **metrics}


@pytest.mark.parametrize(
    ("degrees", "expected"), [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980)]
)
def test_the_interval_has_the_quantiles_that_every_table_has(degrees: int, expected: float) -> None:
    assert student_t(0.95, degrees) == pytest.approx(expected, abs=6e-4)


def test_a_study_has_mean_deviation_interval_and_the_worst_run() -> None:
    accuracies = [0.5, 0.6, 0.7, 0.4]
    rows = [row(f"fold-{n}", {"fold": n}, one, test_loss=1.0 - one) for n, one in enumerate(accuracies, 1)]
    result = summarise(rows, "accuracy")
    mean, std = statistics.fmean(accuracies), statistics.stdev(accuracies)
    assert (result["mean_test_accuracy"], result["std_test_accuracy"]) == (mean, std)
    half = 3.182446 * std / math.sqrt(4)
    assert result["interval_test_accuracy"] == pytest.approx([mean - half, mean + half])
    assert result["mean_test_loss"] == pytest.approx(1.0 - mean)
    assert result["worst"] == {"name": "fold-4", "metric": "test_accuracy", "value": 0.4}
    assert (result["over"], result["steps"], result["seconds"], result["runs"]) == ("4 folds", 40, 6.0, rows)


def test_an_interval_of_shares_holds_only_possible_ones() -> None:
    result = summarise([row("seed-0", {"seed": 0}, 0.7), row("seed-1", {"seed": 1}, 0.9)], "accuracy")
    assert result["interval_test_accuracy"] == [0.0, 1.0]


def test_one_run_has_a_mean_and_no_interval() -> None:
    result = summarise([row("seed-0", {"seed": 0}, 0.7)], "accuracy")
    assert (result["mean_test_accuracy"], result["std_test_accuracy"]) == (0.7, None)
    assert result["interval_test_accuracy"] is None


def test_a_metric_that_a_run_lacks_has_no_mean_and_loss_is_worst_where_it_is_high() -> None:
    rows = [
        {"name": f"seed-{n}", "options": {"seed": n}, "test_loss": loss, "steps": 1, "seconds": 1.0}
        for n, loss in enumerate([0.3, 0.9, 0.1])
    ]
    rows[0]["test_accuracy"] = rows[1]["test_accuracy"] = 0.5
    result = summarise(rows, "loss")
    assert "mean_test_accuracy" not in result
    assert result["worst"] == {"name": "seed-1", "metric": "test_loss", "value": 0.9}


def test_seeds_of_one_left_out_value_count_as_one_value() -> None:
    rows = [
        row(f"{who}-{seed}", {"held_out": who, "seed": seed}, accuracy)
        for who, accuracies in (("ann", (0.2, 0.4)), ("bob", (0.6, 0.8)), ("eve", (0.5, 0.7)))
        for seed, accuracy in enumerate(accuracies)
    ]
    result = summarise(rows, "accuracy", "signer")
    assert result["mean_test_accuracy"] == pytest.approx(statistics.fmean([0.3, 0.7, 0.6]))
    assert result["std_test_accuracy"] == pytest.approx(statistics.stdev([0.3, 0.7, 0.6]))
    assert result["over"] == "3 signers"


def test_each_seed_of_folds_is_a_cross_validation_of_its_own() -> None:
    rows = [
        row(f"{fold}-{seed}", {"fold": fold, "seed": seed}, 0.1 * (fold + seed)) for fold in (1, 2) for seed in (0, 1)
    ]
    result = summarise(rows, "accuracy")
    assert result["std_test_accuracy"] == pytest.approx(statistics.stdev([0.15, 0.25]))
    assert result["over"] == "2 cross-validations"
