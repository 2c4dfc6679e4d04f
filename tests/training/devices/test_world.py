"""The world is the one that was promised, or nothing starts; real groups of two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from slipway.training.devices import world
from slipway.training.devices.manager import make_accelerator
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS
from tests.training.helpers import catch, launched


def test_a_half_set_environment_is_refused_instead_of_waited_for(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "RANK is not" in str(catch(make_accelerator, device="cpu", mixed_precision="no"))
    monkeypatch.setenv("RANK", "0")
    assert "MASTER_ADDR is not set" in str(catch(make_accelerator, device="cpu", mixed_precision="no"))
    monkeypatch.setenv("RANK", "2")
    assert "RANK=2 is not below WORLD_SIZE=2" in str(catch(world.launched_world))
    monkeypatch.setenv("RANK", "first")
    assert "RANK='first'" in str(catch(world.launched_world))


def stub_accelerator(**changes: Any) -> Any:
    values = {"num_processes": 1, "process_index": 0, "local_process_index": 0, "device": torch.device("cpu")}
    return SimpleNamespace(**{**values, **changes})


def test_a_world_that_is_not_as_promised_stops_with_both_numbers(monkeypatch):
    world.check_world(stub_accelerator(), "cpu")
    message = str(catch(world.check_world, stub_accelerator(), "cuda"))
    assert "--device=cuda but accelerate's device is cpu" in message
    launched(monkeypatch, 2, rank=1)
    message = str(catch(world.check_world, stub_accelerator(), "cpu"))
    assert "WORLD_SIZE=2 but accelerate's num_processes is 1" in message
    assert "WORLD_SIZE=2 but torch.distributed's world size is 1" in message
    assert "RANK=1 but accelerate's process_index is 0" in message


def member(rank: int, **changes: Any) -> dict[str, Any]:
    record = {"rank": rank, "host": "h", "node": "0", "local_size": 2, "device": f"cuda:{rank}", "precision": "no"}
    return {**record, "device_identity": f"GPU-{rank}", **changes}


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({}, None),
        ({"device_identity": None}, None),
        ({"device_identity": "GPU-0"}, "ranks 0 and 1 are on one device, cuda:0 of h and cuda:1 of h"),
        ({"precision": "bf16"}, "rank 0 has mixed precision no but rank 1 has bf16"),
        ({"node": "1"}, "LOCAL_WORLD_SIZE=2 but 1 ranks"),
    ],
)
def test_ranks_that_contradict_each_other_are_named(second, words):
    conflict = world._find_conflict([member(0), member(1, **second)])
    assert conflict is None if words is None else words in conflict


def test_processes_on_a_cpu_share_it_without_conflict():
    records = [member(rank, device="cpu", device_identity=None, local_size=3) for rank in range(3)]
    assert world._find_conflict(records) is None


def test_the_slices_of_one_gpu_are_devices_of_their_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="12ab"))
    whole = world._device_identity(torch.device("cuda", 0), "h")
    assert whole == world._device_identity(torch.device("cuda", 1), "h")
    slices = set()
    for name in ("MIG-1", "MIG-2"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
        slices.add(world._device_identity(torch.device("cuda", 0), "h"))
    assert len(slices) == 2
    assert world._device_identity(torch.device("cpu"), "h") is None


def torchrun(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "worker.py"
    path.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OUT": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)


GROUP_OF_TWO = """
import json, os, torch, torch.distributed as dist
from slipway.training.devices.manager import DeviceManager, make_accelerator
from slipway.training.devices.backends import choose_kind
from slipway.training.devices.world import check_world

def main():
    accelerator = make_accelerator(device="auto", mixed_precision="auto", timeout_seconds=600)
    check_world(accelerator, "cpu")
    settings = DeviceManager.optimize_for_device(accelerator.device)
    torch.manual_seed(0)
    plain = torch.nn.Linear(3, 1, bias=False)
    model = DeviceManager.setup_multi_gpu(torch.nn.Linear(3, 1, bias=False), accelerator)
    model.module.load_state_dict(plain.state_dict())
    batch = torch.arange(12.0).reshape(4, 3)
    model(batch[accelerator.process_index :: 2]).square().sum().backward()
    plain(batch).square().sum().backward()
    group = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
    facts = {
        "size": dist.get_world_size(),
        "rank": accelerator.process_index,
        "wrapped": type(model).__name__,
        "broadcast_buffers": model.broadcast_buffers,
        "difference": (model.module.weight.grad * 2 - plain.weight.grad).abs().max().item(),
        "gradient": plain.weight.grad.abs().max().item(),
        "timeout_seconds": group.options._timeout.total_seconds(),
        "threads": settings["cpu_threads"],
    }
    open(os.path.join(os.environ["OUT"], f"{accelerator.process_index}.json"), "w").write(json.dumps(facts))

main()  # what it made is gone before the group is left
"""


@pytest.mark.slow
def test_two_processes_on_a_cpu_are_one_group_of_two(tmp_path):
    finished = torchrun(GROUP_OF_TWO, tmp_path)
    assert finished.returncode == 0, finished.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [facts["rank"] for facts in ranks] == [0, 1]
    for facts in ranks:
        assert facts["size"] == 2
        assert facts["wrapped"] == "DistributedDataParallel"
        assert not facts["broadcast_buffers"]
        assert facts["gradient"] > 1
        assert facts["difference"] < 1e-4 * facts["gradient"]  # the sum over ranks is the whole batch's gradient
        assert facts["timeout_seconds"] == pytest.approx(600, abs=0.01)
        assert facts["threads"].endswith("/ 2 processes")


TWO_WORLDS_OF_ONE = """
from accelerate import Accelerator
from slipway.training.devices.world import check_world
check_world(Accelerator(), "cpu")
print("trained")
"""


@pytest.mark.slow
def test_two_worlds_of_one_stop_before_training(tmp_path):
    finished = torchrun(TWO_WORLDS_OF_ONE, tmp_path)
    assert finished.returncode != 0
    assert "WORLD_SIZE=2 but accelerate's num_processes is 1" in finished.stderr
    assert "trained" not in finished.stdout
