"""A host over ssh, or this machine without: requests go as lines of JSON, answers come back."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from ...training.common.errors import UserError
from ...training.common.small_files import UnreadableError, parse_json
from ..common.paths import IMPORT_ROOT, python_path
from .host_list import NamedHost
from .network import interface_of, is_loopback

_CONNECT_SECONDS = 10
_SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}")
# A connection that is cut ends within 30 s, and one that is cut for a moment does not.
_ALIVE = ("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3")
_REMOTE = "slipway.launcher.hosts.remote"
_MOST_LINES = 20


class Link:
    """One host and what runs on it for this launch."""

    def __init__(self, host: NamedHost) -> None:
        self.host = host
        self.name = host.name
        self.exit_code: int | None = None
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._errors: list[str] = []
        self._is_here = _is_this_machine(host.name) and "@" not in host.target
        command = command_of(host, is_here=self._is_here)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for this process
            )
        except FileNotFoundError:
            remedy = "name a Python that is there" if self._is_here else "install OpenSSH's client, or add it to PATH"
            raise UserError(f"--hosts {host.name}: {command[0]} is not on this machine: {remedy}") from None
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._read_answers, self._read_errors)
        ]
        for thread in self._threads:
            thread.start()

    def _read_answers(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self._process.stdout:
                try:
                    answer = parse_json(line)
                except UnreadableError:
                    continue
                if isinstance(answer, dict):  # others are lines that the shell's start-up files print
                    self._answers.put(answer)
        self._answers.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self._process.stderr:
                self._errors = [*self._errors, line.decode("utf-8", "replace").rstrip()][-_MOST_LINES:]

    def send(self, **request: Any) -> None:
        """Send a request; a host that is gone is told by `next`."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def next(self, timeout_seconds: float) -> dict[str, Any]:
        """Return the next answer. Raises `TimeoutError`, and `EOFError` where the host is gone."""
        try:
            answer = self._answers.get(timeout=max(0.0, timeout_seconds))
        except queue.Empty:
            raise TimeoutError from None
        if answer is None:
            self._answers.put(None)
            raise EOFError
        return answer

    def why_gone(self) -> str:
        """Return in words why a host does not answer any more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        self._threads[1].join(1.0)
        last = next((line for line in reversed(self._errors) if line.strip()), "")
        python = self.host.python or sys.executable
        if "No module named" in last and "slipway" in last:
            return f"it has no Slipway, or an older one, for {python}: install the same on all hosts ({last})"
        if self._process.returncode in (126, 127):
            return f"it has no {python}: install Slipway in the same place, or give python=/its/python in a file of --hosts"
        if self._process.returncode == 255 and not self._is_here:
            return f"ssh says: {last or 'nothing'}; `ssh {shlex.quote(self.host.target)} true` must work without a question"
        return last or f"its end has exit code {self._process.returncode}"

    def close(self, seconds: float) -> None:
        """End what runs on the host; wait for it for at most that long."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def command_of(host: NamedHost, *, is_here: bool) -> list[str]:
    """Return the command that starts the other end; ssh hands the words to a shell there as one string."""
    python = host.python or sys.executable
    path = python_path({})
    variables = ["env", f"PYTHONPATH={path}"] if path and str(IMPORT_ROOT) in path else []
    words = [*variables, python, "-P", "-m", _REMOTE]
    if is_here:
        return words
    return [*_SSH, *_ALIVE, "--", host.target.replace("[", "").replace("]", ""), shlex.join(words)]


def _is_this_machine(name: str) -> bool:
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False
    return all(is_loopback(one) or interface_of(one) is not None for one in found)


def ask_all(links: list[Link], key: str, seconds: float, *requests: dict[str, Any]) -> dict[str, Any]:
    """Ask each host, the first request to the first; return the answers by host, an `Exception` for one that gave none."""
    for link, request in zip(links, requests if len(requests) > 1 else requests * len(links), strict=True):
        link.send(**request)
    limit = time.monotonic() + seconds
    answers: dict[str, Any] = {}
    for link in links:
        try:
            answer: dict[str, Any] = {}
            while key not in answer:
                answer = link.next(limit - time.monotonic())
            answers[link.name] = answer[key]
        except (TimeoutError, EOFError) as error:
            answers[link.name] = error
    return answers


def passed_variables() -> dict[str, str]:
    """Return the variables of this environment that the hosts get: what tunes a training, nothing that is of this host."""
    kept = ("SLIPWAY_", "NCCL_", "GLOO_", "TORCH_")
    own = ("SLIPWAY_PLAN", "SLIPWAY_LAUNCH_FOLDER", "SLIPWAY_PARENT", "SLIPWAY_RESTART")
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(kept) and name not in own and not name.endswith("SOCKET_IFNAME")
    }
