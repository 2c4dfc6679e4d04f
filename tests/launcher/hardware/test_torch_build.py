"""The installed torch is read without importing it, and judged against the hardware."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from slipway.launcher.hardware.probes import torch_architectures, torch_build
from slipway.launcher.hardware.probes.sources import Sources
from slipway.launcher.hardware.probes.torch_build import find_problem, lacks
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
        (CPU_BUILD, H100, nvidia("580.95.05"), "1 x NVIDIA H100, but torch 2.9.1+cpu is CPU-only", "whl/cu130$"),
        (CPU_BUILD, H100, nvidia("535.104.05"), "CPU-only", "whl/cu126$"),
        (CPU_BUILD, cuda(0, "RTX 5090", 32, (12, 0)), nvidia("570.86"), "CPU-only", "whl/cu128$"),
        (CPU_BUILD, cuda(0, "V100", 16, (7, 0)), nvidia("580.95"), "CPU-only", "whl/cu126$"),
        (CPU_BUILD, MI300X, (), "CPU-only", "whl/rocm"),
        (build("cuda", "12.6", "+cu126"), MI300X, (), "is built for cuda", "whl/rocm"),
        (build("cuda", "12.6", ""), device("npu", 0, "Ascend910B", 64), (), "torch_npu is not installed", "torch_npu"),
        (
            build("cuda", "13.0", "+cu130"),
            H100,
            nvidia("535.104.05"),
            "needs driver 580.0, here is 535.104.05",
            "update",
        ),
        (build("cuda", "12.6", "+cu126"), H100, nvidia("470.57"), "needs driver 525.60, here is 470.57", "update"),
        (
            build("cuda", "12.6", "+cu126"),
            cuda(0, "B200", 180, (10, 0)),
            nvidia("570.86"),
            "CUDA 12.8 is the first",
            "cu128",
        ),
        (
            build("cuda", "13.0", "+cu130"),
            cuda(0, "V100", 16, (7, 0)),
            nvidia("580.95"),
            "no code for less than 7.5",
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
        (build("cuda", "12.8", "+cu128"), (cuda(1, "GTX 1080", 8, (6, 1)), H100), nvidia("580.95")),
        (build("cuda", "12.6", "+cu126"), (device("xpu", 0, "Arc", 16), H100), nvidia("560.0")),
    ],
)
def test_a_torch_that_serves_a_device_here_fits(
    installed: object, accelerators: tuple[Accelerator, ...], drivers: tuple[Driver, ...]
) -> None:
    assert find_problem(installed, accelerators, drivers) is None  # type: ignore[arg-type]


PASCAL, VOLTA, THOR = (6, 1), (7, 0), (11, 0)


@pytest.mark.parametrize(
    ("version", "toolkit", "capability", "is_served"),
    [
        ("2.6.0+cu124", "12.4", PASCAL, True),
        ("2.13.0+cu126", "12.6", PASCAL, True),
        ("2.7.1+cu128", "12.8", PASCAL, False),
        ("2.9.1", "12.8", PASCAL, False),
        ("2.7.1+cu128", "12.8", VOLTA, False),
        ("2.10.0+cu128", "12.8", VOLTA, True),
        ("2.11.0+cu128", "12.8", VOLTA, False),
        ("2.13.0", "13.0", VOLTA, False),
        ("2.8.0a0+34c6371d24.nv25.08", "12.8", PASCAL, True),  # a container has a list of its own
        ("2.9.1+cu128", "12.8", THOR, False),
        ("2.9.1+cu130", "13.0", THOR, True),
        ("2.9.1+cu126", "12.6", (12, 0), False),
        ("2.9.1+cu128", "12.8", (12, 1), True),
    ],
)
def test_what_a_wheel_has_code_for_follows_from_its_versions(
    version: str, toolkit: str, capability: tuple[int, int], is_served: bool
) -> None:
    installed = replace(build("cuda", toolkit, ""), version=version)
    assert (lacks(installed, cuda(0, "GPU", 8, capability)) is None) is is_served


@pytest.mark.parametrize(
    ("architectures", "capability", "is_served"),
    [
        ("sm_70 sm_75 sm_80 sm_86 sm_90", PASCAL, False),
        ("sm_50 sm_60 sm_70", PASCAL, True),
        ("sm_80 sm_90 sm_100 sm_120", THOR, False),
        ("sm_80 compute_80", THOR, True),  # PTX is compiled for what is newer
        ("sm_80 sm_90", (8, 7), True),
        ("sm_86", (8, 0), False),
        ("sm_90a", (9, 0), True),
        ("sm_100a", (10, 3), False),
        ("sm_100f", (10, 3), True),
    ],
)
def test_the_list_of_a_build_counts_more_than_its_version(
    architectures: str, capability: tuple[int, int], is_served: bool
) -> None:
    installed = replace(build("cuda", "12.8", "+cu128"), architectures=tuple(architectures.split()))
    found = find_problem(installed, (cuda(0, "GPU", 8, capability),), nvidia("580.95"))
    assert (found is None) is is_served
    assert is_served or architectures in found[0]  # type: ignore[index]


def test_a_build_is_asked_only_about_a_gpu_that_not_every_build_serves(tmp_path: Path) -> None:
    (tmp_path / "version.py").write_text("__version__ = '2.9.1+cu128'\ncuda = '12.8'\n", encoding="utf-8")
    asked: list[str] = []

    def ask(module: str, arguments: tuple[str, ...], seconds: float) -> list[str]:
        asked.append(module)
        return ["sm_50", "sm_120"]

    sources = machine(tmp_path, package=lambda name: tmp_path if name == "torch" else None, ask=ask)
    assert torch_build.detect(sources, (H100,), nvidia("580.95")).architectures == ()
    assert asked == []
    found = torch_build.detect(sources, (cuda(0, "GTX 970", 4, (5, 2)),), nvidia("580.95"))
    assert (found.architectures, found.fits) == (("sm_50", "sm_120"), True)


def test_the_build_is_asked_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in: no CUDA build is here. It has what such a build answers.
    words = (
        'print("a warning of torch")\nclass cuda:\n    get_arch_list = staticmethod(lambda: ["sm_75", "compute_120"])\n'
    )
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(words, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    blackwell = (cuda(0, "RTX 5090", 32, (12, 0)),)
    assert torch_architectures.ask(Sources(), blackwell) == ("sm_75", "compute_120")
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libcudart is missing')", encoding="utf-8")
    assert torch_architectures.ask(Sources(), blackwell) == ()


@pytest.mark.parametrize(
    ("gpus", "command"),
    [
        ((PASCAL,), "torch --index-url https://download.pytorch.org/whl/cu126"),
        ((VOLTA, (12, 0)), "'torch==2.10.*' --index-url https://download.pytorch.org/whl/cu128"),
        (((8, 7),), "torch --index-url https://pypi.jetson-ai-lab.io/jp6/cu126"),
    ],
)
def test_the_remedy_is_a_command_to_paste(gpus: tuple[tuple[int, int], ...], command: str) -> None:
    found = find_problem(CPU_BUILD, tuple(cuda(i, "GPU", 8, one) for i, one in enumerate(gpus)), nvidia("580.95"))
    assert found is not None
    assert found[1] == f"pip install --force-reinstall {command}"
