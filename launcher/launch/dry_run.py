"""Print what `slipway launch --dry-group` shows: the command, how its environment differs from this one, the files."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Mapping, Sequence

from ...training.common.program.shown import printable_json, without_commands
from .environment import Difference, difference
from .supervise.supervisor import GroupStart, print_status

_SCHEMA_VERSION = 1


def print_dry_run(group: GroupStart, files: Mapping[str, str], notes: Sequence[str], *, as_json: bool) -> None:
    """Print what would be started and written. Notes go to stderr, with `as_json` into the JSON."""
    changes = difference(os.environ, group.environment)
    written = {str(group.folder / name): content for name, content in files.items()}
    if as_json:
        data = {
            "schema_version": _SCHEMA_VERSION,
            "argv": group.argv,
            "environment": dataclasses.asdict(changes),
            "files": written,
            "notes": list(notes),
        }
        print(printable_json(json.dumps(data, indent=2, ensure_ascii=False)))
        return
    for note in notes:
        print_status(note)
    lines = [shlex.join(group.argv).replace("\n", "\\n"), "", "Environment, as it differs from this one:"]
    lines += [f"  {line}" for line in _difference_lines(changes)]
    for path, content in written.items():
        lines += ["", f"{path}:", *(f"  {line}" for line in content.splitlines())]
    print(without_commands("\n".join(lines)))


def _difference_lines(changes: Difference) -> list[str]:
    return [
        *(f"+ {name}={value}" for name, value in changes.added.items()),
        *(f"~ {name}={new} (was {old})" for name, (old, new) in changes.changed.items()),
        *(f"- {name}={value}" for name, value in changes.removed.items()),
    ]
