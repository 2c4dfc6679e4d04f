"""The world of a process: the ranks that train together, who watches, and what asks to stop. It is started once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..common.errors import UserError
from ..config.intervals import Interval
from ..config.methods import Methods
from ..config.recipe import MixedPrecision
from ..devices.interruption import StopRequest
from ..devices.manager import DeviceManager, make_accelerator
from ..devices.ranks import Ranks
from ..devices.world import check_world, end_accelerator, launched_world
from ..observers.events import Observers
from .planning import accelerate_says
from .training_config import TrainingConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

_LONGEST_WAIT_SECONDS = 7 * 24 * 3600.0
"""Longest wait of a collective with `--hang-timeout never`."""

_NO_METHODS = Methods()


@dataclass(frozen=True, kw_only=True)
class World:
    """What the trainings of a process share: the ranks, who watches, and what a new run is resolved for."""

    ranks: Ranks
    num_processes: int
    """For which the recipe of a new run is resolved."""
    mixed_precision: MixedPrecision
    """In which a new run trains."""
    planned_batch: int | None
    """The global batch that the launch was planned for, if it was."""
    observers: Observers
    stop: StopRequest
    part: Mapping[str, Any] | None = None
    """The options by which the next run differs from the study that it is a part of; None: it is none."""
    methods: Methods = _NO_METHODS
    """The optimizer and the schedule that the caller gives."""


def start_world(config: TrainingConfig) -> tuple[Accelerator, Ranks]:
    """Connect the processes of this launch. Raises `UserError` for a world that cannot train, or not as asked for."""
    size = launched_world().size
    if size > 1 and not config.use_data_parallel:
        raise UserError(f"--no-data-parallel: {size} processes were started; start one, or drop the flag")
    for sharding in ("DEEPSPEED", "MEGATRON_LM"):
        if accelerate_says(f"ACCELERATE_USE_{sharding}") in ("1", "true"):
            raise UserError(
                f"ACCELERATE_USE_{sharding}: the launcher's config, or another launch, asks for {sharding}, which training "
                "does not do: use MULTI_GPU or FSDP, or unset it"
            )
    # A fall-back to one device is reported with the other decisions, once there is a screen and a journal.
    device = DeviceManager.detect_best_device(config.device, multi_gpu=False)
    hang = hang_seconds(config)
    accelerator = make_accelerator(
        device=config.device,
        mixed_precision=config.mixed_precision,
        # Later than the watchdog, which leaves the stacks.
        timeout_seconds=_LONGEST_WAIT_SECONDS if hang is None else 60.0 + hang,
    )
    try:
        check_world(accelerator, device.type)
    except BaseException:
        end_accelerator(accelerator)
        raise
    ranks = Ranks(
        rank=accelerator.process_index,
        size=accelerator.num_processes,
        local_rank=accelerator.local_process_index,
        device=accelerator.device,
    )
    return accelerator, ranks


def hang_seconds(config: TrainingConfig) -> float | None:
    """Return after how long without progress a run ends; None: never."""
    interval = Interval.parse(config.hang_timeout, "hang_timeout")
    return None if interval is None else interval.count
