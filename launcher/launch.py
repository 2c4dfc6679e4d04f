"""`slipway launch`: plan for this machine, write the launch folder, and run a script as planned."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import UserError, nearest
from launcher.options import Parser, add_intent, hardware_of, intent_of, make_parser, parse

if TYPE_CHECKING:
    from launcher.hardware import Hardware
    from launcher.plan_records import LaunchPlan
    from launcher.targets.local import Run

_SCHEMA_VERSION = 1  # of --dry-run --json
_GRACE_SECONDS = 8.0
_HERE = Path(__file__).resolve().parent


def launch(arguments: list[str]) -> int:
    """Run a script, or with `-m` a module, as planned; return its exit code. Call it in the main thread."""
    parser = _parser()
    own, command = _split(parser, arguments)
    options = parse(parser, own)
    _check_command(command)
    if options.hardware and not options.dry_run:
        raise UserError("slipway launch: --hardware is another machine's: add --dry-run, or leave it out")
    if options.json and not options.dry_run:
        raise UserError("slipway launch: --json shows what --dry-run would do: add --dry-run")
    if not 0 <= options.grace_seconds < float("inf"):
        raise UserError(f"slipway launch: --grace-seconds {options.grace_seconds:g}: must be 0 or more")

    from launcher.launch_environment import stale_variables
    from launcher.plan import make_plan

    stale = stale_variables(os.environ)
    try:
        plan = make_plan(_without(hardware_of(options.hardware), stale), intent_of(options))
        prepared = _prepare(plan, command, Path(options.log_dir), options.grace_seconds)
        if options.dry_run:
            _show(prepared, plan, as_json=options.json)
            return 0
        return _run(prepared, plan, stale)
    except KeyboardInterrupt:  # before anything was started
        return 130


def _parser() -> Parser:
    from launcher.launch_folder import DEFAULT_LOG_DIR

    parser = make_parser(
        "launch", "Plan for this machine and start a script as planned. What follows SCRIPT is its own."
    )
    parser.usage = "slipway launch [options] SCRIPT [arguments]\n       slipway launch [options] -m MODULE [arguments]"
    parser.add_argument("-m", metavar="MODULE", help="a module instead of SCRIPT, as python -m takes it")
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
    add_intent(parser)
    return parser


def _split(parser: Parser, arguments: list[str]) -> tuple[list[str], list[str]]:
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


def _check_command(command: list[str]) -> None:
    if not command:
        raise UserError("slipway launch: name the SCRIPT to start, or -m MODULE; see `slipway launch --help`")
    script = Path(command[0])
    if command[0] == "-m" or script.is_file():
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
    run: Run
    files: dict[str, str]
    notes: tuple[str, ...]


def _prepare(plan: LaunchPlan, command: list[str], log_dir: Path, grace_seconds: float) -> _Prepared:
    """Return what is started and written, without doing either."""
    from launcher.accelerate_config import launch_command, to_yaml
    from launcher.launch_environment import environment_of, starts_directly
    from launcher.launch_folder import next_folder
    from launcher.rank_state import CONFIG_FILE, LAUNCH_FILE, PLAN_FILE, LaunchRecord
    from launcher.records import to_json
    from launcher.targets.local import Run

    direct = starts_directly(plan)
    notes: tuple[str, ...] = ()
    if not direct:
        plan, notes = _with_port(plan)
    folder = next_folder(log_dir)
    environment = environment_of(plan, os.environ, str(folder / PLAN_FILE), str(folder))
    if direct:
        argv = [sys.executable, "-u", str(_HERE / "child.py"), *command]
    else:
        options = launch_command(plan, folder / CONFIG_FILE, []).argv[2:]
        argv = [sys.executable, str(_HERE / "agent.py"), *options, "--", *command]
    record = LaunchRecord(
        launcher_pid=os.getpid(),
        started_at=time.time(),
        grace_seconds=grace_seconds,
        argv=tuple(argv),
        folder=os.getcwd(),
    )
    run = Run(
        argv=tuple(argv),
        environment=environment,
        folder=folder,
        num_processes=plan.local_processes,
        direct=direct,
        grace_seconds=grace_seconds,
    )
    files = {PLAN_FILE: plan.to_json() + "\n", CONFIG_FILE: to_yaml(plan), LAUNCH_FILE: to_json(record) + "\n"}
    return _Prepared(run=run, files=files, notes=notes)


def _with_port(plan: LaunchPlan) -> tuple[LaunchPlan, tuple[str, ...]]:
    """Return the plan with a port that is free; on one machine another takes the place of a busy one."""
    from launcher.ports import DEFAULT_PORT, free_port, is_free

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


def _run(prepared: _Prepared, plan: LaunchPlan, stale: list[str]) -> int:
    from launcher import launch_folder
    from launcher.rank_state import CONFIG_FILE
    from launcher.settings import shown
    from launcher.targets.local import run
    from launcher.targets.outcome import describe

    folder = prepared.run.folder
    launch_folder.create(folder, prepared.files)
    if stale:
        prepared = dataclasses.replace(
            prepared, notes=(*prepared.notes, f"another launch's variables are not passed on: {', '.join(stale)}")
        )
    _say(f"{_headline(plan)}; config {shown(folder / CONFIG_FILE)}, logs beside it")
    for warning in plan.warnings:
        _say(f"warning: {warning}")
    for note in prepared.notes:
        _say(note)
    outcome = run(prepared.run)
    lines = describe(dataclasses.replace(outcome, log=shown(Path(outcome.log))))
    if lines:
        _say(lines[0])
        print("\n".join(lines[1:]), end="\n" if lines[1:] else "", file=sys.stderr, flush=True)
    if outcome.exit_code == 0:
        launch_folder.remove_if_kept_elsewhere(folder, prepared.run.num_processes)
    return outcome.exit_code


def _headline(plan: LaunchPlan) -> str:
    count = f"{plan.num_processes} process{'es' if plan.num_processes > 1 else ''}"
    if plan.num_machines > 1:
        count = f"{plan.local_processes} of {count}, machine {plan.machine_rank} of {plan.num_machines}"
    names = ", ".join(dict.fromkeys(device.name for device in plan.devices))
    sharding = "" if plan.sharding == "replicate" else f", {plan.sharding}"
    return f"{count} on {plan.device}{f' ({names})' if names else ''}, precision {plan.mixed_precision}{sharding}"


def _say(text: str) -> None:
    print(f"slipway launch: {text}", file=sys.stderr, flush=True)


def _show(prepared: _Prepared, plan: LaunchPlan, *, as_json: bool) -> None:
    """Print what would be started, how its environment differs from this one, and the files."""
    from launcher.launch_environment import difference

    changes = difference(os.environ, prepared.run.environment)
    files = {str(prepared.run.folder / name): content for name, content in prepared.files.items()}
    notes = [*(f"warning: {warning}" for warning in plan.warnings), *prepared.notes]
    if as_json:
        shown = {
            "schema_version": _SCHEMA_VERSION,
            "argv": prepared.run.argv,
            "environment": dataclasses.asdict(changes),
            "files": files,
            "notes": notes,
        }
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    import shlex

    for note in notes:
        _say(note)
    print(shlex.join(prepared.run.argv))
    print("\nEnvironment, as it differs from this one:")
    for line in _lines(changes.added, changes.changed, changes.removed):
        print(f"  {line}")
    for path, content in files.items():
        print(f"\n{path}:")
        print("\n".join(f"  {line}" for line in content.splitlines()))


def _lines(added: Mapping[str, str], changed: Mapping[str, tuple[str, str]], removed: Mapping[str, str]) -> list[str]:
    return [
        *(f"+ {name}={value}" for name, value in added.items()),
        *(f"~ {name}={new} (was {old})" for name, (old, new) in changed.items()),
        *(f"- {name}={value}" for name, value in removed.items()),
    ]
