"""Plans of the recorded machines and the reference configs; `python -m tests.launcher.plans` writes them."""

from __future__ import annotations

from pathlib import Path

from slipway.launcher.plan.accelerate.config import to_yaml
from slipway.launcher.plan.make_plan import Intent, LaunchPlan, make_plan
from slipway.launcher.plan.table import value_of
from slipway.training.common.plan_file import PlannedDevice
from tests.conftest import ROOT
from tests.launcher.machines import machine, machines

PLANS = Path(__file__).parent / "fixtures" / "plans"
CONFIGS = ROOT / "accelerate_configs"


def golden_plans() -> dict[str, LaunchPlan]:
    """Return the plan of each recorded machine, by the name of its file, with nothing fixed."""
    return {name: make_plan(hardware) for name, hardware in machines().items()}


def reference_configs() -> dict[str, LaunchPlan]:
    """Return the plans of the files in `accelerate_configs/`, by name."""
    known = {**machines(), "desktop": machine()}
    chosen = {
        "cpu": ("desktop", Intent()),
        "cpu_two_processes": ("desktop", Intent(num_processes=2)),
        "cuda": ("t4", Intent()),
        "cuda_8_processes": ("8xh100", Intent()),
        "cuda_unequal": ("rtx3090_rtx2080ti", Intent()),
        "rocm_8_processes": ("8xmi300x", Intent()),
        "xpu": ("arc_a770", Intent()),
        "xpu_8_processes": ("4xmax1550", Intent()),
        "mps": ("m2", Intent()),
        "npu_8_processes": ("8xascend910", Intent()),
        "hpu_8_processes": ("8xgaudi2", Intent()),
        "fsdp2": ("8xh100", Intent(parameters=7_000_000_000)),
        "deepspeed_zero2": ("8xh100", Intent(sharding="zero2")),
        "deepspeed_zero3": ("8xh100", Intent(sharding="zero3")),
        "two_machines": ("8xh100", Intent(num_machines=2, main_process_ip="10.0.0.1")),
        "slurm_4_machines": ("slurm_step_4_nodes", Intent()),
    }
    return {name: make_plan(known[recorded], intent) for name, (recorded, intent) in chosen.items()}


def as_text(plan: LaunchPlan, note: str) -> str:
    """Return a plan for a person to read: the note of the machine, warnings, devices, and each choice with its reason."""
    lines = [f"note: {note}", *(f"warning: {one}" for one in plan.warnings)]
    lines += [f"rank {rank}: {' '.join(words_of(one))}" for rank, one in enumerate(plan.devices)]
    for one in plan.choices:
        fact = f" ({one.fact})" if one.fact else ""
        lines.append(f"{one.field}: {value_of(plan, one.field)} [{one.origin}] {one.reason}{fact}")
    return "\n".join(lines) + "\n"


def words_of(one: PlannedDevice) -> list[str]:
    """Return what a plan says of a device."""
    return [str(part) for part in (one.index, one.name, one.part, one.uuid) if part is not None]


def texts() -> dict[Path, str]:
    """Return what each generated file holds."""
    known = machines()
    return {
        **{PLANS / f"{name}.txt": as_text(plan, known[name].note) for name, plan in golden_plans().items()},
        **{CONFIGS / f"{name}.yaml": to_yaml(plan) for name, plan in reference_configs().items()},
    }


if __name__ == "__main__":
    PLANS.mkdir(parents=True, exist_ok=True)
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
