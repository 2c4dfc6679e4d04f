"""Where a run comes from: the runs whose weights it started from, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from .... import __version__
from ....training.common.errors import UserError
from ...common.run_files import record_of
from ...common.values import mapping, number, text
from .markdown import code, table, without_places

_MOST_ANCESTORS = 20
_MARKS = (
    ("recipe", "recipe_hash"),
    ("commit of the script", "script_commit"),
    ("commit of Slipway", "slipway_commit"),
)


def lineage(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the part of a card that says which run it is, and of which weights that began."""
    yield "## Lineage"
    yield ""
    found = [["run", code(without_places(text(record, "name")))], ["started", code(text(record, "started"))]]
    found += [[name, code(text(record, key))] for name, key in _MARKS if text(record, key)]
    for child, parent in pairwise(["this run", *ancestors(record)]):
        found.append(["starts from" if child == "this run" else "which starts from", parent])
    if not mapping(record, "parent"):
        found.append(["starts from", "new weights"])
    found.append(["card", f"Slipway {__version__}"])
    yield from table(["", ""], found)


def ancestors(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the weights that a run started from, then those that these started from, as far as the runs are there."""
    for _ in range(_MOST_ANCESTORS):
        parent = mapping(record, "parent")
        if not parent:
            return
        step, recipe = number(parent, "step"), text(parent, "recipe_hash")
        weights = text(parent, "weights")
        kind = f"the {weights} weights of " if weights in ("best", "last") else ""
        told = [f"{kind}{code(without_places(text(parent, 'run')))}"]
        told += [f"step {int(step):,}"] if step is not None else []
        told += [f"weights {code(text(parent, 'start'))}"] if text(parent, "start") else []
        told += [f"recipe {code(recipe)}"] if recipe else []
        yield ", ".join(told)
        record = {}
        with suppress(UserError):
            earlier = record_of(Path(text(parent, "folder")))
            if recipe in ("", text(earlier, "recipe_hash")):  # another run may stand there by now
                record = earlier
