"""A folder that is ready for the Hugging Face Hub: the best weights, what makes the model again, pictures, and a card of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ...training.common.errors import UserError
from ...training.common.program.doors import remedy_of_writing
from ...training.common.run_names import RECORD
from ...training.storage.files import describe_os_error, replaced, sha256_of, write_json
from ...training.tasks.origin.spec import is_bundled
from ..common.values import at, mapping
from ..report.content import read_content
from ..report.files import write_pictures
from ..use.trained import PORTABLE, Trained
from .card.card import make_card
from .card.markdown import without_places
from .card.sections import data_name

NAME = "hub"
"""Of the folder in that of the run."""
CARD, WEIGHTS, SPEC, LABELS = "README.md", "model.safetensors", "spec.json", "labels.json"
EXPORTS = ("model.onnx", "model.pt2")
"""Not model.pt: TorchScript keeps the paths of the code."""
MADE = (
    CARD,
    WEIGHTS,
    SPEC,
    LABELS,
    PORTABLE,
    *EXPORTS,
    *(f"{name}.{kind}" for name in ("results", "confusion_matrix") for kind in ("png", "svg")),
)
"""Every file that may be made there."""

_READING = ("data_format", "landmarks", "coords", "keep_landmarks", "encoding", "label", "signer", "group")
_SCHEMA_VERSION = 1
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class HubFolder:
    """What was written."""

    files: Sequence[str]
    size_bytes: int
    notes: Sequence[str]
    """What a person has to know of it, one sentence each."""


def is_ready(folder: Path) -> bool:
    """Return whether a folder is one that `write_hub_folder` made."""
    return all((folder / name).is_file() for name in (CARD, WEIGHTS, SPEC, PORTABLE))


def check_is_run(trained: Trained) -> None:
    """Raise `UserError` for weights that do not lie in a run."""
    if is_ready(trained.folder):
        raise UserError(f"{trained.name}: is ready for the Hub already; give the run itself to make it anew")
    if trained.folder.name != "best" or not (trained.home / RECORD).is_file():
        raise UserError(
            f"{trained.folder}: a model card tells what a run has measured with its best weights: give the folder of a run"
        )


def own_folder(trained: Trained) -> Path:
    """Return where the folder is in that of its run. Raises `UserError` for a link: a run that was sent may lead elsewhere."""
    folder = trained.home / NAME
    if folder.is_symlink():
        raise UserError(
            f"{folder}: is a link, and nothing is written where it leads; remove it, or give `slipway card --out FOLDER`"
        )
    return folder


def write_hub_folder(trained: Trained, out: Path, *, repo: str | None, license_name: str | None) -> HubFolder:
    """Write the folder; files of it that are there are replaced, others stay. Raises `UserError`."""
    run = trained.home
    content = read_content(run)
    notes: list[str] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in MADE:
            (out / name).unlink(missing_ok=True)
        _copy(trained.folder / WEIGHTS, out / WEIGHTS)
        spec, left_out = portable_spec(trained.spec)
        if left_out:
            notes.append(f"{SPEC} has {', '.join(left_out)} without its folder, which is a place of this machine")
        _write(out / SPEC, spec)
        _write(out / PORTABLE, portable_record(content.record))
        _put(out / LABELS, json.dumps(list(trained.class_names or ()), indent=1, ensure_ascii=False) + "\n")
        if remark := write_pictures(content, out):
            notes.append(remark)
        notes += _take_exports(run, out)
        files = [name for name in MADE if (out / name).is_file()]
        card = make_card(content, trained, files, **({} if repo is None else {"repo": repo}), license_name=license_name)
        _put(out / CARD, card)
    except OSError as error:
        raise UserError(
            f"{out}: {describe_os_error(error)}; {remedy_of_writing(error)}, or give --out FOLDER"
        ) from None
    files = [CARD, *files]
    return HubFolder(files=files, size_bytes=sum((out / name).stat().st_size for name in files), notes=notes)


def portable_spec(spec: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what `spec.json` says for other machines, and what in it was a place of this one, in words.

    Paths are cut to their last part, and this user's signatures are left out. Names of classes stay as they are.
    """
    found, places = dict(spec), list[str]()
    for key in ("make_model", "task"):
        if isinstance(made := spec.get(key), Mapping):
            found[key] = {name: value for name, value in made.items() if name != "signature"}
    if isinstance(made := found.get("make_model"), dict):
        file = made.get("file")
        made["file"] = None if is_bundled(made) or file is None else PurePath(str(file)).name
        for name in ("arguments", "options"):
            made[name] = _cut(made.get(name), f"an argument of {made.get('name')}", places)
    if isinstance(task := found.get("task"), dict):
        task["name"] = without_places(str(task.get("name")))
        arguments = {name: value for name, value in mapping(task, "arguments").items() if name != "data"}
        task["arguments"] = _cut(arguments, "an argument of the task", places)
    if "options" in found:
        found["options"] = _cut(found["options"], "an option of the task", places)
    return found, list(dict.fromkeys(places))


def portable_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a prediction needs of a run's record: how its data were read, and no place or person."""
    config, data = mapping(record, "config"), mapping(record, "data")
    reading = {name: config[name] for name in _READING if config.get(name) is not None}
    return {
        "schema_version": _SCHEMA_VERSION,
        "name": without_places(str(record.get("name"))),
        "config": _cut(reading, "", []),
        "data": {
            "data": data_name(record),
            "frames_longest": data.get("frames_longest"),
            "understood": {"frames": at(data, "understood", "frames")},
        },
        "recipe": {"task": {"data_fingerprint": at(record, "recipe", "task", "data_fingerprint")}},
        "recipe_hash": record.get("recipe_hash"),
    }


def _cut(value: Any, what: str, places: list[str]) -> Any:
    """Return a plain value whose texts name no folder of this machine; `what` is added to the places where one did."""
    if isinstance(value, Mapping):
        return {name: _cut(one, what, places) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cut(one, what, places) for one in value]
    if isinstance(value, str) and (shorter := without_places(value)) != value:
        places.append(what)
        return shorter
    return value


def _take_exports(run: Path, out: Path) -> list[str]:
    """Take the exported files of a run that are of these weights; return a note on each that is not."""
    notes = []
    mark = sha256_of(out / WEIGHTS).encode()  # stands in the metadata of each
    for name in EXPORTS:
        if not (run / name).is_file():
            continue
        if _holds(run / name, mark):
            _copy(run / name, out / name)
        else:
            notes.append(
                f"{run / name} is left out: it is of other weights, or of an earlier Slipway; export it again with --force"
            )
    return notes


def _holds(path: Path, mark: bytes) -> bool:
    """Return whether some bytes stand in a file."""
    end = b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            if mark in end + piece:
                return True
            end = piece[-len(mark) :]
    return False


def _copy(source: Path, target: Path) -> None:
    with replaced(target) as partial:
        shutil.copyfile(source, partial)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with replaced(path) as partial:
        write_json(partial, content)


def _put(path: Path, text: str) -> None:
    with replaced(path) as partial:
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))
