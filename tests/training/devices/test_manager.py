"""The device: what is chosen, what is refused and in which words."""

from __future__ import annotations

import json
import logging
import os
from types import SimpleNamespace

import pytest
import torch

from slipway.training.common.errors import UserError
from slipway.training.devices import host, world
from slipway.training.devices.backends import choose_kind
from slipway.training.devices.manager import DeviceManager, make_accelerator
from tests.training.helpers import catch, launched


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_auto_without_an_accelerator_is_the_cpu_and_says_nothing(devices, caplog):
    devices()
    assert DeviceManager.detect_best_device("auto", multi_gpu=False) == torch.device("cpu")
    assert not warnings_of(caplog)


def test_wanting_several_devices_without_any_warns_once_and_leaves_a_record(devices, caplog):
    devices()
    for _ in range(2):
        assert DeviceManager.detect_best_device("auto", multi_gpu=True).type == "cpu"
    (warning,) = warnings_of(caplog)
    assert "no accelerator found" in warning
    assert "used instead: one device, cpu" in warning
    fallback = DeviceManager.multi_gpu_fallback("auto")
    assert fallback is not None
    assert fallback.message == warning
    assert set(json.loads(json.dumps(fallback.as_dict()))) == {"requested", "missing", "used"}


def test_wanting_several_devices_with_one_trains_on_that_one(devices, caplog):
    devices(cuda=1)
    assert DeviceManager.detect_best_device() == torch.device("cuda")
    (warning,) = warnings_of(caplog)
    assert "only one cuda device found" in warning
    assert "used instead: one device, cuda" in warning
    assert not DeviceManager.is_multi_gpu_available()


def test_several_devices_are_no_fallback(devices, caplog):
    devices(xpu=2)
    assert DeviceManager.detect_best_device() == torch.device("xpu")
    assert DeviceManager.multi_gpu_fallback() is None
    assert DeviceManager.is_multi_gpu_available()
    assert not warnings_of(caplog)


def test_only_rank_zero_warns_and_counts_its_processes(devices, caplog, monkeypatch):
    devices()
    launched(monkeypatch, 2, rank=1)
    DeviceManager.detect_best_device()
    assert not warnings_of(caplog)
    monkeypatch.setattr(world, "_logged", set())
    launched(monkeypatch, 2, rank=0)
    DeviceManager.detect_best_device()
    assert warnings_of(caplog)[0].endswith("used instead: cpu, 2 processes")


@pytest.mark.parametrize(
    ("present", "best"),
    [
        ({"cuda": 1, "xpu": 1, "npu": 1, "hpu": 1, "mps": 1}, "cuda"),
        ({"xpu": 1, "npu": 1, "hpu": 1}, "xpu"),
        ({"npu": 1, "hpu": 1}, "npu"),
        ({"hpu": 1, "mps": 1}, "hpu"),
        ({"mps": 1}, "mps"),
    ],
)
def test_the_best_device_follows_the_order(devices, present, best):
    devices(**present)
    assert choose_kind("auto") == best  # no torch.device: this torch does not know every name


@pytest.mark.parametrize("kind", ["cuda", "xpu", "npu", "hpu", "mps"])
def test_a_device_asked_for_by_name_and_absent_is_one_line_of_error(devices, kind):
    devices()
    with pytest.raises(UserError, match=f"^--device {kind}: .*pass --device auto$") as caught:
        DeviceManager.detect_best_device(kind)
    assert "\n" not in str(caught.value)


def test_the_error_for_a_missing_cuda_says_what_this_torch_offers(devices, monkeypatch):
    devices()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert str(catch(DeviceManager.detect_best_device, "cuda")).startswith(
        f"--device cuda: this torch is a CPU-only build ({torch.__version__}); install a CUDA build"
    )
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    message = str(catch(DeviceManager.detect_best_device, "cuda"))
    assert "a cuda 12.6 build" in message
    assert "CUDA_VISIBLE_DEVICES=''" in message


