"""A few hosts as namespaces of this machine: own network, processes, host name, home, working folder and sshd.

Everything lives in namespaces and in a file system in memory: with the first process it is all gone, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import ROOT

SECONDS = 120.0
_TOP = Path("/mnt")
WORK = _TOP / "work"
_HOME = _TOP / "home"
_BRIDGE = "switch"
_DESK = "desk"
_SLIPWAY = [sys.executable, "-P", "-m", "slipway"]


def is_allowed() -> str | None:
    """Return why no hosts can be made here; None where they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs root on Linux"
    for tool in ("ip", "unshare", "nsenter", "ssh-keygen", "ssh", "/usr/sbin/sshd"):
        if subprocess.run(["/bin/sh", "-c", f"command -v {tool}"], capture_output=True).returncode:
            return f"it needs {tool}"
    tried = subprocess.run([*_UNSHARE, "ip", "link", "add", _BRIDGE, "type", "bridge"], capture_output=True, text=True)
    return tried.stderr.strip() or "namespaces are not allowed" if tried.returncode else None


_UNSHARE = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
INSIDE = ["setpriv", "--pdeathsig", "KILL", "--", *_UNSHARE]
"""What a command is given to, so that it runs in namespaces of its own, which end with the process that started it."""

# The init of a host: it waits until its network is there. The name leads to loopback there, as Debian has it, and a bridge
# of containers has the same address on all hosts.
_INIT = """
set -e
read go
hostname {name}
mount --bind {own}/hosts /etc/hosts
mount --bind {own}/passwd /etc/passwd
mount --bind {own}/home {home}
mount --bind {work_of} {work}
mount -t tmpfs tmpfs /run
mkdir /run/sshd
ip link set lo up
ip address add {address}/24 dev eth0
ip link set eth0 up
ip link add docker0 type bridge
ip address add 172.17.0.1/16 dev docker0
ip link add veth1234 type veth peer name inner
ip link set inner master docker0
ip link set docker0 up
ip link set inner up
ip link set veth1234 up
exec /usr/sbin/sshd -D -e -f {own}/sshd_config
"""


class Host:
    """One host."""

    def __init__(self, name: str, address: str, own: Path, init: subprocess.Popen[str]) -> None:
        self.name = name
        self.address = address
        self.own = own
        self.variables: dict[str, str] = {}
        """Of the environment of what is started here, beside the usual ones."""
        self._unshare = init
        self.init = _only_child(init.pid)

    def command(self, argv: Sequence[str], **variables: str) -> list[str]:
        """Return the command that runs `argv` on this host, in its working folder."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(_HOME),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "PYTHONPATH": str(ROOT),
            **self.variables,
            **variables,
        }
        words = [f"{name}={value}" for name, value in environment.items()]
        enter = ["nsenter", "--target", str(self.init.pid), "--mount", "--net", "--uts", "--pid", f"--wdns={WORK}"]
        return [*enter, "env", "-i", *words, *argv]

    def start(self, *argv: str, variables: Mapping[str, str] | None = None, **settings: Any) -> subprocess.Popen[str]:
        """Start a command on this host; its output is text in pipes."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.command(argv, **(variables or {})), text=True, **{**streams, **settings})

    def slipway(
        self, *arguments: object, variables: Mapping[str, str] | None = None, **settings: Any
    ) -> subprocess.Popen[str]:
        """Start `slipway` with these arguments on this host."""
        return self.start(*_SLIPWAY, *map(str, arguments), variables=variables, **settings)

    def run(self, *argv: str, **settings: Any) -> str:
        """Run a command on this host and return what it prints; it must succeed."""
        done = self.start(*argv, **settings)
        out, err = done.communicate(timeout=SECONDS)
        assert done.returncode == 0, f"{self.name}: {shlex.join(argv)}: {err}"
        return out

    @property
    def work(self) -> Path:
        """Return the working folder as this machine sees it."""
        return Path((self.own / "work_of").read_text())

    def processes(self) -> list[psutil.Process]:
        """Return what runs on this host, beside its init and what ssh needs."""
        found = []
        space = os.readlink(f"/proc/{self.init.pid}/ns/pid")
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if os.readlink(f"/proc/{process.pid}/ns/pid") != space or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if not process.name().startswith("sshd"):
                    found.append(process)
        return found

    def cut(self) -> None:
        """Cut this host off: nothing arrives any more, and nobody is told."""
        run("ip", "link", "set", f"to-{self.name}", "down")

    def join(self) -> None:
        """Plug this host in again."""
        run("ip", "link", "set", f"to-{self.name}", "up")

    def kill(self) -> None:
        """End this host as a power cut does."""
        self.cut()
        self.init.kill()
        self._unshare.wait(SECONDS)


