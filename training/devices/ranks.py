"""The collectives outside a step, over the process group of the Accelerator; each docstring says what all ranks agree on."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist

from ..common.errors import UserError
from .world import launched_world


class Ranks:
    """This process and its place among those that train together."""

    def __init__(self, rank: int, size: int, local_rank: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self.device = device

    @classmethod
    def alone(cls, device: torch.device | str = "cpu") -> Ranks:
        """Return the only rank of a world of one."""
        return cls(rank=0, size=1, local_rank=0, device=torch.device(device))

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and prints."""
        return self.rank == 0

    @property
    def sharing_memory(self) -> int:
        """How many processes share the memory of this rank's device: on a CPU, all of its host."""
        return (launched_world().local_size or self.size) if self.device.type == "cpu" else 1

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over the ranks in place: all agree on the total."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
        return tensor

    def broadcast_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy rank 0's tensor to every rank, in place."""
        if self.size > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            self.sum_(torch.zeros(1, device=self.device))

    def minimum(self, value: int) -> int:
        """Return the smallest of the ranks' values on every rank."""
        if self.size == 1:
            return value
        smallest = torch.tensor([value], device=self.device)
        dist.all_reduce(smallest, op=dist.ReduceOp.MIN)
        return int(smallest)

    def broadcast_text(self, text: str, source: int = 0) -> str:
        """Return the text of rank `source` on every rank."""
        if self.size == 1:
            return text
        content = np.frombuffer(text.encode(), dtype=np.uint8)
        length = torch.tensor([len(content)], device=self.device)
        dist.broadcast(length, src=source)
        received = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.rank == source:
            received.copy_(torch.from_numpy(content.copy()))
        dist.broadcast(received, src=source)
        return received.cpu().numpy().tobytes().decode()

    def raise_on_all_ranks(self, error: UserError | None) -> None:
        """Raise on every rank the error of the lowest rank that has one: all stop, or all continue."""
        failed = torch.zeros(self.size, dtype=torch.int32, device=self.device)
        failed[self.rank] = int(error is not None)
        ranks = self.sum_(failed).nonzero().flatten().tolist()
        if not ranks:
            return
        message = self.broadcast_text(str(error), source=ranks[0])
        raise UserError(message) from error
