"""`slipway launch --hosts`: one launch on several hosts, looked at, planned, started and followed over ssh."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...training.common.errors import EXIT_INTERRUPTED, UserError
from ...training.common.plan_file import LaunchPlan
from ...training.common.program.shown import one_line, printable, printable_json
from ...training.common.settings import format_path
from ..common.ports import DEFAULT_PORT
from ..common.signals import SignalQueue
from ..hardware.detect import load_hardware
from ..plan.accelerate.config import launch_command, to_yaml
from ..plan.config_command import drafted
from ..plan.records import Intent
from .agreement import Place, launch_arguments, plans_of
from .follow import Following, tell
from .host_list import NamedHost, read_hosts
from .link import Link, passed_variables
from .look import find_address, find_port, look_at

_CONFIGS = Path("accelerate_configs")
_SCHEMA_VERSION = 1


def start_on_hosts(options: argparse.Namespace, command: Sequence[str], intent: Intent, folder: Path) -> int:
    """Run a command on the hosts of `--hosts`, with logs in a launch folder; return the exit code. Raises `UserError`."""
    hosts = read_hosts(options.hosts)
    _check(intent)
    if options.dry_run:
        return _show(options, hosts, command, intent)
    links: list[Link] = []
    try:
        folder.mkdir(parents=True)
        (folder / "launch.json").write_text(json.dumps({"host": os.uname().nodename, "hosts": options.hosts}))
        token = folder / f".{secrets.token_hex(8)}"
        token.touch()
        links = [Link(host) for host in hosts]
        code = _run(options, hosts, links, command, intent, folder, str(token))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        raise UserError(f"--log-dir {folder.parent}: {error.strerror}; choose a folder that can be written") from None
    finally:
        for link in links:
            link.close(options.grace_seconds)
        for one in folder.glob(".*"):
            one.unlink(missing_ok=True)
        if not any(folder.rglob("*.log")):
            shutil.rmtree(folder, ignore_errors=True)
    return code


def _check(intent: Intent) -> None:
    for name in ("num_machines", "machine_rank"):
        if getattr(intent, name) is not None:
            flag = name.replace("_", "-")
            raise UserError(f"--hosts says which machines take part: leave --{flag} out", option=name)
    if intent.sections():
        raise UserError(
            "--hosts: sections of an Accelerate config are not sent to other hosts; start there by hand with --config, or give "
            "--sharding, --compile, --mixed-precision"
        )


def _run(
    options: argparse.Namespace,
    hosts: list[NamedHost],
    links: list[Link],
    command: Sequence[str],
    intent: Intent,
    folder: Path,
    token: str,
) -> int:
    here = os.getcwd()
    looks = look_at(links, here, command, token, tell)
    if intent.main_process_ip is None:
        address, interface = find_address(links, looks)
        reason = f"all hosts have connected to it, over {interface}"
    else:
        address, reason = intent.main_process_ip, "fixed by you"
    wanted = intent.main_process_port or DEFAULT_PORT
    port, note = find_port(links[0], wanted, is_fixed=intent.main_process_port not in (None, 0))
    place = Place(address=address, port=port, reason=reason)
    plans = plans_of(hosts, [look.hardware for look in looks], intent, place)
    words = [_arguments(options, plan, intent, folder, host) for host, plan in zip(hosts, plans, strict=True)]
    files = _write_configs(hosts, plans, words, command)
    listing = ", ".join(f"{host.name} {plan.local_processes}" for host, plan in zip(hosts, plans, strict=True))
    tell(
        f"{plans[0].num_processes} processes on {len(hosts)} hosts ({listing}), {plans[0].device}, precision "
        f"{plans[0].mixed_precision}; they meet at {address}:{port}; configs {', '.join(map(str, files))}; logs "
        f"{format_path(folder)}"
    )
    if note:
        tell(note)
    for host, plan in zip(hosts, plans, strict=True):
        for warning in plan.warnings:
            tell(f"warning: {host.name}: {warning}")
    with SignalQueue() as queue:
        for link, look, arguments in zip(links, looks, words, strict=True):
            link.send(
                ask="start",
                arguments=[*arguments, *command],
                folder=here,
                environment=passed_variables(),
                grace_seconds=options.grace_seconds,
                log_dir=str(folder / link.name),
                shares_logs=look.shares_logs,
            )
        return Following(links, folder, options.grace_seconds).run(queue)


def _arguments(
    options: argparse.Namespace, plan: LaunchPlan, intent: Intent, folder: Path, host: NamedHost
) -> list[str]:
    """Return the words of `slipway` that start the part of a host."""
    return [
        "launch",
        *launch_arguments(plan, intent),
        *("--max-restarts", str(options.max_restarts)),
        *("--grace-seconds", f"{options.grace_seconds:g}"),
        *("--log-dir", str(folder / host.name)),
    ]


def _write_configs(
    hosts: Sequence[NamedHost], plans: Sequence[LaunchPlan], words: Sequence[list[str]], command: Sequence[str]
) -> list[Path]:
    """Write the config of each host, with the command that starts it there."""
    paths = []
    for host, plan, arguments in zip(hosts, plans, words, strict=True):
        path = _CONFIGS / f"{host.name}.yaml"
        ours = shlex.join(["slipway", *arguments, *command])
        theirs = str(launch_command(plan, path, list(command)))
        lines = (f"# On {host.name}: {ours}", f"# or, with this file there: {theirs}")
        with drafted(path) as draft:
            draft.write_text("".join(f"{one_line(line)}\n" for line in lines) + to_yaml(plan), encoding="utf-8")
        paths.append(path)
    return paths


def _show(options: argparse.Namespace, hosts: list[NamedHost], command: Sequence[str], intent: Intent) -> int:
    """Print what would be started on each host. No host is asked: each is taken to be as this machine, or `--hardware`."""
    hardware = load_hardware(options.hardware)
    address = intent.main_process_ip or hosts[0].name
    place = Place(address=address, port=intent.main_process_port or DEFAULT_PORT, reason="the first host, by its name")
    plans = plans_of(hosts, [hardware] * len(hosts), intent, place)
    environment = passed_variables()
    shown: list[dict[str, Any]] = []
    for host, plan in zip(hosts, plans, strict=True):
        arguments = ["launch", *launch_arguments(plan, intent)]
        if options.max_restarts:
            arguments += ["--max-restarts", str(options.max_restarts)]
        shown.append({"host": host.target, "argv": ["slipway", *arguments, *command], "environment": environment})
    if options.json:
        print(
            printable_json(
                json.dumps({"schema_version": _SCHEMA_VERSION, "hosts": shown}, indent=2, ensure_ascii=False)
            )
        )
        return 0
    tell("no host was asked: each is taken to be as this machine")
    for one, host in zip(shown, hosts, strict=True):
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        print(printable(f"{host.target}:\n  {variables}{' ' * bool(variables)}{shlex.join(one['argv'])}"))
    return 0
