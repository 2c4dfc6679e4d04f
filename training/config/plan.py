"""How a run is computed: processes, devices, shares, micro-batches. It may change at any step and never changes the math."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

MemoryFormat = Literal["auto", "contiguous", "channels_last"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of this run, the same in every process."""

    world_size: int
    device: str
    """Kind of the device each process computes on, such as `cpu` or `cuda`."""
    device_name: str
    micro_batch_size: int | None
    """Most samples in one forward pass; None: a rank's complete share."""
    gradient_accumulation: int
    """Micro-batches of the rank with the largest share, for a full global batch."""
    share_weights: tuple[float, ...]
    """One for each rank."""
    reduction: Literal["flat", "overlap"]
    """One all-reduce after the micro-batches, or one for each bucket during the last backward pass."""
    bucket_bytes: int | None = None
    """Of gradients that are reduced together with `overlap`; None until the model is made, and where nothing overlaps."""
    sharding: Literal["replicate", "fsdp"] = "replicate"
    """Every rank holds all parameters, or its rows of each, by torch's FSDP2."""
    memory_format: MemoryFormat = "contiguous"
    """In which images and the weights of 2-D convolutions lie; `auto` until the model is made, which decides."""
    compile_backend: str | None = None
    """torch.compile's backend for the forward and backward pass; None: they run as written."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: slower, in less memory, the same numbers."""
    num_workers: int
    """Threads that prepare micro-batches ahead; 0: the training thread does."""
    most_workers: int | None = None
    """Most of them, where threads are added while the loop waits for data; None: their number stays."""
    threads_per_process: int
    reasons: tuple[tuple[str, str], ...] = ()
    """(field, why it is so)."""

    @classmethod
    def alone(cls, device: str = "cpu") -> Plan:
        """Return the plainest plan: one process, complete batches, nothing prepared ahead."""
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
