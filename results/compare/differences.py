"""What differs between the recipes, plans, data and code of groups of runs, each by the option that sets it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...training.common.errors import flag_of
from ..common.values import items, mapping, rows, text
from .members import Group, Member

Facts = dict[tuple[str, str], Any]
"""Values by section and name."""

_SECTIONS = ("recipe", "options", "plan", "data", "code")

_OPTIONS = {
    "optimizer.name": "optimizer",
    "optimizer.beta1": "betas",
    "optimizer.beta2": "betas",
    "task.name": "task",
    "task.options.model.width": "model_width",
    "task.options.model.blocks": "model_blocks",
    "start": "start_from",
    "world_size": "num_processes",
    "compile_backend": "compile",
    "threads_per_process": "threads",
    "sharding": "sharding",
}
"""Options whose fields of the recipe or the plan have other names."""

_WORDS = {
    "task.model_fingerprint": "structure of the model, as a hash",
    "resolution.global_batch_size": "samples in a step",
    "resolution.mixed_precision": "mixed precision that was used",
    "data": "name of the data",
    "device_name": "name of the device",
    "contents": "all samples, as a hash",
    "script_commit": "commit of the script",
    "slipway_commit": "commit of Slipway",
}
_NOT_SHOWN = {
    "recipe": {
        "seed", "task.weights_fingerprint", "task.data_fingerprint", "resolution.num_processes", "resolution.batch_size_factor",
    },
    "plan": {"most_workers"},
    "data": {"task", "fingerprint", "neighbour_share", "class_names"},
}  # fmt: skip
"""Fields that stand elsewhere, or follow from others."""
_UNDERSTOOD = ("format", "layout", "coords", "clips", "frames", "missing_share")
_RUN_OPTIONS = {
    "experiment_name", "runs_dir", "resume", "overwrite", "seed", "seeds", "fold", "held_out", "data",
}  # fmt: skip
"""Options that tell where a run is, or what stands elsewhere."""
_MOST_LISTED = 6
_COMMIT_LETTERS = 12


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A fact that is not the same in all groups."""

    section: str
    """`recipe`, `plan`, `data`, `code`, or `options` for those that set no field of the others."""
    name: str
    """In words, or the option."""
    option: str | None
    """The option that sets it, such as `--learning-rate`."""
    values: tuple[str, ...]
    """As text, one for each group; the runs of a group may have several, between semicolons."""


def differences_of(groups: Sequence[Group]) -> list[Difference]:
    """Return what differs between the groups; of a single group what differs between its runs."""
    parts = [[_facts(member) for member in group.members] for group in groups]
    names = list(dict.fromkeys(name for part in parts for facts in part for name in facts))
    known = {name.split(" ")[0] for section, name in names if section != "options" and name.startswith("--")}
    found = []
    for section, name in names:
        if section == "options" and name in known:
            continue
        values = [_distinct([facts.get((section, name)) for facts in part]) for part in parts]
        texts = {tuple(sorted(map(repr, of_group))) for of_group in values}
        if len(texts) > 1 if len(groups) > 1 else len(values[0]) > 1:
            option = name.split(" ")[0] if name.startswith("--") else None
            found.append(Difference(section=section, name=name, option=option, values=_texts(values)))
    return sorted([*found, *_by_seed(groups)], key=lambda one: _SECTIONS.index(one.section))


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Return values without those that stand before."""
    return list({repr(value): value for value in values}.values())


def _texts(values: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """Return a text for each group; of long lists what not all of them have."""
    every = [one for of_group in values for one in of_group]
    if all(isinstance(one, list) for one in every) and max(map(len, every)) > _MOST_LISTED:
        common = (
            set[str]().union(*(map(str, one) for one in every)).intersection(*(set(map(str, one)) for one in every))
        )
        every_text = [
            ["also " + _shown([one for one in value if str(one) not in common]) for value in of_group]
            for of_group in values
        ]
        return tuple("; ".join(of_group) for of_group in every_text)
    return tuple("; ".join(map(_shown, of_group)) for of_group in values)


def _facts(member: Member) -> Facts:
    """Return the facts of a run that may be compared."""
    record = member.record
    config = mapping(record, "config")
    found: Facts = {}
    recipe = mapping(record, "recipe")
    for path, value in _flat({name: value for name, value in recipe.items() if name != "stages"}):
        if path not in _NOT_SHOWN["recipe"]:
            found["recipe", _name(path, config)] = value
    found |= {("recipe", name): value for name, value in _stage_facts(recipe, config).items()}
    for name in ("folds", "leave_out"):
        if name in member.study:
            found["recipe", flag_of(name)] = member.study[name]
    parent = record.get("parent")
    found["recipe", "continued from"] = (text(parent, "run") or text(parent, "name")) if parent else None
    plan = {name: value for name, value in mapping(record, "plan").items() if name != "reasons"}
    for path, value in _flat(plan):
        if path not in _NOT_SHOWN["plan"]:
            found["plan", _name(path, config)] = value
    found |= {("data", name): value for name, value in _data_facts(member).items()}
    for name, value in mapping(record, "versions").items():
        found["code", f"version of {name}"] = value
    for name in ("script_commit", "slipway_commit"):
        commit, _, changes = text(record, name).partition("+")
        found["code", _WORDS[name]] = commit[:_COMMIT_LETTERS] + (f", with {changes}" if changes else "") or None
    for name, value in mapping(record, "script_files").items():
        found["code", f"content of {name}, as a hash"] = value
    for name, value in config.items():
        if name not in _RUN_OPTIONS:
            found["options", flag_of(str(name))] = "default" if value is None else value
    return found


def _stage_facts(recipe: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of the stages; one that all stages of the run share has no stage in its name."""
    stages = rows(recipe, "stages")
    names = [text(stage, "name") for stage in stages]
    found: dict[str, Any] = {"stages": ", ".join(names)}
    by_field: dict[str, list[tuple[str, Any]]] = {}
    for name, stage in zip(names, stages, strict=True):
        for path, value in _flat({key: value for key, value in stage.items() if key != "name"}):
            by_field.setdefault(path, []).append((name, value))
    for path, values in by_field.items():
        name = _name(path.removeprefix("options."), config)
        distinct = {repr(value) for _, value in values}
        if len(distinct) == 1 and len(values) == len(stages):
            found[name] = values[0][1]
        else:
            found[name] = ", ".join(f"{stage} {_shown(value)}" for stage, value in values)
    return found


