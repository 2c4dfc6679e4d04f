"""Sum gradients over the ranks: all at once, or bucket by bucket during the last backward pass."""

from __future__ import annotations

from functools import partial

import torch
import torch.distributed as dist

from ..devices.ranks import Ranks
from .parameters import ParameterStore


class GradientReduction:
    """Sums the flat gradients and the ledger behind them.

    A bucket is a slice of the flat buffer, so nothing is packed. Buckets are reduced in one order on every rank, from the
    end of the buffer (where the last layers' matrices are) to its start, the one with the ledger last: a rank that has no
    sample, does not use a parameter or failed halfway takes part all the same.
    """

    def __init__(self, parameters: ParameterStore, ranks: Ranks, bucket_bytes: int | None = None) -> None:
        self._parameters = parameters
        self._ranks = ranks
        self._work: list[dist.Work] = []
        self._armed = False
        self.num_launched = 0
        """Buckets of the present step whose reduction has begun."""
        self.buckets, owners = split_buckets(parameters, bucket_bytes or parameters.all_gradients.nbytes)
        self._missing_at_start = [owners.count(bucket) for bucket in range(len(self.buckets))]
        self._missing: list[int] = []
        if ranks.size > 1:
            for parameter, bucket in zip(parameters.tensors, owners, strict=True):
                trained = parameter.requires_grad
                parameter.requires_grad_(True)  # a frozen one, which a later stage may train, takes no hook
                parameter.register_post_accumulate_grad_hook(partial(self._on_gradient, bucket))
                parameter.requires_grad_(trained)

    def overlap(self) -> None:
        """Reduce during the next backward pass, which is the step's last."""
        self._missing = list(self._missing_at_start)
        self._armed = self._ranks.size > 1

    def finish(self, *, overlapped: bool) -> None:
        """Reduce what is not yet reduced, and wait: all ranks then hold the same sums.

        `overlapped` is the same on every rank: whether some may have reduced buckets already.
        """
        self._armed = False
        if self._ranks.size == 1:
            return
        if not overlapped:
            self._ranks.sum_(self._parameters.all_gradients)
            return
        while self.num_launched < len(self.buckets):
            self._launch()
        for work in self._work:
            work.wait()
        self._work, self.num_launched = [], 0

    def gradient_norm(self) -> torch.Tensor:
        """Return the norm of the reduced gradient, a scalar on the device."""
        return torch.linalg.vector_norm(self._parameters.gradients)

    def _on_gradient(self, bucket: int, parameter: torch.Tensor) -> None:
        if not self._armed:
            return
        self._missing[bucket] -= 1
        # The last bucket holds the ledger, which is complete only after the pass.
        while self.num_launched < len(self.buckets) - 1 and self._missing[self.num_launched] <= 0:
            self._launch()

    def _launch(self) -> None:
        work = dist.all_reduce(self._parameters.all_gradients[self.buckets[self.num_launched]], async_op=True)
        assert work is not None
        self._work.append(work)
        self.num_launched += 1


def split_buckets(parameters: ParameterStore, bucket_bytes: int) -> tuple[list[slice], list[int]]:
    """Return the buckets in the order of their reduction, and the bucket of each parameter."""
    decayed = parameters.decayed_values.numel()
    smallest = bucket_bytes // parameters.values.element_size()
    # Biases and norms, those of all layers, are complete only at the end: they go with the ledger.
    edges = [decayed]
    for start in reversed([start for start in parameters.starts if start < decayed]):
        if edges[-1] - start >= smallest:
            edges.append(start)
    if edges[-1] != 0:
        edges.append(0)
    pairs = zip(edges[1:], edges[:-1], strict=True)
    buckets = [slice(start, stop) for start, stop in pairs] + [slice(decayed, parameters.all_gradients.numel())]
    owners = [
        next(number for number, bucket in enumerate(buckets) if bucket.start <= start < bucket.stop)
        for start in parameters.starts
    ]
    return buckets, owners
