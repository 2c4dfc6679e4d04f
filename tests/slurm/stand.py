"""A real SLURM of two nodes on this machine, with folders, ports and an authentication of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "salloc", "scontrol", "squeue", "scancel", "sinfo")
_START_SECONDS = 60.0
_CPUS_PER_NODE = 4

_SLURM_CONF = """\
ClusterName=stand
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=100000,bf_interval=1
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
KillWait=5
MinJobAge=3600
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{port_1},{port_2}] CPUs={cpus} RealMemory=8000 Gres=gpu:fake:2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
PartitionName=short Nodes=ALL MaxTime=10 State=UP
"""


def missing() -> str | None:
    """Return why there can be no stand here, or None."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "SLURM's daemons are started as root"


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Stand:
    """A running SLURM. `environment` leads its commands to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SLIPWAY_"))}
        self.environment = kept | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the daemons and wait until both nodes are idle. Raises `RuntimeError` with their logs."""
        ports = _free_ports(3)
        host = socket.gethostname().partition(".")[0]
        conf = _SLURM_CONF.format(
            folder=self.folder, host=host, ctld_port=ports[0], port_1=ports[1], port_2=ports[2], cpus=_CPUS_PER_NODE
        )
        self._write("slurm.conf", conf)
        self._write("gres.conf", "NodeName=n[1-2] Name=gpu Type=fake File=/dev/tty[0-1]\n")
        self._write("cgroup.conf", "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        for name in ("state", "spool-n1", "spool-n2"):
            (self.folder / name).mkdir()
        munge = [
            f"--{kind}={self.folder}/munge.{kind.partition('-')[0]}" for kind in ("socket", "pid-file", "log-file")
        ]
        self._daemon(
            "munged",
            "--foreground",
            "--force",
            *munge,
            f"--key-file={self.folder}/munge.key",
            f"--seed-file={self.folder}/munge.seed",
        )
        self.wait_for(lambda: (self.folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D")
        for node in ("n1", "n2"):
            self._daemon("slurmd", "-D", "-N", node)
        self.wait_for(
            lambda: self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T").split() == ["idle"] * 2
        )

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def _daemon(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=_path())
        assert program is not None
        with (self.folder / f"daemon-{len(self._daemons)}-{name}.log").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    [program, *options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.environment,
                    start_new_session=True,
                )
            )

    def wait_for(self, ready: Callable[[], bool], what: str = "its start") -> None:
        """Wait until something is so. Raises `RuntimeError` with the logs of the daemons where it does not come."""
        limit = time.monotonic() + _START_SECONDS
        while not ready():
            if time.monotonic() > limit or any(one.poll() is not None for one in self._daemons):
                logs = "\n".join(
                    f"{path.name}: {path.read_text(errors='replace')[-1500:]}"
                    for path in sorted(self.folder.glob("*.log"))
                )
                raise RuntimeError(f"waited for {what}:\n{logs}")
            time.sleep(0.1)

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """Return the output of a command of SLURM; an empty one where it fails."""
        done = subprocess.run(
            command, env=self.environment | dict(environment or {}), capture_output=True, text=True, timeout=120
        )
        return done.stdout

    def end(self) -> None:
        """End the jobs and the daemons; nothing of them remains."""
        for job in self.run("squeue", "--noheader", "--format=%A").split():
            self.run("scancel", "--signal=KILL", "--full", job)
            self.run("scancel", job)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()
            daemon.wait()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def of_jobs(self) -> list[int]:
        """Return the processes of jobs."""
        return [pid for pid in self.processes() if _has(pid, b"SLURM_JOB_ID=")]

    def processes(self) -> list[int]:
        """Return the processes that belong to the stand, by the folder in their environment."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf\0".encode()
        found = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
        return [pid for pid in found if pid != os.getpid() and _has(pid, mark)]


def _has(pid: int, words: bytes) -> bool:
    try:
        return words in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.contextmanager
def running() -> Iterator[Stand]:
    """Run a stand within the block; SIGTERM ends it with its daemons."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="slipway-slurm-") as name:
        stand = Stand(Path(name))
        try:
            stand.start()
            yield stand
        finally:
            stand.end()


if __name__ == "__main__":
    why = missing()
    if why:
        sys.exit(why)
    with running() as one:
        print(one.folder, flush=True)
        print(one.run("sinfo", "-N", "-l"), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
