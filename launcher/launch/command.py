"""`slipway launch`: plan for this machine, write the launch folder, and run a script as planned."""

from __future__ import annotations

import argparse
import dataclasses
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...training.common.errors import EXIT_INTERRUPTED, UserError, nearest
from ...training.common.parser import Parser, make_parser, parse
from ..hardware.detect import load_hardware
from ..plan.options import add_intent, intent_of
from ..plan.spellings import as_spelled_here
from .allocation import start_on_all_nodes

if TYPE_CHECKING:
    from ...training.common.plan_file import ContinuedRun, LaunchPlan
    from ..hardware.record import Hardware
    from ..plan.records import Intent
    from ..plan.replan import EarlierRun
    from .supervise.supervisor import GroupStart

_GRACE_SECONDS = 8.0
_CONFIGS = (".yaml", ".yml", ".json")
_SCRIPTS = ("", ".py", ".pyw", ".pyc", ".pyz", ".zip")
"""What Python runs, by the end of its name."""
_MOST_RESTARTS = 1_000_000
_WORKER = Path(__file__).parent / "worker"


def build_parser() -> Parser:
    """Return the parser of the command."""
    usage = "[options] SCRIPT [arguments]\n       slipway launch [options] -m MODULE [arguments]"
    parser = make_parser("launch", "Plan for this machine and start a training script as planned.", usage)
    parser.add_argument("-m", metavar="MODULE", help="a module instead of SCRIPT, as python -m takes it")
    add_launch_options(parser)
    parser.add_argument("script", metavar="SCRIPT", nargs=argparse.REMAINDER, help="the script, then its own arguments")
    return parser


def main(arguments: list[str]) -> int:
    """Run a script, or with `-m` a module, as planned; return its exit code. Call it in the main thread."""
    parser = build_parser()
    try:
        options, command = _read(parser, arguments)
    except UserError as error:
        from .meant import command_meant

        if (line := command_meant(parser, arguments, partial(_read, parser))) is None:
            raise
        raise UserError(f"{error}; write: {line}") from None
    start_on_all_nodes(options)
    return start(options, command)