class Stand:
    """A switch, a desk where a person sits, and hosts. Make it in namespaces of its own (`INSIDE`)."""

    def __init__(self, *names: str, shared: bool) -> None:
        self._shared = shared
        self._started: list[subprocess.Popen[str]] = []
        run("mount", "-t", "tmpfs", "tmpfs", str(_TOP))
        for folder in (WORK, _HOME, _TOP / "shared"):
            folder.mkdir(mode=0o700)
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", _BRIDGE, "type", "bridge")
        run("ip", "link", "set", _BRIDGE, "up")
        self._names = (_DESK, *names)
        for name in self._names:
            self._write_files(name)
        self._hosts = {name: self._make(name) for name in self._names}
        self.desk = self._hosts[_DESK]
        self.hosts = [self._hosts[name] for name in names]
        for host in self._hosts.values():
            until(lambda host=host: _answers(self.desk, host), f"sshd of {host.name}")

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all hosts and take the switch away."""
        for host in self._hosts.values():
            with contextlib.suppress(psutil.Error):
                host.init.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # what entered it may not have been waited for
                host._unshare.wait(2.0)
            # Where its other end outlives the host for a moment.
            subprocess.run(["ip", "link", "delete", f"to-{host.name}"], check=False, capture_output=True)
        run("ip", "link", "delete", _BRIDGE)
        subprocess.run(["umount", "--lazy", str(_TOP)], check=False)

    def restart(self, name: str) -> Host:
        """Switch on a host again that was killed; it has what was on its disk."""
        old = self._hosts[name]
        self._hosts[name] = host = self._make(name)
        if old in self.hosts:
            self.hosts[self.hosts.index(old)] = host
        until(lambda: _answers(self.desk, host), f"sshd of {name}")
        return host

    def clear(self) -> None:
        """End what is left on all hosts."""
        for host in self._hosts.values():
            for process in host.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def left(self) -> list[str]:
        """Return the processes that are left on all hosts: host and command."""
        found = []
        for host in self._hosts.values():
            for process in host.processes():
                with contextlib.suppress(psutil.Error):
                    found.append(f"{host.name}: {shlex.join(process.cmdline())[:200]}")
        return found

    def _address(self, name: str) -> str:
        return f"10.77.0.{self._names.index(name) + 1}"

    def _write_files(self, name: str) -> None:
        own = _TOP / "hosts" / name
        for folder in ("home/.ssh", "work"):
            (own / folder).mkdir(parents=True, mode=0o700)
        work_of = _TOP / "shared" if self._shared else own / "work"
        (own / "work_of").write_text(str(work_of))
        others = "".join(f"{self._address(other)} {other}\n" for other in self._names if other != name)
        (own / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n{others}")
        (own / "passwd").write_text(
            f"root:x:0:0:root:{_HOME}:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        )
        for key in (own / "host_key", own / "home/.ssh/id_ed25519"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key))
        with (_TOP / "authorized_keys").open("a") as file:
            file.write((own / "home/.ssh/id_ed25519.pub").read_text())
        with (_TOP / "known_hosts").open("a") as file:
            file.write(f"{name},{self._address(name)} {(own / 'host_key.pub').read_text()}")
        (own / "home/.ssh/config").write_text(f"UserKnownHostsFile {_TOP}/known_hosts\n")
        (own / "sshd_config").write_text(
            f"Port 22\nHostKey {own}/host_key\nAuthorizedKeysFile {_TOP}/authorized_keys\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nPermitRootLogin yes\nPidFile none\nLogLevel ERROR\n"
        )

    def _make(self, name: str) -> Host:
        own = _TOP / "hosts" / name
        script = _INIT.format(
            name=name,
            own=own,
            home=_HOME,
            work=WORK,
            work_of=(own / "work_of").read_text(),
            address=self._address(name),
        )
        log = (own / "sshd.log").open("w")
        init = subprocess.Popen(
            [*INSIDE, "/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True
        )
        until(lambda: _only_child(init.pid), f"the init of {name}")
        host = Host(name, self._address(name), own, init)
        run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(host.init.pid))
        run("ip", "link", "set", f"to-{name}", "master", _BRIDGE)
        run("ip", "link", "set", f"to-{name}", "up")
        assert init.stdin is not None
        init.stdin.write("go\n")
        init.stdin.close()
        return host


def _only_child(pid: int) -> psutil.Process:
    children = psutil.Process(pid).children()
    return children[0] if children else None  # type: ignore[return-value]


def _answers(desk: Host, host: Host) -> bool:
    done = desk.start("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=2", host.name, "true")
    done.communicate(timeout=SECONDS)
    return done.returncode == 0


def run(*argv: str) -> None:
    """Run a command of this machine that must succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(argv)}: {done.stderr}"


def until(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Wait for a condition, and return what it returns."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"it did not happen: {what}")


def end(process: subprocess.Popen[str], signum: int = signal.SIGKILL) -> None:
    """Send a signal to what was started on a host, not to what entered the host for it."""
    for child in psutil.Process(process.pid).children():
        child.send_signal(signum)