def _data_facts(member: Member) -> dict[str, Any]:
    data = mapping(member.record, "data")
    understood = mapping(data, "understood")
    found: dict[str, Any] = {"--data": data.get("data")}
    plain = {name: value for name, value in data.items() if name not in {*_NOT_SHOWN["data"], "understood", "data"}}
    for path, value in _flat(plain):
        found[_WORDS.get(path, path.replace(".", " ").replace("_", " "))] = value
    for name in _UNDERSTOOD:
        for path, value in _flat({name: understood.get(name)}):
            found.setdefault(path.replace(".", " ").replace("_", " "), value)
    classes = (
        items(member.content.spec, "class_names") or items(data, "class_names") or list(mapping(understood, "classes"))
    )
    if classes:
        found["names of the classes"] = sorted(map(str, classes))
    return found


def _by_seed(groups: Sequence[Group]) -> Iterator[Difference]:
    """Yield what follows from the seed too, so that only runs of the same seed or fold tell whether it differs."""
    for section, name, field in (
        ("data", "samples and their split, as a hash", "data_fingerprint"),
        ("recipe", "weights at the start, as a hash", "weights_fingerprint"),
    ):
        tables: list[dict[Hashable, str]] = [
            {(group.unit_of(one), str(one.seed)): text(one.record, "recipe", "task", field) for one in group.members}
            for group in groups
        ]
        common = set(tables[0]).intersection(*tables[1:]) if len(tables) > 1 else set()
        if any(len({table[unit] for table in tables}) > 1 for unit in common):
            values = ["; ".join(dict.fromkeys(table[unit] for unit in table if unit in common)) for table in tables]
            yield Difference(section=section, name=name, option=None, values=tuple(values))
    seeds = [
        tuple(sorted({str(one.seed) for one in group.members}, key=lambda seed: (len(seed), seed))) for group in groups
    ]
    if len(set(seeds)) > 1 or len(seeds) == 1 < len(seeds[0]):
        yield Difference(
            section="recipe", name="--seed", option="--seed", values=tuple("; ".join(one) for one in seeds)
        )


def _name(path: str, config: Mapping[str, Any]) -> str:
    """Return the option that sets a field of the recipe or the plan, or the field in words."""
    last = path.rpartition(".")[2]
    option = _OPTIONS.get(path, last)
    if path in _OPTIONS or option in config:
        return flag_of(option) + (f" ({last})" if option == "betas" else "")
    if path.startswith("task.options."):
        return f"--task-options {path.removeprefix('task.options.')}"
    return _WORDS.get(path, path.replace(".", " ").replace("_", " "))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shown = ", ".join(_shown(one) for one in value[:_MOST_LISTED])
        return f"{shown} and {len(value) - _MOST_LISTED} more" if len(value) > _MOST_LISTED else shown or "none"
    return str(value)
