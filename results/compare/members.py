"""The runs that are compared, and those put together that repeat one recipe with other seeds or folds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...training.common.errors import UserError
from ...training.common.run_names import RECORD
from ..common.run_files import find_run, record_of
from ..common.values import at, mapping, number, rows, text
from ..report.content import Content, read_content

COMMAND = "slipway compare"
_SPLITS = ("test", "validation")
_LEAST_PREFIX = 2


@dataclass(frozen=True, kw_only=True)
class Member:
    """A run, alone or of a study."""

    name: str
    """Which no other of those that are compared has."""
    content: Content
    study: Mapping[str, Any] = field(default_factory=dict)
    """What makes the runs of its study: `folds`, `leave_out`, `seeds`; empty of a single run."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """By which the run differs from others of its study: `fold`, `held_out`, `seed`."""

    @property
    def record(self) -> Mapping[str, Any]:
        """Its `run.json`."""
        return self.content.record

    @property
    def seed(self) -> Any:
        """The seed of its recipe."""
        return at(self.record, "recipe", "seed")

    @property
    def state(self) -> str:
        """What `slipway runs` calls its state."""
        state = text(self.record, "state")
        return "dead" if state == "running" and not self.content.is_held else state

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Its metrics by split and name, `test_accuracy`; of a run that is not finished those of its best epoch so far."""
        result = mapping(self.record, "result")
        found = {
            str(name): value
            for name in result
            if str(name).startswith(tuple(f"{split}_" for split in _SPLITS))
            and (value := number(result, str(name))) is not None
        }
        epochs = self.content.history.epochs
        best = next((epoch for epoch in reversed(epochs) if epoch.improved), epochs[-1] if epochs else None)
        if found or best is None:
            return found
        return {f"validation_{name}": value for name, value in best.validation.items()}

    @property
    def monitor(self) -> str:
        """The metric by which its best weights were chosen."""
        return text(self.record, "recipe", "monitor") or "accuracy"

    @property
    def samples(self) -> str:
        """What its samples and their split are, as a hash; empty if that is not known."""
        return text(self.record, "recipe", "task", "data_fingerprint")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs of one recipe, which differ in the seed, or in the fold or the left-out value of a study."""

    name: str
    members: Sequence[Member]

    @property
    def unit(self) -> str:
        """What its independent values are of: `seed`, `fold`, `cross-validation`, or what was left out, such as `signer`."""
        study = self.members[0].study
        if "leave_out" in study:
            return str(study["leave_out"])
        if "folds" not in study:
            return "seed"
        return "fold" if len({one.seed for one in self.members}) == 1 else "cross-validation"

    @property
    def folds(self) -> int | None:
        """The folds of its study, if it has any."""
        folds = number(self.members[0].study, "folds")
        return None if folds is None else int(folds)

    def unit_of(self, member: Member) -> Hashable:
        """Return of which independent value a run is."""
        if self.unit == "fold":
            return str(member.options.get("fold"))
        return str(member.options.get("held_out")) if "leave_out" in member.study else str(member.seed)

    def by_unit(self, value: Callable[[Member], float | None]) -> dict[Hashable, float]:
        """Return a value for each unit, the mean of its runs; empty if a run has none."""
        found: dict[Hashable, list[float]] = {}
        for member in self.members:
            one = value(member)
            if one is None:
                return {}
            found.setdefault(self.unit_of(member), []).append(one)
        return {unit: statistics.fmean(values) for unit, values in found.items()}

    def values(self, metric: str) -> dict[Hashable, float]:
        """Return a metric for each unit; empty if a run does not have it."""
        return self.by_unit(lambda member: member.metrics.get(metric))


def read_members(runs: Sequence[str], runs_dir: Path) -> tuple[list[Member], list[str]]:
    """Return the runs of the names or paths, those of studies one by one, and what is to be told of runs that are left out.

    Raises `UserError` for a run that is not there, and if less than two are.
    """
    folders: dict[Path, tuple[Path, Mapping[str, Any], Mapping[str, Any]]] = {}
    remarks: list[str] = []
    for run in runs:
        folder = find_run(run, runs_dir, COMMAND)
        for one, study, options in _parts(folder, remarks):
            folders.setdefault(one.resolve(), (one, study, options))
    if len(folders) < 2:
        what = "only one run" if folders else "no run"
        raise UserError(f"{COMMAND}: {what} to compare; give two or more, or studies of several (--seeds, --folds)")
    names = _different_names([folder for folder, _, _ in folders.values()])
    return [
        Member(name=name, content=read_content(folder), study=study, options=options)
        for name, (folder, study, options) in zip(names, folders.values(), strict=True)
    ], remarks


def _parts(folder: Path, remarks: list[str]) -> list[tuple[Path, Mapping[str, Any], Mapping[str, Any]]]:
    """Return the folders of a run, or of the runs of a study that have a record, with what makes them."""
    record = record_of(folder)
    study = mapping(record, "study")
    if not study:
        return [(folder, {}, {})]
    listed = rows(record, "result", "runs") or rows(record, "progress", "runs")
    names = [text(row, "name") for row in listed]
    found = [
        (folder / name, study, mapping(row, "options"))
        for name, row in zip(names, listed, strict=True)
        if name and Path(name).name == name and (folder / name / RECORD).is_file()
    ]
    done = sum(text(row, "state") == "finished" for row in listed)
    if done < len(listed):
        remarks.append(f"{folder.name}: {done} of its {len(listed)} runs are finished")
    if not found:
        raise UserError(f"{COMMAND} {folder}: a study of which no run has begun; compare it when one has")
    return found


def groups_of(members: Sequence[Member]) -> list[Group]:
    """Return the runs by their recipe, in the order in which they were given.

    Runs of the same recipe and seed that began with other weights are not of one group.
    """
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(_recipe_key(member), []).append(member)
    parts: list[list[Member]] = []
    for group in found.values():
        weights: dict[Hashable, dict[str, None]] = {}
        for member in group:
            place = (str(member.seed), str(dict(member.options)))
            weights.setdefault(place, {})[text(member.record, "recipe", "task", "weights_fingerprint")] = None
        if all(len(of_seed) == 1 for of_seed in weights.values()):
            parts.append(group)
        else:
            parts += [[member] for member in group]
    names = _group_names(parts)
    return [Group(name=name, members=group) for name, group in zip(names, parts, strict=True)]


def members_of(groups: Sequence[Group]) -> list[Member]:
    """Return the runs, group by group."""
    return [member for group in groups for member in group.members]


def _recipe_key(member: Member) -> str:
    """Return what runs of one group have in common: the recipe and the data, without the seed and all that follows from it."""
    recipe = json.loads(json.dumps(mapping(member.record, "recipe")))
    recipe.pop("seed", None)
    # What stands for all the samples, where the split depends on the seed.
    contents = text(member.record, "data", "contents")
    task = recipe.get("task")
    if isinstance(task, dict):
        task.pop("weights_fingerprint", None)
        if contents:
            task["data_fingerprint"] = contents
        data = at(task, "options", "data")
        if isinstance(data, dict) and member.study:
            data.pop("fold", None)
            data.pop("held_out", None)
    study = {name: value for name, value in member.study.items() if name != "seeds"}
    return json.dumps([recipe, study, bool(member.record.get("parent"))], sort_keys=True)


def _different_names(folders: Sequence[Path]) -> list[str]:
    """Return the names of folders, with those of the folders around them as far as they are needed to tell them apart."""
    whole = [folder.resolve().parts for folder in folders]
    depth = 1
    while len({parts[-depth:] for parts in whole}) < len(whole):
        depth += 1
    return ["/".join(parts[-depth:]) for parts in whole]


def _group_names(groups: Sequence[Sequence[Member]]) -> list[str]:
    """Return a name for each group: that of its only run or of its study, or what the names of its runs begin with."""
    names = []
    for group in groups:
        first = group[0].name
        folders = {member.content.folder.resolve().parent for member in group}
        if len(group) == 1:
            name = first
        elif all(member.study for member in group) and len(folders) == 1:
            name = next(iter(folders)).name
        else:
            prefix = _common_start([member.name for member in group]).rstrip("0123456789").rstrip("-_./ ")
            prefix = prefix.removesuffix("seed").rstrip("-_./ ")
            name = prefix if len(prefix) >= _LEAST_PREFIX else f"{first} and {len(group) - 1} more"
        names.append(name)
    return [name if names.count(name) == 1 else f"{name} ({groups[place][0].name})" for place, name in enumerate(names)]


def _common_start(names: Sequence[str]) -> str:
    """Return the letters that all names begin with."""
    first, last = min(names), max(names)
    length = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:length]
