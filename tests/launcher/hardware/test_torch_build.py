"""The installed torch is read without importing it, and judged against the hardware."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slipway.launcher.hardware.probes import torch_build
from slipway.launcher.hardware.probes.torch_build import find_problem
from slipway.launcher.hardware.record import Accelerator, Driver
from tests.launcher.helpers import machine
from tests.launcher.machines import build, cuda, device

H100 = cuda(0, "NVIDIA H100", 80, (9, 0))
MI300X = device("rocm", 0, "AMD Instinct MI300X", 192)
CPU_BUILD = build("cpu", None, "+cpu")


def nvidia(version: str) -> tuple[Driver, ...]:
    return (Driver(kind="cuda", version=version, cuda_version=None),)


@pytest.mark.parametrize(
    ("text", "kind", "toolkit"),
    [
        ("__version__ = '2.9.1+cpu'\ncuda: Optional[str] = None\nhip = None", "cpu", None),
        ("__version__ = '2.9.1+cu126'\ncuda: Optional[str] = '12.6'\nhip = None", "cuda", "12.6"),
        ("__version__ = '2.9.1'\ncuda = None\nhip: Optional[str] = '6.4.43484'", "rocm", "6.4.43484"),
        ("__version__ = '2.9.1'\ncuda = None\nhip = None\nxpu: Optional[str] = '20250201'", "xpu", "20250201"),
        ("__version__ = '2.9.1'\nraise SystemExit('never run')", "cpu", None),
    ],
)
def test_the_build_is_parsed_and_never_run(text: str, kind: str, toolkit: str | None, tmp_path: Path) -> None:
    (tmp_path / "version.py").write_text(text, encoding="utf-8")
    sources = machine(tmp_path, package=lambda name: tmp_path if name == "torch" else None)
    found = torch_build.detect(sources, (), ())
    assert found.version is not None
    assert found.version.startswith("2.9.1")
    assert (found.kind, found.toolkit_version, found.fits) == (kind, toolkit, True)


def test_torch_for_a_mac_uses_its_gpu(tmp_path: Path) -> None:
    (tmp_path / "version.py").write_text("__version__ = '2.9.1'\ncuda = None\n", encoding="utf-8")
    mac = {"platform": "darwin", "architecture": "arm64", "package": lambda name: tmp_path if name == "torch" else None}
    gpu = device("mps", 0, "Apple M2", None)
    assert torch_build.detect(machine(tmp_path, **mac), (gpu,), ()).fits is True


def test_no_torch_at_all_is_said(tmp_path: Path) -> None:
    found = torch_build.detect(machine(tmp_path), (), ())
    assert (found.fits, found.problem, found.remedy) == (False, "torch is not installed", "pip install torch")
    with_gpu = torch_build.detect(machine(tmp_path), (H100,), nvidia("580.95"))
    assert with_gpu.remedy is not None
    assert with_gpu.remedy.endswith("/cu130")


def test_the_torch_of_this_environment_is_read_right() -> None:
    import torch

    from slipway.launcher.hardware.probes.sources import Sources

    found = torch_build.detect(Sources(), (), ())
    assert found.version == torch.__version__
    assert (found.kind == "cuda") == (torch.version.cuda is not None)


@pytest.mark.parametrize(
    ("installed", "accelerator", "drivers", "problem", "remedy"),
    [
        (CPU_BUILD, H100, nvidia("580.95.05"), "1 x NVIDIA H100, but torch 2.9.1+cpu is CPU-only", "index>/cu130$"),
        (CPU_BUILD, H100, nvidia("535.104.05"), "CPU-only", "index>/cu126$"),
        (CPU_BUILD, cuda(0, "RTX 5090", 32, (12, 0)), nvidia("570.86"), "CPU-only", "index>/cu128$"),
        (CPU_BUILD, cuda(0, "V100", 16, (7, 0)), nvidia("580.95"), "CPU-only", "index>/cu126$"),
        (CPU_BUILD, MI300X, (), "CPU-only", "index>/rocm"),
        (build("cuda", "12.6", "+cu126"), MI300X, (), "is built for cuda", "index>/rocm"),
        (build("cuda", "12.6", ""), device("npu", 0, "Ascend910B", 64), (), "torch_npu is not installed", "torch_npu"),
        (
            build("cuda", "13.0", "+cu130"),
            H100,
            nvidia("535.104.05"),
            "needs driver 580.0, here is 535.104.05",
            "update",
        ),
        (build("cuda", "12.6", "+cu126"), H100, nvidia("470.57"), "needs driver 525.60, here is 470.57", "update"),
        (build("cuda", "12.6", "+cu126"), cuda(0, "B200", 180, (10, 0)), nvidia("570.86"), "needs CUDA 12.8", "cu128"),
        (
            build("cuda", "13.0", "+cu130"),
            cuda(0, "V100", 16, (7, 0)),
            nvidia("580.95"),
            "no longer supported",
            "cu126",
        ),
    ],
)
def test_a_torch_that_does_not_fit_is_named_with_its_remedy(
    installed: object, accelerator: Accelerator, drivers: tuple[Driver, ...], problem: str, remedy: str
) -> None:
    found = find_problem(installed, (accelerator,), drivers)  # type: ignore[arg-type]
    assert found is not None
    assert problem in found[0]
    assert re.search(remedy, found[1])


@pytest.mark.parametrize(
    ("installed", "accelerators", "drivers"),
    [
        (CPU_BUILD, (), ()),
        (build("cuda", "12.6", "+cu126"), (H100,), nvidia("535.104.05")),
        (build("cuda", "12.6", "+cu126"), (), ()),
        (build("cuda", "13.0", "+cu130"), (cuda(0, "T4", 15, (7, 5)),), nvidia("580.65.06")),
        (build("rocm", "6.4", "+rocm6.4"), (MI300X,), ()),
        (build("cpu", None, "+cpu", ("torch_npu",)), (device("npu", 0, "Ascend910B", 64),), ()),
        (build("cuda", "12.6", "+cu126"), (device("xpu", 0, "Arc", 16), H100), nvidia("560.0")),
    ],
)
def test_a_torch_that_serves_a_device_here_fits(
    installed: object, accelerators: tuple[Accelerator, ...], drivers: tuple[Driver, ...]
) -> None:
    assert find_problem(installed, accelerators, drivers) is None  # type: ignore[arg-type]
