"""What the doctor decides about a machine and its environment, from numbers and records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway.launcher.doctor import config as config_checks
from slipway.launcher.doctor import device as device_checks
from slipway.launcher.doctor import environment as environment_checks
from slipway.launcher.doctor import host as host_checks
from slipway.launcher.doctor.check import Check, Report, make_report, skipped
from slipway.launcher.hardware.probes.torch_build import find_problem
from slipway.launcher.hardware.record import DeviceProcess, Fault, Kubernetes, Mask, NetworkInterface
from tests.launcher.doctor_contexts import GIB, make_context, with_cpu, with_memory
from tests.launcher.machines import machines


def test_a_report_comes_back_equal_and_has_the_worst_state() -> None:
    checks = tuple(Check(name=state, state=state, evidence="e", measured={"x": 1.5}) for state in ("pass", "warn"))
    report = make_report((*checks, skipped("s", "no GPU")))
    assert Report.from_json(report.to_json()) == report
    assert report.state == "warn"
    assert make_report((*checks, Check(name="f", state="fail", evidence="e"))).state == "fail"
    assert make_report((skipped("s", "no GPU"),)).state == "skip"


def test_torch_and_driver_and_gpu_are_named_where_they_fit() -> None:
    check = device_checks.check_torch(make_context("8xh100"))
    assert check.state == "pass"
    assert "cuda 12.6" in check.evidence
    assert "NVIDIA H100 80GB HBM3" in check.evidence
    assert "cuda driver 580.95.05" in check.evidence


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "rocm", "toolkit_version": "6.4"}, "is built for rocm"),
        ({"toolkit_version": "13.0"}, "(CUDA 13.0) has no code for less than 7.5"),
        ({"version": None, "kind": None}, "torch is not installed"),
    ],
)
def test_a_torch_of_another_vendor_or_age_fails(changes: dict[str, Any], problem: str) -> None:
    hardware = machines()["v100"]
    build = replace(hardware.torch, **changes)
    found = find_problem(build, hardware.accelerators, hardware.drivers)
    assert found
    build = replace(build, fits=False, problem=found[0], remedy=found[1])
    check = device_checks.check_torch(make_context(replace(hardware, torch=build)))
    assert check.state == "fail"
    assert problem in check.evidence
    assert (check.remedy or "").startswith("pip install")


def test_devices_that_are_lost_hidden_doubtful_or_in_use_are_said() -> None:
    hardware = machines()["8xh100"]
    lost = replace(hardware, faults=(Fault(probe="nvidia", message="GPU 1: GPU is lost"),))
    assert device_checks.check_devices(make_context(lost)).state == "fail"

    mask = Mask(variable="CUDA_VISIBLE_DEVICES", value="9", applied=True, note="'9' names no device here")
    hidden = replace(hardware, environment=replace(hardware.environment, masks=(mask,), visible=()))
    check = device_checks.check_devices(make_context(hidden))
    assert (check.state, check.remedy) == ("fail", "unset CUDA_VISIBLE_DEVICES")
    doubtful = replace(hardware, environment=replace(hardware.environment, masks=(mask,)))
    check = device_checks.check_devices(make_context(doubtful))
    assert (check.state, check.measured) == ("warn", {"visible_devices": 8})

    busy = replace(hardware.accelerators[2], processes=(DeviceProcess(pid=42, memory_used_bytes=None),))
    used = replace(hardware, accelerators=(*hardware.accelerators[:2], busy, *hardware.accelerators[3:]))
    check = device_checks.check_devices(make_context(used))
    assert check.state == "warn"
    assert "cuda 2 is in use by process 42" in check.evidence
    assert (check.remedy or "").endswith("ps -fp 42")
    assert device_checks.check_devices(make_context(used, num_processes=2)).state == "pass"
    assert device_checks.check_devices(make_context("container_2_of_64_cores")).state == "skip"


def test_planned_gpus_without_p2p_warn_and_say_what_is_planned() -> None:
    check = device_checks.check_p2p(make_context("2xrtx4090"))
    assert check.state == "warn"
    assert "NCCL_P2P_DISABLE=1 is planned" in check.evidence
    check = device_checks.check_p2p(make_context("2xrtx4090", {"NCCL_P2P_DISABLE": "0"}))
    assert check.state == "warn"
    assert "NCCL_P2P_DISABLE=0: collectives can hang" in check.evidence
    assert device_checks.check_p2p(make_context("8xh100")).measured == {"links": 28, "links_without_p2p": 0}
    assert device_checks.check_p2p(make_context("2xrtx4090", num_processes=1)).state == "skip"
    assert device_checks.check_p2p(make_context("8xgaudi2")).state == "skip"
    assert device_checks.check_p2p(make_context("container_2_of_64_cores")).evidence == "no GPU is planned"


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({"cgroup_quota_cpus": 0.5, "usable_cpus": 0.5, "limited_by": "cgroup quota"}, "warn", "0.5 of 32 CPUs"),
        ({"cgroup_quota_cpus": 1.5, "usable_cpus": 1.5, "limited_by": "cgroup quota"}, "warn", "a quota of 1.5"),
        ({"cgroup_quota_cpus": 16.0, "usable_cpus": 16.0, "limited_by": "cgroup quota"}, "warn", "32 threads on 16"),
        ({"cgroup_quota_cpus": 17.0, "usable_cpus": 17.0, "limited_by": "cgroup quota"}, "pass", "17 of 32"),
        ({"usable_cpus": 1.0, "limited_by": "SLURM_CPUS_PER_TASK"}, "warn", "2 processes take turns"),
        ({"usable_cpus": 2.0, "limited_by": "affinity"}, "pass", "limited by affinity"),
    ],
)
def test_a_quota_or_too_few_cpus_warn_with_their_numbers(changes: dict[str, Any], state: str, said: str) -> None:
    check = host_checks.check_cpus(make_context(with_cpu("2xrtx4090", **changes)))
    assert (check.state, said in check.evidence) == (state, True)
    assert bool(check.remedy) == (state == "warn")
    assert check.measured["usable_cpus"] == changes["usable_cpus"]


@pytest.mark.parametrize(
    ("free", "limit", "used", "state"),
    [
        (2 * GIB, None, None, "pass"),
        (2 * GIB - 1, None, None, "warn"),
        (GIB // 2, None, None, "warn"),
        (GIB // 2 - 1, None, None, "fail"),
        (64 * GIB, 4 * GIB, 2 * GIB, "pass"),
        (64 * GIB, 4 * GIB, 3 * GIB, "warn"),
        (64 * GIB, 4 * GIB, 5 * GIB, "fail"),
    ],
)
def test_memory_counts_for_each_process_and_within_the_cgroup(
    free: int, limit: int | None, used: int | None, state: str
) -> None:
    limited: dict[str, Any] = {"usable_bytes": limit, "limited_by": "cgroup limit"} if limit else {}
    hardware = with_memory(
        "2xrtx4090", available_bytes=free, cgroup_limit_bytes=limit, cgroup_used_bytes=used, **limited
    )
    check = host_checks.check_memory(make_context(hardware))
    assert check.state == state
    assert check.measured["available_bytes"] == (max(0, (limit or 0) - (used or 0)) if limit else free)


def test_shared_memory_below_a_gibibyte_is_warned_of_for_worker_processes() -> None:
    for total in (GIB, GIB - 1):
        now = make_context(with_memory("2xrtx4090", shm_total_bytes=total, shm_free_bytes=total))
        assert (host_checks.check_shared_memory(now).state == "warn") == (total < GIB)
    full = with_memory("2xrtx4090", shm_total_bytes=8 * GIB, shm_free_bytes=GIB - 1)
    assert "nearly full" in host_checks.check_shared_memory(make_context(full)).evidence
    assert host_checks.check_shared_memory(make_context("m2")).state == "skip"


@pytest.mark.parametrize(
    ("free", "state"), [(GIB - 1, "fail"), (GIB, "warn"), (5 * GIB - 1, "warn"), (5 * GIB, "pass")]
)
def test_a_disk_is_judged_by_what_is_free(free: int, state: str) -> None:
    check = host_checks.judge_disk(Path("/runs"), free)
    assert (check.state, check.measured["free_bytes"]) == (state, free)


def test_a_runs_folder_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    check = host_checks.check_disk(make_context("t4", runs_dir=tmp_path / "runs" / "deep"))
    assert check.state == "fail"
    assert "is a file, not a folder" in check.evidence
    assert list(tmp_path.iterdir()) == [tmp_path / "runs"]


@pytest.mark.parametrize(
    ("soft", "hard", "state", "remedy"),
    [
        (4096, 4096, "pass", None),
        (-1, -1, "pass", None),
        (1024, -1, "warn", "ulimit -n 65536"),
        (1024, 8192, "warn", "ulimit -n 8192"),
        (256, 1024, "warn", "the hard limit is 1024"),
    ],
)
def test_few_open_files_warn_with_what_the_hard_limit_allows(
    soft: int, hard: int, state: str, remedy: str | None
) -> None:
    check = host_checks.judge_open_files(soft, hard)
    assert check.state == state
    assert (check.remedy or "").startswith(remedy or "")
    assert bool(check.remedy) == bool(remedy)


def test_a_pod_whose_operator_sets_the_world_is_no_failure() -> None:
    hardware = machines()["t4"]
    pod = replace(hardware.scheduler, kubernetes=Kubernetes(pod="p", completion_index=None))
    inside = make_context(replace(hardware, scheduler=pod), {"WORLD_SIZE": "2", "RANK": "0"})
    assert environment_checks.check_leftover_launch(inside).state == "warn"
    outside = make_context(hardware, {"WORLD_SIZE": "2", "RANK": "0"})
    assert environment_checks.check_leftover_launch(outside).state == "fail"


def test_a_world_of_one_and_a_port_left_behind_only_warn() -> None:
    for environ in ({"WORLD_SIZE": "1"}, {"MASTER_PORT": "1234"}, {"PET_NNODES": "1"}, {"SLIPWAY_PLAN": "p.json"}):
        check = environment_checks.check_leftover_launch(make_context("t4", environ))
        assert (check.state, check.remedy) == ("warn", f"unset {next(iter(environ))}")
    assert environment_checks.check_leftover_launch(make_context("t4", {"PATH": "/bin"})).state == "pass"


@pytest.mark.parametrize(
    ("machine", "name", "value", "said"),
    [
        ("t4", "CUDA_LAUNCH_BLOCKING", "1", "each kernel waits"),
        ("t4", "CUDA_LAUNCH_BLOCKING", "0", None),
        ("container_2_of_64_cores", "CUDA_LAUNCH_BLOCKING", "1", None),
        ("t4", "ACCELERATE_USE_CPU", "true", "sees no accelerator"),
        ("container_2_of_64_cores", "ACCELERATE_USE_CPU", "true", None),
        ("t4", "ACCELERATE_MIXED_PRECISION", "no", "fp16 is planned"),
        ("t4", "ACCELERATE_MIXED_PRECISION", "fp16", None),
        ("t4", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "over the value in a script"),
        ("t4", "ACCELERATE_USE_FSDP", "true", "replicate is planned"),
        ("t4", "ACCELERATE_CONFIG_FILE", "x.yaml", "does not read it"),
        ("t4", "ACCELERATE_DYNAMO_BACKEND", "inductor", "changes what Accelerate does"),
        ("t4", "ACCELERATE_LOG_LEVEL", "info", None),
        ("8xh100", "NCCL_P2P_DISABLE", "1", "the GPUs have P2P"),
        ("2xrtx4090", "NCCL_P2P_DISABLE", "1", None),
        ("8xh100", "NCCL_DEBUG", "INFO", "many lines"),
        ("8xh100", "NCCL_SHM_DISABLE", "1", "through the network"),
        ("slurm_step_4_nodes", "NCCL_IB_DISABLE", "1", "InfiniBand"),
        ("8xh100", "NCCL_IB_DISABLE", "1", None),
        ("t4", "TORCH_DISTRIBUTED_DEBUG", "DETAIL", "checked by another"),
        ("8xascend910", "TORCH_DEVICE_BACKEND_AUTOLOAD", "0", "npu backend"),
        ("container_2_of_64_cores", "OMP_NUM_THREADS", "1", "only 1 of 2 cores"),
        ("container_2_of_64_cores", "OMP_NUM_THREADS", "2", None),
        ("container_2_of_64_cores", "OMP_NUM_THREADS", "64", "64 threads on 2 cores"),
        ("8xh100", "OMP_NUM_THREADS", "1", None),
        ("t4", "MKL_NUM_THREADS", "many", "not a number"),
        ("t4", "HOME", "/root", None),
    ],
)
def test_a_variable_that_changes_a_training_unseen_is_said(
    machine: str, name: str, value: str, said: str | None
) -> None:
    check = environment_checks.check_environment(make_context(machine, {name: value}))
    if said is None:
        assert (check.state, check.remedy) == ("pass", None)
    else:
        assert (check.state, check.remedy) == ("warn", f"unset {name}")
        assert f"{name}={value}: " in check.evidence
        assert said in check.evidence


def test_a_number_of_threads_that_you_fixed_is_not_questioned() -> None:
    environ = {"OMP_NUM_THREADS": "1"}
    check = environment_checks.check_environment(
        make_context("container_2_of_64_cores", environ, threads_per_process=2)
    )
    assert check.state == "pass"


@pytest.mark.parametrize(
    ("value", "right"),
    [("eth0", True), ("eth", True), ("^docker", True), ("=eth0", True), ("eth0:1", True), ("ib0", False), ("", True)],
)
def test_an_interface_that_is_not_here_is_said(value: str, right: bool) -> None:
    eth0 = NetworkInterface(
        name="eth0", addresses=("10.0.0.1",), up=True, loopback=False, speed_megabits_per_second=None
    )
    hardware = replace(machines()["8xh100"], network=(eth0,))
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        check = environment_checks.check_environment(make_context(hardware, {name: value}))
        assert (check.state == "pass") == right
        assert right or "here are eth0" in check.evidence


def test_the_default_config_is_where_accelerate_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config_checks.default_config_path
    end = "accelerate/default_config.yaml"
    assert path({"HF_HOME": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a") / end
    assert path({"XDG_CACHE_HOME": "/b"}) == Path("/b/huggingface") / end
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path({}) == tmp_path / ".cache/huggingface" / end


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("distributed_type: 'NO'\nnum_processes: 1\nmixed_precision: fp16\nuse_cpu: false\n", "agrees with this plan"),
        ("distributed_type: NO\n", "distributed_type false (plan: NO)"),
        ("a: [\n", "is not readable YAML (line 2"),
        ("- 1\n", "has no keys and values"),
        (
            "mixed_precision: !!python/object/apply:os.system ['x']\n",
            "the tag !!python/object/apply:os.system is not read",
        ),
    ],
)
def test_any_default_config_warns(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "accelerate" / "default_config.yaml"
    path.parent.mkdir()
    path.write_text(text)
    check = config_checks.check_default_config(make_context("t4", {"HF_HOME": str(tmp_path)}))
    assert check.state == "warn"
    assert said in check.evidence
    assert "without --config_file" in check.evidence
