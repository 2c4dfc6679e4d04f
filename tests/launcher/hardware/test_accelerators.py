"""What each vendor's probe makes of recorded drivers, and that a hung or absent one does no harm."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slipway.launcher.hardware.detect import detect
from slipway.launcher.hardware.probes.accelerators import amd, apple, ascend, gaudi, intel, nvidia
from slipway.launcher.hardware.probes.sources import ProbeError, Sources, ask_subprocess
from slipway.launcher.hardware.record import Accelerator
from slipway.launcher.hardware.show import warnings
from tests.launcher.helpers import FakeNvml, NVMLError, answer, cpus, fail, machine, psutil

NVIDIA_DRIVER = {"dev/nvidiactl": ""}
H100 = {"name": "NVIDIA H100 80GB HBM3", "memory": 80 << 30, "capability": (9, 0), "p2p": 0, "nvlink": 0, "lanes": 18}
RTX_4090 = {"name": "NVIDIA GeForce RTX 4090", "memory": 24 << 30, "capability": (8, 9), "p2p": 0}


def nvidia_machine(root: Path, *gpus: dict[str, object], **files: str) -> Sources:
    return machine(root, {**NVIDIA_DRIVER, **files}, ask=answer(FakeNvml(*gpus)))


def precisions(device: Accelerator) -> tuple[bool, bool, bool]:
    return device.bf16, device.fp16, device.fp8


def test_a_machine_without_a_gpu_starts_no_subprocess(tmp_path: Path) -> None:
    hardware = detect(machine(tmp_path, cpus(2)))
    assert hardware.accelerators == ()
    assert hardware.faults == ()


def test_an_h100_pair_is_joined_by_nvlink(tmp_path: Path) -> None:
    files = {"sys/bus/pci/devices/0000:4b:00.0/numa_node": "1", "sys/bus/pci/devices/0000:4a:00.0/numa_node": "-1"}
    report = nvidia.detect(machine(tmp_path, {**NVIDIA_DRIVER, **files}, ask=answer(FakeNvml(H100, H100))))
    assert [(one.index, one.pci_address, one.numa_node) for one in report.accelerators] == [
        (0, "0000:4a:00.0", None),
        (1, "0000:4b:00.0", 1),
    ]
    first = report.accelerators[0]
    assert (first.memory_total_bytes, first.memory_free_bytes) == (80 << 30, (80 << 30) - 1)
    assert precisions(first) == (True, True, True)
    link = report.links[0]
    assert (link.first, link.second, link.type, link.lanes, link.p2p) == (0, 1, "nvlink", 18, True)
    assert report.driver is not None
    assert (report.driver.version, report.driver.cuda_version) == ("580.95.05", "13.0")


@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 5070 Ti"])
def test_a_geforce_40_or_50_has_no_p2p_even_if_its_driver_says_so(name: str, tmp_path: Path) -> None:
    gpu = {**RTX_4090, "name": name}
    link = nvidia.detect(nvidia_machine(tmp_path, gpu, gpu)).links[0]
    assert (link.type, link.topology, link.p2p) == ("pcie", "host bridge", False)
    assert link.p2p_reason == f"{name} has no P2P"


def test_p2p_must_work_both_ways(tmp_path: Path) -> None:
    gpu = {**RTX_4090, "name": "NVIDIA RTX A6000"}
    assert nvidia.detect(nvidia_machine(tmp_path, gpu, gpu)).links[0].p2p is True
    assert nvidia.detect(nvidia_machine(tmp_path, gpu, {**gpu, "p2p": 5})).links[0].p2p is False


def test_the_drivers_no_to_p2p_is_kept(tmp_path: Path) -> None:
    gpu = {**RTX_4090, "name": "NVIDIA RTX 4000 Ada Generation", "p2p": 5}
    link = nvidia.detect(nvidia_machine(tmp_path, gpu, gpu)).links[0]
    assert (link.p2p, link.p2p_reason) == (False, "the driver says no (NVML P2P status 5)")


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((7, 0), (False, True, False)),
        ((7, 5), (False, True, False)),
        ((8, 0), (True, True, False)),
        ((8, 9), (True, True, True)),
        ((5, 2), (False, False, False)),
    ],
)
def test_precisions_are_the_hardwares_own_without_emulation(
    capability: tuple[int, int], expected: tuple[bool, bool, bool], tmp_path: Path
) -> None:
    gpu = {**H100, "capability": capability}
    assert precisions(nvidia.detect(nvidia_machine(tmp_path, gpu)).accelerators[0]) == expected


def test_unified_memory_is_told_from_memory_that_cannot_be_read(tmp_path: Path) -> None:
    gb10 = {"name": "NVIDIA GB10", "capability": (12, 1)}
    device = nvidia.detect(nvidia_machine(tmp_path, gb10)).accelerators[0]
    assert (device.memory_total_bytes, device.memory_free_bytes, device.unified_memory) == (None, None, True)
    failing = nvidia.detect(nvidia_machine(tmp_path, {**gb10, "memory": NVMLError(15)})).accelerators[0]
    assert (failing.memory_total_bytes, failing.unified_memory) == (None, False)


def test_mig_slices_and_processes_are_listed(tmp_path: Path) -> None:
    slices = [{"uuid": f"MIG-{i}", "name": "MIG 3g.40gb", "memory": 40 << 30} for i in range(2)]
    gpu = {**H100, "slices": slices, "processes": [(42, 1 << 30), (7, None)]}
    report = nvidia.detect(nvidia_machine(tmp_path, gpu, gpu))
    device = report.accelerators[0]
    assert [(one.uuid, one.memory_total_bytes) for one in device.mig_slices] == [
        ("MIG-0", 40 << 30),
        ("MIG-1", 40 << 30),
    ]
    assert [(one.pid, one.memory_used_bytes) for one in device.processes] == [(7, None), (42, 1 << 30)]
    assert report.links[0].p2p is False


def test_a_lost_gpu_is_a_fault_and_the_others_are_kept(tmp_path: Path) -> None:
    sources = machine(tmp_path, {**cpus(2), **NVIDIA_DRIVER}, ask=answer(FakeNvml(H100, {"lost": True}, H100)))
    hardware = detect(sources)
    assert [one.index for one in hardware.accelerators] == [0, 2]
    assert [(link.first, link.second) for link in hardware.links] == [(0, 2)]
    assert [fault.message for fault in hardware.faults] == ["GPU 1: GPU is lost"]


def test_a_gpu_whose_driver_hangs_is_a_fault_not_a_hang(tmp_path: Path) -> None:
    hardware = detect(machine(tmp_path, {**cpus(2), **NVIDIA_DRIVER}, ask=fail("no answer within 20 s")))
    assert hardware.accelerators == ()
    assert [(fault.probe, fault.message) for fault in hardware.faults] == [("nvidia", "no answer within 20 s")]
    assert any("nvidia probe could not answer" in line for line in warnings(hardware))


def test_a_gpu_on_the_bus_without_a_driver_is_asked_for_and_said(tmp_path: Path) -> None:
    files = {"sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de", "sys/bus/pci/devices/0000:01:00.0/class": "0x030000"}
    with pytest.raises(ProbeError, match="Driver Not Loaded"):
        nvidia.detect(machine(tmp_path, files, ask=fail("Driver Not Loaded")))


def test_wsl_without_an_nvidia_gpu_has_no_fault(tmp_path: Path) -> None:
    assert nvidia.detect(machine(tmp_path, {"dev/dxg": ""}, ask=fail("not found"))) == nvidia.NOTHING


def stuck_module(root: Path, name: str, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / f"{name}.py").write_text(body, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(root))


def test_a_subprocess_that_hangs_is_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck_module(tmp_path, "stuck_probe", "import time; time.sleep(3600)", monkeypatch)
    with pytest.raises(ProbeError, match=r"no answer within 0\.3 s"):
        ask_subprocess("stuck_probe", (), 0.3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise OSError('broken driver')", "OSError: broken driver"),
        ("print('hello')", "printed no JSON"),
        ("", "no JSON"),
    ],
)
def test_a_subprocess_that_fails_says_why(
    body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck_module(tmp_path, "failing_probe", body, monkeypatch)
    with pytest.raises(ProbeError, match=message):
        ask_subprocess("failing_probe", (), 30)


def test_a_subprocess_sees_every_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "import json, os; print('noise'); print(json.dumps(sorted(k for k in os.environ if 'VISIBLE' in k)))"
    stuck_module(tmp_path, "masked_probe", body, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "1")
    assert ask_subprocess("masked_probe", (), 30) == []


def kfd(node: int, version: int, **more: object) -> dict[str, object]:
    base = f"sys/class/kfd/kfd/topology/nodes/{node}"
    entries = {
        "simd_count": 1216,
        "gfx_target_version": version,
        "location_id": 0x0500 + (node << 8),
        "domain": 0,
        "drm_render_minor": 127 + node,
        "unique_id": 0x1234ABCD + node,
        "vendor_id": 4098,
        **more,
    }
    return {
        f"{base}/properties": "\n".join(f"{key} {value}" for key, value in entries.items()),
        f"{base}/gpu_id": 1000 + node,
        f"{base}/mem_banks/0/properties": f"heap_type 1\nsize_in_bytes {64 << 30}",
    }


def test_amd_gpus_come_from_the_kernels_topology(tmp_path: Path) -> None:
    render = "sys/class/drm/renderD128/device"
    files = {
        "sys/class/kfd/kfd/topology/nodes/0/properties": "cpu_cores_count 96\nsimd_count 0",
        **kfd(1, 90402, location_id=0x0619),
        **kfd(2, 90010),
        "sys/class/kfd/kfd/topology/nodes/2/io_links/0/properties": "type 11\nnode_to 1",
        "sys/class/kfd/kfd/topology/nodes/1/io_links/0/properties": "type 2\nnode_to 0",
        "sys/class/kfd/kfd/topology/nodes/1/io_links/1/properties": "type 11\nnode_to 2",
        f"{render}/mem_info_vram_total": 192 << 30,
        f"{render}/mem_info_vram_used": 1 << 30,
        f"{render}/product_name": "AMD Instinct MI300X",
        f"{render}/numa_node": 1,
        "sys/class/kfd/kfd/proc/4242/vram_1001": 1 << 20,
        "sys/class/kfd/kfd/proc/4343/vram_1001": 0,
        "sys/module/amdgpu/version": "6.14.14",
    }
    report = amd.detect(machine(tmp_path, files))
    first, second = report.accelerators
    assert (first.name, first.architecture, first.uuid) == ("AMD Instinct MI300X", "gfx942", "GPU-000000001234abce")
    assert (first.memory_total_bytes, first.memory_free_bytes) == (192 << 30, 191 << 30)
    assert (first.pci_address, first.numa_node, precisions(first)) == ("0000:06:03.1", 1, (True, True, True))
    assert [one.pid for one in first.processes] == [4242]
    assert (second.name, second.memory_total_bytes, second.memory_free_bytes) == ("AMD gfx90a", 64 << 30, None)
    assert precisions(second) == (True, True, False)
    assert [(link.type, link.first, link.second, link.p2p) for link in report.links] == [("xgmi", 0, 1, True)]
    assert report.driver is not None
    assert report.driver.version == "6.14.14"


def test_an_amd_gpu_is_named_by_amdsmi_where_that_is_installed(tmp_path: Path) -> None:
    def ask(module: str, arguments: tuple[str, ...], time_limit_seconds: float) -> dict[str, str]:
        return {"0000:06:00.0": "AMD Instinct MI300X"}

    sources = machine(tmp_path, kfd(1, 90402), package=lambda name: tmp_path, ask=ask)
    assert amd.detect(sources).accelerators[0].name == "AMD Instinct MI300X"
    hung = machine(tmp_path, kfd(1, 90402), package=lambda name: tmp_path, ask=fail("hung"))
    assert amd.detect(hung).accelerators[0].name == "AMD gfx942"


def intel_card(minor: int, address: str, device_id: str, **more: object) -> dict[str, object]:
    base = f"sys/class/drm/renderD{minor}/device"
    return {
        f"{base}/vendor": "0x8086",
        f"{base}/device": device_id,
        f"{base}/uevent": f"DRIVER=xe\nPCI_SLOT_NAME={address}",
        **{f"{base}/{name}": value for name, value in more.items()},
    }


def test_intel_cards_are_found_and_integrated_graphics_left_out(tmp_path: Path) -> None:
    window = "0x0 0x0 0x0\n0x0 0x0 0x0\n0x4000000000 0x43ffffffff 0x14220c"
    files = {
        **intel_card(128, "0000:00:02.0", "0x46a6"),
        **intel_card(129, "0000:03:00.0", "0x56a0", resource=window, numa_node=0),
        **intel_card(130, "0000:9a:00.0", "0x0bd5"),
        "proc/sys/kernel/osrelease": "6.8.0",
    }
    devices, driver = intel.detect(machine(tmp_path, files))
    assert [(one.name, one.memory_total_bytes, one.tiles) for one in devices] == [
        ("Intel Arc A770 Graphics", 16 << 30, 1),
        ("Intel Data Center GPU Max 1550", 128 << 30, 2),
    ]
    assert driver is not None
    assert driver.version == "6.8.0"


def test_a_small_memory_window_is_not_the_cards_memory(tmp_path: Path) -> None:
    window = "0x0 0x0 0x0\n0x0 0x0 0x0\n0x90000000 0x9fffffff 0x14220c"
    devices, _ = intel.detect(machine(tmp_path, intel_card(128, "0000:03:00.0", "0x56a0", resource=window)))
    assert devices[0].memory_total_bytes is None


@pytest.mark.parametrize(("chip", "bf16"), [("Apple M2 Max", False), ("Apple M3", True), ("Apple M10", True)])
def test_an_apple_chips_gpu_shares_the_hosts_memory(chip: str, bf16: bool, tmp_path: Path) -> None:
    sources = machine(
        tmp_path,
        platform="darwin",
        architecture="arm64",
        psutil=psutil(cpu_count=lambda logical: 8),
        sysctl={"machdep.cpu.brand_string": chip}.get,
    )
    hardware = detect(sources)
    device = hardware.accelerators[0]
    assert (device.name, device.kind, device.unified_memory, device.bf16) == (chip, "mps", True, bf16)
    assert (hardware.cpu.model, hardware.cpu.physical_cores) == (chip, 8)
    assert apple.detect(machine(tmp_path, platform="darwin", architecture="x86_64")) == ()


def test_gaudi_is_read_from_its_driver(tmp_path: Path) -> None:
    files = {}
    for index in range(2):
        files[f"sys/class/accel/accel{index}/device/device_type"] = "GAUDI2"
        files[f"sys/class/accel/accel{index}/device/pci_addr"] = f"0000:{index}a:00.0"
        files[f"sys/class/accel/accel_controlD{index}/device/device_type"] = "GAUDI2"
    devices = gaudi.detect(machine(tmp_path, files))
    assert [(one.name, one.index, one.pci_address) for one in devices] == [
        ("Intel Gaudi 2", 0, "0000:0a:00.0"),
        ("Intel Gaudi 2", 1, "0000:1a:00.0"),
    ]


def test_ascend_asks_torch_only_where_npus_are(tmp_path: Path) -> None:
    assert ascend.detect(machine(tmp_path)) == ((), None)
    files = {"dev/davinci0": "", "dev/davinci1": "", "dev/davinci_manager": ""}
    told = [{"name": "Ascend910B3", "memory_total_bytes": 64 << 30, "memory_free_bytes": 60 << 30, "bf16": True}] * 2
    devices, fault = ascend.detect(machine(tmp_path, files, ask=lambda module, arguments, limit: told))
    assert fault is None
    assert [(one.name, one.memory_free_bytes, one.bf16) for one in devices] == [("Ascend910B3", 60 << 30, True)] * 2
    bare, _ = ascend.detect(machine(tmp_path, files, ask=lambda module, arguments, limit: None))
    assert [(one.name, one.memory_total_bytes, one.bf16) for one in bare] == [("Ascend NPU", None, False)] * 2


def test_an_npu_is_kept_when_torch_does_not_answer(tmp_path: Path) -> None:
    hardware = detect(machine(tmp_path, {**cpus(2), "dev/davinci0": ""}, ask=fail("hung")))
    assert [(one.name, one.kind) for one in hardware.accelerators] == [("Ascend NPU", "npu")]
    assert [(fault.probe, fault.message) for fault in hardware.faults] == [("ascend", "hung")]


def test_every_name_asked_of_nvml_is_in_nvidias_own_module() -> None:
    pynvml = pytest.importorskip("pynvml")
    source = Path(nvidia.__file__).read_text(encoding="utf-8")
    names = set(re.findall(r"\bnvml\.(\w+)", source))
    assert len(names) > 20
    assert {name for name in names if not hasattr(pynvml, name)} == set()
    assert {name for name in names if not hasattr(FakeNvml, name)} == set()
