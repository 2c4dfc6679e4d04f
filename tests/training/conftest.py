"""A plain start for every test, and machines to pretend."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch

from slipway.training.data.prepared import content
from slipway.training.devices import world

LAUNCHER_VARIABLES = (
    "ACCELERATE_",
    "TORCHELASTIC_",
    "OMP_",
    "PMI_",
    "OMPI_",
    "MV2_",
    "MPI_",
    "MASTER_",
    "CUDA_VISIBLE",
)
WORLD_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")


@pytest.fixture(autouse=True)
def plain_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts as plain `python` would, with nothing said yet."""
    for name in list(os.environ):
        if name in WORLD_VARIABLES or name.startswith(LAUNCHER_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setattr(world, "_logged", set())
    threads = torch.get_num_threads()
    logger = logging.getLogger("slipway")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before
    torch.set_num_threads(threads)


@pytest.fixture
def accelerate_state() -> Iterator[None]:
    yield
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)


@pytest.fixture
def training_in_this_process(accelerate_state: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a run sets for its process: accelerate's state, and the threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once: when a file was last touched cannot be set back."""
    monkeypatch.setattr(content, "_RACY_SECONDS", -60.0)


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that the machine has these devices: `devices(cuda=2)`."""

    def pretend(**counts: int) -> None:
        for kind in ("cuda", "xpu", "npu", "hpu"):
            count = counts.get(kind, 0)
            fake = SimpleNamespace(is_available=lambda n=count: n > 0, device_count=lambda n=count: n)
            if kind in ("cuda", "xpu"):
                monkeypatch.setattr(getattr(torch, kind), "is_available", fake.is_available)
                monkeypatch.setattr(getattr(torch, kind), "device_count", fake.device_count)
            elif count:
                monkeypatch.setattr(torch, kind, fake, raising=False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: counts.get("mps", 0) > 0)

    return pretend


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Pretend a CUDA device that has bf16 natively, or that only emulates it as a T4 does."""

    def pretend(native: bool) -> None:
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation
        )
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "H100" if native else "Tesla T4")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0) if native else (7, 5))

    return pretend
