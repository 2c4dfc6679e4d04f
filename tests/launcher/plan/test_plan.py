"""A plan uses what is there, says why, keeps what the user fixed, and refuses what cannot work."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from slipway.launcher.hardware.record import (
    DeviceProcess,
    Hardware,
    Kubernetes,
    NetworkInterface,
    NumaNode,
    Slurm,
    VisibleDevice,
)
from slipway.launcher.plan.accelerate.config import training_flags
from slipway.launcher.plan.devices import names_host
from slipway.launcher.plan.make_plan import Intent, LaunchPlan, make_plan
from slipway.launcher.plan.model import STATE_BYTES_PER_PARAMETER
from slipway.training.common.errors import UserError
from slipway.training.common.json_records import json_schema
from slipway.training.common.plan_file import PLAN_SCHEMA_VERSION, Choice
from slipway.training.common.program.launched import first_host
from tests.launcher.machines import GIB, machine, machines
from tests.launcher.plans import PLANS as GOLDEN
from tests.launcher.plans import golden_plans, texts

MACHINES = machines()
PLANS = golden_plans()


def of(plan: LaunchPlan, field: str) -> Choice:
    return next(choice for choice in plan.choices if choice.field == field)


def with_variables(name: str, **variables: str) -> Hardware:
    hardware = MACHINES[name]
    return replace(hardware, environment=replace(hardware.environment, variables=variables))


def test_every_machine_has_a_note_and_its_plan_and_every_reference_config_is_current() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(MACHINES)
    assert len(MACHINES) >= 40
    assert [name for name, hardware in MACHINES.items() if not hardware.note] == []
    stale = [path.name for path, text in texts().items() if not path.exists() or path.read_text("utf-8") != text]
    assert not stale, "look at the changes of `python -m tests.launcher.plans`"


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_round_trips_equal_and_fits_its_schema(name: str) -> None:
    plan = PLANS[name]
    assert LaunchPlan.from_json(plan.to_json()) == plan
    schema = json_schema(LaunchPlan, PLAN_SCHEMA_VERSION)
    pytest.importorskip("jsonschema").validate(json.loads(plan.to_json()), schema)


@pytest.mark.parametrize("name", PLANS)
def test_every_value_has_a_reason(name: str) -> None:
    plan = PLANS[name]
    explained = {choice.field for choice in plan.choices}
    values = set(LaunchPlan.__dataclass_fields__) - {
        "schema_version",
        "devices",
        "resume",
        "continues",
        "processes_per_host",  # beside their sum
        "global_batch_size",  # a person gives it or nobody does
        "environment",
        "accelerate",  # a config that a person gave
        "choices",
        "warnings",
    }
    assert explained == values | set(plan.environment)
    assert all(choice.reason for choice in plan.choices)
    assert all(choice.fact for choice in plan.choices if choice.origin == "detected")


@pytest.mark.parametrize(
    ("name", "device", "processes", "precision"),
    [
        ("8xh100", "cuda", 8, "bf16"),
        ("rtx3090_rtx2080ti", "cuda", 2, "fp16"),
        ("t4", "cuda", 1, "fp16"),
        ("v100", "cuda", 1, "fp16"),
        ("2xa100_mig", "cuda", 1, "bf16"),
        ("gb10", "cuda", 1, "bf16"),
        ("8xmi300x", "rocm", 8, "bf16"),
        ("4xmax1550", "xpu", 8, "bf16"),
        ("m2", "mps", 1, "no"),
        ("8xgaudi2", "hpu", 8, "bf16"),
        ("8xascend910", "npu", 8, "bf16"),
        ("container_2_of_64_cores", "cpu", 1, "no"),
        ("slurm_step_4_nodes", "cuda", 16, "bf16"),
        ("rtx4090_cpu_only_torch", "cpu", 1, "no"),
    ],
)
def test_each_machine_is_used_for_what_it_is(name: str, device: str, processes: int, precision: str) -> None:
    plan = PLANS[name]
    assert (plan.device, plan.num_processes, plan.mixed_precision) == (device, processes, precision)
    assert len(plan.devices) == (0 if device == "cpu" else plan.local_processes)
    assert len(plan.share_weights) == processes


def test_a_gpu_that_torch_cannot_use_is_named_with_its_remedy() -> None:
    (warning,) = PLANS["rtx4090_cpu_only_torch"].warnings
    assert warning.startswith("the CPU trains: 1 x NVIDIA GeForce RTX 4090, but torch 2.9.1+cpu is CPU-only: pip inst")
    with pytest.raises(UserError, match=r"--device cuda: 1 x NVIDIA GeForce RTX 4090, but .* pip install"):
        make_plan(MACHINES["rtx4090_cpu_only_torch"], Intent(device="cuda"))


def test_unequal_gpus_share_by_speed_and_keep_their_order() -> None:
    plan = PLANS["rtx3090_rtx2080ti"]
    assert plan.share_weights == (1.0, 0.7)
    assert training_flags(plan) == ["--share-weights", "1,0.7"]
    assert plan.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "compute and memory bandwidth" in of(plan, "share_weights").reason


def test_what_accelerate_refuses_on_old_drivers_of_the_rtx_40_series_is_set_even_for_one_process() -> None:
    hardware = MACHINES["2xrtx4090"]
    old = replace(hardware, drivers=tuple(replace(driver, version="535.183.01") for driver in hardware.drivers))
    environment = make_plan(old, Intent(num_processes=1)).environment
    assert (environment["NCCL_P2P_DISABLE"], environment["NCCL_IB_DISABLE"]) == ("1", "1")
    assert "NCCL_IB_DISABLE" not in make_plan(hardware, Intent(num_processes=1)).environment


def test_p2p_is_switched_off_only_where_a_link_of_planned_devices_has_none() -> None:
    assert PLANS["2xrtx4090"].environment["NCCL_P2P_DISABLE"] == "1"
    assert of(PLANS["2xrtx4090"], "NCCL_P2P_DISABLE").fact == "0 and 1: NVIDIA GeForce RTX 4090 has no P2P"
    assert "NCCL_P2P_DISABLE" not in PLANS["8xh100"].environment
    assert "NCCL_P2P_DISABLE" not in make_plan(MACHINES["2xrtx4090"], Intent(num_processes=1)).environment
    hardware = MACHINES["8xh100"]
    links = tuple(replace(link, p2p=(link.first, link.second) != (0, 7)) for link in hardware.links)
    assert "NCCL_P2P_DISABLE" in make_plan(replace(hardware, links=links)).environment
    assert "NCCL_P2P_DISABLE" not in make_plan(replace(hardware, links=links), Intent(num_processes=4)).environment


def test_threads_and_workers_together_never_outnumber_the_cores() -> None:
    for name, plan in PLANS.items():
        cores = max(1, min(MACHINES[name].cpu.usable_cpus, MACHINES[name].cpu.physical_cores or 1))
        assert plan.local_processes * (plan.threads_per_process + plan.num_workers) <= cores
    half = replace(MACHINES["container_2_of_64_cores"].cpu, usable_cpus=0.5, cgroup_quota_cpus=0.5)
    assert make_plan(machine(cpu=half)).threads_per_process == 1


def test_the_size_of_shared_memory_takes_no_workers_away_for_they_are_threads() -> None:
    small = replace(MACHINES["t4"], memory=replace(MACHINES["t4"].memory, shm_total_bytes=64 << 20))
    for intent in (Intent(), Intent(num_workers=2)):
        assert make_plan(small, intent) == make_plan(MACHINES["t4"], intent)
        assert make_plan(small, intent).num_workers > 0


def test_each_process_gets_whole_cores_next_to_its_device() -> None:
    hardware = MACHINES["8xh100"]
    # As Linux numbers two sockets of 56 cores with two threads each.
    nodes = tuple(
        NumaNode(
            index=i, cpus=(*range(i * 56, i * 56 + 56), *range(112 + i * 56, 168 + i * 56)), memory_total_bytes=None
        )
        for i in range(2)
    )
    plan = make_plan(replace(hardware, cpu=replace(hardware.cpu, numa_nodes=nodes)))
    assert plan.cpu_affinity[:2] == ("0-13,112-125", "14-27,126-139")
    assert plan.cpu_affinity[4] == "56-69,168-181"
    assert make_plan(hardware, Intent(num_processes=1)).cpu_affinity == ("0-111",)
    assert PLANS["container_2_of_64_cores"].cpu_affinity == ()


def test_a_model_is_sharded_exactly_when_its_training_state_does_not_fit_one_device() -> None:
    hardware = MACHINES["8xh100"]
    free = hardware.accelerators[0].memory_free_bytes or 0
    most = int(free * 0.8) // STATE_BYTES_PER_PARAMETER
    assert make_plan(hardware, Intent(parameters=most)).sharding == "replicate"
    plan = make_plan(hardware, Intent(parameters=most + 1))
    assert plan.sharding == "fsdp"
    assert plan.warnings == ()
    assert f"{most + 1:,} parameters x 16 bytes" in of(plan, "sharding").fact
    (warning,) = make_plan(hardware, Intent(parameters=10 * most)).warnings
    assert "it needs 10 such devices or a smaller model" in warning


def test_a_training_state_that_fills_the_room_exactly_still_fits() -> None:
    gpus = tuple(replace(gpu, memory_free_bytes=2000) for gpu in MACHINES["2xrtx4090"].accelerators)
    hardware = replace(MACHINES["2xrtx4090"], accelerators=gpus)  # room: 1600 bytes, 100 parameters
    assert make_plan(hardware, Intent(parameters=100)).sharding == "replicate"
    assert make_plan(hardware, Intent(parameters=101)).sharding == "fsdp"


def test_a_tile_has_its_part_of_the_cards_memory() -> None:
    plan = make_plan(MACHINES["4xmax1550"], Intent(parameters=4_000_000_000))  # 59.6 GiB; a tile has room for 51.2
    assert plan.sharding == "fsdp"
    assert "51.2 GiB of Intel Data Center GPU Max 1550" in of(plan, "sharding").fact


def test_a_driver_too_old_for_this_torch_is_planned_around_and_named() -> None:
    torch = replace(MACHINES["t4"].torch, fits=False, problem="torch needs driver 580.0", remedy="update the driver")
    plan = make_plan(replace(MACHINES["t4"], torch=torch))
    assert plan.device == "cpu"
    assert plan.warnings == ("the CPU trains: torch needs driver 580.0: update the driver",)


def test_several_visible_mig_slices_are_still_one_process() -> None:
    hardware = MACHINES["2xa100_mig"]
    both = tuple(VisibleDevice(kind="cuda", index=0, part=piece.uuid) for piece in hardware.accelerators[0].mig_slices)
    plan = make_plan(replace(hardware, environment=replace(hardware.environment, visible=both)))
    assert (plan.num_processes, len(plan.devices)) == (1, 1)


def test_more_processes_than_cores_have_one_thread_each() -> None:
    plan = make_plan(MACHINES["container_2_of_64_cores"], Intent(num_processes=4))
    assert (plan.threads_per_process, plan.environment["OMP_NUM_THREADS"]) == (1, "1")


def test_machines_meet_over_the_fastest_interface_that_is_up() -> None:
    slow = NetworkInterface(
        name="eth0", addresses=("10.0.0.5",), up=True, loopback=False, speed_megabits_per_second=1000
    )
    fast = replace(slow, name="eth1", speed_megabits_per_second=100_000)
    down = replace(slow, name="eth2", up=False, speed_megabits_per_second=400_000)
    local = replace(slow, name="lo", loopback=True, speed_megabits_per_second=400_000)
    hardware = replace(MACHINES["8xh100"], network=(slow, fast, down, local))
    plan = make_plan(hardware, Intent(num_machines=2, main_process_ip="10.0.0.1"))
    assert (plan.environment["NCCL_SOCKET_IFNAME"], plan.environment["GLOO_SOCKET_IFNAME"]) == ("eth1", "eth1")


def test_processes_stay_on_the_cpus_that_may_be_used() -> None:
    hardware = MACHINES["8xh100"]
    cpu = replace(hardware.cpu, affinity=tuple(range(100, 124)), usable_cpus=24.0, limited_by="affinity")
    plan = make_plan(replace(hardware, cpu=cpu))
    assert plan.cpu_affinity == (
        *("100-102", "103-105", "106-108", "109-111"),
        *("112-114", "115-117", "118-120", "121-123"),
    )


def test_a_model_too_big_for_a_lone_device_is_warned_of() -> None:
    plan = make_plan(MACHINES["t4"], Intent(parameters=3_000_000_000))
    assert plan.sharding == "replicate"
    assert "44.7 GiB of training state a process do not fit 11.6 GiB: it needs 4 such devices" in plan.warnings[0]


def test_what_makes_a_model_fit_that_is_too_big_is_said_with_its_size() -> None:
    (seven,) = make_plan(MACHINES["rtx4090_gtx1650"], Intent(parameters=7_000_000_000, num_processes=1)).warnings[:1]
    assert seven.startswith("104.3 GiB of training state a process do not fit 19.2 GiB: it needs 6 such devices")
    assert seven.endswith(
        "; a script that has them can use LoRA on bf16 weights (16.3 GiB), LoRA on 4-bit weights (6.5 GiB)"
    )
    small = make_plan(MACHINES["2xrtx4090"], Intent(parameters=1_500_000_000, num_processes=1)).warnings[0]
    assert "an 8-bit optimizer (14.0 GiB)" in small
    assert "offload to the host (115.2 GiB free)" in small
    (huge,) = make_plan(MACHINES["t4"], Intent(parameters=10**12)).warnings
    assert huge.endswith("or a smaller model")


@pytest.mark.parametrize(
    ("intent", "field", "value"),
    [
        (Intent(num_processes=2), "num_processes", 2),
        (Intent(mixed_precision="no"), "mixed_precision", "no"),
        (Intent(sharding="zero3"), "sharding", "zero3"),
        (Intent(compile=True), "compile", True),
        (Intent(threads_per_process=3), "threads_per_process", 3),
        (Intent(num_workers=0), "num_workers", 0),
        (Intent(device="cpu"), "device", "cpu"),
        (Intent(micro_batch_size=4), "micro_batch_size", 4),
        (Intent(share_weights=(1.0,) * 7 + (0.0,)), "share_weights", (1.0,) * 7 + (0.0,)),
    ],
)
def test_what_the_user_fixes_stays_and_is_marked(intent: Intent, field: str, value: Any) -> None:
    plan = make_plan(MACHINES["8xh100"], intent)
    assert getattr(plan, field) == value
    assert of(plan, field).origin == "user"
    assert of(PLANS["8xh100"], field).origin != "user"


def test_the_gpus_that_are_named_are_those_that_the_processes_see() -> None:
    plan = make_plan(MACHINES["8xh100"], Intent(gpu_ids=(5, 2)))
    uuids = [MACHINES["8xh100"].accelerators[index].uuid for index in (5, 2)]
    assert ([one.index for one in plan.devices], plan.num_processes) == ([5, 2], 2)
    assert plan.environment["CUDA_VISIBLE_DEVICES"] == ",".join(map(str, uuids))
    assert make_plan(MACHINES["8xh100"], Intent(gpu_ids=(5, 2), num_processes=1)).devices[0].index == 5
    two = make_plan(MACHINES["8xh100"], Intent(gpu_ids=(5, 2), num_machines=2, main_process_ip="10.0.0.1"))
    assert (two.num_processes, two.local_processes) == (4, 2)


def test_what_the_environment_sets_is_kept_and_said() -> None:
    plan = make_plan(with_variables("2xrtx4090", OMP_NUM_THREADS="3", NCCL_P2P_DISABLE="0"))
    assert (plan.threads_per_process, plan.environment["OMP_NUM_THREADS"]) == (3, "3")
    assert plan.environment["NCCL_P2P_DISABLE"] == "0"
    assert {of(plan, field).origin for field in ("threads_per_process", "OMP_NUM_THREADS", "NCCL_P2P_DISABLE")} == {
        "environment"
    }
    assert make_plan(with_variables("t4", OMP_NUM_THREADS="3"), Intent(threads_per_process=1)).threads_per_process == 1


def test_a_batch_gives_the_accumulation_by_the_largest_share() -> None:
    plan = make_plan(MACHINES["rtx3090_rtx2080ti"], Intent(global_batch_size=64, micro_batch_size=8))
    assert plan.gradient_accumulation == 5  # 64 / 1.7 is 37.6
    plan = make_plan(MACHINES["8xh100"], Intent(global_batch_size=64, gradient_accumulation=4))
    assert (plan.micro_batch_size, plan.gradient_accumulation) == (2, 4)
    idle = make_plan(MACHINES["8xh100"], Intent(global_batch_size=4))
    assert "leaves some of 8 processes without a sample" in idle.warnings[0]


@pytest.mark.parametrize(
    ("name", "intent", "message"),
    [
        (
            "2xrtx4090",
            Intent(num_processes=3),
            "3 processes, but 2 cuda devices (2 x NVIDIA GeForce RTX 4090); give at",
        ),
        ("m2", Intent(num_processes=2), "2 processes, but 1 mps device"),
        ("8xh100", Intent(num_processes=0), "--num-processes: must be at least 1, got 0"),
        ("8xh100", Intent(num_machines=2, num_processes=3, main_process_ip="h"), "not divisible by 2 machines"),
        ("8xh100", Intent(num_machines=2), "give --main-process-ip HOST"),
        ("8xh100", Intent(num_machines=2, main_process_ip="70B"), "--main-process-ip '70B' is a number, not a host"),
        ("8xh100", Intent(main_process_ip="10.0.0.256"), "--main-process-ip '10.0.0.256' is no IP address"),
        (
            "8xh100",
            Intent(num_machines=2, main_process_ip="n1:29501"),
            "--main-process-ip n1 --main-process-port 29501",
        ),
        ("8xh100", Intent(num_machines=2, machine_rank=2, main_process_ip="h"), "count from 0 to 1"),
        ("8xh100", Intent(device="rocm"), "--device rocm: this machine has cuda"),
        ("m2", Intent(device="cuda"), "--device cuda: this machine has mps"),
        ("m2", Intent(num_machines=2, main_process_ip="h"), "an Apple GPU trains in one process"),
        ("container_2_of_64_cores", Intent(mixed_precision="fp16"), "a CPU does not train in fp16"),
        ("t4", Intent(mixed_precision="fp8"), "Tesla T4 cannot compute fp8; use bf16, fp16 or no"),
        ("t4", Intent(sharding="fsdp"), "one process has nothing to share"),
        ("container_2_of_64_cores", Intent(sharding="fsdp", num_processes=2), "not on cpu (it would silently be"),
        ("m2", Intent(compile=True), "no proven backend on mps"),
        ("8xh100", Intent(share_weights=(1.0, 2.0)), "2 weights for 8 processes"),
        ("8xh100", Intent(share_weights=(0.0,) * 8), "must be at least 0 and not all 0"),
        ("8xh100", Intent(micro_batch_size=1, gradient_accumulation=1), "set each other"),
        (
            "8xh100",
            Intent(global_batch_size=8, gradient_accumulation=2),
            "a process has 1 samples a step at most; give at most 1",
        ),
        ("8xh100", Intent(main_process_port=65536), "must be below 65536"),
        (
            "8xh100",
            Intent(gpu_ids=(0, 8, 9)),
            "--gpu-ids 0,8,9: no GPU 8, 9 that can be used; there are 0, 1, 2, 3, 4, 5, 6, 7",
        ),
        ("8xh100", Intent(gpu_ids=(0, 0)), "--gpu-ids 0,0: name each GPU once"),
        ("8xh100", Intent(gpu_ids=(0, 1), num_processes=3), "--num-processes 3: 3 processes, but 2 cuda devices"),
        ("8xmi300x", Intent(gpu_ids=(0, 1)), "write HIP_VISIBLE_DEVICES=0,1 before the command"),
        ("m2", Intent(gpu_ids=(0,)), "--gpu-ids 0: devices of mps are not chosen by it; leave it out"),
        ("8xh100", Intent(num_workers=-1), "--num-workers: must be at least 0, got -1"),
        (
            "8xh100",
            Intent(num_machines=10**12, main_process_ip="h"),
            "--num-machines 1000000000000: a launch has at most 65536 processes, not 8000000000000",
        ),
        (
            "container_2_of_64_cores",
            Intent(num_processes=65537),
            "--num-processes 65537: a launch has at most 65536 processes, not 65537",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(name: str, intent: Intent, message: str) -> None:
    with pytest.raises(UserError) as raised:
        make_plan(MACHINES[name], intent)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "intent", "message"),
    [
        ("t4", Intent(mixed_precision="bf16"), "Tesla T4 has no native bf16, so it is emulated and slow or refused; use fp16"),
        ("rtx3090_rtx2080ti", Intent(mixed_precision="bf16"), "NVIDIA GeForce RTX 2080 Ti has no native bf16"),
        ("m2", Intent(mixed_precision="bf16"), "; use no"),
        ("rtx3090_rtx2080ti", Intent(device="cpu", mixed_precision="bf16"), "has no bf16 instructions"),
        ("container_2_of_64_cores", Intent(num_processes=4), "4 processes share 2 usable CPUs"),
        ("container_2_of_64_cores", Intent(threads_per_process=8), "8 threads on 2 cores"),
        ("8xh100", Intent(mixed_precision="fp8"), "fp8 needs torchao"),
        ("2xa100_mig", Intent(), "a process uses one MIG slice"),
    ],
)  # fmt: skip
def test_what_works_badly_is_a_warning(name: str, intent: Intent, message: str) -> None:
    warnings = make_plan(MACHINES[name], intent).warnings
    assert len(warnings) == 1
    assert message in warnings[0]


def test_a_busy_device_and_leftovers_of_another_launch_are_warned_of() -> None:
    hardware = with_variables("t4", WORLD_SIZE="2", PET_NNODES="1:2")
    busy = replace(hardware.accelerators[0], processes=(DeviceProcess(pid=42, memory_used_bytes=None),))
    warnings = make_plan(replace(hardware, accelerators=(busy,))).warnings
    assert warnings == (
        "cuda 0 (Tesla T4) is in use by process 42",
        "WORLD_SIZE, PET_NNODES in the environment can change the launch: unset WORLD_SIZE PET_NNODES",
    )


def test_a_pod_of_an_indexed_job_is_the_machine_of_its_number() -> None:
    pod = replace(machine().scheduler, kubernetes=Kubernetes(pod="train-1", completion_index=1))
    plan = make_plan(replace(machine(), scheduler=pod), Intent(num_machines=2, main_process_ip="train-0.train"))
    assert (plan.machine_rank, plan.warnings) == (1, ())
    fixed = Intent(num_machines=2, main_process_ip="train-0.train", machine_rank=0)
    assert make_plan(replace(machine(), scheduler=pod), fixed).machine_rank == 0


def test_a_slurm_step_plans_for_all_nodes_and_a_batch_script_is_told_to_srun() -> None:
    plan = PLANS["slurm_step_4_nodes"]
    assert (plan.num_machines, plan.machine_rank, plan.main_process_ip, plan.main_process_port) == (
        4,
        1,
        "node01",
        24711,
    )
    assert plan.environment["NCCL_SOCKET_IFNAME"] == "eth0"
    assert plan.warnings == ()
    hardware = MACHINES["slurm_step_4_nodes"]
    slurm = hardware.scheduler.slurm
    assert isinstance(slurm, Slurm)

    def warned(**facts: Any) -> str:
        changed = replace(hardware.scheduler, slurm=replace(slurm, **facts))
        return make_plan(replace(hardware, scheduler=changed)).warnings[0]

    assert "srun --nodes=4" in warned(place="batch")
    assert "the step has 16 tasks on 4 nodes" in warned(task_count=16)
    assert first_host("a-b[07,09-11],c") == "a-b07"
    assert first_host("n1,n2") == "n1"
    assert first_host("") is None


@pytest.mark.parametrize(
    ("node_list", "host", "is_named"),
    [
        ("node[01-04,7],login", "node03", True),
        ("node[01-04,7],login", "node7.cluster.example", True),
        ("node[01-04,7],login", "login", True),
        ("n[8-12]-ib,x", "n10-ib", True),
        ("node[01-04]", "node05", False),
        ("node[01-04]", "node3", False),
        ("n1", "n12", False),
        ("n[1-3]", "devbox", False),
        ("n[,-][", "n", False),
        ("n[1-3]", "", False),
    ],
)
def test_a_node_list_names_its_hosts_and_no_others(node_list: str, host: str, is_named: bool) -> None:
    assert names_host(node_list, host) is is_named


def test_a_mig_slice_is_planned_with_its_own_memory_and_named() -> None:
    assert PLANS["2xa100_mig"].environment["CUDA_VISIBLE_DEVICES"].startswith("MIG-")
    assert PLANS["2xa100_mig"].devices[0].uuid == PLANS["2xa100_mig"].devices[0].part
    # 39.25 GiB of a slice, not 80 of the GPU, decide.
    most = int(39.25 * GIB * 0.8) // STATE_BYTES_PER_PARAMETER
    assert len(make_plan(MACHINES["2xa100_mig"], Intent(parameters=most)).warnings) == 1
    assert "do not fit 31.4 GiB" in make_plan(MACHINES["2xa100_mig"], Intent(parameters=most + 1)).warnings[1]


def with_gpu(hardware: Hardware, index: int, **facts: Any) -> Hardware:
    gpus = tuple(replace(one, **facts) if one.index == index else one for one in hardware.accelerators)
    return replace(hardware, accelerators=gpus)


def test_a_gpu_that_another_process_has_filled_is_left_out_unless_it_is_wanted() -> None:
    user = (DeviceProcess(pid=4242, memory_used_bytes=20 * GIB),)
    hardware = with_gpu(MACHINES["2xrtx4090"], 0, memory_free_bytes=3 * GIB, processes=user)
    plan = make_plan(hardware)
    assert (plan.num_processes, [one.index for one in plan.devices]) == (1, [1])
    assert plan.environment["CUDA_VISIBLE_DEVICES"] == hardware.accelerators[1].uuid
    assert "cuda 0 (NVIDIA GeForce RTX 4090) is left out: 3.0 GiB of 24.0 GiB are free" in " ".join(plan.warnings)
    both = make_plan(hardware, Intent(num_processes=2))
    assert [one.index for one in both.devices] == [0, 1]
    assert "is in use by process 4242: 3.0 GiB are free" in " ".join(both.warnings)


def test_where_all_gpus_are_filled_all_are_used_and_named() -> None:
    hardware = with_gpu(MACHINES["t4"], 0, memory_free_bytes=GIB)
    plan = make_plan(hardware)
    assert (plan.device, plan.num_processes) == ("cuda", 1)
    assert any("is in use by another process: 1.0 GiB are free" in one for one in plan.warnings)


def test_a_gpu_that_torch_has_no_code_for_is_left_out_beside_one_that_it_serves() -> None:
    hardware = with_gpu(MACHINES["2xrtx4090"], 0, name="GTX 1080", compute_capability=(6, 1))
    hardware = replace(hardware, torch=replace(hardware.torch, version="2.9.1+cu128", toolkit_version="12.8"))
    plan = make_plan(hardware)
    assert ([one.index for one in plan.devices], plan.device) == ([1], "cuda")
    assert plan.environment["CUDA_VISIBLE_DEVICES"] == hardware.accelerators[1].uuid
    assert any("GTX 1080 (compute capability 6.1)" in one and "left out" in one for one in plan.warnings)


def test_threads_and_workers_fit_the_cores_that_a_process_is_bound_to() -> None:
    one = make_plan(MACHINES["8xh100"], Intent(num_processes=1))
    assert (one.cpu_affinity, one.threads_per_process + one.num_workers) == (("0-111",), 56)
    three = make_plan(MACHINES["slurm_step_4_nodes"], Intent(num_machines=1, num_processes=3))
    assert three.threads_per_process + three.num_workers <= 12  # two of the three share the 24 cores of a node


def test_threads_stay_on_the_fast_cores_of_a_hybrid_cpu() -> None:
    hybrid = replace(MACHINES["container_2_of_64_cores"].cpu, usable_cpus=24.0, physical_cores=24, performance_cores=8)
    assert make_plan(machine(cpu=hybrid)).threads_per_process == 8
    assert make_plan(machine(cpu=hybrid), Intent(num_processes=2)).threads_per_process == 4


@pytest.mark.parametrize(
    ("name", "capability", "precision", "reason"),
    [
        ("NVIDIA GeForce GTX 1660 SUPER", (7, 5), "no", "bad numbers"),
        ("NVIDIA GeForce GTX 1080", (6, 1), "no", "no faster"),
        ("Tesla P100-PCIE-16GB", (6, 0), "fp16", "every device"),
        ("NVIDIA GeForce RTX 2080", (7, 5), "fp16", "every device"),
    ],
)
def test_fp16_is_planned_where_it_gains_and_is_sound(
    name: str, capability: tuple[int, int], precision: str, reason: str
) -> None:
    gpu = with_gpu(MACHINES["t4"], 0, name=name, compute_capability=capability)
    plan = make_plan(gpu)
    assert plan.mixed_precision == precision
    assert reason in of(plan, "mixed_precision").reason
    assert any(f"use {precision}" in warning for warning in make_plan(gpu, Intent(mixed_precision="bf16")).warnings)
