"""Which runs a study has: for each fold, left-out value and seed one, with the options by which it differs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...common.errors import flag_of
from ...storage.run_folder import folder_name
from ..training_config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """A run of a study."""

    name: str
    """Of its folder in that of the study."""
    test: str
    """What it tests: `fold 2`, `signer ann`, `seed 1`."""
    options: Mapping[str, Any]
    """The options of its config that differ from the study's."""


def study_options(config: TrainingConfig) -> dict[str, Any]:
    """Return the options that make several runs of a config; {} for a single run."""
    options: dict[str, Any] = {}
    if config.folds is not None and config.fold is None:
        options["folds"] = config.folds
    if config.leave_out is not None and config.held_out is None:
        options["leave_out"] = config.leave_out
    if config.seeds is not None:
        options["seeds"] = config.seeds
    return options


def name_of_test(config: TrainingConfig) -> list[str]:
    """Return what the name of a single run says of its test: `fold-2`, `signer-ann`; nothing of other runs."""
    if config.fold is not None:
        return [f"fold-{config.fold}"]
    return [] if config.held_out is None else [f"{config.leave_out}-{config.held_out}"]


def describe_study(options: Mapping[str, Any]) -> str:
    """Return what makes a study, `a study (--folds 5)`, or `a single run`."""
    flags = " ".join(f"{flag_of(name)} {value}" for name, value in options.items())
    return f"a study ({flags})" if flags else "a single run"


def runs_of(config: TrainingConfig, left_out: Sequence[str]) -> tuple[StudyRun, ...]:
    """Return the runs of a study; `left_out` are the values of the group that `leave_out` names."""
    asked = study_options(config)
    tests: list[StudyRun] = []
    if "folds" in asked:
        numbers = range(1, asked["folds"] + 1)
        tests = [StudyRun(name=f"fold-{one}", test=f"fold {one}", options={"fold": one}) for one in numbers]
    elif "leave_out" in asked:
        kind = asked["leave_out"]
        names = _different([f"{kind}-{value}" for value in left_out])
        tests = [
            StudyRun(name=name, test=f"{kind} {value}", options={"held_out": value})
            for name, value in zip(names, left_out, strict=True)
        ]
    first = config.seed
    seeds = [
        StudyRun(name=f"seed-{seed}", test=f"seed {seed}", options={"seed": seed})
        for seed in range(first, first + asked.get("seeds", 0))
    ]
    if not tests or not seeds:
        return tuple(tests or seeds)
    return tuple(
        StudyRun(
            name=f"{one.name}-{seed.name}", test=f"{one.test}, {seed.test}", options={**one.options, **seed.options}
        )
        for one, seed in itertools.product(tests, seeds)
    )


def _different(texts: Sequence[str]) -> list[str]:
    """Return names of folders for texts; they differ also where a file system knows no upper and lower case."""
    names: list[str] = []
    for text in texts:
        name, number = folder_name(text), 2
        while name.casefold() in {other.casefold() for other in names}:
            name, number = f"{folder_name(text)}-{number}", number + 1
        names.append(name)
    return names
