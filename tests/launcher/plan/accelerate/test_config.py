"""What Accelerate reads from a written config is what the plan says, and a planned world is the one that starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from slipway.launcher.hardware.record import Accelerator, Hardware, NetworkInterface
from slipway.launcher.plan.accelerate.config import (
    check_configs,
    distributed_type,
    launch_command,
    to_yaml,
)
from slipway.launcher.plan.make_plan import Intent, LaunchPlan, make_plan
from slipway.launcher.plan.settings import read_intent
from slipway.training.common.errors import UserError
from tests.conftest import ROOT
from tests.launcher.machines import machine, machines
from tests.launcher.plans import CONFIGS, golden_plans, reference_configs
from tests.limits import HANG_SECONDS

MACHINES = machines()
EIGHT = MACHINES["8xh100"]
TWO_HOSTS = Intent(num_machines=2, machine_rank=1, main_process_ip="10.0.0.1", rdzv_backend="c10d", compile=True)


def test_accelerate_reads_every_config_as_planned(tmp_path: Path) -> None:
    plans = {str(CONFIGS / f"{name}.yaml"): plan for name, plan in reference_configs().items()}
    others = {
        **golden_plans(),
        "two_hosts": make_plan(EIGHT, TWO_HOSTS),
        "one_each": make_plan(MACHINES["t4"], Intent(num_machines=2, main_process_ip="h")),
        "cpu_hosts": make_plan(machine(), Intent(num_machines=2, num_processes=4, main_process_ip="h")),
        "compiled": make_plan(MACHINES["8xgaudi2"], Intent(compile=True, sharding="fsdp")),
    }
    for name, plan in others.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(to_yaml(plan), encoding="utf-8")
        plans[str(path)] = plan
    # What must be found: another world, unquoted NO, an unknown key at the top and, silent in Accelerate, below it.
    text = to_yaml(others["8xh100"])
    sharded = to_yaml(make_plan(EIGHT, Intent(sharding="fsdp")))
    broken = {
        "world": (text.replace("num_processes: 8", "num_processes: 7"), "num_processes: Accelerate reads 7, the plan has 8"),
        "rank": (text.replace("machine_rank: 0", "machine_rank: 3"), "launch.machine_rank: Accelerate reads 3"),
        "quotes": (text.replace("MULTI_GPU", "NO"), "Accelerate refuses the file"),
        "key": (text + "gpus: 8\n", "unknown keys (['gpus'])"),
        "nested": (sharded.replace("fsdp_min_num_params", "fsdp_min_params"), "unknown_keys"),
        "precision": (text.replace("bf16", "'no'"), "mixed_precision: Accelerate reads 'no', the plan has 'bf16'"),
    }  # fmt: skip
    for name, (changed, _) in broken.items():
        path = tmp_path / f"broken_{name}.yaml"
        path.write_text(changed, encoding="utf-8")
        plans[str(path)] = make_plan(EIGHT, Intent(sharding="fsdp")) if name == "nested" else others["8xh100"]

    found = check_configs(plans)

    wrong = {path: found.pop(path) for path in list(found) if Path(path).name.startswith("broken_")}
    assert {path: differences for path, differences in found.items() if differences} == {}
    for name, (_, message) in broken.items():
        assert message in " ".join(wrong[str(tmp_path / f"broken_{name}.yaml")])


@pytest.mark.parametrize("name", sorted(reference_configs()))
def test_a_config_read_back_plans_the_same_world(name: str) -> None:
    plan = reference_configs()[name]
    hardware = {"fsdp2": EIGHT, "deepspeed_zero2": EIGHT, "deepspeed_zero3": EIGHT, "two_machines": EIGHT}
    recorded = {
        "cuda": "t4",
        "cuda_8_processes": "8xh100",
        "cuda_unequal": "rtx3090_rtx2080ti",
        "rocm_8_processes": "8xmi300x",
        "xpu": "arc_a770",
        "xpu_8_processes": "4xmax1550",
        "mps": "m2",
        "npu_8_processes": "8xascend910",
        "hpu_8_processes": "8xgaudi2",
        "slurm_4_machines": "slurm_step_4_nodes",
    }
    here = hardware.get(name) or (MACHINES[recorded[name]] if name in recorded else machine())
    again = make_plan(here, read_intent({}, str(CONFIGS / f"{name}.yaml"), {}))
    assert replace(again, choices=(), warnings=()) == replace(plan, choices=(), warnings=())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distributed_type: 'NO'\nnum_proceses: 2", "unknown key 'num_proceses' (did you mean 'num_processes'?)"),
        ("distributed_type: 'NO'\nnum_processes: two", "num_processes: expected a whole number, got 'two'"),
        (
            "distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 9}",
            "deepspeed_config.zero_stage: '9' is none of 0, 1, 2, 3",
        ),
    ],
)
def test_a_file_that_is_no_config_of_ours_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        read_intent({}, str(tmp_path / "c.yaml"), {})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_command_carries_what_the_file_cannot() -> None:
    command = launch_command(make_plan(EIGHT, TWO_HOSTS), "my config.yaml", ["train.py", "--x", "a b"])
    assert command.argv[2:] == (
        *("--config_file", "my config.yaml", "--machine_rank", "1", "--rdzv_backend", "c10d"),
        *("train.py", "--x", "a b"),
    )
    assert str(command).startswith("OMP_NUM_THREADS=7 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True GLOO_SOCKET")
    assert str(command).endswith(
        "--config_file 'my config.yaml' --machine_rank 1 --rdzv_backend c10d train.py --x 'a b'"
    )
    several = launch_command(make_plan(machine(), Intent(num_processes=2)), "c.yaml", ["train.py"])
    assert several.environment["ACCELERATE_USE_CPU"] == "true"


def test_reasons_stand_above_the_keys_they_explain() -> None:
    lines = to_yaml(make_plan(MACHINES["t4"], Intent(num_processes=1))).splitlines()
    above = {line.split(":")[0]: lines[i - 1] for i, line in enumerate(lines)}
    assert above["mixed_precision"] == "# every device computes it; bf16 would be emulated (no native bf16: Tesla T4)"
    assert above["num_processes"] == "# fixed by you (1 x Tesla T4)"


# Numbers that a machine can have, and any text; the rest of `Hardware` is made from its types.
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_INTENTS = st.builds(
    Intent,
    device=st.sampled_from([None, None, None, "cpu", "cuda"]),
    num_processes=st.none() | st.integers(0, 4),
    num_machines=st.none() | st.integers(1, 2),
    main_process_ip=st.sampled_from(["10.0.0.1", "no", "off"]) | st.text(max_size=5),
    mixed_precision=st.sampled_from([None, None, None, "no", "fp16", "bf16", "fp8"]),
    parameters=st.none() | st.integers(1, 10**12),
    sharding=st.sampled_from([None, None, None, "replicate", "fsdp", "zero2", "zero3"]),
    compile=st.none() | st.booleans(),
    global_batch_size=st.none() | st.integers(1, 100),
    micro_batch_size=st.none() | st.integers(1, 100),
    num_workers=st.none() | st.integers(-1, 4),
)


@st.composite
def any_hardware(draw: st.DrawFn) -> Hardware:
    """Return a recorded machine with random parts, or devices from anywhere."""
    st.register_type_strategy(float, _FLOATS)
    hardware = draw(st.sampled_from(list(MACHINES.values())))
    for name in draw(st.sets(st.sampled_from(["cpu", "memory", "environment", "scheduler", "torch"]), max_size=3)):
        part = draw(st.from_type(type(getattr(hardware, name))))
        hardware = replace(hardware, **{name: part})
    if draw(st.booleans()):
        hardware = replace(hardware, network=draw(st.from_type(tuple[NetworkInterface, ...])))
    if draw(st.booleans()) and hardware.accelerators:
        changed = tuple(
            replace(one, **{key: getattr(other, key) for key in ("name", "memory_total_bytes", "bf16", "numa_node", "tiles")})
            for one in hardware.accelerators
            for other in [draw(st.from_type(Accelerator))]
        )  # fmt: skip
        hardware = replace(hardware, accelerators=changed)
    return hardware


def expected_in_yaml(plan: LaunchPlan) -> dict[str, object]:
    return {
        "distributed_type": distributed_type(plan),
        "num_processes": plan.num_processes,
        "num_machines": plan.num_machines,
        "mixed_precision": plan.mixed_precision,
        "use_cpu": plan.device == "cpu",
    }


def test_any_hardware_gives_a_plan_or_one_line_and_accelerate_reads_its_config_as_planned(tmp_path: Path) -> None:
    plans: dict[str, LaunchPlan] = {}

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(hardware=any_hardware(), intent=_INTENTS)
    def each(hardware: Hardware, intent: Intent) -> None:
        try:
            plan = make_plan(hardware, intent)
        except UserError:
            reject()
        assert plan.num_processes == plan.num_machines * plan.local_processes >= 1
        assert plan.threads_per_process >= 1 <= plan.gradient_accumulation
        assert len(plan.share_weights) == plan.num_processes
        assert LaunchPlan.from_json(plan.to_json()) == plan
        text = to_yaml(plan)
        data = yaml.safe_load(text)
        assert {key: data[key] for key in expected_in_yaml(plan)} == expected_in_yaml(plan)
        path = tmp_path / f"{len(plans)}.yaml"
        path.write_text(text, encoding="utf-8")
        assert distributed_type(make_plan(hardware, read_intent({}, str(path), {}))) == distributed_type(plan)
        plans[str(path)] = plan

    each()
    assert len(plans) >= 60
    assert {path: wrong for path, wrong in check_configs(plans).items() if wrong} == {}


_SCRIPT = """
import json, os, sys, accelerate, torch
accelerator = accelerate.Accelerator()
total = accelerator.reduce(torch.ones(1), "sum")
said = {"world": accelerator.num_processes, "sum": total.item(), "device": accelerator.device.type,
        "threads": torch.get_num_threads(), "precision": accelerator.mixed_precision}
open(os.path.join(sys.argv[1], str(accelerator.process_index)), "w").write(json.dumps(said))
accelerator.end_training()  # gloo's threads abort a process that ends without it, now and then
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_cpu_plan_starts_the_world_it_promises(processes: int, tmp_path: Path) -> None:
    plan = make_plan(MACHINES["container_2_of_64_cores"], Intent(num_processes=processes, main_process_port=0))
    config, script, said = tmp_path / "c.yaml", tmp_path / "script.py", tmp_path / "said"
    config.write_text(to_yaml(plan), encoding="utf-8")
    script.write_text(_SCRIPT, encoding="utf-8")
    said.mkdir()
    command = launch_command(plan, config, [str(script), str(said)])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "PET_"))}
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.accelerate_cli", *command.argv[1:]],
        cwd=ROOT,
        env={**environment, **command.environment},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ranks = [json.loads(path.read_text()) for path in sorted(said.iterdir())]
    expected = {"world": processes, "sum": float(processes), "device": "cpu", "threads": 2 // processes}
    assert ranks == [{**expected, "precision": "no"}] * processes
