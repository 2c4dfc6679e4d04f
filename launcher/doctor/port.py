"""Check of the port at which the processes of a launch meet."""

from __future__ import annotations

from ..common.ports import DEFAULT_PORT, free_port, is_free
from .check import Check, DoctorContext, failed, passed, skipped, warned


def check_port(context: DoctorContext) -> Check:
    """Fail where a port that is fixed, or at which several machines meet, is taken; warn where the default one is."""
    plan = context.plan
    port = plan.main_process_port
    if plan.machine_rank > 0:
        where = f"machine 0 ({plan.main_process_ip})"
        return skipped("port", f"{where} needs port {port}; this is machine {plan.machine_rank}")
    if port == 0:
        return passed("port", "0: any free port, chosen at the start")
    port = port or DEFAULT_PORT
    if is_free(port):
        return passed("port", f"{port} is free", port=port)
    evidence = f"{port} is taken by {_listener(port)}"
    remedy = f"--main-process-port {free_port()}"
    if plan.num_machines > 1 or any(choice.field == "main_process_port" and choice.fixed for choice in plan.choices):
        return failed("port", evidence, remedy, port=port)
    need = "one process needs no port" if plan.num_processes == 1 else "a launch uses another one"
    return warned("port", f"{evidence}; {need}", remedy, port=port)


def _listener(port: int) -> str:
    """Return which process listens at a port, as far as this user is allowed to see."""
    import psutil  # a port that is free is not asked after

    try:
        found = [one for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port]
        pids = [one.pid for one in found if one.status == psutil.CONN_LISTEN and one.pid]
        if pids:
            return f"process {pids[0]} ({psutil.Process(pids[0]).name()})"
    except psutil.Error:
        pass
    return "a process of another user" if port >= 1024 else "another process, or reserved for the administrator"
