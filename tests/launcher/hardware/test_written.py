"""A record that a person writes needs what is known; the rest follows, and all that is wrong is told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slipway.launcher import cli
from slipway.launcher.hardware.detect import load_hardware
from slipway.launcher.hardware.record import Hardware
from slipway.launcher.hardware.written import read_hardware
from slipway.launcher.plan.make_plan import make_plan
from slipway.training.common.errors import UserError
from tests.launcher.machines import FOLDER, GIB, machines

HOST: dict[str, Any] = {"cpu": {"physical_cores": 8}, "memory": {"total_bytes": "32 GB"}}


def read(**parts: Any) -> Hardware:
    return read_hardware(json.dumps({**HOST, **parts}), "m.json")


def test_cores_and_memory_are_enough_for_a_machine_without_devices() -> None:
    hardware = read()
    assert (hardware.cpu.logical_cores, hardware.cpu.usable_cpus, hardware.cpu.limited_by) == (8, 8.0, "logical cores")
    assert (hardware.memory.total_bytes, hardware.memory.usable_bytes) == (32 * GIB, 32 * GIB)
    assert make_plan(hardware).threads_per_process == 8


def test_the_name_of_a_device_tells_the_rest() -> None:
    hardware = read(accelerators=[{"name": "NVIDIA A100-SXM4-40GB", "count": 2}, {"name": "NVIDIA L4"}])
    first, second, third = hardware.accelerators
    assert [one.index for one in hardware.accelerators] == [0, 1, 2]
    assert (first.kind, first.compute_capability, first.memory_total_bytes) == ("cuda", (8, 0), 40 * GIB)
    assert (second.bf16, second.fp8, third.fp8) == (True, False, True)
    assert [one.index for one in hardware.environment.visible] == [0, 1, 2]
    assert (hardware.torch.kind, hardware.torch.fits) == ("cuda", True)
    assert read(accelerators=[{"name": "AMD Instinct MI300X"}]).accelerators[0].architecture == "gfx942"
    assert read(accelerators=[{"name": "Apple M3"}]).platform == "darwin"
    assert read(accelerators=[{"name": "NVIDIA GB10"}]).accelerators[0].unified_memory
    unknown = {"name": "Alpha", "compute_capability": "8.9", "memory_total_bytes": "24 GB"}
    assert read(accelerators=[unknown]).accelerators[0].fp8


def test_limits_masks_and_builds_are_worked_out() -> None:
    cpu = read(cpu={"physical_cores": 32, "logical_cores": 64, "cgroup_quota_cpus": 2.5}).cpu
    assert (cpu.usable_cpus, cpu.limited_by) == (2.5, "cgroup quota")
    memory = read(memory={"total_bytes": "64 GB", "cgroup_limit_bytes": "4 GB"}).memory
    assert (memory.usable_bytes, memory.limited_by) == (4 * GIB, "cgroup limit")
    masked = read(
        accelerators=[{"name": "NVIDIA L4", "count": 4}], environment={"variables": {"CUDA_VISIBLE_DEVICES": "2,0"}}
    )
    assert [one.index for one in masked.environment.visible] == [2, 0]
    assert [(mask.variable, mask.applied) for mask in masked.environment.masks] == [("CUDA_VISIBLE_DEVICES", True)]
    old = read(accelerators=[{"name": "Tesla P100-PCIE-16GB"}], torch={"version": "2.9.1+cu128"}).torch
    assert (old.kind, old.toolkit_version, old.fits) == ("cuda", "12.8", False)
    assert "cu126" in (old.remedy or "")
    filled = read(accelerators=[{"name": "NVIDIA L4", "processes": [{"pid": 7, "memory_used_bytes": "20 GB"}]}])
    assert (filled.accelerators[0].memory_free_bytes or 0) < 3 * GIB


def test_numa_nodes_are_a_number_or_lists_of_cpus_as_linux_writes_them() -> None:
    nodes = read(cpu={"physical_cores": 8, "logical_cores": 16, "numa_nodes": 2}).cpu.numa_nodes
    assert [node.cpus for node in nodes] == [(0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)]
    written = read(cpu={"numa_nodes": [{"cpus": "0-1,4"}, {"cpus": "2-3,5"}]}).cpu
    assert ([node.index for node in written.numa_nodes], written.logical_cores) == ([0, 1], 6)


def test_links_without_ends_are_those_of_every_two_devices() -> None:
    hardware = read(accelerators=[{"name": "NVIDIA H100", "count": 3}], links=[{"type": "nvlink"}])
    assert [(one.first, one.second, one.p2p) for one in hardware.links] == [(0, 1, True), (0, 2, True), (1, 2, True)]
    (ada,) = read(accelerators=[{"name": "NVIDIA GeForce RTX 4090", "count": 2}]).links
    assert (ada.p2p, ada.p2p_reason) == (False, "NVIDIA GeForce RTX 4090 has no P2P")
    assert read(accelerators=[{"name": "NVIDIA RTX 4000 Ada Generation", "count": 2}]).links == ()


@pytest.mark.parametrize("name", machines())
def test_a_record_of_a_machine_itself_is_read_as_it_is(name: str) -> None:
    assert read_hardware(machines()[name].to_json(), "m.json") == machines()[name]


def test_the_machines_of_the_tests_are_written_in_a_few_lines() -> None:
    assert max(len(path.read_text(encoding="utf-8").splitlines()) for path in FOLDER.glob("*.json")) <= 30


def test_all_that_is_wrong_is_told_in_one_message() -> None:
    text = json.dumps(
        {
            "cpu": {"modle": "x", "cgroup_quota_cpus": -1},
            "memory": {"total_bytes": "64 apples"},
            "accelerators": [{"nam": "x"}, {"name": "Alpha"}, {"name": "NVIDIA L4", "count": 0}],
            "torch": [],
            "gpus": 1,
        }
    )
    with pytest.raises(UserError) as raised:
        read_hardware(text, "m.json")
    told = str(raised.value)
    assert told.startswith("m.json: ")
    for fault in (
        "unknown key 'cpu.modle' (did you mean 'model'?)",
        "cpu.cgroup_quota_cpus: must be from 0",
        "the cores are missing: cpu.physical_cores",
        "memory.total_bytes: expected a whole number, got '64 apples', such as 64 GB",
        "unknown key 'accelerators[0].nam' (did you mean 'name'?)",
        "accelerators[0].name is missing",
        "accelerators[1].kind is missing: Alpha is not known here; write cuda, rocm, xpu, npu or hpu",
        "accelerators[2].count: must be from 1 to 1024, got 0",
        "torch: expected keys and values, got []",
        "unknown key 'gpus'",
    ):
        assert fault in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"cpu": {}}, "the cores are missing"),
        ({"cpu": {"numa_nodes": 2}}, "the cores are missing"),
        ({"cpu": {"physical_cores": 8, "numa_nodes": 0}}, "cpu.numa_nodes: must be from 1"),
        ({"cpu": {"physical_cores": 1 << 40}}, "cpu.physical_cores: must be from 1 to 65,536"),
        ({"memory": {}}, "the memory of the host is missing: memory.total_bytes, such as 64 GB"),
        ({"torch": {"version": "2.9.1"}}, "torch.kind is missing: nothing in '2.9.1' tells it, as +cu128 would"),
        ({"accelerators": [{"name": "Alpha", "kind": "cuda"}]}, "accelerators[0].compute_capability is missing"),
        ({"accelerators": [{"name": "NVIDIA L4", "memory_free_bytes": "1 TB"}]}, "more than memory_total_bytes"),
        ({"accelerators": [{"name": "NVIDIA L4", "index": 0}, {"name": "NVIDIA L4", "index": 0}]}, "cuda 0 is there twice"),
        ({"accelerators": [{"name": "NVIDIA L4"}], "links": [{"first": 0, "second": 5}]}, "there is no cuda 5"),
        ({"torch": {"version": 2.10}}, "torch.version: expected text, in quotes, got 2.1"),
        ({"accelerators": [{"name": "NVIDIA L4", "compute_capability": 9}]}, "accelerators[0].compute_capability: "),
        ({"accelerators": [{"name": 4090}]}, "accelerators[0].name: expected text, in quotes, got 4090"),
        ({"network": [{}]}, "network[0].name is missing"),
        ({"schema_version": 7}, "schema_version is 7, this slipway reads 1"),
    ],
)  # fmt: skip
def test_what_no_machine_is_costs_one_line_that_names_the_key(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        read(**parts)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_commands_take_a_record_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my.json"
    path.write_text(json.dumps({**HOST, "accelerators": [{"name": "RTX 4090", "count": 2}], "note": "the new one"}))
    assert cli.main(["plan", "--json", "--hardware", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["num_processes"] == 2
    assert cli.main(["detect", "--hardware", str(path)]) == 0
    assert "the new one" in capsys.readouterr().out
    assert load_hardware(str(path)).accelerators[1].memory_total_bytes == 24 * GIB


def test_numbers_in_quotes_are_numbers() -> None:
    text = '{"cpu": {"physical_cores": "32"}, "memory": {"total_bytes": "8GB"}, "accelerators": [{"name": "L4", "count": "2"}]}'
    found = read_hardware(text, "hand.json")
    assert (found.cpu.physical_cores, len(found.accelerators)) == (32, 2)
