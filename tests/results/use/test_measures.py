"""Measures of class probabilities: values counted by hand, the calibration error by its definition, honest intervals."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.results.use.measures import measure_classes

NAMES = [f"c{number}" for number in range(7)]


def made(count: int = 400, sharpness: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    scores = sharpness * rng.normal(size=(count, 7))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(7, p=row) for row in probabilities])
    return probabilities, labels


def test_metrics_are_counted_as_by_hand() -> None:
    probabilities, labels = made()
    found = measure_classes(probabilities, labels, NAMES, {})
    predicted, each = probabilities.argmax(axis=1), np.arange(len(labels))
    assert found.metrics["accuracy"] == pytest.approx((predicted == labels).mean())
    assert found.metrics["loss"] == pytest.approx(-np.log(probabilities[each, labels]).mean())
    in_top = [label in np.argsort(-row)[:5] for row, label in zip(probabilities, labels, strict=True)]
    assert found.metrics["top5_accuracy"] == pytest.approx(np.mean(in_top))
    scores = []
    for row, number in zip(found.classes, range(7), strict=True):
        hits, said, there = (predicted == number) & (labels == number), predicted == number, labels == number
        precision, recall = hits.sum() / said.sum(), hits.sum() / there.sum()
        scores.append(2 * precision * recall / (precision + recall))
        assert (row.precision, row.recall, row.f1, row.samples) == (
            pytest.approx(precision),
            pytest.approx(recall),
            pytest.approx(scores[-1]),
            there.sum(),
        )
        assert found.confusion_matrix[number][number] == hits.sum()
    assert found.metrics["macro_f1"] == pytest.approx(np.mean(scores))


def test_the_calibration_error_is_the_gap_of_each_bin_weighted_by_its_samples() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    found = measure_classes(probabilities, np.array([0, 1, 0, 1]), ["a", "b"], {})
    # Bins of 1/15: .9 is in one (accuracy 1/2), .6 and .7 in one each (accuracy 1).
    assert found.metrics["calibration_error"] == pytest.approx((2 * 0.4 + 0.4 + 0.3) / 4)
    assert "top5_accuracy" not in found.metrics


def test_an_interval_over_signers_is_wider_where_signers_differ_and_covers_what_is_true() -> None:
    probabilities, labels = made(200)
    right = probabilities.argmax(axis=1) == labels
    signers = np.where(right, "s", "t").astype(object) + (np.arange(200) % 6).astype(str).astype(object)
    of_samples = measure_classes(probabilities, labels, NAMES, {})
    of_signers = measure_classes(probabilities, labels, NAMES, {"signer": signers.tolist()})
    assert (of_samples.unit, of_samples.units, of_signers.unit, of_signers.units) == ("sample", 200, "signer", 12)
    width = {name: high - low for name, (low, high) in of_samples.intervals.items()}
    low, high = of_signers.intervals["accuracy"]
    assert high - low > 2 * width["accuracy"]
    standard_error = np.sqrt(right.mean() * (1 - right.mean()) / 200)
    assert width["accuracy"] == pytest.approx(2 * 1.96 * standard_error, rel=0.1)
    assert measure_classes(probabilities, labels, NAMES, {"signer": ["one"] * 200}).unit == "sample"
