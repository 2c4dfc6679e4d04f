"""How a run is computed: processes, devices, shares, micro-batches. It may change at any step and never changes the math."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..batches.share import share_counts
from ..common.errors import UserError

MemoryFormat = Literal["auto", "contiguous", "channels_last"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of this run, the same in every process."""

    world_size: int
    device: str
    """Kind of the device each process computes on, such as `cpu` or `cuda`."""
    device_name: str
    micro_batch_size: int | None
    """Most samples in one forward pass; none: a rank's whole share."""
    gradient_accumulation: int
    """Micro-batches of the rank with the largest share, for a full global batch."""
    share_weights: tuple[float, ...]
    """One for each rank."""
    reduction: Literal["flat", "overlap"]
    """One all-reduce after the micro-batches, or one for each bucket during the last backward pass."""
    bucket_bytes: int | None = None
    """Of gradients that are reduced together with `overlap`; none until the model is made, and where nothing overlaps."""
    sharding: Literal["replicate", "fsdp"] = "replicate"
    """Every rank holds all parameters, or its rows of each, by torch's FSDP2."""
    memory_format: MemoryFormat = "contiguous"
    """In which images and the weights of 2-D convolutions lie; `auto` until the model is made, which decides."""
    compile_backend: str | None = None
    """torch.compile's backend for the forward and backward pass; none: they run as written."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: slower, in less memory, the same numbers."""
    num_workers: int
    """Threads that prepare micro-batches ahead; 0: the training thread does."""
    most_workers: int | None = None
    """As many of them as there may be where the loop is seen to wait for data; none: their number stays."""
    threads_per_process: int
    reasons: tuple[tuple[str, str], ...] = ()
    """(field, why it is so)."""

    @classmethod
    def alone(cls, device: str = "cpu") -> Plan:
        """Return the plainest plan: one process, whole batches, nothing ahead."""
        return cls(
            world_size=1,
            device=device,
            device_name=device,
            micro_batch_size=None,
            gradient_accumulation=1,
            share_weights=(1.0,),
            reduction="flat",
            num_workers=0,
            threads_per_process=1,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, as they stand in `run.json`."""
        return {**asdict(self), "share_weights": list(self.share_weights), "reasons": dict(self.reasons)}


def plan_shares(share_weights: tuple[float, ...] | None, world_size: int) -> tuple[float, ...]:
    """Return a weight for each rank. Raises `UserError` where their number is not that of the processes."""
    if share_weights is None:
        return (1.0,) * world_size
    if len(share_weights) != world_size:
        raise UserError(
            f"--share-weights: {len(share_weights)} weights for {world_size} "
            f"process{'es' if world_size > 1 else ''}; give one for each"
        )
    return share_weights


def plan_micro_batches(
    global_batch_size: int,
    share_weights: tuple[float, ...],
    micro_batch_size: int | None,
    gradient_accumulation: int | None,
) -> tuple[int | None, int]:
    """Return micro-batch size and gradient accumulation; what was given sets the other, by the largest share.

    With a global batch of 64 on two ranks: accumulation 4 gives a micro-batch of 8, a micro-batch of 5 accumulation 7.
    """
    largest_share = int(share_counts(global_batch_size, share_weights).max())
    if gradient_accumulation is not None:
        if gradient_accumulation > largest_share:
            raise UserError(
                f"--gradient-accumulation: {gradient_accumulation} micro-batches from {largest_share} samples "
                f"a process; give at most {largest_share}"
            )
        micro_batch_size = -(-largest_share // gradient_accumulation)
    if micro_batch_size is None:
        return None, 1
    return micro_batch_size, -(-largest_share // micro_batch_size)
