"""Masks leave the devices that a process really sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.launcher.hardware.probes import environment
from slipway.launcher.hardware.record import Accelerator, Environment, MigSlice
from tests.launcher.helpers import machine
from tests.launcher.machines import cuda, device

GPUS = tuple(cuda(index, "NVIDIA L4", 24, (8, 9)) for index in range(4))
AMD = tuple(device("rocm", index, "MI210", 64, uuid=f"GPU-{index:016x}") for index in range(4))
MAX_1550 = tuple(device("xpu", index, "Max 1550", 128, tiles=2) for index in range(2))
SLURM = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL")


def seen(root: Path, devices: tuple[Accelerator, ...], **environ: str) -> tuple[Environment, list[object]]:
    found = environment.detect(machine(root, environ=environ), devices)
    return found, [one.index if one.part is None else (one.index, one.part) for one in found.visible]


def mig_gpus() -> tuple[Accelerator, ...]:
    return tuple(
        cuda(
            gpu,
            "A100",
            80,
            (8, 0),
            mig_slices=tuple(
                MigSlice(uuid=f"MIG-{gpu}{part}-x", name="3g.40gb", memory_total_bytes=None) for part in "ab"
            ),
        )
        for gpu in range(2)
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2", [2]),
        ("3,0", [3, 0]),
        (" 1 , 2 ", [1, 2]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,9,1", [0]),
        ("0,,1", [0]),
        ("1gpu,2", [1, 2]),
        ("1,1", []),
        ("GPU-00000002-0000-4000-8000-000000000000", [2]),
        ("GPU-00000003,GPU-00000001", [3, 1]),
        ("GPU-0000000", []),
        ("GPU-ffffffff,0", []),
    ],
)
def test_cuda_visible_devices_means_what_cuda_makes_of_it(value: str, expected: list[int], tmp_path: Path) -> None:
    assert seen(tmp_path, GPUS, CUDA_VISIBLE_DEVICES=value)[1] == expected


@pytest.mark.parametrize("value", ["0,9,1", "1,1", "GPU-ffffffff"])
def test_a_doubtful_mask_carries_a_note(value: str, tmp_path: Path) -> None:
    found, _ = seen(tmp_path, GPUS, CUDA_VISIBLE_DEVICES=value)
    assert found.masks[0].note is not None


def test_a_good_mask_carries_no_note(tmp_path: Path) -> None:
    found, _ = seen(tmp_path, GPUS, CUDA_VISIBLE_DEVICES="3,0")
    assert (found.masks[0].applied, found.masks[0].note) == (True, None)


def test_ordinals_of_unequal_gpus_are_doubtful_until_their_order_is_pinned(tmp_path: Path) -> None:
    unequal = (cuda(0, "RTX 2080 Ti", 11, (7, 5)), cuda(1, "RTX 3090", 24, (8, 6)))
    found, _ = seen(tmp_path, unequal, CUDA_VISIBLE_DEVICES="0")
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in (found.masks[0].note or "")
    pinned, _ = seen(tmp_path, unequal, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    assert pinned.masks[0].note is None
    assert pinned.variables == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.mark.parametrize("kind", ["cuda", "rocm", "xpu", "none"])
def test_the_masks_of_slurm_do_not_tell_the_vendor(kind: str, tmp_path: Path) -> None:
    devices: tuple[Accelerator, ...] = {"cuda": GPUS, "rocm": AMD, "xpu": MAX_1550, "none": ()}[kind]
    found, visible = seen(tmp_path, devices, **dict.fromkeys(SLURM, "0,1"))
    applied = {mask.variable for mask in found.masks if mask.applied}
    expected = {
        "cuda": {"CUDA_VISIBLE_DEVICES"},
        "rocm": {"ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"},
        "xpu": {"ZE_AFFINITY_MASK"},
        "none": set(),
    }[kind]
    assert applied == expected
    assert {one.kind for one in found.visible} == ({kind} if devices else set())
    assert visible == {"cuda": [0, 1], "rocm": [0, 1], "xpu": [(0, "tile 0"), (0, "tile 1")], "none": []}[kind]


def test_hip_counts_within_what_rocr_left(tmp_path: Path) -> None:
    assert seen(tmp_path, AMD, ROCR_VISIBLE_DEVICES="2,3", HIP_VISIBLE_DEVICES="1")[1] == [3]
    assert seen(tmp_path, AMD, HIP_VISIBLE_DEVICES="1", CUDA_VISIBLE_DEVICES="0")[1] == [1]
    assert seen(tmp_path, AMD, CUDA_VISIBLE_DEVICES="0")[1] == [0]
    assert seen(tmp_path, AMD, ROCR_VISIBLE_DEVICES="GPU-0000000000000002")[1] == [2]


def test_one_process_sees_one_mig_slice(tmp_path: Path) -> None:
    gpus = mig_gpus()
    assert seen(tmp_path, gpus)[1] == [(0, "MIG-0a-x")]
    assert seen(tmp_path, gpus, CUDA_VISIBLE_DEVICES="1")[1] == [(1, "MIG-1a-x")]
    assert seen(tmp_path, gpus, CUDA_VISIBLE_DEVICES="MIG-1b-x")[1] == [(1, "MIG-1b-x")]
    assert seen(tmp_path, gpus, CUDA_VISIBLE_DEVICES="MIG-1b-x,MIG-0a-x")[1] == [(1, "MIG-1b-x")]
    assert seen(tmp_path, gpus, CUDA_VISIBLE_DEVICES="MIG-9")[1] == []


def test_an_intel_mask_counts_tiles_or_cards_by_the_hierarchy(tmp_path: Path) -> None:
    tiles = [(0, "tile 0"), (0, "tile 1"), (1, "tile 0"), (1, "tile 1")]
    assert seen(tmp_path, MAX_1550)[1] == tiles
    assert seen(tmp_path, MAX_1550, ZE_AFFINITY_MASK="3,0")[1] == [tiles[0], tiles[3]]
    composite = {"ZE_FLAT_DEVICE_HIERARCHY": "COMPOSITE"}
    assert seen(tmp_path, MAX_1550, **composite)[1] == [0, 1]
    assert seen(tmp_path, MAX_1550, ZE_AFFINITY_MASK="1.1", **composite)[1] == [(1, "tile 1")]
    assert seen(tmp_path, MAX_1550, ZE_AFFINITY_MASK="7", **composite)[1] == []


def test_other_vendors_masks_are_heeded(tmp_path: Path) -> None:
    npus = tuple(device("npu", index, "Ascend910B", 64) for index in range(8))
    hpus = tuple(device("hpu", index, "Intel Gaudi 2", 96) for index in range(8))
    assert seen(tmp_path, npus, ASCEND_RT_VISIBLE_DEVICES="4,5")[1] == [4, 5]
    assert seen(tmp_path, hpus, HABANA_VISIBLE_DEVICES="all")[1] == list(range(8))
    assert seen(tmp_path, hpus, HABANA_VISIBLE_DEVICES="4,5,6", HABANA_VISIBLE_MODULES="6,4")[1] == [6, 4]


def test_modules_of_gaudi_are_counted_as_its_driver_does(tmp_path: Path) -> None:
    hpus = tuple(device("hpu", index, "Intel Gaudi 2", 96) for index in range(4))
    for index, module in enumerate((3, 2, 0, 1)):
        folder = tmp_path / f"sys/class/accel/accel{index}/device"
        folder.mkdir(parents=True)
        (folder / "device_type").write_text("GAUDI2", encoding="utf-8")
        (folder / "module_id").write_text(f"{module}\n", encoding="utf-8")
    found, visible = seen(tmp_path, hpus, HABANA_VISIBLE_MODULES="0,1,7")
    assert visible == [2, 3]
    assert [mask.note for mask in found.masks] == ["'7' names no module here"]


def test_only_variables_that_a_launch_heeds_are_recorded(tmp_path: Path) -> None:
    found, _ = seen(tmp_path, (), WORLD_SIZE="2", HF_TOKEN="secret", AWS_SECRET_ACCESS_KEY="secret")
    assert found.variables == {"WORLD_SIZE": "2"}
