"""Launch plans in files, as a launcher leaves them for the processes it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slipway.launcher.plan.make_plan import make_plan
from slipway.launcher.plan.records import Intent
from slipway.training.common.plan_file import PLAN_VARIABLE
from tests.launcher.machines import machine


def write_plan(path: Path, changes: dict[str, Any] | None = None, **fixed: Any) -> dict[str, str]:
    """Write the plan for a machine with a CPU, with what a person fixed of it; return the environment that names it.

    `changes` are made to the file, past what the launcher would allow.
    """
    plan = json.loads(make_plan(machine(), Intent(**fixed)).to_json())
    path.write_text(json.dumps({**plan, **(changes or {})}), encoding="utf-8")
    return {PLAN_VARIABLE: str(path)}
