"""What is tried on the hosts of the stand: trainings that must end equal, mistakes that must be named, and ends."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tests.cluster.stand import SECONDS, WORK, Host, Stand, end, until
from tests.conftest import ROOT

BOUNDS = {"float32": 1e-5, "float64": 1e-10}
EPOCHS = 2
NAMED_SECONDS = 30.0
_SCRIPT = "train_small.py"
_HERE = Path(__file__).parent
_WAITS = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"


@dataclass
class Ended:
    """How a launch ended, and when."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass
class Scenes:
    """Runs scenes on a stand and says what came of each."""

    stand: Stand
    say: Callable[[str], None]
    checks_time: bool
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for host in (self.stand.desk, *self.stand.hosts):
            shutil.copy(_HERE / _SCRIPT, host.work / _SCRIPT)
            (host.work / "waits.py").write_text(_WAITS)

    @property
    def names(self) -> str:
        return ",".join(host.name for host in self.stand.hosts)

    def run(self, name: str, scene: Callable[[], str]) -> None:
        """Run a scene; afterwards nothing may run on any host."""
        began = time.monotonic()
        try:
            told = scene()
            until(lambda: not self.stand.left(), f"nothing left on the hosts: {self.stand.left()}", 60.0)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            self.problems.append(f"{name}: {error}")
            self.stand.clear()
            told = f"FAILED: {str(error)[:1500]}"
        self.say(f"{name}: {told} ({time.monotonic() - began:.1f} s)")

    def launch(self, *arguments: str, during: Callable[[subprocess.Popen[str]], None] | None = None) -> Ended:
        """Run `slipway launch` at the desk to its end."""
        began = time.monotonic()
        process = self.stand.desk.slipway("launch", "--device", "cpu", *arguments)
        if during is not None:
            during(process)
        return self.wait(process, began)

    def wait(self, process: subprocess.Popen[str], began: float) -> Ended:
        """Wait for the end of a launch."""
        out, err = process.communicate(timeout=SECONDS)
        return Ended(code=process.returncode, out=out, err=err, seconds=time.monotonic() - began)

    # Trainings

    def reference(self, dtype: str) -> dict[str, np.ndarray]:
        """Return the weights that one process trains."""
        done = self.launch(_SCRIPT, dtype, str(EPOCHS))
        assert done.code == 0, done.err
        return self._weights(self.stand.desk, done.out)

    def _weights(self, host: Host, out: str) -> dict[str, np.ndarray]:
        found = re.search(r"^weights (.*)$", out, re.M)
        assert found, out
        return load_file(host.work / Path(found[1]).relative_to(WORK))

    def trains_equal(self, dtype: str, counts: str, reference: dict[str, np.ndarray]) -> str:
        """Train over ssh, with this many processes a host."""
        done = self.launch("--hosts", self.names, "--processes-per-host", counts, _SCRIPT, dtype, str(EPOCHS))
        assert done.code == 0, done.err
        weights = self._weights(self.stand.hosts[0], done.out)
        return f"largest difference {self._compared(weights, reference, dtype):.1e}"

    def trains_equal_by_hand(self, dtype: str, reference: dict[str, np.ndarray]) -> str:
        """Start each host's part by hand, the last host first, with the commands that a dry run prints."""
        shown = self.launch("--hosts", self.names, "--dry-run", "--json", _SCRIPT, dtype, str(EPOCHS))
        began = time.monotonic()
        parts = []
        for host, part in reversed(list(zip(self.stand.hosts, json.loads(shown.out)["hosts"], strict=True))):
            parts.append((host, host.slipway(*part["argv"][1:], variables=part["environment"])))
        ended = {host.name: self.wait(process, began) for host, process in parts}
        assert all(one.code == 0 for one in ended.values()), ended
        weights = self._weights(self.stand.hosts[0], ended[self.stand.hosts[0].name].out)
        return f"largest difference {self._compared(weights, reference, dtype):.1e}"

    def _compared(self, weights: dict[str, np.ndarray], reference: dict[str, np.ndarray], dtype: str) -> float:
        assert set(weights) == set(reference)
        scale = max(float(np.abs(one).max()) for one in reference.values())
        worst = max(float(np.abs(weights[name] - reference[name]).max()) for name in reference) / scale
        assert worst < BOUNDS[dtype], f"{worst:.2e} is not below {BOUNDS[dtype]}"
        assert all(one.dtype == np.dtype(dtype) for one in weights.values())
        return worst

    def killed_rank(self, reference: dict[str, np.ndarray]) -> str:
        """Kill a rank in the middle: all hosts start again together, from the checkpoint, and end equal."""
        first, last = self.stand.hosts[0], self.stand.hosts[-1]

        def kill(process: subprocess.Popen[str]) -> None:
            until(lambda: list(first.work.glob("runs/cluster*/checkpoints/*step*")), "a checkpoint")
            child = next(one for one in last.processes() if "child.py" in " ".join(one.cmdline()))
            child.kill()

        for path in first.work.glob("runs/cluster*"):
            shutil.rmtree(path)
        words = ("--hosts", self.names, "--max-restarts", "2", _SCRIPT, "float64", str(EPOCHS))
        self.stand.desk.variables["SLIPWAY_TEST_PASS_SECONDS"] = "0.5"
        try:
            done = self.launch(*words, during=kill)
        finally:
            self.stand.desk.variables.clear()
        assert done.code == 0, done.err
        assert "restart 1 of 2" in done.err, done.err
        assert "killed by SIGKILL" in done.err, done.err
        restart = next(line for line in done.err.splitlines() if "restart 1 of 2" in line)
        weights = self._weights(first, done.out)
        return f"{restart}; largest difference {self._compared(weights, reference, 'float64'):.1e}"

    # Mistakes

    def refused(self, done: Ended, *parts: str) -> str:
        """Check that a launch has ended with a line that says all of this, in time."""
        said = [line for line in done.err.splitlines() if "error:" in line or "gone" in line or "failed" in line]
        line = next((one for one in said if all(part in one for part in parts)), "")
        assert line, f"nothing says {parts}: {done.err}"
        assert done.code != 0
        assert done.seconds < NAMED_SECONDS or not self.checks_time, f"only after {done.seconds:.0f} s: {line}"
        return f"{done.seconds:.1f} s: {line[:300]}"

    def unreachable(self) -> str:
        """Name a host that is off."""
        first = self.stand.hosts[0].name
        return self.refused(self.launch("--hosts", f"{first},10.77.0.99", "waits.py"), "10.77.0.99")

    def cut_off(self) -> str:
        """Name a host whose cable is out."""
        last = self.stand.hosts[-1]
        last.cut()
        try:
            return self.refused(self.launch("--hosts", self.names, "waits.py"), last.name)
        finally:
            last.join()

    def busy_port(self) -> str:
        """Refuse a port that another process has on the first host, and take another where none was said."""
        first = self.stand.hosts[0]
        code = "import socket, time; s = socket.create_server(('', 29500)); print('up', flush=True); time.sleep(600)"
        other = first.start("python", "-c", code)
        try:
            assert other.stdout is not None
            other.stdout.readline()
            told = self.refused(
                self.launch("--hosts", self.names, "--main-process-port", "29500", "waits.py"), first.name, "29500"
            )
            done = self.launch("--hosts", self.names, "-m", "this")
            assert done.code == 0, done.err
            assert f"port 29500 of {first.name} is taken" in done.err, done.err
            return told
        finally:
            end(other)
            other.communicate()

    def other_version(self) -> str:
        """Name a host whose Slipway is another one."""
        last = self.stand.hosts[-1]
        path = ROOT / "launcher" / "common" / "ports.py"
        other = last.own / "ports.py"
        other.write_text(path.read_text() + "\n# of another commit\n")
        last.run("mount", "--bind", str(other), str(path))
        try:
            return self.refused(self.launch("--hosts", self.names, "waits.py"), last.name, "slipway 0")
        finally:
            last.run("umount", str(path))

    def other_script_and_data(self) -> str:
        """Name a host that has another script, or other data."""
        first, last = self.stand.hosts[0], self.stand.hosts[-1]
        for host in (self.stand.desk, first):
            (host.work / "mine.py").write_text("print(1)\n")
        for host in self.stand.hosts:
            (host.work / "data").mkdir()
            (host.work / "data" / "a.csv").write_text("1,2\n")
        (last.work / "mine.py").write_text("print(2)\n")
        self.refused(self.launch("--hosts", self.names, "mine.py"), last.name, "another version of mine.py")
        (last.work / "data" / "b.csv").write_text("3\n")
        return self.refused(
            self.launch("--hosts", self.names, "waits.py", "--data", "data"), last.name, "data: 2 files"
        )

    def firewall(self) -> str:
        """Name the hosts between which a firewall lets only ssh and the port through."""
        last = self.stand.hosts[-1]
        rules = [
            ("-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"),
            ("-A", "INPUT", "-i", "lo", "-j", "ACCEPT"),
            ("-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "22,29500", "-j", "ACCEPT"),
            ("-A", "INPUT", "-p", "tcp", "-j", "DROP"),
        ]
        for rule in rules:
            last.run("iptables", *rule)
        try:
            return self.refused(self.launch("--hosts", self.names, "waits.py"), last.name, "firewall")
        finally:
            last.run("iptables", "-F")

    def by_hand(self, *parts: tuple[str, ...], says: tuple[str, ...], delay: float = 0.0) -> str:
        """Start hosts by hand with these options, the first first; all must end with a line that says this."""
        common = ("launch", "--device", "cpu", "--main-process-ip", self.stand.hosts[0].name)
        count = () if any("--num-machines" in part for part in parts) else ("--num-machines", "2")
        processes = []
        for host, part in zip(self.stand.hosts, parts, strict=False):
            processes.append((host.slipway(*common, *count, *part, "waits.py"), time.monotonic()))
            time.sleep(delay)
        told = [self.refused(self.wait(process, began), *says) for process, began in processes]
        return told[-1]

    def late(self, seconds: float) -> str:
        """Name a host that comes late, and begin when it has come."""
        first, last = self.stand.hosts[0], self.stand.hosts[1]
        common = ("launch", "--device", "cpu", "--main-process-ip", first.name, "--num-machines", "2")
        began = time.monotonic()
        early = first.slipway(*common, "-m", "this")
        assert early.stderr is not None
        said = ""
        while "waits for machine 1" not in said:
            said = early.stderr.readline()
            assert said, "it has ended"
        named = time.monotonic() - began
        assert named < NAMED_SECONDS or not self.checks_time
        time.sleep(max(0.0, seconds - named))
        late = last.slipway(*common, "--machine-rank", "1", "-m", "this")
        codes = [self.wait(process, began).code for process in (early, late)]
        assert codes == [0, 0]
        return f"after {named:.1f} s: {said.strip()}"

    # Ends

    def _until_all_train(self) -> None:
        def trains() -> bool:
            return len([one for one in self.stand.left() if "child.py" in one]) >= len(self.stand.hosts)

        until(trains, "a rank on each host")

    def stopped(self, signum: int, code: int, how: str = "") -> str:
        """Stop the launcher at the desk; nothing may be left on any host."""

        def stop(process: subprocess.Popen[str]) -> None:
            self._until_all_train()
            end(process, signum)

        done = self.launch("--hosts", self.names, "waits.py", during=stop)
        assert done.code == code, (done.code, done.err)
        return f"exit code {done.code}"

    def lost_host(self) -> str:
        """Cut a host off while it trains; all must end, and the host be named."""
        last = self.stand.hosts[-1]

        def cut(process: subprocess.Popen[str]) -> None:
            self._until_all_train()
            last.cut()

        try:
            done = self.launch("--hosts", self.names, "waits.py", during=cut)
        finally:
            last.join()
        until(lambda: not self.stand.left(), "nothing left", 150.0)
        assert done.code != 0
        assert f"({last.name}) is gone" in done.err, done.err
        return f"{done.seconds:.0f} s"

    def crash_at_the_end(self) -> str:
        """Let one host fail when the others have ended."""
        last = len(self.stand.hosts) - 1
        for host in (self.stand.desk, *self.stand.hosts):
            (host.work / "ends.py").write_text(
                f"import os, time\nif os.environ['RANK'] == '{last}':\n    time.sleep(3)\n    raise ValueError('at the end')\n"
            )
        done = self.launch("--hosts", self.names, "ends.py")
        return self.refused(done, f"rank {last} on {self.stand.hosts[-1].name} failed first: ValueError: at the end")


def stop_codes() -> dict[int, int]:
    """Return the exit code of a launcher that a signal stops."""
    return {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
