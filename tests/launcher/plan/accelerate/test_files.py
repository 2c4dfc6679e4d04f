"""Accelerate configs of five years: what becomes of each key, and what Accelerate reads of what we write of them."""

from __future__ import annotations

import json
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.launcher.plan.accelerate.config import check_configs, to_yaml
from slipway.launcher.plan.make_plan import LaunchPlan, make_plan
from slipway.launcher.plan.settings import read_intent
from slipway.training.common.errors import UserError
from tests.launcher.machines import machine, machines
from tests.launcher.plan.accelerate.files import FILES, TABLE, table, write_files

MACHINES = machines()
ON = {"mps": "m2", "xpu": "4xmax1550"}


def plan_of(path: Path, device: str | None = None) -> LaunchPlan:
    """Return the plan of a config on a machine that has what it asks for, or that has a kind of device."""
    intent = read_intent({}, str(path), {}, path.parent)
    kind = device or intent.device or "cuda"
    return make_plan(machine() if kind == "cpu" else MACHINES[ON.get(kind, "8xh100")], intent)


def test_what_becomes_of_each_key_of_thirty_configs_stands_in_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(FILES) >= 30
    assert table() == TABLE.read_text(encoding="utf-8"), "look at `python -m tests.launcher.plan.accelerate.files`"


def test_accelerate_reads_what_we_write_of_a_config_and_after_its_update_we_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plans: dict[str, LaunchPlan] = {}
    for name, path in write_files(tmp_path).items():
        try:
            plans[name] = plan_of(path)
        except UserError:
            continue
    assert len(plans) >= 22
    ours = {name: tmp_path / f"ours_{name}.yaml" for name in plans}
    for name, path in ours.items():
        path.write_text(to_yaml(plans[name]), encoding="utf-8")
    with ThreadPoolExecutor(1) as beside:  # a process imports Accelerate to check, while this one imports it to update
        checking = beside.submit(check_configs, {str(path): plans[name] for name, path in ours.items()})
        update = pytest.importorskip("accelerate.commands.config.update")
        found = checking.result()
    assert {path: differences for path, differences in found.items() if differences} == {}

    for name, path in ours.items():
        update.update_config(Namespace(config_file=str(path)))
        assert facts(plan_of(path, plans[name].device)) == facts(plans[name]), name


def facts(plan: LaunchPlan) -> dict[str, Any]:
    """Return what a plan does, without why."""
    found: dict[str, Any] = json.loads(plan.to_json())
    for name in ("choices", "warnings"):
        del found[name]
    return found


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("2023_zero2_offload", "deepspeed_config"),
        ("2024_fsdp_offload_grad_op", "fsdp_config"),
        ("2025_fsdp2", "fsdp_config"),
        ("2025_parallelism", "parallelism_config"),
    ],
)
def test_a_section_is_carried_to_the_letter(tmp_path: Path, name: str, section: str) -> None:
    path = write_files(tmp_path)[name]
    written = yaml.safe_load(to_yaml(plan_of(path)))[section]
    written.pop("deepspeed_multinode_launcher", None)
    assert written == yaml.safe_load(path.read_text(encoding="utf-8"))[section]


def test_a_flag_takes_the_place_of_a_carried_section(tmp_path: Path) -> None:
    path = write_files(tmp_path)["2023_zero2_offload"]
    plan = make_plan(MACHINES["8xh100"], read_intent({"sharding": "zero3"}, str(path), {}, tmp_path))
    assert (plan.accelerate, plan.sharding) == ({}, "zero3")
