"""Runs to share, with everything in their records that others must not see."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.results.conftest import Made

PLACE = "/home/annika/secret lab/ws-17"
"""Of a machine, with the names of its user and host."""


def private_run(made: Made, folder: Path) -> Path:
    """Write a run of a sign recogniser whose record has places of a machine, a token, and a chain of parents."""
    shutil.copytree(made.folder, folder)
    record = json.loads((folder / "run.json").read_text())
    record["data"]["data"] = f"{PLACE}/my clips.npz"
    record["data"]["understood"]["source"] = [f"{PLACE}/my clips.npz"]
    record |= {
        "name": "signs|<b>*two*</b>`",
        "started": "2026-01-02T03:04:05+00:00",
        "recipe_hash": "feedbeef00112233",
        "command": {
            "script": f"{PLACE}/bin/train.py",
            "arguments": [
                "--data",
                f"{PLACE}/my clips.npz",
                f"--layout={PLACE}/hand.json",
                "--experiment-name",
                "signs",
            ],
            "folder": PLACE,
        },
        "plan": {"device": "cpu", "world_size": 1},
        "result": {"test_accuracy": 0.75, "test_loss": 0.5, "validation_accuracy": 0.875, "seconds": 60.0, "steps": 9},
        "parent": parent("middle", folder.parent / "middle", "1111"),
    }
    _write(folder, record)
    _write(
        folder.parent / "middle",
        {"name": "middle", "recipe_hash": "1111", "parent": parent("first", Path(PLACE), "2222")},
    )
    (folder / "answers.json").write_text(json.dumps({"split": "test", "confusion": [[0, 0, 3], [1, 0, 2], [1, 1, 1]]}))
    return folder


def parent(name: str, folder: Path, recipe: str) -> dict[str, Any]:
    return {"run": name, "folder": str(folder), "weights": "best", "step": 414, "start": "abcd", "recipe_hash": recipe}


def _write(folder: Path, record: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(record))