def _read(parser: Parser, arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options of a launch, and the script or module with its arguments. Raises `UserError`."""
    own, command = split_command(parser, as_spelled_here(parser, arguments))
    if len(command) > 1 and Path(command[0]).suffix in _CONFIGS:  # slipway launch FILE.yaml SCRIPT
        own, command = [*own, "--config", command[0]], command[1:]
        more, command = split_command(parser, as_spelled_here(parser, command))
        own += more
    options = parse(parser, own)
    check_command(command)
    return options, command


def add_launch_options(parser: Parser) -> None:
    """Add the options of a launch."""
    from .folder import DEFAULT_LOG_DIR

    parser.add_argument(
        "--max-restarts",
        metavar="N",
        type=int,
        default=0,
        help="after a crash start again from the last checkpoint, N times at most [0]",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be started and written, and do neither")
    parser.add_argument("--json", action="store_true", help="with --dry-run: as JSON")
    parser.add_argument("--hardware", metavar="FILE", help="with --dry-run: for the machine recorded in FILE")
    parser.add_argument(
        "--log-dir",
        metavar="DIR",
        default=str(DEFAULT_LOG_DIR),
        help=f"where the folder of this launch goes [{DEFAULT_LOG_DIR}]",
    )
    parser.add_argument(
        "--grace-seconds",
        metavar="SECONDS",
        type=float,
        default=_GRACE_SECONDS,
        help=f"time to end after SIGTERM or SIGINT, before SIGKILL [{_GRACE_SECONDS:g}]",
    )
    parser.add_argument(
        "--job",
        metavar="NAME",
        help="the starts of this name, with the same --log-dir, are one job: it goes on with the run it had begun [in a job of "
        "SLURM its number]",
    )
    add_intent(parser)


def start(
    options: argparse.Namespace,
    command: Sequence[str],
    earlier: EarlierRun | None = None,
    continues: ContinuedRun | None = None,
) -> int:
    """Run a command as the parsed options of a launch say; with an earlier run as that was, to go on with it.

    `continues` makes it a new run, which goes on from the earlier one.

    Return the exit code. Call it in the main thread. Raises `UserError`.
    """
    _check_options(options)
    from ..plan.make_plan import make_plan
    from ..plan.replan import as_before
    from .allocation import job_of, settle
    from .environment import stale_variables
    from .folder import runs_begun

    stale = stale_variables(os.environ)
    try:
        hardware = _without(load_hardware(options.hardware), stale)
        intent = intent_of(options)
        notes: tuple[str, ...] = ()
        if not options.hardware:
            hardware, intent, notes = settle(hardware, intent)
        if earlier is not None:
            intent, more = as_before(intent, hardware, earlier)
            notes = (*notes, *more)
        if stale:
            notes = (*notes, f"another launch's variables are not passed on: {', '.join(stale)}")
        launch = _Launch(options, command, intent, stale, earlier, continues)
        launch.job = job_of(options, os.environ)
        if launch.job and (earlier is None or continues is not None):
            notes = (*notes, *launch.go_on_with(runs_begun(Path(options.log_dir), launch.job)))
        return launch.start(make_plan(hardware, intent), notes)
    except KeyboardInterrupt:  # before anything was started
        return EXIT_INTERRUPTED


def _check_options(options: argparse.Namespace) -> None:
    if options.hardware and not options.dry_run:
        raise UserError("slipway launch: --hardware is another machine's: add --dry-run, or leave it out")
    if options.json and not options.dry_run:
        raise UserError("slipway launch: --json shows what --dry-run would do: add --dry-run")
    if not 0 <= options.grace_seconds < float("inf"):
        raise UserError(f"slipway launch: --grace-seconds {options.grace_seconds:g}: must be 0 or more")
    if not 0 <= options.max_restarts <= _MOST_RESTARTS:
        raise UserError(f"slipway launch: --max-restarts {options.max_restarts}: must be from 0 to {_MOST_RESTARTS:,}")


def split_command(parser: Parser, arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the launcher's own arguments, and the script or module with its own, word for word."""
    has_value = {name: action.nargs != 0 for action in parser._actions for name in action.option_strings}
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            return arguments[:at], arguments[at + 1 :]
        if (word == "-m" and at + 1 < len(arguments)) or not word.startswith("-"):
            return arguments[:at], arguments[at:]
        at += 2 if has_value.get(word) else 1  # `--option=value` is one word, and no name
    return arguments, []


def check_command(command: list[str]) -> None:
    """Raise `UserError` unless the words name a script that Python runs, or a module."""
    if not command:
        raise UserError("slipway launch: name the SCRIPT to start, or -m MODULE; see `slipway launch --help`")
    if not command[0].strip():
        raise UserError(
            "slipway launch: a blank follows the backslash at the end of a line, which ends the command there: remove the blank"
        )
    script = Path(command[0])
    if script.suffix in _CONFIGS:
        raise UserError(f"slipway launch: {command[0]} is a config: name the SCRIPT behind it")
    if command[0] == "-m":
        return
    if script.is_file():
        if script.suffix not in _SCRIPTS:
            raise UserError(f"slipway launch: {command[0]} is no Python script; name a .py file, or a module with -m")
        return
    if script.is_dir():
        raise UserError(f"slipway launch: {command[0]} is a folder; name the script in it")
    names = [path.name for path in script.parent.iterdir()] if script.parent.is_dir() else []
    raise UserError(f"slipway launch: no such file: {command[0]}{nearest(script.name, names)}")


def _without(hardware: Hardware, stale: list[str]) -> Hardware:
    """Return the hardware as the processes will find it: what another launch left in the environment is taken out."""
    variables = {name: value for name, value in hardware.environment.variables.items() if name not in stale}
    return dataclasses.replace(
        hardware,
        environment=dataclasses.replace(hardware.environment, variables=variables),
        scheduler=dataclasses.replace(hardware.scheduler, torchrun=None),
    )


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    group: GroupStart
    files: dict[str, str]
    notes: tuple[str, ...]


class _Launch:
    """A launch, from its first plan to the end of its last process."""

    def __init__(
        self,
        options: argparse.Namespace,
        command: Sequence[str],
        intent: Intent,
        stale: list[str],
        earlier: EarlierRun | None,
        continues: ContinuedRun | None,
    ) -> None:
        from .folder import next_folder

        self._options = options
        self._command = command
        self._intent = intent
        self._stale = stale
        self._runs = [] if earlier is None or continues is not None else [earlier.folder]
        self._continues = continues
        self._folder = next_folder(Path(options.log_dir))
        self._num_logs = 0
        self.job = ""
        """The name by which a later start knows this one as its own."""

    def go_on_with(self, runs: Sequence[Path]) -> tuple[str, ...]:
        """Go on with the runs that an earlier start of the job had begun, if there are any; return a line on them."""
        if not runs:
            return ()
        self._runs, self._continues = list(runs), None
        return (f"goes on with {', '.join(run.name for run in runs)}, which this job had begun",)

    def start(self, plan: LaunchPlan, notes: tuple[str, ...]) -> int:
        """Run to the end, or show what would be run; return the exit code. Raises `UserError` before anything runs."""
        from . import folder as launch_folder

        prepared = self._prepare(plan, self._folder, self._runs)
        notes = (*(f"warning: {warning}" for warning in plan.warnings), *notes, *prepared.notes)
        if self._options.dry_run:
            from .dry_run import print_dry_run

            if self._options.max_restarts:
                notes = (*notes, f"after a crash it starts again, {self._options.max_restarts} times at most")
            print_dry_run(prepared.group, prepared.files, notes, as_json=self._options.json)
            return 0
        from ...training.common.settings import format_path
        from ..common.ports import DEFAULT_PORT
        from .restarts import run_with_restarts
        from .state_files import CONFIG_FILE
        from .supervise.supervisor import print_status

        _check_meeting_place(plan)
        launch_folder.create(self._folder, prepared.files)
        print_status(f"{_headline(plan)}; config {format_path(self._folder / CONFIG_FILE)}, logs beside it")
        for note in notes:
            print_status(note)
        if plan.num_machines > 1:
            where = f"{plan.main_process_ip}:{plan.main_process_port or DEFAULT_PORT}"
            print_status(
                f"the training begins once all {plan.num_machines} machines have started theirs; they meet at {where}"
            )
        self._plan, self._num_logs = plan, plan.local_processes
        outcome = run_with_restarts(prepared.group, self._prepare_restart, self._options.max_restarts)
        if outcome.exit_code == 0:
            launch_folder.remove_if_kept_elsewhere(self._folder, self._num_logs)
        return outcome.exit_code

    def _prepare_restart(self, number: int, runs: Sequence[Path]) -> GroupStart:
        """Plan again for what the machine has now; return the processes of a restart, with their own folder."""
        from ..plan.replan import replan
        from . import folder as launch_folder
        from .state_files import RESTART_VARIABLE
        from .supervise.supervisor import print_status

        before = self._plan
        plan, notes = replan(before, _without(load_hardware(None), self._stale), self._intent)
        folder = launch_folder.restart_folder(self._folder, number)
        prepared = self._prepare(plan, folder, runs or self._runs, {RESTART_VARIABLE: str(number)})
        launch_folder.create(folder, prepared.files)
        warnings = [f"warning: {warning}" for warning in plan.warnings if warning not in before.warnings]
        for note in (*notes, *warnings, *prepared.notes):
            print_status(note)
        self._plan = plan
        self._num_logs += plan.local_processes
        return prepared.group

    def _prepare(
        self, plan: LaunchPlan, folder: Path, runs: Sequence[Path], variables: Mapping[str, str] | None = None
    ) -> _Prepared:
        """Return what is started and written to go on with these runs, or to begin; do neither."""
        from ...training.common.json_records import to_json
        from ...training.common.program.redaction import command_without_secrets
        from ..common.ports import free_port
        from ..plan.accelerate.config import launch_command, to_yaml
        from .environment import alone_variables, environment_of, starts_directly
        from .state_files import CONFIG_FILE, LAUNCH_FILE, PLAN_FILE, LaunchRecord
        from .supervise.supervisor import GroupStart

        is_alone = plan.num_processes == 1 and starts_directly(plan)
        notes: tuple[str, ...] = ()
        if not is_alone:
            plan, notes = _with_port(plan)
        plan = dataclasses.replace(_with_resume(plan, runs), continues=self._continues)
        environment = environment_of(plan, os.environ, str(folder / PLAN_FILE), str(folder)) | dict(variables or {})
        if is_alone:
            environment |= alone_variables(free_port())
            argv = [sys.executable, "-u", str(_WORKER / "child.py"), *self._command]
        elif starts_directly(plan):
            argv = [sys.executable, str(_WORKER / "ranks.py"), *self._command]
        else:
            accelerate = launch_command(plan, folder / CONFIG_FILE, []).argv[2:]
            argv = [sys.executable, str(_WORKER / "agent.py"), *accelerate, "--", *self._command]
        record = LaunchRecord(
            launcher_pid=os.getpid(),
            started_at=time.time(),
            grace_seconds=self._options.grace_seconds,
            argv=tuple(command_without_secrets(argv)),
            folder=os.getcwd(),
            host=socket.gethostname(),
            job=self.job,
        )
        group = GroupStart(
            argv=tuple(argv),
            environment=environment,
            folder=folder,
            num_processes=plan.local_processes,
            direct=is_alone,
            grace_seconds=self._options.grace_seconds,
        )
        files = {PLAN_FILE: plan.to_json() + "\n", CONFIG_FILE: to_yaml(plan), LAUNCH_FILE: to_json(record) + "\n"}
        return _Prepared(group=group, files=files, notes=notes)


def _with_resume(plan: LaunchPlan, runs: Sequence[Path]) -> LaunchPlan:
    """Return the plan with the runs that this launch goes on with, if there are any."""
    from ...training.common.plan_file import Choice

    if not runs:
        return plan
    # A script that trains one after the other finds each by its name.
    resume = str(runs[0]) if len(runs) == 1 else "auto"
    reason = "the run that this launch goes on with" if len(runs) == 1 else "this launch goes on with several runs"
    why = Choice(field="resume", origin="detected", fixed=False, reason=reason, fact="")
    return dataclasses.replace(plan, resume=resume, choices=(*plan.choices, why))


def _with_port(plan: LaunchPlan) -> tuple[LaunchPlan, tuple[str, ...]]:
    """Return the plan with a port that is free; on one machine another takes the place of a busy one."""
    from ..common.ports import DEFAULT_PORT, free_port, is_free

    port = plan.main_process_port or DEFAULT_PORT
    if plan.num_machines > 1:
        if plan.machine_rank == 0 and not is_free(port):
            raise UserError(
                f"--main-process-port {port}: another process of this machine listens there; "
                "give all machines another one"
            )
        return plan, ()
    if plan.main_process_port != 0 and is_free(port):
        return dataclasses.replace(plan, main_process_port=port), ()
    other = free_port()
    note = (f"port {port} is taken: {other} is used instead",) if plan.main_process_port != 0 else ()
    return dataclasses.replace(plan, main_process_port=other), note


def _check_meeting_place(plan: LaunchPlan) -> None:
    """Raise `UserError` if the processes of a launch cannot meet where they are told to; else they would wait there."""
    from ...training.common.program.waiting import check_meeting_place

    if plan.main_process_ip is not None or plan.num_processes > 1:
        check_meeting_place(plan.main_process_ip or "127.0.0.1", "--main-process-ip")


def _headline(plan: LaunchPlan) -> str:
    count = f"{plan.num_processes} process{'es' if plan.num_processes > 1 else ''}"
    if plan.num_machines > 1:
        count = f"{plan.local_processes} of {count}, machine {plan.machine_rank} of {plan.num_machines}"
    names = ", ".join(dict.fromkeys(device.name for device in plan.devices))
    sharding = "" if plan.sharding == "replicate" else f", {plan.sharding}"
    return f"{count} on {plan.device}{f' ({names})' if names else ''}, precision {plan.mixed_precision}{sharding}"
