"""Probe the installed torch without importing it: its build, and whether it can use the accelerators."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ..record import Accelerator, Driver, TorchBuild
from . import torch_architectures
from .sources import Sources, read_text
from .torch_architectures import numbers

_BuildKind = Literal["cuda", "rocm", "xpu", "mps", "cpu"]
# Names in torch/version.py -> the kind of build.
_BUILDS: tuple[tuple[str, _BuildKind], ...] = (("cuda", "cuda"), ("hip", "rocm"), ("xpu", "xpu"))
_EXTENSIONS = ("torch_npu", "habana_frameworks")
_INDEX = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/"
_JETSON = "pip install --force-reinstall torch --index-url https://pypi.jetson-ai-lab.io/jp6/cu126"


def detect(sources: Sources, accelerators: Sequence[Accelerator], drivers: Sequence[Driver]) -> TorchBuild:
    """Return the build from `torch/version.py`, which is parsed and never run."""
    build = _installed(sources)
    if build.kind == "cuda":
        build = replace(build, architectures=torch_architectures.ask(sources, accelerators))
    found = find_problem(build, accelerators, drivers)
    return build if found is None else replace(build, fits=False, problem=found[0], remedy=found[1])


def _installed(sources: Sources) -> TorchBuild:
    folder = sources.package("torch")
    if folder is None:
        return TorchBuild(
            version=None,
            kind=None,
            toolkit_version=None,
            extensions=(),
            fits=False,
            problem="torch is not installed",
            remedy="pip install torch",
        )
    values = _constants(read_text(folder / "version.py") or "")
    plain: _BuildKind = "mps" if sources.platform == "darwin" and sources.architecture == "arm64" else "cpu"
    built = [(kind, values[name]) for name, kind in _BUILDS if values.get(name)]
    kind, toolkit_version = built[0] if built else (plain, None)
    return TorchBuild(
        version=values.get("__version__") or _metadata_version(),
        kind=kind,
        toolkit_version=toolkit_version,
        extensions=tuple(name for name in _EXTENSIONS if sources.package(name) is not None),
        fits=True,
        problem=None,
        remedy=None,
    )


def _constants(source: str) -> dict[str, str]:
    """Return the top-level names of Python source that are set to a string, annotated or not."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return {}
    found = {}
    for statement in body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.update({target.id: value.value for target in targets if isinstance(target, ast.Name)})
    return found


def _metadata_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # costs 20 ms, needed only for an odd build

    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def find_problem(
    build: TorchBuild, accelerators: Sequence[Accelerator], drivers: Sequence[Driver]
) -> tuple[str, str] | None:
    """Return (problem, remedy) of a build on this hardware, or None where it fits. Pure."""
    if build.version is None:
        remedy = _remedy(accelerators, drivers) or "pip install torch"
        return "torch is not installed", remedy.replace("--force-reinstall ", "")
    kinds = list(dict.fromkeys(accelerator.kind for accelerator in accelerators))
    if not kinds or any(supports(build, kind) for kind in kinds):
        return _too_old_or_new(build, accelerators, drivers)
    here = f"{len(accelerators)} x {accelerators[0].name}"
    built = "CPU-only" if build.kind == "cpu" else f"built for {build.kind}"
    if kinds[0] in ("npu", "hpu"):
        missing = _EXTENSIONS[("npu", "hpu").index(kinds[0])]
        return f"{here}, but {missing} is not installed", _remedy(accelerators, drivers) or ""
    return f"{here}, but torch {build.version} is {built}", _remedy(accelerators, drivers) or ""


def supports(build: TorchBuild, kind: str) -> bool:
    """Return whether a torch build can use devices of a kind."""
    return (
        build.kind == kind
        or (kind == "npu" and "torch_npu" in build.extensions)
        or (kind == "hpu" and "habana_frameworks" in build.extensions)
    )


