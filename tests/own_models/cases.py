"""The cases: each is a program in `ours/` and a loop in `plain/` of the same name."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.own_models.plain.loop import Ended

HERE = Path(__file__).parent
BOUND = 1e-10
"""max|a - b| / max|w| of weights in float64, and |a - b| / max(1, |b|) of metrics."""
METRIC_BOUNDS = {"regression": 1e-6}
"""Of metrics that are not computed in float64: torchmetrics adds up in float32."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A program and the loop it is compared with."""

    name: str
    kind: str
    options: tuple[str, ...] = ()
    """What it gets on the command line besides."""

    @property
    def program(self) -> Path:
        """The program's file."""
        return HERE / "ours" / self.kind / f"{self.program_name}.py"

    @property
    def program_name(self) -> str:
        """The name of the program's file, without what makes one case of several of it."""
        return self.name.split("-")[0]

    @property
    def title(self) -> str:
        """What the program says of itself in its first line."""
        return (ast.get_docstring(ast.parse(self.program.read_text(encoding="utf-8"))) or "").split("\n")[0]

    @property
    def plain(self) -> Callable[[int], Ended]:
        """The function that trains by hand."""
        return importlib.import_module(f"tests.own_models.plain.{self.kind}.{self.program_name}").train


_PROGRAMS = {
    path.stem: Case(name=path.stem, kind=path.parent.name)
    for path in sorted((HERE / "ours").glob("*/*.py"))
    if path.name != "__init__.py"
}

# Samples that draw come from processes of their own, and arrays from threads.
_WITH_WORKERS = [
    Case(name=f"{name}-2_workers", kind=_PROGRAMS[name].kind, options=("--num-workers", "2"))
    for name in ("numpy_arrays", "transforms")
]
CASES = {case.name: case for case in (*_PROGRAMS.values(), *_WITH_WORKERS)}
