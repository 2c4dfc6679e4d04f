"""Folders of runs that are written by hand, and how the list of runs tells them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slipway.launcher import cli
from slipway.training.common.program.trust import signed


def make_run(folder: Path, name: str = "mine", *, script: Path | None = None, **facts: Any) -> Path:
    """Write the record of a run that a script began."""
    run = folder / "runs" / name
    run.mkdir(parents=True)
    record = {
        "state": "running",
        "progress": {"stage": 0, "stage_name": "warm", "step": 12, "best": 0.5},
        "plan": {"device": "cpu", "world_size": 1},
        "command": {
            "module": None,
            "script": str(script or folder / "tells.py"),
            "arguments": ["--lr", "1e-3", "a b"],
            "folder": str(folder),
        },
        **facts,
    }
    if record["command"]:
        record["command"] = signed("command", record["command"])
    (run / "run.json").write_text(json.dumps(record))
    return run


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    assert cli.main(["runs", "--json", *arguments]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["schema_version"] == 1
    return {run["name"]: run for run in content["runs"]}
