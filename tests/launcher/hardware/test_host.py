"""What the probes of CPU, memory, scheduler and network make of recorded files."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from slipway.launcher.hardware.probes import cpu, memory, network, scheduler
from slipway.launcher.hardware.probes.cgroups import cpu_throttling
from slipway.launcher.hardware.probes.sources import cpu_list
from tests.launcher.helpers import cpus, machine, psutil

V2 = "31 23 0:28 {root} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw"
V1 = (
    "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
)


def v2(path: str, root: str = "/") -> dict[str, object]:
    return {"proc/self/mountinfo": V2.format(root=root), "proc/self/cgroup": f"0::{path}"}


def v1(path: str, root: str = "/") -> dict[str, object]:
    return {"proc/self/mountinfo": V1.format(root=root), "proc/self/cgroup": f"4:memory:{path}\n2:cpu,cpuacct:{path}"}


def test_without_limits_every_core_is_usable(tmp_path: Path) -> None:
    counted = psutil(cpu_count=lambda logical: 4)
    found = cpu.detect(machine(tmp_path, cpus(4, "avx512f avx512_bf16 amx_bf16"), psutil=counted))
    assert (found.model, found.physical_cores, found.logical_cores) == ("Test CPU", 4, 4)
    assert (found.usable_cpus, found.limited_by) == (4.0, "logical cores")
    assert (found.bf16, found.amx, found.avx512) == (True, True, True)


def test_a_cpu_without_the_instructions_says_so(tmp_path: Path) -> None:
    found = cpu.detect(machine(tmp_path, cpus(2, "sse2 avx2")))
    assert (found.bf16, found.amx, found.avx512) == (False, False, False)


def test_an_arm_cpu_has_no_model_name_but_its_instructions(tmp_path: Path) -> None:
    info = "processor : 0\nFeatures : asimd bf16\n\nprocessor : 1\n\nprocessor : 2\n"
    found = cpu.detect(machine(tmp_path, {"proc/cpuinfo": info}, architecture="aarch64"))
    assert (found.model, found.logical_cores, found.bf16) == ("aarch64", 3, True)


@pytest.mark.parametrize(
    ("affinity", "quota", "slurm", "usable", "limited_by"),
    [
        ({0, 1, 2}, "max 100000", None, 3.0, "affinity"),
        ({0, 1, 2}, "250000 100000", None, 2.5, "cgroup quota"),
        ({0, 1, 2}, "250000 100000", "2", 2.0, "SLURM_CPUS_PER_TASK"),
        ({0}, "250000 100000", "2", 1.0, "affinity"),
        (None, "50000 100000", None, 0.5, "cgroup quota"),
        (None, "max", "2(x4)", 8.0, "logical cores"),
    ],
)
def test_the_tightest_limit_on_cpus_decides_and_is_named(
    affinity: set[int] | None, quota: str, slurm: str | None, usable: float, limited_by: str, tmp_path: Path
) -> None:
    files = {**cpus(8), **v2("/job"), "sys/fs/cgroup/job/cpu.max": quota}
    environ = {"SLURM_CPUS_PER_TASK": slurm} if slurm else {}
    found = cpu.detect(machine(tmp_path, files, environ=environ, affinity=lambda: affinity and frozenset(affinity)))
    assert (found.usable_cpus, found.limited_by) == (usable, limited_by)


def test_an_ancestors_quota_holds_for_its_children(tmp_path: Path) -> None:
    files = {
        **cpus(8),
        **v2("/slice/job"),
        "sys/fs/cgroup/slice/cpu.max": "150000 100000",
        "sys/fs/cgroup/slice/job/cpu.max": "400000 100000",
    }
    assert cpu.detect(machine(tmp_path, files)).cgroup_quota_cpus == 1.5


def test_the_share_of_periods_in_which_a_quota_stopped_the_job_is_read(tmp_path: Path) -> None:
    files = {**v2("/job"), "sys/fs/cgroup/job/cpu.stat": "usage_usec 5\nnr_periods 40\nnr_throttled 10"}
    assert cpu_throttling(machine(tmp_path, files)) == 0.25
    assert cpu_throttling(machine(tmp_path / "free", v2("/job"))) is None


def test_cgroup_v1_quotas_are_read(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/cpu,cpuacct"
    files = {
        **cpus(8),
        **v1("/a/b"),
        f"{folder}/cpu.cfs_quota_us": -1,
        f"{folder}/cpu.cfs_period_us": 100000,
        f"{folder}/a/cpu.cfs_quota_us": 30000,
        f"{folder}/a/cpu.cfs_period_us": 20000,
        f"{folder}/a/b/cpu.cfs_quota_us": -1,
        f"{folder}/a/b/cpu.cfs_period_us": 100000,
    }
    assert cpu.detect(machine(tmp_path, files)).cgroup_quota_cpus == 1.5


@pytest.mark.parametrize(
    ("path", "root"), [("/docker/abc", "/docker/abc"), ("/", "/"), ("/../..", "/"), ("/gone", "/")]
)
def test_a_container_finds_its_limits_at_its_mount(path: str, root: str, tmp_path: Path) -> None:
    files = {**cpus(8), **v2(path, root), "sys/fs/cgroup/cpu.max": "200000 100000", "sys/fs/cgroup/memory.max": 4096}
    sources = machine(tmp_path, files)
    assert cpu.detect(sources).cgroup_quota_cpus == 2.0
    assert memory.detect(sources).cgroup_limit_bytes == 4096


def test_numa_nodes_have_their_cpus_and_memory(tmp_path: Path) -> None:
    node = "sys/devices/system/node/node"
    files = {
        **cpus(4),
        f"{node}10/cpulist": "2-3",
        f"{node}10/meminfo": "Node 10 MemTotal:  2048 kB\nNode 10 MemFree:  4 kB",
        f"{node}0/cpulist": "0,1",
        "sys/devices/system/node/online": "0,10",
    }
    nodes = cpu.detect(machine(tmp_path, files)).numa_nodes
    assert [(one.index, one.cpus, one.memory_total_bytes) for one in nodes] == [
        (0, (0, 1), None),
        (10, (2, 3), 2048 * 1024),
    ]


def test_a_cpu_list_may_have_ranges_and_be_empty() -> None:
    assert cpu_list("0-2,8,10-11\n") == (0, 1, 2, 8, 10, 11)
    assert cpu_list("\n") == ()


def test_the_smallest_ancestors_memory_limit_is_usable_memory(tmp_path: Path) -> None:
    files = {
        **v2("/a/b"),
        "sys/fs/cgroup/a/memory.max": 300 * 1024,
        "sys/fs/cgroup/a/memory.current": 200 * 1024,
        "sys/fs/cgroup/a/memory.stat": f"anon 1\ninactive_file {50 * 1024}",
        "sys/fs/cgroup/memory.max": 900 * 1024,
        "sys/fs/cgroup/a/b/memory.max": 400 * 1024,
    }
    found = memory.detect(machine(tmp_path, files))
    assert (found.total_bytes, found.available_bytes) == (1000 * 1024, 600 * 1024)
    assert (found.usable_bytes, found.limited_by) == (300 * 1024, "cgroup limit")
    assert found.cgroup_used_bytes == 150 * 1024


def test_cgroup_v1_knows_a_limit_above_what_is_mounted(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory"
    files = {
        **v1("/"),
        f"{folder}/memory.limit_in_bytes": 9223372036854771712,
        f"{folder}/memory.stat": "cache 0\nhierarchical_memory_limit 262144",
    }
    assert memory.detect(machine(tmp_path, files)).usable_bytes == 262144


def test_an_unlimited_cgroup_v1_leaves_the_host(tmp_path: Path) -> None:
    files = {**v1("/"), "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712}
    found = memory.detect(machine(tmp_path, files))
    assert (found.cgroup_limit_bytes, found.usable_bytes, found.limited_by) == (None, 1000 * 1024, "host")


def test_a_limit_above_the_hosts_memory_limits_nothing(tmp_path: Path) -> None:
    found = memory.detect(machine(tmp_path, {**v2("/"), "sys/fs/cgroup/memory.max": 1 << 40}))
    assert (found.usable_bytes, found.limited_by) == (1000 * 1024, "host")


JOB = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "4", "SLURM_JOB_NODELIST": "n[1-4]"}


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({}, "allocation"),
        ({"SLURM_STEP_ID": "4294967290", "SLURM_PROCID": "0"}, "allocation"),
        ({"SLURM_PROCID": "0"}, "batch"),
        ({"SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967291"}, "batch"),
        ({"SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}, "step"),
    ],
)
def test_slurm_tells_allocation_batch_and_step_apart(more: dict[str, str], place: str, tmp_path: Path) -> None:
    slurm = scheduler.detect(machine(tmp_path, environ={**JOB, **more})).slurm
    assert slurm is not None
    assert (slurm.place, slurm.node_count, slurm.node_list) == (place, 4, "n[1-4]")


def test_a_leftover_world_size_is_not_torchrun(tmp_path: Path) -> None:
    left = {"RANK": "1", "WORLD_SIZE": "2"}
    assert scheduler.detect(machine(tmp_path, environ=left)).torchrun is None
    torchrun = scheduler.detect(machine(tmp_path, environ={**left, "TORCHELASTIC_RUN_ID": "none"})).torchrun
    assert torchrun is not None
    assert (torchrun.rank, torchrun.world_size, torchrun.local_rank) == (1, 2, None)


def test_a_pod_of_an_indexed_job_knows_its_number(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "train-3", "JOB_COMPLETION_INDEX": "3"}
    pod = scheduler.detect(machine(tmp_path, environ=environ)).kubernetes
    assert pod is not None
    assert (pod.pod, pod.completion_index) == ("train-3", 3)


def test_network_interfaces_have_addresses_state_and_speed(tmp_path: Path) -> None:
    def entries(family: int, address: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(family=family, address=address), SimpleNamespace(family=-1, address="aa:bb")]

    told = psutil(
        net_if_addrs=lambda: {"eth0": entries(socket.AF_INET, "10.0.0.5"), "lo": entries(socket.AF_INET, "127.0.0.1")},
        net_if_stats=lambda: {
            "lo": SimpleNamespace(isup=True, speed=0),
            "eth0": SimpleNamespace(isup=True, speed=25000),
            "ib0": SimpleNamespace(isup=False, speed=0),
        },
    )
    found = network.detect(machine(tmp_path, psutil=told))
    assert [(one.name, one.addresses, one.up, one.loopback, one.speed_megabits_per_second) for one in found] == [
        ("eth0", ("10.0.0.5",), True, False, 25000),
        ("ib0", (), False, False, None),
        ("lo", ("127.0.0.1",), True, True, None),
    ]


def test_the_fast_cores_of_a_hybrid_cpu_are_counted(tmp_path: Path) -> None:
    topology = {
        f"sys/devices/system/cpu/cpu{i}/topology/thread_siblings_list": f"{i // 2 * 2}-{i // 2 * 2 + 1}"
        if i < 4
        else str(i)
        for i in range(8)
    }
    intel = {**cpus(8, ""), **topology, "sys/devices/cpu_core/cpus": "0-3"}
    assert cpu.detect(machine(tmp_path / "intel", intel)).performance_cores == 2
    capacities = {f"sys/devices/system/cpu/cpu{i}/cpu_capacity": "1024" if i < 3 else "700" for i in range(8)}
    assert cpu.detect(machine(tmp_path / "arm", {**cpus(8, ""), **capacities})).performance_cores == 3
    assert (
        cpu.detect(machine(tmp_path / "alike", {**cpus(8, ""), **dict.fromkeys(capacities, "1024")})).performance_cores
        is None
    )
    told = {"hw.nperflevels": "2", "hw.perflevel0.physicalcpu": "4"}
    assert cpu.detect(machine(tmp_path / "mac", platform="darwin", sysctl=told.get)).performance_cores == 4