def test_a_mistyped_device_names_the_nearest(devices):
    devices()
    assert "did you mean 'cuda'?" in str(catch(DeviceManager.detect_best_device, "cudda"))
    assert "ROCm is 'cuda'" in str(catch(DeviceManager.detect_best_device, "rocm"))


def test_each_local_rank_gets_its_own_device(devices, monkeypatch):
    devices(cuda=2)
    launched(monkeypatch, 2, rank=1)
    assert DeviceManager.detect_best_device() == torch.device("cuda", 1)


def test_processes_on_a_mac_share_its_cpu(devices, monkeypatch):
    devices(mps=1)
    launched(monkeypatch, 2)
    assert DeviceManager.detect_best_device("auto", multi_gpu=False).type == "cpu"
    assert "cannot serve 2 processes" in str(catch(DeviceManager.detect_best_device, "mps"))


def test_the_launchers_choice_of_the_cpu_holds_for_auto_and_contradicts_a_named_device(devices, monkeypatch):
    devices(cuda=2)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert DeviceManager.detect_best_device("auto", multi_gpu=False).type == "cpu"
    assert "ACCELERATE_USE_CPU" in str(catch(DeviceManager.detect_best_device, "cuda"))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    assert DeviceManager.detect_best_device("cuda").type == "cuda"


def test_the_global_batch_scales_with_processes_or_stays(monkeypatch):
    assert DeviceManager.get_effective_batch_size(32, torch.device("cpu")) == 32
    launched(monkeypatch, 3)
    assert DeviceManager.get_effective_batch_size(32) == 96
    assert DeviceManager.get_effective_batch_size(32, batch_rule="fixed") == 32
    assert DeviceManager.get_effective_batch_size(32, num_processes=4) == 128
    assert "did you mean 'scale'?" in str(catch(DeviceManager.get_effective_batch_size, 32, batch_rule="scaled"))
    assert "--batch-size 0" in str(catch(DeviceManager.get_effective_batch_size, 0))


