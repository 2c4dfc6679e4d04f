"""The programs and where they stand: one for each case and library."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS = ROOT / "tests" / "own_models" / "ours"
LIBRARIES = {"slipway": "Slipway", "accelerate": "Accelerate", "lightning": "Lightning", "trainer": "HF Trainer"}
METRICS = {"regression": "r2", "gpt2": "loss"}
"""What a case's best weights are chosen by, where it is not the accuracy."""


def cases() -> dict[str, str]:
    """Return the kind of each case by its name, in their order in the table."""
    return {path.stem: path.parent.name for path in sorted(OURS.glob("*/*.py")) if path.name != "__init__.py"}


def program(library: str, case: str) -> Path:
    """Return the file of a program."""
    return (OURS if library == "slipway" else HERE / library) / cases()[case] / f"{case}.py"
