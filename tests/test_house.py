"""The house: which rooms there are, that imports between them run one way, and that rooms stay small."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import slipway
from tests.conftest import ROOT

Floors = tuple[tuple[str, ...], ...]

# From the ground up: a room imports only from rooms of the floors below its own.
TRAINING: Floors = (
    ("common",),
    ("storage", "devices", "config"),
    ("observers",),
    ("data",),
    ("tasks",),
    ("batches",),
    ("step",),
    ("loop",),
    ("inspection",),
    ("run",),
)
LAUNCHER: Floors = (
    ("common",),
    ("hardware",),
    ("plan",),
    ("hosts",),
    ("launch",),
    ("doctor",),
    ("wizard", "new", "schema", "submit"),
    ("cli",),
    ("completion",),
)
RESULTS: Floors = (("common",), ("report", "use", "watch", "runs"), ("share", "compare", "track", "sweep"))
PACKAGES = {"training": TRAINING, "launcher": LAUNCHER, "results": RESULTS}
MOST_ENTRIES = 14
MOST_LINES = 400
FACES = {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_only_from_below(package: str) -> None:
    assert list(arrows_up(package, PACKAGES[package])) == []


def test_what_is_done_with_a_run_is_imported_by_neither_the_training_nor_the_launcher_and_imports_no_launcher() -> None:
    crossed = [
        f"{path}: {target}"
        for package, foreign in (("training", "results"), ("launcher", "results"), ("results", "launcher"))
        for path in modules(package)
        for target in imports(path)
        if target.startswith(f"slipway.{foreign}.")
    ]
    assert crossed == []


def test_the_launcher_imports_of_the_training_only_common_and_no_torch() -> None:
    foreign = [
        f"{path}: {target}"
        for path in modules("launcher")
        for target in imports(path)
        if (target.startswith("slipway.training") and not target.startswith("slipway.training.common."))
        or target.startswith("slipway.training.common.keyed_random")  # which needs torch
    ]
    # What asks torch imports it inside a function, in a process of its own.
    torch = [str(path) for path in modules("launcher") for target in imports(path, at_start=True) if is_torch(target)]
    assert (foreign, torch) == ([], [])


def test_the_core_knows_nothing_of_sign_recognition() -> None:
    core = ("common", "storage", "devices", "config", "observers", "batches", "step", "loop")
    domain = re.compile(r"landmark|signer|augmentation|model_width|slipway\.training\.data|\.\.data\b", re.IGNORECASE)
    found = [
        f"{path}: {match[0]}"
        for room in core
        for path in sorted((ROOT / "training" / room).rglob("*.py"))
        for match in domain.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_room_and_no_file_is_crowded(package: str) -> None:
    rooms = [folder for folder in (ROOT / package, *(ROOT / package).rglob("*")) if (folder / "__init__.py").is_file()]
    crowded = {str(room): len(entries) for room in rooms if len(entries := entries_of(room)) > MOST_ENTRIES}
    long = {
        str(path): lines
        for path in modules(package)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert (crowded, long) == ({}, {})


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_mirror_the_rooms(package: str) -> None:
    rooms = {
        folder.relative_to(ROOT / package)
        for folder in (ROOT / package).rglob("*/")
        if (folder / "__init__.py").is_file()
    }
    tests = {
        path.parent.relative_to(ROOT / "tests" / package) for path in (ROOT / "tests" / package).rglob("test_*.py")
    }
    assert tests - {Path()} <= rooms


def test_modules_that_are_named_in_strings_are_there() -> None:
    named = {
        name
        for package in (*PACKAGES, "slipway")
        for path in modules(package)
        for name in re.findall(r"[\"'](slipway(?:\.\w+)+)[\"']", path.read_text(encoding="utf-8"))
    }
    named |= {f"slipway.{name}" for name in slipway._HOMES}
    named.remove("slipway.yaml")
    assert len(named) > 10
    for name in named:
        assert importlib.util.find_spec(name) is not None, name


@pytest.mark.parametrize("package", PACKAGES)
def test_the_docs_show_the_rooms_in_their_order_with_what_each_is_for(package: str) -> None:
    page = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    table = re.findall(
        r"^\| `(\w+)(?:/|\.py)` \| (.*) \|$", page.split(f"\n## {package}/\n")[1].split("\n## ")[0], re.M
    )
    assert [room for room, _ in table] == [room for rooms in reversed(PACKAGES[package]) for room in rooms]
    for room, what in table:
        folder = ROOT / package / room
        file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        assert (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0] == what


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def entries_of(room: Path) -> list[Path]:
    return [
        entry
        for entry in room.iterdir()
        if entry.name not in FACES and (entry.suffix == ".py" or (entry / "__init__.py").is_file())
    ]


def is_torch(target: str) -> bool:
    return target.split(".")[0] in ("torch", "accelerate", "numpy")


def imports(path: Path, *, at_start: bool = False) -> Iterator[str]:
    """Yield the full names of what a file imports, anywhere in it or when it is imported itself."""
    package = ["slipway", *path.relative_to(ROOT).parts[:-1]]
    tree = _tree_of(path)
    for node in tree.body if at_start else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{module}.{alias.name}"


@cache
def _tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def arrows_up(package: str, floors: Floors) -> Iterator[str]:
    """Yield the imports between rooms that do not run to a floor below."""
    floor_of = {room: number for number, rooms in enumerate(floors) for room in rooms}
    rooms = {path.relative_to(ROOT / package).parts[0].removesuffix(".py") for path in modules(package)} - {
        "__init__",
        "__main__",
    }
    assert rooms == set(floor_of)
    for path in modules(package):
        own = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        for target in imports(path):
            parts = target.split(".")
            if own in floor_of and parts[:2] == ["slipway", package] and len(parts) > 2:
                other = parts[2]
                if other != own and floor_of[other] >= floor_of[own]:
                    yield f"{path.relative_to(ROOT)} -> {target}"
