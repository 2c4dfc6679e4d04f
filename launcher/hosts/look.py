"""Look at all hosts at once, before anything is started: do they answer, fit together, and reach each other?"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...training.common.errors import UserError
from ..hardware.record import Hardware
from ..plan.host import of_containers, of_the_link
from .link import Link, ask_all
from .member import Versions, differing_versions

_LOOK_SECONDS = 25.0
_VISIT_SECONDS = 20.0
_OF_DATA = re.compile(r"--?[\w-]*(data|corpus|train|valid|test)[\w-]*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a host has."""

    hardware: Hardware
    addresses: tuple[tuple[str, str], ...]
    """Interface and address, those by which other hosts may reach it."""
    shares_logs: bool


def look_at(
    links: list[Link], folder: str, command: Sequence[str], token: str, tell: Callable[[str], None]
) -> list[Look]:
    """Return what each host has. Raises `UserError` that names a host that cannot take part, and why."""
    words = data_words(command)
    request = {"ask": "look", "folder": folder, "command": list(command), "words": list(words), "token": token}
    answers = ask_all(links, "facts", _LOOK_SECONDS, request)
    problems = []
    for link in links:
        facts = answers[link.name]
        if isinstance(facts, EOFError):
            problems.append(f"{link.name}: {link.why_gone()}")
        elif isinstance(facts, TimeoutError):
            problems.append(f"{link.name}: no answer within {_LOOK_SECONDS:.0f} s")
        elif facts["folder"]:
            problems.append(f"{link.name}: {facts['folder']}: the folder of this command must be on every host")
        elif not facts["has_script"]:
            problems.append(f"{link.name}: has no {command[0]} in {folder}: copy it there")
    _raise(problems)
    first = answers[links[0].name]
    for link in links[1:]:
        facts = answers[link.name]
        found = differing_versions(Versions(**facts["versions"]), Versions(**first["versions"]))
        if facts["script"] != first["script"]:
            found.append(f"another version of {command[0]}")
        for word, option in words.items():
            mine, there = facts["stamps"].get(word), first["stamps"].get(word)
            if mine == there:
                continue
            text = f"{word}: {mine or 'not there'}, there {there or 'not there'}"
            if _OF_DATA.fullmatch(option):
                found.append(text)
            elif mine and there:
                tell(f"warning: {link.name} differs from {links[0].name}: {text}")
        if found:
            problems.append(f"{link.name} differs from {links[0].name}: {'; '.join(found)}")
    _raise(problems)
    return [_look(answers[link.name]) for link in links]


def _raise(problems: list[str]) -> None:
    if problems:
        raise UserError(f"slipway launch --hosts: {'; '.join(problems)}")


def _look(facts: dict[str, Any]) -> Look:
    addresses = tuple(
        (str(name), str(address))
        for name, address in facts["addresses"]
        if not of_containers(name) and not of_the_link(address)
    )
    return Look(
        hardware=Hardware.from_json(facts["hardware"], f"the answer of {facts['host']}"),
        addresses=addresses,
        shares_logs=bool(facts["shares_logs"]),
    )


def data_words(command: Sequence[str]) -> dict[str, str]:
    """Return the words of a command that may name files, with the option before each."""
    found: dict[str, str] = {}
    option = ""
    for word in command[2:] if command[0] == "-m" else command[1:]:
        if word.startswith("-"):
            option, _, value = word.partition("=")
            if value:
                found[value] = option
            continue
        found[word] = option
        option = ""
    return {word: option for word, option in found.items() if not _is_output(option)}


def _is_output(option: str) -> bool:
    return any(part in option for part in ("out", "run", "log", "resume", "save", "cache"))


def find_address(links: list[Link], looks: list[Look]) -> tuple[str, str]:
    """Return the address of the first host that each other one has connected to, and its interface.

    Raises `UserError` that names the hosts.
    """
    first, *others = links
    ticket = secrets.token_hex(8)
    port = ask_all([first], "door", _VISIT_SECONDS, {"ask": "door", "ticket": ticket})[first.name]
    candidates = looks[0].addresses
    if isinstance(port, Exception) or not candidates:
        raise UserError(f"slipway launch --hosts: {first.name} has no address by which other hosts could reach it")
    if not others:
        return candidates[0][1], candidates[0][0]
    doors = [[address, port, ticket] for _, address in candidates]
    answers = ask_all(others, "visited", _VISIT_SECONDS, {"ask": "visit", "doors": doors})
    for link in others:
        if isinstance(answers[link.name], Exception):
            raise UserError(f"slipway launch --hosts: {link.name} does not answer any more: {link.why_gone()}")
    for number, (name, address) in enumerate(candidates):
        if all(answers[link.name][number] is None for link in others):
            return address, name
    # An address that most reach is the one to mend.
    best = max(range(len(candidates)), key=lambda number: sum(answers[link.name][number] is None for link in others))
    kept_out = [f"{link.name} ({why})" for link in others if (why := answers[link.name][best]) is not None]
    raise UserError(
        f"slipway launch --hosts: {', '.join(kept_out)} cannot connect to {first.name} at {candidates[best][1]}, port {port}: "
        "the processes of a training connect to each other on any port, so a firewall must let all of TCP through between the "
        "hosts"
    )


def find_port(first: Link, wanted: int, *, is_fixed: bool) -> tuple[int, str]:
    """Return a free port of the first host, and a line where it is not the wanted one. Raises `UserError`."""
    first.send(ask="port", port=wanted)
    limit = time.monotonic() + _VISIT_SECONDS
    answer: dict[str, Any] = {}
    try:
        while "port" not in answer:
            answer = first.next(limit - time.monotonic())
    except (TimeoutError, EOFError):
        raise UserError(f"slipway launch --hosts: {first.name} does not answer any more: {first.why_gone()}") from None
    if answer["port"] is not None:
        return wanted, ""
    if is_fixed:
        raise UserError(
            f"slipway launch --hosts: --main-process-port {wanted}: another process of {first.name} listens there; give "
            "another one, or none"
        )
    return int(answer["other"]), f"port {wanted} of {first.name} is taken: {answer['other']} is used instead"
