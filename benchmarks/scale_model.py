"""How long a step takes on many processes: the cost of an all-reduce, what of it the backward pass hides, stragglers.

A message of n bytes between two processes takes alpha + n * beta seconds: a latency, and the inverse of the bandwidth (R.
Hockney, "The communication challenge for MPP", Parallel Computing 20, 1994). The time to add numbers is part of beta.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

BACKWARD_SHARE = 2 / 3
"""Of a pass: a matrix product forward, two backward."""

USEFUL = 0.5
"""Least efficiency at which another process pays."""

MOST_PROCESSES = 4096


@dataclass(frozen=True, kw_only=True)
class Link:
    """What carries messages between two processes, as much in each direction at once."""

    latency_seconds: float
    bytes_per_second: float


def ring(link: Link, processes: int, num_bytes: float) -> float:
    """Return the seconds of an all-reduce along a ring: 2(p-1) alpha + 2(p-1)/p n beta.

    A reduce-scatter and an all-gather, each of p-1 messages of n/p bytes (P. Patarasuk and X. Yuan, "Bandwidth optimal
    all-reduce algorithms for clusters of workstations", JPDC 69, 2009). What Gloo does.
    """
    messages = 2 * (processes - 1)
    return messages * (link.latency_seconds + num_bytes / processes / link.bytes_per_second)


def tree(link: Link, processes: int, num_bytes: float) -> float:
    """Return the seconds of a reduction to one process and a broadcast, by binomial trees: 2 ceil(lg p) (alpha + n beta).

    R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of collective communication operations in MPICH", IJHPCA 19, 2005.
    """
    return 2 * math.ceil(math.log2(processes)) * (link.latency_seconds + num_bytes / link.bytes_per_second)


def double_tree(link: Link, processes: int, num_bytes: float) -> float:
    """Return the seconds of an all-reduce over two trees, in small pieces: 2 ceil(lg p) alpha + 2 n beta.

    P. Sanders, J. Speck and J. Traeff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan", Parallel
    Computing 35, 2009, with pieces so small that only their latency counts. What NCCL does beside rings.
    """
    hops = math.ceil(math.log2(processes))
    return 2 * (hops * link.latency_seconds + min(1, hops) * num_bytes / link.bytes_per_second)


ALGORITHMS: dict[str, Callable[[Link, int, float], float]] = {"ring": ring, "tree": tree, "double tree": double_tree}


@dataclass(frozen=True, kw_only=True)
class Network:
    """Hosts of equally many processes and what connects them."""

    name: str
    link: Link
    """Between hosts; each process of a host has its own."""
    algorithms: tuple[str, ...] = ("ring",)
    """Of which the fastest is taken."""
    processes_per_host: int = 1
    local: Link | None = None
    """Between the processes of a host."""

    def all_reduce_seconds(self, processes: int, num_bytes: float) -> float:
        """Return the time until every process has the sum of `num_bytes`.

        Within a host a ring scatters and gathers; between hosts each process reduces its part with its like on the others.
        """
        if processes == 1:
            return 0.0
        inside = min(processes, self.processes_per_host)
        hosts = -(-processes // inside)
        seconds = ring(self.local, inside, num_bytes) if self.local is not None else 0.0
        return seconds + min(ALGORITHMS[name](self.link, hosts, num_bytes / inside) for name in self.algorithms)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model, its global batch, and what a step of one process takes."""

    name: str
    gradient_bytes: float
    batch_size: int
    fixed_seconds: float
    """Of a step, however few samples: the update, the loop, the parts of a pass that do not shrink."""
    sample_seconds: float
    """Of each sample, forward and backward."""
    spread: float
    """Standard deviation of the step times of a process, of their mean."""
    num_buckets: int | None = None
    """Buckets whose reduction overlaps the last backward pass, as on an accelerator; None: one reduction after it."""
    micro_batch_size: int | None = None
    """Most samples in a pass: the backward pass of the last one alone hides anything. None: the complete share."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where the seconds of a step go."""

    compute: float
    waiting: float
    """For the slowest process."""
    communication: float
    """What the backward pass does not hide."""

    @property
    def total(self) -> float:
        """Return all of it."""
        return self.compute + self.waiting + self.communication


@functools.cache
def expected_maximum(count: int) -> float:
    """Return the expected maximum of `count` independent standard normal numbers: 0 for one, 0.564 for two."""
    # The integral of P(maximum > x) over x > 0, less that of P(maximum < x) over x < 0.
    points = np.linspace(0.0, 9.0, 3001)
    above, below = (
        np.array([statistics.NormalDist().cdf(sign * point) for point in points]) ** count for sign in (1, -1)
    )
    return float(np.trapezoid(1.0 - above - below, points))


def exposed_seconds(network: Network, processes: int, bucket_bytes: Sequence[float], backward_seconds: float) -> float:
    """Return the time from the end of the backward pass to the end of the last reduction.

    Equal parts of the backward pass complete the buckets in turn; they are reduced one after the other. The last one, of
    biases, norms and the ledger of the step, is complete at the end of the pass, as the one before it.
    """
    finished = 0.0
    for number, num_bytes in enumerate(bucket_bytes, 1):
        ready = backward_seconds * min(1.0, number / max(1, len(bucket_bytes) - 1))
        finished = max(finished, ready) + network.all_reduce_seconds(processes, num_bytes)
    return finished - backward_seconds


def predict(
    workload: Workload,
    network: Network,
    processes: int,
    *,
    compute_slowdown: float = 1.0,
    communication_slowdown: float = 1.0,
) -> Step:
    """Return a step on `processes`, each with an equal share: the largest share decides.

    The slowdowns are those of processes that share a machine's cores.
    """
    share = -(-workload.batch_size // processes)
    passes = share * workload.sample_seconds
    compute = workload.fixed_seconds + passes
    if workload.num_buckets is None:
        communication = network.all_reduce_seconds(processes, workload.gradient_bytes)
    else:
        num_passes = 1 if workload.micro_batch_size is None else -(-share // workload.micro_batch_size)
        # The bucket of biases and norms is small: a message, whose time is its latency.
        buckets = [workload.gradient_bytes / workload.num_buckets] * workload.num_buckets + [0.0]
        communication = exposed_seconds(network, processes, buckets, BACKWARD_SHARE * passes / num_passes)
    return Step(
        compute=compute_slowdown * compute,
        waiting=compute_slowdown * compute * workload.spread * expected_maximum(processes),
        communication=communication_slowdown * communication if processes > 1 else 0.0,
    )


def efficiency(workload: Workload, network: Network, processes: int) -> float:
    """Return the speed on `processes` over that of one, for each process."""
    alone = predict(workload, network, 1).total
    return alone / (processes * predict(workload, network, processes).total)


def most_useful(workload: Workload, network: Network, most: int = MOST_PROCESSES) -> int:
    """Return the largest process count, of whole hosts from one host on, of an efficiency of at least `USEFUL`.

    Each process has a sample in every step: there are at most as many as the batch has.
    """
    most = min(most, workload.batch_size)
    inside = network.processes_per_host
    counts = [*range(1, min(inside, most + 1)), *range(inside, most + 1, inside)]
    return max(count for count in counts if efficiency(workload, network, count) >= USEFUL)
