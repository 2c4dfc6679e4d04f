"""On each host of `slipway launch --hosts`: tells what the host has, starts a launcher there, and ends with who asked for it.

It is started over ssh, `python -m slipway.launcher.hosts.remote`. Requests come as lines of JSON on stdin, answers go as
lines to stdout. When stdin ends, however the launcher on the other side ended, so does what was started here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ..common.ports import free_port, is_free
from ..hardware.detect import detect
from .member import digest_of_script, versions
from .network import Door, visit
from .wire import plain_address

PROTOCOL = 1
_CHUNK_BYTES = 1 << 15
_LOG_SECONDS = 0.5
_SILENT_SECONDS = 90.0
"""After which a launcher that says nothing counts as gone: the network to it is cut. It says something each 10 s."""
_MOST_FILES = 100_000
_END_SECONDS = 10.0


class _Answers:
    """The lines to who asked; whatever else this process prints goes to stderr."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._file.write(json.dumps(message).encode() + b"\n")
            self._file.flush()


class _Remote:
    def __init__(self) -> None:
        self._answers = _Answers()
        self._requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._door: Door | None = None
        self._started: subprocess.Popen[bytes] | None = None
        self._grace_seconds = 0.0
        self._readers: list[threading.Thread] = []
        self._logs: dict[Path, int] = {}
        self._log_folder: Path | None = None

    def run(self) -> int:
        threading.Thread(target=self._read, daemon=True).start()
        heard = time.monotonic()
        while True:
            try:
                request = self._requests.get(timeout=_LOG_SECONDS)
            except queue.Empty:
                request = {}
            else:
                heard = time.monotonic()
            if request is None or time.monotonic() - heard > _SILENT_SECONDS:
                self._end()
                return 0
            if request:
                self._answer(request)
            self._send_logs()
            if self._started is not None and self._started.poll() is not None:
                self._finish()
                return 0

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in sys.stdin.buffer:
                self._requests.put(json.loads(line))
        self._requests.put(None)

    def _answer(self, request: dict[str, Any]) -> None:
        ask = request.get("ask")
        if ask == "look":
            self._answers.send(facts=_facts(request["folder"], request["command"], request["words"], request["token"]))
        elif ask == "door":
            self._door = self._door or Door()
            self._door.open(request["ticket"])
            self._answers.send(door=self._door.port)
        elif ask == "port":
            port = request["port"]
            self._answers.send(port=port if is_free(port) else None, other=free_port())
        elif ask == "visit":
            self._answers.send(visited=visit([(str(a), int(p), str(t)) for a, p, t in request["doors"]]))
        elif ask == "start":
            self._start(request)
        elif ask == "signal" and self._started is not None:
            self._started.send_signal(request["signal"])

    def _start(self, request: dict[str, Any]) -> None:
        if self._door is not None:
            self._door.close()
        self._grace_seconds = float(request["grace_seconds"])
        if not request["shares_logs"]:
            self._log_folder = Path(request["log_dir"])
        environment = {**os.environ, **request["environment"]}
        # As this process goes, so does the launcher: `under` asks the kernel for it.
        argv = [sys.executable, "-P", "-m", "slipway.launcher.hosts.under", str(os.getpid()), *request["arguments"]]
        try:
            os.chdir(request["folder"])
            self._started = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._answers.send(broken=f"{request['folder']}: {error.strerror}")
            return
        assert self._started.stdout is not None
        assert self._started.stderr is not None
        for number, stream in ((1, self._started.stdout), (2, self._started.stderr)):
            reader = threading.Thread(target=self._forward, args=(number, stream), daemon=True)
            reader.start()
            self._readers.append(reader)
        self._answers.send(started=self._started.pid)

    def _forward(self, number: int, stream: BinaryIO) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(stream.fileno(), _CHUNK_BYTES):
                self._answers.send(output=number, text=data.decode("utf-8", "surrogateescape"))

    def _send_logs(self) -> None:
        """Send what has been written to the logs of this host since, where who asked does not see them."""
        if self._log_folder is None or self._started is None:
            return
        for path in sorted(self._log_folder.rglob("*.log")):
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(self._logs.get(path, 0))
                while data := file.read(_CHUNK_BYTES):
                    name = str(path.relative_to(self._log_folder))
                    self._answers.send(log=name, text=data.decode("utf-8", "surrogateescape"))
                self._logs[path] = file.tell()

    def _finish(self) -> None:
        assert self._started is not None
        for reader in self._readers:
            reader.join(_END_SECONDS)  # a process that was left may hold the other end
        self._send_logs()
        self._answers.send(exit=self._started.returncode)

    def _end(self) -> None:
        """End the launcher that was started, as a person would."""
        if self._started is None or self._started.poll() is not None:
            return
        self._started.terminate()
        try:
            self._started.wait(self._grace_seconds + _END_SECONDS)
        except subprocess.TimeoutExpired:
            self._started.kill()


def _facts(folder: str, command: Sequence[str], words: Sequence[str], token: str) -> dict[str, Any]:
    """Return what the other side compares: hardware, software, clock, the script and data as they are here."""
    problem = None
    try:
        os.chdir(folder)
    except OSError as error:
        problem = f"{folder}: {(error.strerror or str(error)).lower()}"
    hardware = detect()
    found = versions()
    return {
        "protocol": PROTOCOL,
        "hardware": hardware.to_json(),
        "versions": found.__dict__,
        "host": socket.gethostname(),
        "folder": problem,
        "script": "" if problem else digest_of_script(command),
        "has_script": command[0] == "-m" or Path(command[0]).is_file(),
        "shares_logs": bool(token) and Path(token).is_file(),
        "stamps": {} if problem else {word: _stamp(Path(word)) for word in words},
        "addresses": [
            [one.name, plain_address(address)]
            for one in hardware.network
            if one.up and not one.loopback
            for address in one.addresses
        ],
    }


def _stamp(path: Path) -> str | None:
    """Return what is equal for equal files: names and sizes of a folder, the content of a file; None where there is none."""
    try:
        if path.is_dir():
            digest = hashlib.sha256()
            count = total = 0
            for one in sorted(path.rglob("*")):
                if one.is_file():
                    count, total = count + 1, total + one.stat().st_size
                    digest.update(f"{one.relative_to(path)} {one.stat().st_size}\n".encode("utf-8", "surrogateescape"))
                if count >= _MOST_FILES:
                    break
            return f"{count} files, {total} bytes ({digest.hexdigest()[:8]})"
        if path.is_file():
            size = path.stat().st_size
            with path.open("rb") as file:
                return f"{size} bytes ({hashlib.sha256(file.read(1 << 24)).hexdigest()[:8]})"
    except (OSError, ValueError):
        return None
    return None


if __name__ == "__main__":
    sys.exit(_Remote().run())
