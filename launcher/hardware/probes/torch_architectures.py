"""Which GPU architectures a torch build has code for: its own list, which a child process asks, else a dated table.

The table is of PyTorch's wheels for Linux and Windows as of November 2026, from its release matrix and the RFCs that dropped
architectures (pytorch issues 157517, 172352, 190355).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ....training.common.conversion import convert
from ..record import Accelerator, TorchBuild
from .sources import ProbeError, Sources

_TIME_LIMIT_SECONDS = 60.0  # importing torch from a cold disk
_ALWAYS_BUILT = {(7, 5), (8, 0), (8, 6), (8, 9), (9, 0)}  # every wheel since CUDA 11.8 has code for these


def ask(sources: Sources, accelerators: Iterable[Accelerator]) -> tuple[str, ...]:
    """Return the architectures that the installed torch names (`sm_90`, `compute_120`); nothing where it was not asked.

    Importing torch takes seconds, so it is asked only about GPUs that not every build serves.
    """
    capabilities = {one.compute_capability for one in accelerators if one.kind == "cuda"}
    if capabilities <= _ALWAYS_BUILT | {None}:
        return ()
    try:
        answer = sources.ask(__name__, (), _TIME_LIMIT_SECONDS)
    except ProbeError:
        return ()
    found: tuple[str, ...] = convert(answer, tuple[str, ...], "torch.cuda.get_arch_list()")
    return found


def missing(build: TorchBuild, capability: tuple[int, int]) -> str | None:
    """Return why a CUDA build has no code for a compute capability, or None where it has or nothing is known. Pure."""
    if build.architectures:
        if _served(build.architectures, capability):
            return None
        return f"torch {build.version} has code for {' '.join(build.architectures)}"
    cuda = numbers(build.toolkit_version or "")
    oldest = _oldest(numbers(build.version or ""), cuda) if _is_wheel(build) else ((7, 5) if cuda >= (13,) else (0, 0))
    shown = f"torch {build.version} (CUDA {build.toolkit_version})"
    if capability < oldest:
        return f"{shown} has no code for less than {oldest[0]}.{oldest[1]}"
    needed = (13, 0) if capability[0] == 11 else (12, 8) if capability >= (10, 0) else (0, 0)
    return f"{shown} has no code for it, CUDA {needed[0]}.{needed[1]} is the first that has" if cuda < needed else None


def _served(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Return whether code for one of them runs: of the same major and no newer minor, or PTX that is no newer."""
    for name in architectures:
        kind, _, number = name.partition("_")
        digits = number.rstrip("af")
        if not digits.isdigit():
            continue
        built = divmod(int(digits), 10)
        if kind == "compute" and built <= capability:
            return True
        if built == capability or (built[0] == capability[0] and built <= capability and not number.endswith("a")):
            return True
    return False


def _is_wheel(build: TorchBuild) -> bool:
    """Return whether a version is one of PyTorch's wheels: others, such as NVIDIA's containers, have lists of their own."""
    release, _, local = (build.version or "").partition("+")
    return release.replace(".", "").isdigit() and (not local or local.startswith("cu"))


def _oldest(torch: tuple[int, ...], cuda: tuple[int, ...]) -> tuple[int, int]:
    """Return the oldest capability in a wheel: from CUDA 12.8 on no Maxwell and Pascal; Volta only in torch 2.8 to 2.10."""
    if cuda >= (13,):
        return 7, 5
    if cuda >= (12, 8):
        return (7, 0) if (2, 8) <= torch <= (2, 10) else (7, 5)
    return 5, 0


def numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version: `2.9.1+cu126` gives (2, 9)."""
    parts = version.split("+")[0].split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit())


def _main() -> None:
    import json

    import torch

    flags: Any = torch.cuda.get_arch_list()
    print(json.dumps(flags))


if __name__ == "__main__":
    _main()
