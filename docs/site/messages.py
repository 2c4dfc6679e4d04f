"""The page of messages: every sentence by which a start is refused, as the tests hold them."""

from __future__ import annotations

from pathlib import Path

_LONGEST, _LINES = 240, 3
_TITLES = {
    "accelerate": "A config of Accelerate",
    "checkpoint": "A checkpoint that is damaged",
    "command": "Commands",
    "completion": "slipway completion",
    "config": "The file of --config",
    "content": "What a checkpoint holds",
    "data": "slipway data",
    "doctor": "slipway doctor",
    "environment": "Variables of launchers",
    "hardware": "The file of --hardware",
    "images": "Pictures with labels",
    "journal": "The journal of a run",
    "launch": "slipway launch",
    "load": "slipway.load",
    "meaning": "What data say",
    "new": "slipway new",
    "options": "Options of a training",
    "place": "Files and folders",
    "plan": "The plan of a launch",
    "predictor": "SignPredictor",
    "resume": "slipway resume",
    "run": "The record of a run",
    "runs": "slipway runs",
    "schema": "slipway schema",
    "settings": "Settings files",
    "stages": "Stages",
    "text": "Texts with labels",
}


def page(golden: Path) -> str:
    """Return the page of a file of messages, a line `GROUP.CASE => MESSAGE` each, in Markdown."""
    groups: dict[str, list[str]] = {}
    for line in golden.read_text(encoding="utf-8").splitlines():
        case, _, message = line.partition(" => ")
        groups.setdefault(case.split(".")[0], []).append(message)
    lines = [
        "# All messages",
        "",
        "Each sentence by which a command or a training refuses to start, exit code 2. A test holds them.",
        "`PATH` stands for a folder. What to do about a kind is in [troubleshooting](troubleshooting.md).",
        "",
    ]
    for group, messages in groups.items():
        lines += [f"## {_TITLES.get(group, group)}", "", "```text"]
        lines += [_printable(message) for message in dict.fromkeys(messages)]
        lines += ["```", ""]
    return "\n".join(lines)


def _printable(message: str) -> str:
    """Return a message, of which each fault has a line, without what is too long to read."""
    lines = [line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..." for line in message.split(" | ")]
    return "\n  ".join(lines[:_LINES] + ["..."] * (len(lines) > _LINES)).replace("```", "'''")
