"""`slipway predict`: what the model of a run says of new data, of one clip, or of frames as they come."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...training.common.conversion import convert
from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.shown import printable
from ...training.common.program.streams import print_to_stderr
from ...training.data.specs import Reading
from ...training.inspection.options import add_data_options, read_data_options
from .inputs.landmarks import LandmarkPredictor
from .inputs.of_task import SPLITS, class_names_of, measure_split, softmax
from .inputs.samples import Samples, check_finite
from .stream import predict_stream
from .tables import check_out, columns_of, print_table, write_table
from .trained import Trained

STDIN = "-"
_MOST_TOP = 1000


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "predict",
        "Tell the classes of new data by the model of a run: a data set, a folder of clips, pictures or texts, one clip in a "
        "file, or, for landmarks, - for frames on standard input, a line each.",
        "RUN DATA [options]",
    )
    add_run_options(parser)
    parser.add_argument(
        "data", metavar="DATA", help="path or name of data, as of `slipway train --data`; -: frames on stdin"
    )
    parser.add_argument("--out", metavar="FILE", help="write all probabilities into a .csv, .parquet or .json file")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--top", metavar="K", default="3", help="the most probable classes that are told [3]")
    parser.add_argument(
        "--window",
        metavar="FRAMES",
        help="on stdin: frames that a prediction looks back on [as many as a usual clip of the run]",
    )
    add_data_options(parser, split=False)
    return parser


def add_run_options(parser: Parser) -> None:
    """Add what names a run and its weights."""
    parser.add_argument("run", metavar="RUN", help="the folder of the run, or its name in the folder of the runs")
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of the runs [runs]")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="the weights [best]")
    parser.add_argument(
        "--trust", action="store_true", help="run the code that the run names though you did not train it here"
    )


def find_trained(options: argparse.Namespace) -> Trained:
    """Return the run that a command line names. Raises `UserError`."""
    return Trained.find(options.run, options.which, Path(options.runs_dir), trust=options.trust)


def main(arguments: list[str]) -> int:
    """Predict and write or print what was found; return 0. Raises `UserError`."""
    options = parse(build_parser(), arguments)
    top = convert(options.top, int, "--top")
    if not 1 <= top <= _MOST_TOP:
        raise UserError(f"--top {top}: give from 1 to {_MOST_TOP}")
    trained = find_trained(options)
    reading = asked_reading(options)
    if options.data == STDIN:
        if options.out is not None:
            raise UserError(
                "--out: predictions of a stream go to standard output, a line each; lead it into a file: > FILE"
            )
        window = None if options.window is None else convert(options.window, int, "--window")
        return predict_stream(trained, reading, window, top)
    if options.window is not None:
        raise UserError("--window: for frames on standard input, DATA as -; a clip of a file is looked at as a whole")
    out = check_out(options.out, force=options.force)
    if trained.kind == "own":
        columns = _of_task(trained, options.data, top)
    else:
        predictor = trained.predictor(reading)
        if reading is not None and not isinstance(predictor, LandmarkPredictor):
            raise UserError("options of how landmarks are read do nothing for pictures and texts; leave them out")
        samples = predictor.read(options.data)
        tell(samples, predictor.class_names)
        found = check_finite(predictor.probabilities(samples.items), samples.names)
        columns = columns_of(samples, predictor.class_names, found, top)
    if out is None:
        print_table(columns)
    else:
        write_table(out, columns)
        print_to_stderr(f"written: {out}, {len(columns['sample']):,} predictions")
    return 0


def asked_reading(options: argparse.Namespace) -> Reading | None:
    """Return how the command line says that data are read; None: it says nothing."""
    spec, _, given = read_data_options(options.data or ".", options)
    return spec.reading if given else None


def tell(samples: Samples, class_names: tuple[str, ...]) -> None:
    """Say on stderr what was decided about samples while they were read."""
    for note in samples.notes:
        print_to_stderr(printable(f"note: {note}"))
    if samples.labels is not None and not set(samples.labels) & set(class_names):
        print_to_stderr(printable(f"note: none of the labels there ({samples.labels[0]}, ...) is a class of the run"))


def _of_task(trained: Trained, data: str, top: int) -> dict[str, list[Any]]:
    """Return the table of all samples that the task of a user's makes of data, split by split."""
    task, model = trained.task(data, "slipway predict")
    tables: list[dict[str, list[Any]]] = []
    for split in SPLITS:
        if task.num_samples(split) == 0:
            continue
        found = measure_split(task, model, split)
        names = [f"{split} {number}" for number in range(task.num_samples(split))]
        if (classes := class_names_of(task, found.outputs)) is not None and found.outputs is not None:
            labels = task.labels_at_hand(split)
            told = None if labels is None else [classes[number] for number in labels.tolist()]
            samples = Samples(items=names, names=names, labels=told)
            tables.append(columns_of(samples, classes, check_finite(softmax(found.outputs), names), top))
        elif found.outputs is not None:
            outputs = check_finite(found.outputs, names)
            columns = {f"output_{place}": outputs[:, place].tolist() for place in range(outputs.shape[1])}
            tables.append({"sample": list(names), **columns})
        else:
            raise UserError(
                f"{trained.name}: its model returns no class scores and no row of numbers for each sample, of which a table "
                f"could be made; call it in Python: slipway.load({trained.name!r})"
            )
    return {name: [cell for table in tables for cell in table[name]] for name in tables[0]}
