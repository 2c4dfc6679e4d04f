"""The weights of another run that a new one starts from: found, compared with its model, loaded, and kept track of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...common.errors import UserError
from ...common.program.doors import door
from ...common.run_names import RECORD, is_held
from ...common.small_files import UnreadableError, expanded, read_json
from ...config.recipe import Recipe
from ...devices.ranks import Ranks
from ...observers.events import Decision
from ...observers.journal import read_journal
from ...step.plain_names import own_state
from ...storage.files import load_tensors
from ...tasks.fingerprint import tensors_fingerprint
from ...tasks.task import Task
from ..load import find_weights
from ..training_config import TrainingConfig

_UNKNOWN = "unknown"
"""In place of a hash where the weights are not there any more; a run that is resumed keeps its own."""
_MOST_NAMES = 4
"""Of classes in a line."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run starts from, as it is now."""

    given: str
    """As the user gave it."""
    digest: str
    problem: UserError | None = None
    """Why it cannot be used."""
    parent: Mapping[str, Any] = field(default_factory=dict)
    """The lineage, as it stands in `run.json`."""
    data_fingerprint: str | None = None
    """Of the samples that the weights learned from, where that is known."""
    decisions: tuple[Decision, ...] = ()
    """What is told of it."""

    def check_resumed(self, recipe: Mapping[str, Any], *, has_checkpoint: bool) -> str | None:
        """Return what is to be told where a run that goes on had other weights when it began; None where they are these.

        Raises `UserError` if it has no checkpoint, so that it would begin from them again.
        """
        began = recipe.get("start")
        if began is None or (began == self.digest and self.problem is None):
            return None
        why = str(self.problem) if self.problem else f"--start-from {self.given}: its weights are other ones by now"
        if not has_checkpoint:
            raise UserError(
                f"{why}; the run that is resumed began with them and has no checkpoint yet: start another run"
            )
        return f"{why}; the run goes on from its own checkpoint, which needs them no more"


def load_start(config: TrainingConfig, recipe: Recipe, model: nn.Module, task: Task, ranks: Ranks) -> Start | None:
    """Give a new model the weights that `--start-from` names, on every rank; return what they are. None: it names none.

    Rank 0 reads them and all ranks get its weights. A part whose rows stand for classes gets the rows of the classes that both
    know, by their names, and keeps its own for the others. Raises `UserError` on every rank for weights that do not fit this
    task and model; where a run is to be resumed, the problem is returned, for it may have no need of them.
    """
    if config.start_from is None:
        return None
    start, error = None, None
    if ranks.is_main:
        try:
            start = _load(config, recipe, model, task)
        except UserError as caught:
            error = caught
            if config.resume is not None:
                start, error = Start(given=config.start_from, digest=_UNKNOWN, problem=caught), None
    ranks.raise_on_all_ranks(error)
    is_loaded = bool(ranks.minimum(int(start is None or start.problem is None)))
    if is_loaded and ranks.size > 1:
        with torch.no_grad():
            for tensor in model.state_dict().values():
                if tensor.numel():
                    # Frozen ones too, which no other place gives to the ranks; one at a time, for the device's memory.
                    tensor.copy_(ranks.broadcast_(tensor.to(ranks.device).contiguous()))
    digest = ranks.broadcast_text("" if start is None else start.digest)
    return start or Start(given=config.start_from, digest=digest)


def with_start(recipe: Recipe, start: Start | None) -> Recipe:
    """Return the recipe with the hash of the weights that it starts from."""
    return recipe if start is None else replace(recipe, start=start.digest)


def _load(config: TrainingConfig, recipe: Recipe, model: nn.Module, task: Task) -> Start:
    given = str(config.start_from)
    command = f"--start-from {given}"
    folder = find_weights(expanded(given), "best", Path(config.runs_dir), "--start-from:")
    run = folder.parent if (folder.parent / RECORD).is_file() else None
    record: Any = {}
    with suppress(OSError, UnreadableError):  # of weights that were copied elsewhere
        record = read_json(folder.parent / RECORD)
    record = record if isinstance(record, dict) else {}
    if run is not None and is_held(run):
        raise UserError(f"{command}: {run.name} still trains, and its weights change: wait for its end, or stop it")
    with door(folder, "give the folder of a run"):
        weights = load_tensors(folder / "model.safetensors")
        spec = read_json(folder / "spec.json") if (folder / "spec.json").is_file() else {}
    spec = spec if isinstance(spec, dict) else {}
    name = run.name if run is not None else given
    notes = [*_compare_tasks(command, name, record, spec, task)]
    before, now = _class_names(spec.get("class_names")), _class_names(getattr(task, "class_names", None))
    digest = hashlib.sha256(json.dumps([tensors_fingerprint(weights), before]).encode()).hexdigest()[:16]
    notes += _give_weights(model, weights, before, now, command, name)
    step = _step_of(run, record, folder.name)
    parent = {
        "run": name,
        "folder": str((run or folder).resolve()),
        "weights": folder.name,
        "step": step,
        "start": digest,
        "recipe_hash": record.get("recipe_hash"),
    }
    told = f"from the {folder.name} weights of {name}" if run is not None else f"from the weights in {given}"
    told += "" if step is None else f", of step {step:,}"
    state = record.get("state")
    if state not in (None, "finished"):
        told += f" ({name} was not finished: `slipway resume {name}` would go on with it as it is)"
    decisions = [Decision(kind="start", reason=told, fields={"parent": parent}), *notes]
    learned = ((record.get("recipe") or {}).get("task") or {}).get("data_fingerprint")
    return Start(given=given, digest=digest, parent=parent, data_fingerprint=learned, decisions=tuple(decisions))


