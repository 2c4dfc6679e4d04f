"""The hosts that a person names: in a list, or in a file as mpirun and DeepSpeed read it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.program.shown import one_line
from ...training.common.small_files import UnreadableError, read_small_text, reason_of

_NAME = re.compile(r"(?:[\w.%+][\w.%+-]*@)?[\w][\w.-]*|(?:[\w.%+][\w.%+-]*@)?\[[0-9A-Fa-f:.%\w]+\]")
_COUNT = ("slots", "processes")
_KEYS = (*_COUNT, "max_slots", "max-slots", "python")


@dataclass(frozen=True, kw_only=True)
class NamedHost:
    """A host as ssh is given it, the processes that it shall have, and its interpreter where that is another one."""

    target: str
    processes: int | None = None
    python: str | None = None

    @property
    def name(self) -> str:
        """Return how the host is called: without the user."""
        return self.target.rpartition("@")[2].strip("[]")


def read_hosts(given: str) -> list[NamedHost]:
    """Return the hosts of `a,user@b:2`, or of a file of lines such as `user@b slots=2`. Raises `UserError`."""
    shown = one_line(given)
    found = list(_of_file(Path(given)) if _is_file(given) else _of_list(given))
    if not found:
        raise UserError(f"--hosts {shown}: names no host; write them as a,b or name a file with one a line")
    seen: set[str] = set()
    for host in found:
        if host.target in seen:
            raise UserError(
                f"--hosts {shown}: {host.target} is named twice; give its number of processes as slots={'{N}'}"
            )
        seen.add(host.target)
    return found


def _is_file(given: str) -> bool:
    return "/" in given or os.path.isfile(given)  # of a list too long for a name it says no, where `Path` raises


def _of_list(given: str) -> Iterator[NamedHost]:
    for word in filter(None, (part.strip() for part in given.split(","))):
        yield _host(word, f"--hosts {one_line(given)}")


def _of_file(path: Path) -> Iterator[NamedHost]:
    try:
        lines = read_small_text(path).splitlines()
    except (OSError, UnreadableError) as error:
        raise UserError(f"--hosts {path}: {reason_of(error)}") from None
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if words:
            yield _host(words[0], f"{path}, line {number}", words[1:])


def _host(word: str, where: str, settings: list[str] | None = None) -> NamedHost:
    match = re.fullmatch(r"(.+?)(?::(\d{1,5}))?", word)
    target, count = (match[1], match[2]) if match else (word, None)
    if not _NAME.fullmatch(target):
        raise UserError(f"{where}: {word!r} is no host; write HOST, USER@HOST or HOST:PROCESSES")
    processes = None if count is None else _count(count, f"{where}: {word}")
    python = None
    for setting in settings or []:
        key, _, value = setting.partition("=")
        if key not in _KEYS or not value:
            raise UserError(f"{where}: {setting!r} is not known; write slots=N or python=/path/of/python")
        if key in _COUNT:
            processes = _count(value, f"{where}: {setting}")
        if key == "python":
            python = value
    return NamedHost(target=target, processes=processes, python=python)


def _count(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) < 1:
        raise UserError(f"{where}: the processes of a host must be a number, 1 or more")
    return int(text)
