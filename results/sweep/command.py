"""`slipway sweep`: try values of options in short trials, and tell which do best on the validation split."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...training.common.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_RESUMABLE, UserError, nearest
from ...training.common.parser import Parser, make_parser
from ...training.common.program.console import AnswerConsole
from ...training.common.program.redaction import command_without_secrets
from ...training.common.run_names import RECORD
from ...training.common.small_files import UnreadableError, make_folders, read_json
from ...training.devices.host import usable_cores
from ...training.observers.screen.tables import format_metric, plural
from ...training.run import cli
from ...training.run.training_config import TrainingConfig
from ...training.storage.files import write_json
from ...training.storage.run_lock import lock_run
from ..report.files import write_file
from .outcome import make_page, table_of, values_text
from .space import USUAL, USUAL_OF_TASK, Dimension, given_values, read_space, without
from .sweep import Sweep
from .trials import JOURNAL, Trials, best_of, import_optuna

PAGE, SPEC = "sweep.html", "sweep.json"
_OWN = {
    "experiment_name": "--name names the sweep, and its runs are trial-0, trial-1, ...",
    "resume": "the same command again goes on with a sweep",
    "seeds": "a trial is a single run",
    "final_fit": "it leaves no validation to compare trials by",
}


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "sweep",
        "Try values of options in trials, each a run of `slipway train` with the other options given here, stop those that "
        "others leave behind (successive halving), and print the command that trains with the best values. Trials are "
        "compared on the validation split; nothing reads the test split. The same command again goes on after a kill.",
        "[options] [options of slipway train]",
    )
    parser.add_argument(
        "--sweep",
        nargs="+",
        action="extend",
        metavar="NAME=VALUES",
        help="options to try: NAME=A,B,C, or a range NAME=LOW:HIGH, LOW:HIGH:log or LOW:HIGH:STEP, or a NAME alone of "
        f"those that have usual values [{' '.join(USUAL)}; with --task {' '.join(USUAL_OF_TASK)}]",
    )
    parser.add_argument("--trials", type=_positive, default=16, metavar="N", help="how many values to try [16]")
    parser.add_argument("--jobs", type=_positive, default=1, metavar="N", help="trials at a time on this machine [1]")
    parser.add_argument("--name", default="sweep", help="the folder of the sweep in --runs-dir [sweep]")
    parser.add_argument(
        "--least-epochs", type=_positive, metavar="N", help="epochs before a trial may be stopped [a ninth of all]"
    )
    parser.add_argument(
        "--keep-one-in", type=_factor, default=3, metavar="N", help="share of the trials that go on at each stop [3]"
    )
    return parser


def main(arguments: list[str]) -> int:
    """Run a sweep, or go on with it; return the exit code."""
    options, rest = build_parser().parse_known_args(arguments)
    _check_words(rest)
    config = cli.parse_config(rest, os.environ)
    _check_config(config)
    space = read_space(options.sweep or (), rest, config)
    import_optuna()
    folder = _folder_of(options.name, Path(config.runs_dir))
    make_folders(folder)
    with lock_run(folder, 0):
        goes_on = _write_spec(folder, rest, space)
        trials = Trials(folder, space, seed=config.seed, keep_one_in=options.keep_one_in)
        if values := given_values(space, config):
            trials.begin_with(values)
        console = AnswerConsole(highlight=False)

        def say(line: str) -> None:
            console.print(line, soft_wrap=True, markup=False)

        what = ", ".join(f"{one.name}={one.described()}" for one in space)
        begun = f"goes on after {plural(trials.count(), 'trial')}" if goes_on and trials.count() else "begins"
        say(f"sweep {folder} {begun}: {plural(options.trials, 'trial')} of {what}")
        words = [*without(rest, space), *_usual_words(config, rest, options.jobs)]
        sweep = Sweep(folder, space, trials, words, least_epochs=options.least_epochs, say=say)
        try:
            stopped = sweep.run(options.trials, options.jobs)
        except UserError:
            if all(row.metric is None for row in trials.rows()):  # so that a mended command may begin it anew
                (folder / SPEC).unlink(missing_ok=True)
                (folder / JOURNAL).unlink(missing_ok=True)
            raise
        code = _tell(folder, trials, space, rest, console)
    if stopped is not None:
        say("stopped; the trials that were begun have saved themselves, and the same command goes on with them")
        return EXIT_INTERRUPTED if stopped == signal.SIGINT else EXIT_RESUMABLE
    return code


def _tell(folder: Path, trials: Trials, space: Sequence[Dimension], rest: Sequence[str], console: AnswerConsole) -> int:
    """Print what was found and write its page; return the exit code."""
    rows = trials.rows()
    if not rows:
        return EXIT_FAILED
    best = best_of(rows)
    command = ""
    if best is not None:
        words = [word for one in space for word in one.words(best.values[one.name])]
        command = shlex.join(command_without_secrets(["slipway", "train", *without(rest, space), *words]))
    console.print()
    console.print(table_of(rows, space, trials.metric))
    page = folder / PAGE
    made = make_page(folder.name, rows, space, trials.metric, command, more_is_better=trials.sign < 0)
    write_file(page, made.encode("utf-8", "backslashreplace"))
    console.print(f"\npage: {page}", soft_wrap=True, markup=False)
    if best is None:
        console.print("no trial is finished yet", markup=False)
        return EXIT_FAILED
    metric = format_metric(trials.metric, best.metric)
    line = f"best: trial {best.number}, {trials.metric} {metric} of the validation, {values_text(best, space)}"
    console.print(line, soft_wrap=True, markup=False)
    console.print(f"train with it: {command}", soft_wrap=True, markup=False)
    return 0


def _check_words(rest: Sequence[str]) -> None:
    """Raise `UserError` for a word that is neither an option of this command nor of the training."""
    own = [name for action in build_parser()._actions for name in action.option_strings]
    of_training = [name for action in cli.build_parser()._actions for name in action.option_strings]
    for word in rest:
        name = word.partition("=")[0]
        if word.startswith("--") and name not in of_training:
            raise UserError(f"slipway sweep: unknown argument {name!r}{nearest(name, [*own, *of_training])}")


def _check_config(config: TrainingConfig) -> None:
    """Raise `UserError` for an option that trials cannot have."""
    for name, why in _OWN.items():
        if getattr(config, name) not in (None, False):
            raise UserError(f"slipway sweep: --{name.replace('_', '-')}: {why}; leave it out", option=name)
    for many, one in (("folds", "fold"), ("leave_out", "held_out")):
        if getattr(config, many) is not None and getattr(config, one) is None:
            raise UserError(
                f"slipway sweep: --{many.replace('_', '-')}: a trial is a single run; name one with --{one.replace('_', '-')}",
                option=many,
            )


def _folder_of(name: str, runs_dir: Path) -> Path:
    if not name.strip() or Path(name).name != name or name.startswith("."):
        raise UserError(f"--name {name!r}: a name without slashes, which does not begin with a dot")
    folder = runs_dir / name
    if (folder / RECORD).exists():
        raise UserError(f"--name {name}: {folder} is a run; give the sweep another name")
    return folder


def _write_spec(folder: Path, rest: Sequence[str], space: Sequence[Dimension]) -> bool:
    """Keep what the sweep is; return whether it was begun before. Raises `UserError` for another one in its folder."""
    content: dict[str, Any] = {
        "schema_version": 1,
        "arguments": command_without_secrets(list(rest)),
        "space": {one.name: one.described() for one in space},
        "folder": os.getcwd(),
    }
    path = folder / SPEC
    try:
        earlier = read_json(path)
    except FileNotFoundError:
        write_json(path, content)
        return False
    except (OSError, UnreadableError) as error:
        raise UserError(f"{path}: {error}; give another --name") from None
    if earlier != content:
        was = earlier.get("space") if isinstance(earlier, dict) else None
        differs = "tries other values" if was != content["space"] else "trains with other options, or in another folder"
        raise UserError(
            f"{folder} holds a sweep that {differs}; give its own command to go on with it, or another --name"
        )
    return True


def _usual_words(config: TrainingConfig, rest: Sequence[str], jobs: int) -> list[str]:
    """Return options that trials have unless they are given."""
    words = [] if "--report" in rest else ["--no-report"]
    if config.threads is None and jobs > 1:
        words += ["--threads", str(max(1, usable_cores() // jobs))]
    return words


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _factor(text: str) -> int:
    value = int(text)
    if value < 2:
        raise ValueError
    return value


_positive.__name__, _factor.__name__ = "number from 1 up", "number from 2 up"