def compare_data(start: Start | None, recipe: Recipe) -> Iterator[Decision]:
    """Yield a warning where validation and test may hold samples that the weights have learned from."""
    if start is not None and start.data_fingerprint not in (None, recipe.task.data_fingerprint):
        name = start.parent["run"]
        reason = (
            f"the data or their split are not those of {name}: validation and test may hold samples that {name} learned from, "
            "and look too good; samples that it never saw tell how good the new weights are"
        )
        yield Decision(kind="other_data", reason=reason, warning=True, fields={"parent": name})


def _step_of(run: Path | None, record: Mapping[str, Any], kind: str) -> int | None:
    """Return the step of a run's weights: of the best ones that of their epoch's end, of the last ones the last."""
    if run is None or kind not in ("best", "last"):
        return None
    last = (record.get("result") or {}).get("steps") or (record.get("progress") or {}).get("step")
    stages = (record.get("recipe") or {}).get("stages") or [{}]
    if stages[-1].get("end_with") == "last":
        kind = "last"
    found, step = None, None
    with suppress(UserError, OSError, KeyError, TypeError):
        for event in read_journal(run / "events.jsonl"):
            if event["event"] == "step":
                step = event["step"]
            elif event["event"] == "epoch" and (event.get("improved") or kind == "last"):
                found = step
    chosen = found if kind == "best" and found is not None else last
    return chosen if isinstance(chosen, int) else None


def _class_names(names: Any) -> list[str] | None:
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else None


def _compare_tasks(
    command: str, name: str, record: Mapping[str, Any], spec: Mapping[str, Any], task: Task
) -> Iterator[Decision]:
    """Yield what of the task's options is another; raise `UserError` for weights of another task or of other features."""
    learned = ((record.get("recipe") or {}).get("task") or {}).get("name")
    if learned is None and spec.get("model") == "SignEncoder":
        learned = "sign"
    if learned is not None and learned != task.name:
        raise UserError(
            f"{command}: {name} learned the task {learned!r}, and this trains {task.name!r}: start from a run of the same task"
        )
    present = json.loads(json.dumps(dict(task.prediction_spec()), default=str))
    for key in ("layout", "spec"):
        if key in present and key in spec and (different := [*_differences(_kind(spec[key]), _kind(present[key]))]):
            what = "its landmarks" if key == "layout" else "the size of its model"
            raise UserError(
                f"{command}: {what} {'are others' if key == 'layout' else 'is another'} than here: {'; '.join(different[:3])}; "
                + (
                    "give data, and --landmarks, --coords, --keep-landmarks and --normalise, as it had them"
                    if key == "layout"
                    else "give --model-width, --model-blocks and --hand-distances as it had them"
                )
            )
    if isinstance(spec.get("options"), Mapping) and isinstance(present.get("options"), Mapping):
        different = [*_differences(spec["options"], present["options"])]
        if different:
            reason = f"the task's options are not those of {name}: {'; '.join(different)}"
            yield Decision(kind="other_options", reason=reason, fields={"parent": name})


def _kind(described: Any) -> Any:
    """Return what is described, but of place and size only what gives them: each set of clips has its own."""
    if not isinstance(described, Mapping) or "parts" not in described:
        return described
    kept = {name: value for name, value in described.items() if name not in ("origin", "unit")}
    return {**kept, "normalise": "set" if described.get("origin") or described.get("unit") else "clip"}


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*now, *(key for key in before if key not in now)]:
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif before != now:
        yield f"{name} {_shown(before)} there, {_shown(now)} here"


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"{len(value)} values" if len(value) > 4 else "[" + ", ".join(map(str, value)) + "]"
    return str(value)[:40]


