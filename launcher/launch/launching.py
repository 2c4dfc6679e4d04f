"""One launch, from its first plan to the end of its last process; with several machines, together with the others."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...training.common.errors import UserError
from ..hardware.detect import load_hardware

if TYPE_CHECKING:
    from ...training.common.plan_file import ContinuedRun, LaunchPlan
    from ..hardware.record import Hardware
    from ..plan.records import Intent
    from ..plan.replan import EarlierRun
    from .supervise.peers import Peers
    from .supervise.supervisor import GroupStart

_WORKER = Path(__file__).parent / "worker"


def without_leftovers(hardware: Hardware, stale: list[str]) -> Hardware:
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


class Launch:
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
        self._address: str | None = None  # by which other machines were reached
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
        from .restarts import run_with_restarts
        from .state_files import CONFIG_FILE
        from .supervise.peers import Alone
        from .supervise.supervisor import print_status

        _check_meeting_place(plan)
        launch_folder.create(self._folder, prepared.files)
        print_status(f"{_headline(plan)}; config {format_path(self._folder / CONFIG_FILE)}, logs beside it")
        for note in notes:
            print_status(note)
        peers: Peers = Alone()
        if plan.num_machines > 1:
            try:
                peers = self._meet(plan)
            except BaseException:  # nothing has run
                launch_folder.remove(self._folder)
                raise
            plan = self._reached(plan)
            prepared = self._prepare(plan, self._folder, self._runs)
            launch_folder.write(self._folder, prepared.files)
        self._plan, self._num_logs = plan, plan.local_processes
        with contextlib.closing(peers):
            outcome = run_with_restarts(prepared.group, self._prepare_restart, self._options.max_restarts, peers)
        if outcome.exit_code == 0:
            launch_folder.remove_if_kept_elsewhere(self._folder, self._num_logs)
        return outcome.exit_code

    def _meet(self, plan: LaunchPlan) -> Peers:
        """Wait for the launchers of the other machines; return them. Raises `UserError`."""
        from ..common.ports import DEFAULT_PORT
        from ..hosts.meeting.meet import meet
        from ..hosts.member import member_of
        from ..hosts.network import Door
        from .supervise.peers import Together
        from .supervise.supervisor import print_status

        address, port = plan.main_process_ip or "127.0.0.1", plan.main_process_port or DEFAULT_PORT
        print_status(f"the training begins once all {plan.num_machines} machines have come to {address}:{port}")
        door = Door()
        member = member_of(plan, self._command, self._options.max_restarts, port=door.port)
        met = meet(member, door, address, port, print_status)
        self._address = met.address
        return Together(met)

    def _reached(self, plan: LaunchPlan) -> LaunchPlan:
        """Return the plan with the interface over which the other machines were reached."""
        from ...training.common.plan_file import Choice
        from ..hosts.network import interface_of

        name = None if self._address is None else interface_of(self._address)
        if name is None:
            return plan
        set_before = {choice.field for choice in plan.choices if choice.origin == "environment"}
        variables = [
            variable
            for variable in (
                "GLOO_SOCKET_IFNAME",
                *(("NCCL_SOCKET_IFNAME",) if plan.device in ("cuda", "rocm") else ()),
            )
            if variable not in set_before
        ]
        kept = [choice for choice in plan.choices if choice.field not in variables]
        reason = "the interface that reaches the other machines"
        found = [
            Choice(field=one, origin="detected", fixed=False, reason=reason, fact=f"{name}: {self._address}")
            for one in variables
        ]
        environment = plan.environment | dict.fromkeys(variables, name)
        return dataclasses.replace(plan, environment=environment, choices=(*kept, *found))

    def _prepare_restart(self, number: int, runs: Sequence[Path]) -> GroupStart:
        """Plan again for what the machine has now; return the processes of a restart, with their own folder."""
        from ..plan.replan import replan
        from . import folder as launch_folder
        from .state_files import RESTART_VARIABLE
        from .supervise.supervisor import print_status

        before = self._plan
        plan, notes = replan(before, without_leftovers(load_hardware(None), self._stale), self._intent)
        plan = self._reached(plan)
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
