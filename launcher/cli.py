"""The `slipway` command: a table of subcommands, each in its own module."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from ..training.common.errors import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, UserError, nearest
from ..training.common.program.doors import check_working_folder, error_of_place
from ..training.common.program.private import not_for_all_to_write
from ..training.common.program.streams import end_of_output, open_closed_streams, print_to_stderr
from ..training.common.program.uncaught import print_traceback, wants_traceback


@dataclass(frozen=True, kw_only=True)
class Command:
    """A subcommand. Its module has `build_parser()` and `main(arguments)`, and is imported when it is used."""

    name: str
    arguments: str
    help: str
    module: str


COMMANDS = tuple(
    Command(name=name, arguments=arguments, help=text, module=module)
    for name, arguments, text, module in (
        ("train", "[options]", "train; --help lists the options", "slipway.training.run.cli"),
        (
            "launch",
            "SCRIPT ...",
            "plan for this machine and start a script",
            "slipway.launcher.launch.command",
        ),
        ("new", "NAME", "write a small project that trains at once", "slipway.launcher.new.command"),
        ("wizard", "[options]", "plan in a conversation, write the config, launch", "slipway.launcher.wizard.command"),
        ("submit", "COMMAND ...", "hand a training in as a job of a cluster", "slipway.launcher.submit.command"),
        ("resume", "RUN", "continue a run from its newest checkpoint", "slipway.launcher.launch.resume"),
        ("continue", "RUN", "train on from a run's weights, in a new run", "slipway.launcher.launch.go_on"),
        ("sweep", "[options]", "try out options, keep what does well", "slipway.results.sweep.command"),
        ("runs", "[options]", "list the runs: state, metrics, rate, parent", "slipway.results.runs.command"),
        (
            "watch",
            "[RUN]",
            "show the screen of a run that trains elsewhere",
            "slipway.results.watch.command",
        ),
        ("track", "RUN [options]", "send a run's numbers to trackers", "slipway.results.track.command"),
        ("predict", "RUN DATA", "tell the classes of new data by a run's model", "slipway.results.use.predict"),
        ("report", "RUN ...", "make a page that shows a run, and pictures of it", "slipway.results.report.command"),
        ("compare", "RUN RUN ...", "show what differs, curves, metrics, tests", "slipway.results.compare.command"),
        ("evaluate", "RUN", "measure a run's model, with intervals", "slipway.results.use.evaluate"),
        ("export", "RUN --to FORM", "write a run's model as ONNX or torch program", "slipway.results.share.export"),
        ("card", "RUN", "make a folder of it for the Hub, with a card", "slipway.results.share.card_command"),
        ("push", "RUN --to REPO", "upload a run to the Hugging Face Hub", "slipway.results.share.push"),
        ("data", "COMMAND ...", "inspect, convert and record data", "slipway.training.inspection.command"),
        ("detect", "[options]", "show this machine and what limits it", "slipway.launcher.hardware.command"),
        ("plan", "[options]", "show how a training would be started, and why", "slipway.launcher.plan.command"),
        ("config", "[options]", "write the plan as an Accelerate config", "slipway.launcher.plan.config_command"),
        ("doctor", "[options]", "check what keeps a training from running here", "slipway.launcher.doctor.command"),
        ("schema", "RECORD", "print the JSON schema of a record", "slipway.launcher.schema"),
        ("completion", "SHELL", "print what makes bash, zsh or fish complete", "slipway.launcher.completion"),
    )
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit code: 2 for what the user can fix, with an error of one line."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow
        import_module("slipway.launcher.completion").complete()
    open_closed_streams()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments:
        print_to_stderr(f"error: no command\n{_usage()}", end="")
        return EXIT_BAD_INPUT
    try:
        with not_for_all_to_write():
            code = _run(arguments[0], arguments[1:])
        sys.stdout.flush()
        return code
    except OSError as error:
        of_place = error_of_place(error)
        if of_place is not None and not wants_traceback(arguments):
            print_to_stderr(f"error: {of_place}")
            return EXIT_BAD_INPUT
        ended = end_of_output(error)
        if ended is None:
            print_traceback(error)
            return EXIT_FAILED
        return ended
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except UserError as error:
        if wants_traceback(arguments):
            print_traceback(error)
        else:
            print_to_stderr(f"error: {error}")
        return EXIT_BAD_INPUT
    except Exception as error:
        print_traceback(error)
        return EXIT_FAILED


def _usage() -> str:
    rows = [(f"slipway {one.name} {one.arguments}", one.help) for one in COMMANDS]
    rows.append(("slipway --version", "print the version"))
    width = max(len(call) for call, _ in rows)
    lines = (f"  {call:<{width}}  {text}" for call, text in rows)
    return "\n".join(["usage:", *lines, "", "`slipway COMMAND --help` lists the options of a command.", ""])


def _run(name: str, arguments: list[str]) -> int:
    if not arguments and name in ("--help", "-h"):
        print(_usage(), end="")
        return 0
    if not arguments and name == "--version":
        from .. import __version__

        print(__version__)
        return 0
    found = [command for command in COMMANDS if command.name == name]
    if not found:
        known = [*(command.name for command in COMMANDS), "--help", "--version"]
        raise UserError(f"unknown command {name!r}{nearest(name, known)}; see `slipway --help`")
    check_working_folder()
    if name == "train":
        return _train(arguments)
    code: int = import_module(found[0].module).main(arguments)
    return code


def _train(arguments: list[str]) -> int:
    from .common.paths import TRAIN_SCRIPT

    # Replaces this process, so signals and exit code are the training's own. By its path: with `-m`, Python would look
    # for every module in the working folder first, and take a `datasets.py` or `slipway.py` of the user's own.
    os.execv(sys.executable, [sys.executable, str(TRAIN_SCRIPT), *arguments])  # noqa: S606 - no shell is meant
