"""`slipway evaluate`: the metrics of a run's model on a split of its data, or on other data, with intervals."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.shown import printable
from ...training.data.prepared.prepare import prepare_read, read_data
from ...training.inspection.options import add_data_options
from ...training.observers.screen.console import make_console
from ...training.tasks.sign.options import ModelSpec
from ...training.tasks.sign.task import SignTask
from ...training.tasks.task import Task
from .inputs.of_task import SPLITS, class_names_of, measure_split, softmax
from .inputs.samples import check_finite
from .measures import BINS, FEW_UNITS, LEVEL, Interval, Measures, intervals_of, measure_classes
from .own_data import own_spec
from .predict import add_run_options, asked_reading, find_trained, tell
from .trained import Trained

SCHEMA_VERSION = 1
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a model reaches on samples."""

    run: str
    data: str
    split: str | None
    """Of the run's data or of a task's; None: all samples of other data."""
    samples: int
    metrics: Mapping[str, float]
    """The task's own, on these samples."""
    intervals: Mapping[str, Interval]
    measures: Measures | None
    """None: the task tells no classes."""
    notes: tuple[str, ...] = ()


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "evaluate",
        "Measure the model of a run on the test of its data, on another split, or on other data with labels: its metrics with "
        "a confidence interval, each class, and how far its probabilities can be trusted.",
        "RUN [options]",
    )
    add_run_options(parser)
    parser.add_argument("--data", metavar="OTHER", help="other data with labels, instead of the run's own")
    parser.add_argument("--split", dest="of_split", choices=SPLITS, help="the split [test; of other data all samples]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_data_options(parser, split=False)
    return parser


def main(arguments: list[str]) -> int:
    """Evaluate and print what was found; return 0. Raises `UserError`."""
    options = parse(build_parser(), arguments)
    found = evaluate(find_trained(options), options)
    if options.json:
        print(json.dumps({"schema_version": SCHEMA_VERSION, **asdict(found)}, indent=2))
    else:
        _print(found)
    return 0


def evaluate(trained: Trained, options: argparse.Namespace) -> Evaluation:
    """Return the evaluation that a command line asks for. Raises `UserError`."""
    reading = asked_reading(options)
    if options.data is None:
        if reading is not None:
            raise UserError(
                "options of how data are read need --data OTHER; the run's own data are read as it read them"
            )
        return _of_own_data(trained, options.of_split or "test")
    if trained.kind == "own":
        task, model = trained.task(options.data, "slipway evaluate")
        return _of_task(trained, task, model, options.of_split or "test", options.data, {})
    if options.of_split is not None:
        raise UserError("--split: for the run's own data; of --data OTHER all samples are measured, so leave it out")
    predictor = trained.predictor(reading)
    samples = predictor.read(options.data)
    tell(samples, predictor.class_names)
    if samples.labels is None:
        raise UserError(f"{options.data}: has no labels to measure by; `slipway predict` needs none")
    number = {name: index for index, name in enumerate(predictor.class_names)}
    kept = [index for index, label in enumerate(samples.labels) if label in number]
    unknown = sorted(set(samples.labels) - set(number))
    if not kept:
        raise UserError(
            f"{options.data}: none of its classes ({', '.join(unknown[:_MOST_NAMED])}) is one of the run's "
            f"({', '.join(predictor.class_names[:_MOST_NAMED])}); name them the same"
        )
    notes = []
    if unknown:
        shown = ", ".join(unknown[:_MOST_NAMED]) + (
            f" and {len(unknown) - _MOST_NAMED} more" if unknown[_MOST_NAMED:] else ""
        )
        left = len(samples) - len(kept)
        notes.append(f"{left:,} of {len(samples):,} samples left out, of classes that the run does not know: {shown}")
    probabilities = predictor.probabilities([samples.items[index] for index in kept])
    check_finite(probabilities, [samples.names[index] for index in kept])
    groups = {kind: [of_kind[index] for index in kept] for kind, of_kind in samples.groups.items()}
    labels = np.array([number[samples.labels[index]] for index in kept])
    measures = measure_classes(probabilities, labels, predictor.class_names, groups)
    return Evaluation(
        run=trained.name,
        data=options.data,
        split=None,
        samples=len(kept),
        metrics=measures.metrics,
        intervals=measures.intervals,
        measures=measures,
        notes=tuple(notes),
    )


def _of_own_data(trained: Trained, split: str) -> Evaluation:
    name = str((trained.record.get("data") or {}).get("data", trained.name))
    if trained.kind != "sign":
        task, model = trained.task(None, "slipway evaluate")
        _check_same(trained, task.data_fingerprint())
        return _of_task(trained, task, model, split, name, {})
    if not trained.record:
        raise UserError(f"{trained.folder}: stands without its run.json, which says what its data are; give --data")
    spec, seed = own_spec(trained.record)
    data = read_data(spec)
    prepared = prepare_read(data, spec, seed)
    _check_same(trained, prepared.facts.fingerprint)
    task = SignTask(prepared, ModelSpec())  # its model is that of the weights
    chosen = prepared.indices[split].tolist()
    groups = {kind: [of_kind[index] for index in chosen] for kind, of_kind in data.groups.items()}
    return _of_task(trained, task, trained.load_model(), split, name, groups)


def _check_same(trained: Trained, fingerprint: str) -> None:
    """Raise `UserError` if the samples are not those of the run: one that it was trained on might be in the test now."""
    trained_on = ((trained.record.get("recipe") or {}).get("task") or {}).get("data_fingerprint")
    if trained_on not in (None, fingerprint):
        raise UserError(
            f"{trained.name}: its data are not what they were when it was trained (fingerprint {trained_on}, now "
            f"{fingerprint}), so a sample that it learned from may be in the test; bring them back, or name new data by --data"
        )


def _of_task(
    trained: Trained, task: Task, model: Any, split: str, data: str, groups: Mapping[str, list[str]]
) -> Evaluation:
    found = measure_split(task, model, split)
    numbers = {name: float(value) for name, value in found.metrics.items() if isinstance(value, (int, float))}
    classes, labels = class_names_of(task, found.outputs), task.labels(split)
    measures, intervals = None, dict[str, Interval]()
    if classes is not None and labels is not None and found.outputs is not None and len(labels) == len(found.outputs):
        names = [f"{split} {index}" for index in range(len(labels))]
        probabilities = check_finite(softmax(found.outputs), names)
        measures = measure_classes(probabilities, np.asarray(labels), classes, groups)
        intervals = {name: measures.intervals[name] for name in numbers if name in measures.intervals}
    else:
        intervals = intervals_of(partial(task.metrics, split=split), found.rows)
    return Evaluation(
        run=trained.name,
        data=data,
        split=split,
        samples=len(found.rows),
        metrics=numbers,
        intervals=intervals,
        measures=measures,
    )


def _print(found: Evaluation) -> None:
    console = make_console(stderr=False)
    what = "all samples" if found.split is None else f"{found.split} split"
    console.print(Text(f"{found.run} on {found.data}, {what}: {found.samples:,} samples"))
    for note in found.notes:
        console.print(Text(f"note: {note}"))
    measures = found.measures
    table = _table(("metric", 0), ("value", 1), (f"{LEVEL:.0%} interval", 1))
    values = dict(found.metrics)
    if measures is not None:
        values["calibration_error"] = measures.metrics["calibration_error"]
    intervals = {**({} if measures is None else measures.intervals), **found.intervals}
    for name, value in values.items():
        low_high = intervals.get(name)
        table.add_row(
            name.replace("_", " "), f"{value:.4g}", "" if low_high is None else "{:.4g} to {:.4g}".format(*low_high)
        )
    console.print(table)
    if measures is None:
        return
    rough = f"; {measures.units} are few: take it as a rough one" if measures.units < FEW_UNITS else ""
    console.print(
        Text(f"intervals: bootstrap over {measures.units:,} {measures.unit}s{rough}; calibration error: {BINS} bins")
    )
    table = _table(("class", 0), ("samples", 1), ("precision", 1), ("recall", 1), ("F1", 1))
    for row in measures.classes:
        precision = "" if row.precision is None else f"{row.precision:.3f}"
        table.add_row(Text(printable(row.name)), f"{row.samples:,}", precision, f"{row.recall:.3f}", f"{row.f1:.3f}")
    console.print(table)


def _table(*columns: tuple[str, int]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading, right in columns:
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    return table