def test_the_cpu_describes_itself_as_json():
    info = DeviceManager.get_device_info("cpu")
    assert json.loads(json.dumps(info.as_dict())) == info.as_dict()
    assert info.kind == "cpu"
    assert info.name
    assert 1 <= info.cores <= os.cpu_count()
    assert 2**26 < info.free_memory_bytes <= info.total_memory_bytes
    assert not info.fp16


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_limits_count(version, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(host, "_cgroup_folders", lambda controller: [tmp_path, tmp_path / "absent"])
    assert host.usable_cores() == 16
    if version == 2:
        (tmp_path / "cpu.max").write_text("350000 100000\n")
        (tmp_path / "memory.max").write_text("536870912\n")
    else:
        (tmp_path / "cpu.cfs_quota_us").write_text("350000\n")
        (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
        (tmp_path / "memory.limit_in_bytes").write_text("536870912\n")
    assert host.usable_cores() == 3
    assert host.host_memory_bytes()[0] == 512 * 2**20
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert host.usable_cores() == 16


def test_threads_are_this_processs_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(host, "usable_cores", lambda: 6)
    launched(monkeypatch, 2, TORCHELASTIC_RUN_ID="run", OMP_NUM_THREADS="1")  # torchrun's own 1
    assert DeviceManager.optimize_for_device("cpu")["cpu_threads"].startswith("3: 6 usable cores / 2 processes")
    assert torch.get_num_threads() == 3
    assert DeviceManager.optimize_for_device("cpu", threads=2)["cpu_threads"] == "2: asked for"
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("value", "launcher"),
    [
        ("4", {"TORCHELASTIC_RUN_ID": "run"}),
        ("1", {}),
        ("1", {"TORCHELASTIC_RUN_ID": "run", "SLIPWAY_PLAN": "plan.json"}),
    ],
)
def test_the_users_own_thread_count_is_kept(value, launcher, monkeypatch):
    torch.set_num_threads(2)
    launched(monkeypatch, 1, OMP_NUM_THREADS=value, **launcher)
    assert f"OMP_NUM_THREADS={value} is kept" in DeviceManager.optimize_for_device("cpu")["cpu_threads"]
    assert torch.get_num_threads() == 2


def test_tf32_stays_off_unless_asked_for(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert DeviceManager.optimize_for_device("cuda")["tf32"].endswith("--tf32 turns it on")
    assert not torch.backends.cudnn.allow_tf32
    try:
        assert DeviceManager.optimize_for_device("cuda", allow_tf32=True)["tf32"] == "on: --tf32 asks for it"
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    assert "tf32" not in DeviceManager.optimize_for_device("cpu")
    told = DeviceManager.optimize_for_device("cpu", allow_tf32=True)["tf32"]
    assert told == "off: --tf32 asks for it, but cpu here does not have it"


@pytest.mark.parametrize(
    ("requested", "launcher", "device", "native", "expected"),
    [
        ("auto", "no", "cpu", True, "no"),
        ("auto", "no", "mps", True, "no"),
        ("auto", "no", "cuda", True, "bf16"),
        ("auto", "no", "cuda", False, "fp16"),
        ("auto", "fp16", "cuda", True, "fp16"),
        ("no", "bf16", "cuda", True, "no"),
        ("fp16", "no", "cuda", False, "fp16"),
        ("bf16", "no", "cpu", True, "bf16"),
    ],
)
def test_precision_follows_the_device_the_launcher_and_the_flag(
    requested, launcher, device, native, expected, bf16, monkeypatch
):
    bf16(native)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    precision, reason = DeviceManager.resolve_precision(requested, device)
    assert precision == expected
    assert reason


def test_a_precision_the_device_would_only_pretend_is_refused(bf16, monkeypatch):
    bf16(False)
    assert "silently be fp32" in str(catch(DeviceManager.resolve_precision, "fp16", "cpu"))
    assert "Tesla T4 (compute capability 7.5) has no native bf16" in str(
        catch(DeviceManager.resolve_precision, "bf16", "cuda")
    )
    assert "did you mean 'bf16'?" in str(catch(DeviceManager.resolve_precision, "bf61", "cpu"))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    assert str(catch(DeviceManager.resolve_precision, "auto", "cpu")).startswith("ACCELERATE_MIXED_PRECISION=fp16")


def test_an_explicit_precision_over_the_launchers_is_said(bf16, caplog, monkeypatch):
    bf16(True)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    DeviceManager.resolve_precision("fp16", "cuda")
    assert warnings_of(caplog) == ["--mixed-precision fp16 wins over ACCELERATE_MIXED_PRECISION=bf16 of the launcher"]


def test_accelerates_own_accumulation_stays_one(accelerate_state, caplog, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    accelerator = make_accelerator(device="cpu", mixed_precision="no")
    assert accelerator.gradient_accumulation_steps == 1
    assert accelerator.mixed_precision == "no"
    assert any("--gradient-accumulation 4" in warning for warning in warnings_of(caplog))
    world.check_world(accelerator, "cpu")


def test_one_process_gets_its_model_unwrapped_and_is_told_how_to_use_the_other_devices(devices, caplog):
    devices(cuda=3)
    model = torch.nn.Linear(2, 2)
    accelerator = SimpleNamespace(
        num_processes=1,
        device=torch.device("cuda"),
        ddp_handler=None,
        prepare_model=lambda model, evaluation_mode, **_: model if evaluation_mode else None,
    )
    with caplog.at_level(logging.INFO, logger="slipway"):
        assert DeviceManager.setup_multi_gpu(model, accelerator) is model
    assert accelerator.ddp_handler.broadcast_buffers is False
    assert "accelerate launch --multi_gpu --num_processes 3`" in caplog.text
    devices()
    assert DeviceManager.setup_multi_gpu(model) is model