# The oldest Linux driver of each major CUDA version (NVIDIA's CUDA compatibility guide: minor versions are compatible).
_OLDEST_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 0)}
_VOLTA, _TURING, _BLACKWELL = (7, 0), (7, 5), (10, 0)
_PROCESSOR_GRAPHICS = {"gfx902", "gfx909", "gfx90c", "gfx1033", "gfx1035", "gfx1036", "gfx1037"}  # in no wheel for ROCm
_TEGRA = {(5, 3), (6, 2), (7, 2), (8, 7)}  # Jetson boards before Thor, which PyTorch's own wheels do not serve


def _too_old_or_new(
    build: TorchBuild, accelerators: Sequence[Accelerator], drivers: Sequence[Driver]
) -> tuple[str, str] | None:
    """Return (problem, remedy) where the CUDA version of torch does not fit the driver or the GPUs, else None."""
    if build.kind != "cuda" or build.toolkit_version is None:
        return None
    cuda = numbers(build.toolkit_version)
    remedy = _remedy(accelerators, drivers) or ""
    for driver in drivers:
        oldest = _OLDEST_DRIVER.get(cuda[0]) if cuda else None
        if driver.kind == "cuda" and oldest and numbers(driver.version) < oldest:
            needed = ".".join(map(str, oldest))
            problem = (
                f"torch {build.version} (CUDA {build.toolkit_version}) needs driver {needed}, here is {driver.version}"
            )
            return problem, f"update the NVIDIA driver, or {remedy}"
    without = {one.index: why for one in accelerators if (why := lacks(build, one)) is not None}
    served = [one for one in accelerators if one.kind == "cuda" and one.index not in without]
    if not without or served:  # what is not served is left out of a plan, see `lacks`
        return None
    first = next(one for one in accelerators if one.index in without)
    return without[first.index], remedy


def lacks(build: TorchBuild, accelerator: Accelerator) -> str | None:
    """Return why a build has no code for a GPU, or None where it has or nothing is known. Pure."""
    if build.kind == accelerator.kind == "rocm" and accelerator.architecture in _PROCESSOR_GRAPHICS:
        name = f"{accelerator.name} ({accelerator.architecture})"
        return f"{name}: torch {build.version} has no code for processor graphics"
    capability = accelerator.compute_capability
    if accelerator.kind != "cuda" or build.kind != "cuda" or capability is None:
        return None
    why = torch_architectures.missing(build, capability)
    return None if why is None else f"{accelerator.name} (compute capability {capability[0]}.{capability[1]}): {why}"


def _remedy(accelerators: Sequence[Accelerator], drivers: Sequence[Driver]) -> str | None:
    """Return the command that installs a torch for the first accelerator, or None without accelerators."""
    if not accelerators:
        return None
    kind = accelerators[0].kind
    if kind == "cuda":
        capabilities = {one.compute_capability for one in accelerators}
        if capabilities & _TEGRA:
            return _JETSON
        known = [one for one in capabilities if one is not None]
        if known and _VOLTA <= min(known) < _TURING and max(known) >= _BLACKWELL:  # no newer wheel serves both
            return _INDEX.replace("torch ", "'torch==2.10.*' ") + "cu128"
        return _INDEX + _cuda_index(accelerators, drivers)
    return {
        "rocm": _INDEX + "rocm6.4",
        "xpu": _INDEX + "xpu",
        "mps": "pip install --force-reinstall torch",
        "npu": "pip install torch_npu",
        "hpu": "use the Gaudi container or habanalabs-installer.sh, which bring habana_frameworks",
    }[kind]


def _cuda_index(accelerators: Sequence[Accelerator], drivers: Sequence[Driver]) -> str:
    """Return PyTorch's wheel index for the oldest GPU here and the installed driver."""
    capabilities = [accelerator.compute_capability for accelerator in accelerators if accelerator.compute_capability]
    driver = next((numbers(driver.version) for driver in drivers if driver.kind == "cuda"), (580, 0))
    if min(capabilities, default=_TURING) < _TURING:
        return "cu126"
    if driver >= _OLDEST_DRIVER[13]:
        return "cu130"
    return "cu128" if max(capabilities, default=_TURING) >= _BLACKWELL else "cu126"
