"""What the tests of a comparison say in plain words, what each test is, and where its formula is from."""

from __future__ import annotations

from collections.abc import Sequence

from ...training.observers.screen.tables import format_metric, plural
from .comparison import Comparison, Estimate, Test

_CHANCE = 0.05
_FEW = 5
"""Pairs of runs below which only a large difference can be shown."""

TESTS = {
    "paired_t": (
        "Student's paired t test",
        "the same seed, fold or left-out value of both makes a pair, and the mean of the differences is held against their "
        "spread (NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.1.1)",
    ),
    "welch_t": (
        "Welch's t test",
        "the runs have no seeds in common, so the means of both are held against the spread in each (NIST/SEMATECH e-Handbook "
        "of Statistical Methods, 1.3.5.3)",
    ),
    "mcnemar": (
        "McNemar's exact test",
        "of the same samples only those count that one of the two answers rightly and the other does not; a fair coin would "
        "share them alike (McNemar, 1947; interval: Agresti and Min, 2005)",
    ),
    "paired_t_of_samples": (
        "Student's paired t test over samples",
        "each sample makes a pair, with the mean over the runs of a group; the mean of the differences is held against their "
        "spread (NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.1.1)",
    ),
}
"""The name of each kind of test, and what it does."""

FOLDS = (
    "Folds share training samples, so the spread is taken larger by the rule of Nadeau and Bengio, “Inference for the "
    "Generalization Error” (2003)."
)
HOLM = "Several groups are compared with the first: p is adjusted for that by the rule of Holm (1979)."
P = (
    "p: how often a difference at least as large would be seen if there were none in truth. It is not the chance that there "
    "is none."
)


def name_of(metric: str) -> str:
    """Return a metric as text: `test macro f1`."""
    return metric.replace("_", " ")


def format_estimate(metric: str, estimate: Estimate | None) -> tuple[str, str, str]:
    """Return mean, interval and what it is over, as text; empty where there is none."""
    if estimate is None:
        return "", "", ""
    interval = "" if estimate.interval is None else " to ".join(format_metric(metric, end) for end in estimate.interval)
    return format_metric(metric, estimate.mean), interval, estimate.over


def format_difference(metric: str, value: float) -> str:
    """Return a difference with its sign: of accuracies in points, a hundredth each."""
    return f"{100 * value:+.1f} points" if "accuracy" in metric else f"{value:+#.4g}"


def format_interval(test: Test) -> str:
    """Return the interval of a difference: `-5.0 to -1.8 points`."""
    low, high = (format_difference(test.metric, end) for end in test.found.interval)
    return f"{low.removesuffix(' points')} to {high}"


def format_p(p: float) -> str:
    """Return a p value: `0.012`, `under 0.001`."""
    return "under 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def sentence_of(test: Test) -> str:
    """Return what a test found, in plain words."""
    found, metric = test.found, name_of(test.metric)
    interval = format_interval(test)
    direction = "higher" if found.difference > 0 else "lower" if found.difference < 0 else "not different"
    size = format_difference(test.metric, abs(found.difference)).lstrip("+")
    by = f" by {size}" if found.difference else ""
    if test.kind == "mcnemar":
        over = (
            f"on the same {plural(test.pairs, 'sample')}: {test.only_reference} only {test.reference} answers rightly, "
            f"{test.only_other} only {test.other}"
        )
    elif test.kind == "paired_t_of_samples":
        over = f"on the same {plural(test.pairs, 'sample')}"
    elif test.kind == "welch_t":
        over = f"over {plural(test.pairs, 'run')} of both"
    else:
        over = f"over {plural(test.pairs, test.unit)} that both have"
    chance = "chance hardly explains it"
    if test.p >= _CHANCE:
        chance = "chance explains it as well, which does not show that both are equal"
        chance += "; so few runs show large differences only" if test.unit != "sample" and test.pairs < _FEW else ""
    limit = "; another seed may differ" if test.unit == "sample" else ""
    return (
        f"{test.other} beside {test.reference}: {metric} {direction}{by} {over} (95 % interval {interval}, "
        f"p {format_p(test.p)}): {chance}{limit}."
    )


def why_no_test(comparison: Comparison) -> str:
    """Return why there is no test of the main metric for some groups; empty if each has one."""
    if not comparison.metrics or len(comparison.groups) < 2:
        return ""
    main = comparison.metrics[0].name
    tested = {test.other for test in comparison.tests if test.metric == main}
    without = [group.name for group in comparison.groups[1:] if group.name not in tested]
    if not without:
        return ""
    which = "" if len(without) == len(comparison.groups) - 1 else f" of {', '.join(without)}"
    return (
        f"No test{which}: it takes two seeds or folds of each recipe that differ in their results (such as --seeds 3), or "
        "the answers to the same test samples."
    )


def notes_of(tests: Sequence[Test]) -> list[str]:
    """Return what the tests that were made are, and how to read them."""
    if not tests:
        return []
    kinds = dict.fromkeys(test.kind for test in tests)
    notes = [f"{TESTS[kind][0]}: {TESTS[kind][1]}." for kind in kinds]
    notes += [FOLDS] if any(test.shares_training for test in tests) else []
    notes += [HOLM] if any(test.p_adjusted is not None for test in tests) else []
    if any(test.unit == "sample" for test in tests):
        notes.append(
            "A test over samples asks whether these weights differ on such samples, not whether another seed would differ; it "
            "counts samples as independent, so of few signers or recordings it says too much."
        )
    return [*notes, P]
