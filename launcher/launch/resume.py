"""`slipway resume`: continue a run from its newest checkpoint, started as it was."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...training.common.errors import UserError, nearest
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.redaction import HIDDEN
from ...training.common.program.shown import one_line
from ...training.common.program.streams import print_to_stderr
from ...training.common.program.trust import why_foreign
from ...training.common.run_names import how_to_train_on
from ...training.common.small_files import UnreadableError, read_json, reason_of
from ..common.paths import TRAIN_SCRIPT
from .allocation import start_on_all_nodes
from .command import add_launch_options, start

if TYPE_CHECKING:
    from ..plan.replan import EarlierRun


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "resume",
        "Continue a run from its newest checkpoint, started as it was. A finished run is left as it is.",
        "[options] RUN",
    )
    add_run_options(parser)
    return parser


def add_run_options(parser: Parser) -> None:
    """Add the run that a command starts again, where it is, and how it is started."""
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of the runs [runs]")
    parser.add_argument(
        "--trust", action="store_true", help="start the command that the run names though you did not start it here"
    )
    add_launch_options(parser)
    parser.add_argument("run", metavar="RUN", help="the folder of the run, or its name in the folder of the runs")


def main(arguments: list[str]) -> int:
    """Start a run again as it was started, from its newest valid checkpoint; return the exit code."""
    parser = build_parser()
    options = parse(parser, arguments)

    folder = folder_of(options.run, Path(options.runs_dir), "slipway resume")
    record = read_record(folder)
    if record.get("state") == "finished" and "result" in record:
        print_to_stderr(f"{folder.name} is finished: nothing is left to train; {how_to_train_on(folder)}")
        return 0
    start_on_all_nodes(options)
    earlier, command = start_again(folder, record, options, parser, "slipway resume")
    return start(options, command, earlier)


def start_again(
    folder: Path, record: dict[str, Any], options: argparse.Namespace, parser: Parser, name: str
) -> tuple[EarlierRun, list[str]]:
    """Enter the folder where a run was started; return the plan's facts of it and its command. Raises `UserError`.

    `name` is the command that the user gave.
    """
    earlier, command, where = _start_of(folder, record)
    # A dry run tells command and folder, and runs nothing of them.
    if not (options.trust or options.dry_run):
        _refuse_foreign(record["command"], command, where, f"{name} {options.run}")
    for option in ("log_dir", "config", "hardware"):
        if getattr(options, option) != parser.get_default(option):
            setattr(options, option, os.path.abspath(getattr(options, option)))
    try:
        os.chdir(where)
    except OSError as error:
        raise UserError(
            f"{folder}: it was started in {where} ({error.strerror}); start it by its own command, with --resume {folder}"
        ) from None
    return earlier, command


def _refuse_foreign(facts: dict[str, Any], command: list[str], where: Path, name: str) -> None:
    """Raise `UserError` that shows the command, unless this user's own run has written it on this machine."""
    if (why := why_foreign("command", facts)) is not None:
        shown = one_line(shlex.join(["python", *command]))
        raise UserError(
            f"{name} would run `{shown}` in {one_line(str(where))}, and its run.json does not prove that you "
            f"started it here: {why}. Read what it runs, then add --trust"
        )


def folder_of(run: str, runs_dir: Path, name: str) -> Path:
    """Return the folder of a run, by its path or its name. Raises `UserError` that begins with the `name` of a command."""
    for path in (Path(run), runs_dir / run):
        if (path / "run.json").is_file():
            return path.resolve()
    known = [path.parent.name for path in runs_dir.glob("*/run.json")]
    raise UserError(f"{name} {run}: no such run, here or in {runs_dir}{nearest(run, known)}")


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a run. Raises `UserError`."""
    try:
        record = read_json(folder / "run.json")
    except OSError as error:
        raise UserError(f"{folder / 'run.json'}: {reason_of(error)}") from None
    except UnreadableError:
        record = None
    if not isinstance(record, dict):
        raise UserError(f"{folder / 'run.json'}: not the record of a run; give the folder of another run")
    return record


def _start_of(folder: Path, record: dict[str, Any]) -> tuple[EarlierRun, list[str], Path]:
    """Return from a record the plan's facts of a run, its command, and its working folder. Raises `UserError`."""
    from ..plan.replan import EarlierRun

    try:
        command, plan = record["command"], record["plan"]
        script, module, where = command["script"], command["module"], Path(command["folder"])
        words = [str(word) for word in command["arguments"]]
        earlier = EarlierRun(folder=folder, device=str(plan["device"]), world_size=int(plan["world_size"]))
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder}: its run.json does not say how it was started; use its own command with --resume {folder}"
        ) from None
    if hidden := [word.removesuffix(f"={HIDDEN}") for word in words if HIDDEN in word]:
        raise UserError(
            f"{folder}: its run.json does not hold the secret in its command ({', '.join(hidden)}); use its own command with "
            f"--resume {folder}, or give the secret by a variable such as HF_TOKEN"
        )
    if module == "training" and record.get("schema_version") == 1:
        module, script = None, TRAIN_SCRIPT  # what `slipway train` ran while the package was installed under that name
    if module:
        return earlier, ["-m", str(module), *words], where
    if not script:
        raise UserError(f"{folder}: it was started from no script; start it again there, with resume={str(folder)!r}")
    if Path(script).parts[-3:] == TRAIN_SCRIPT.parts[-3:] and not Path(script).is_file():
        script = TRAIN_SCRIPT  # the record names one of an environment that is gone
    if not Path(script).is_file():
        raise UserError(
            f"{folder}: its script {script} does not exist any more; use its own command with --resume {folder}"
        )
    return earlier, [str(script), *words], where
