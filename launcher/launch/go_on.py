"""`slipway continue`: start a new run from the weights of another one, as that was started."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...training.common.errors import UserError, flag_of
from ...training.common.parser import Parser, make_parser
from ...training.common.plan_file import ContinuedRun
from ...training.common.run_names import RECORD, is_held
from .allocation import start_on_all_nodes
from .command import start
from .resume import add_run_options, folder_of, read_record, start_again

_TYPES = ("fine_tune", "regularization", "exploration", "polish")
_PATHS = ("data", "stages_config", "layout")
"""Options that may name a file: it is found from the folder where the command is given."""
_OF_WEIGHTS = {
    "model_width": ("recipe", "task", "options", "model", "width"),
    "model_blocks": ("recipe", "task", "options", "model", "blocks"),
    "coords": ("data", "understood", "coords"),
}
"""Options that the shape of the weights follows from, and where the record of a run has what they were."""
_BUNDLED = ("sign", "images", "text")
"""Names of tasks that come with Slipway; `sign` is that of a run without `--task`."""


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "continue",
        "Train on from the weights of a run, in a new run: more epochs, more data, other classes. It takes the recipe of that "
        "run; every option of `slipway train` after RUN changes it. Without --type its last stage is trained again, at 0.3 of "
        "the learning rate.",
        "[options] RUN [options of slipway train]",
    )
    parser.add_argument("--epochs", metavar="N", help="epochs of every stage; those of the stage unless given")
    parser.add_argument("--data", metavar="DATA", help="other data: more clips, other classes [those of the run]")
    parser.add_argument("--type", choices=_TYPES, help="the stage to train: what it is for (docs/continue.md)")
    parser.add_argument(
        "--weights", choices=("best", "last"), default="best", help="the weights of the run to start from [best]"
    )
    add_run_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Start a new run from the weights of another one; return the exit code. Raises `UserError` where it cannot be."""
    parser = build_parser()
    options, words = parser.parse_known_args(arguments)
    folder = folder_of(options.run, Path(options.runs_dir), "slipway continue")
    record = read_record(folder)
    asked = _options_of(words) | {"start_from": str(_weights_of(folder, record, options.weights))}
    _check_shape(options.run, record, asked)
    given = {"epochs": options.epochs, "data": options.data, "stages_config": options.type}
    if options.type is not None and "stages_config" in asked:
        raise UserError("slipway continue: --type and --stages-config both say the stages: give one of them")
    asked |= {name: value for name, value in given.items() if value is not None}
    asked |= {name: os.path.abspath(asked[name]) for name in _PATHS if name in asked and os.path.exists(asked[name])}
    start_on_all_nodes(options)
    earlier, command = start_again(folder, record, options, parser, "slipway continue")
    config: Any = record.get("config")
    name = config.get("experiment_name") if isinstance(config, dict) else None
    continues = ContinuedRun(run=str(folder), experiment_name=name, options=asked)
    return start(options, command, earlier, continues)


def _weights_of(folder: Path, record: dict[str, Any], which: str) -> Path:
    """Return the folder of the weights to start from. Raises `UserError` where there are none that stay as they are."""
    begin = f"slipway continue {folder.name}"
    if record.get("study"):
        runs = sorted(path.parent for path in folder.glob(f"*/{RECORD}"))
        which_one = f", such as {runs[0]}" if runs else ""
        raise UserError(f"{begin}: it is a study of several runs: continue one of them{which_one}")
    if is_held(folder):
        raise UserError(f"{begin}: it still trains, and its weights change: wait for its end, or stop it with Ctrl-C")
    if not (folder / which / "model.safetensors").is_file():
        there = next((kind for kind in ("best", "last") if (folder / kind / "model.safetensors").is_file()), None)
        if there:
            remedy = f"give --weights {there}"
        elif record.get("state") == "finished":
            remedy = "they were removed; put them back, or train it anew"
        else:
            remedy = f"`slipway resume {folder.name}` goes on with what it has saved"
        raise UserError(f"{begin}: it has no {which}/ weights, which are written at the end of an epoch: {remedy}")
    return folder / which


def _check_shape(run: str, record: dict[str, Any], asked: Mapping[str, str]) -> None:
    """Raise `UserError` for an option with which the weights cannot fit; the training refuses what is not known here."""
    for name, path in _OF_WEIGHTS.items():
        was, value = _at(record, *path), asked.get(name, "auto")
        if was is not None and value not in ("auto", str(was)):
            raise UserError(
                f"slipway continue {run}: {flag_of(name)} {value}: its weights are for {was}; leave the option out, or train "
                "anew with it"
            )
    task, learned = asked.get("task"), _at(record, "config", "task") or _at(record, "recipe", "task", "name")
    if task in _BUNDLED and learned in _BUNDLED and task != learned:
        raise UserError(
            f"slipway continue {run}: --task {task}: its weights are of the task {learned}; leave --task out"
        )


def _at(record: Any, *path: str) -> Any:
    """Return what stands in a record at a path of names, or None."""
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _options_of(words: list[str]) -> dict[str, str]:
    """Return the options of the training that words give, as text. Raises `UserError` for a word that belongs to none."""
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            name = name.replace("-", "_")
            found[name] = [value] if has_value else []
        elif not name:
            raise UserError(
                f"slipway continue: unexpected argument {word!r}: options of the training stand after the run, --epochs 10"
            )
        else:
            found[name].append(word)
    return dict(_as_text(name, values) for name, values in found.items())


def _as_text(name: str, values: list[str]) -> tuple[str, str]:
    if name == "task_options":
        return name, shlex.join(values)
    if values:
        return name, ",".join(values)
    return (name[3:], "no") if name.startswith("no_") else (name, "yes")