def _give_weights(
    model: nn.Module,
    weights: Mapping[str, torch.Tensor],
    before: Sequence[str] | None,
    now: Sequence[str] | None,
    command: str,
    name: str,
) -> Iterator[Decision]:
    """Copy weights into a model and yield what became of its classes. Raises `UserError` for those of another model."""
    if type(model).__name__ == "OptimizedModule":  # torch.compile around all of it
        model = model._orig_mod  # type: ignore[assignment]
    state, found = model.state_dict(), own_state(model, weights)
    for what, names in (("has no", found.keys() - state.keys()), ("has", state.keys() - found.keys())):
        if names:
            whose = f"that {name} has" if what == "has no" else f"that {name} does not have"
            raise UserError(
                f"{command}: the weights are of another model: this one {what} {_listed(sorted(names), 3)}, {whose}; make the "
                "same model"
            )
    head = _head(state, found, before, now, command)
    rows = _common_rows(before, now) if before is not None and now is not None else None
    with torch.no_grad():
        for key, tensor in state.items():
            if key not in head:
                tensor.copy_(found[key])
            elif rows is not None:
                for new, old in rows.items():
                    tensor[new].copy_(found[key][old])
    if head:
        yield _told(sorted({key.rpartition(".")[0] or key for key in head})[0], before, now, rows, state, head, name)
    elif before != now and before is not None and now is not None:
        reason = (
            f"the classes are not those of {name} ({_listed(before)}), but no part of the model has a row for each: all of its "
            "weights are taken as they are"
        )
        yield Decision(kind="head", reason=reason, warning=True, fields={"classes": list(now)})


def _head(
    state: Mapping[str, torch.Tensor],
    found: Mapping[str, torch.Tensor],
    before: Sequence[str] | None,
    now: Sequence[str] | None,
    command: str,
) -> list[str]:
    """Return the tensors whose rows are those of classes which are others by now: of the last module that has such rows.

    Raises `UserError` where other tensors differ in shape too.
    """
    different = [key for key in state if state[key].shape != found[key].shape]
    modules: dict[str, list[str]] = {}
    for key in state:
        modules.setdefault(key.rpartition(".")[0], []).append(key)
    is_of_outputs = {
        module: all(
            state[key].ndim > 0
            and len(state[key]) == len(state[keys[0]])
            and found[key].ndim > 0
            and len(found[key]) == len(found[keys[0]])
            and state[key].shape[1:] == found[key].shape[1:]
            for key in keys
        )
        for module, keys in modules.items()
    }
    if different:
        module = different[0].rpartition(".")[0]
        keys = modules[module]
        sizes = len(found[keys[0]]) if found[keys[0]].ndim else 0, len(state[keys[0]]) if state[keys[0]].ndim else 0
        is_of_classes = before is not None and now is not None and sizes == (len(before), len(now))
        is_last = module == [*modules][-1]
        if set(different) <= set(keys) and is_of_outputs[module] and (is_of_classes or is_last):
            return keys
        key = different[0]
        raise UserError(
            f"{command}: the weights are of another model: {key} is {list(found[key].shape)} there and "
            f"{list(state[key].shape)} here; make the same model, and give data of the same features"
        )
    if before == now or before is None or now is None:
        return []
    rows = [module for module, keys in modules.items() if is_of_outputs[module] and len(state[keys[0]]) == len(now)]
    return modules[rows[-1]] if rows else []


def _common_rows(before: Sequence[str], now: Sequence[str]) -> dict[int, int]:
    """Return the old row of each class that both know, by its new row."""
    old = {name: row for row, name in enumerate(before)}
    return {row: old[name] for row, name in enumerate(now) if name in old}


def _told(
    part: str,
    before: Sequence[str] | None,
    now: Sequence[str] | None,
    rows: Mapping[int, int] | None,
    state: Mapping[str, torch.Tensor],
    head: Sequence[str],
    name: str,
) -> Decision:
    """Return what is told of the head: what it keeps, what is new in it, what is gone."""
    count = len(state[head[0]])
    if rows is None or before is None or now is None:
        reason = f"{part} is new, with {count} outputs: {name} had another number, and tells no names of them"
        return Decision(kind="head", reason=reason, warning=True, fields={"part": part, "outputs": count})
    new = [one for row, one in enumerate(now) if row not in rows]
    gone = [one for one in before if one not in now]
    kept = [now[row] for row in rows]
    if not kept:
        reason = f"{part} is new: none of its {count} classes ({_listed(new)}) is one of {name} ({_listed(before)})"
    else:
        parts = [f"{len(kept)} keep{'s' if len(kept) == 1 else ''} the weights of {name}"]
        parts += [f"new: {_listed(new)}"] if new else []
        parts += [f"gone: {_listed(gone)}"] if gone else []
        reason = f"{part} has {count} classes, by their names: {'; '.join(parts)}"
    fields = {"part": part, "kept": kept, "new": new, "gone": gone}
    return Decision(kind="head", reason=reason, warning=not kept, fields=fields)


def _listed(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
