"""The order, the shares and the cursor of a run for thousands of ranks and a billion samples, and the memory that they take.

python -m benchmarks.virtual_ranks [--ranks 4096] [--samples 1000000000] [--every 1]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import tracemalloc
from dataclasses import asdict, dataclass

import numpy as np

from slipway.training.batches.order import Order
from slipway.training.batches.sampler import EpochSampler
from slipway.training.batches.share import rank_positions
from slipway.training.loop.progress import Progress

NUM_RANKS, NUM_SAMPLES, SAMPLES_PER_RANK = 4096, 10**9, 2
MOST_BYTES = 200 * 10**6
_EPOCH = 3


@dataclass(frozen=True, kw_only=True)
class VirtualWorld:
    """What was seen of it."""

    num_ranks: int
    num_samples: int
    steps: list[int]
    """Steps of the epoch that were drawn on every rank."""
    samplers: int
    """Ranks whose sampler was made and gave the rank's samples, in each of the steps."""
    seconds: float
    peak_bytes: int
    """Most that Python and numpy held beside what is imported."""
    process_bytes: int
    """Most memory of the process, torch included."""


def run_virtual_ranks(num_ranks: int, num_samples: int, every: int) -> VirtualWorld:
    """Draw the first, a middle and the last step of an epoch on all ranks, each from a cursor that was saved and read again.

    The shares of all ranks must be the global batch, each sample once; the sampler of each `every`-th rank must give what its
    share is. Raises `AssertionError` where they do not.
    """
    batch_size = num_ranks * SAMPLES_PER_RANK
    order, weights = Order(seed=1, num_samples=num_samples), (1.0,) * num_ranks
    last = order.num_steps(batch_size) - 1
    steps, ranks = [0, last // 2, last], range(0, num_ranks, every)
    shared: set[int] = set()
    tracemalloc.start()
    started = time.perf_counter()
    for step in steps:
        saved = json.dumps(Progress(epoch_in_stage=_EPOCH, step_in_epoch=step, step=step).state())
        cursor = Progress.from_state(json.loads(saved))
        batch = order.batch(cursor.epoch_in_stage, cursor.step_in_epoch, batch_size)
        assert len(batch) == min(batch_size, num_samples - step * batch_size), "the last batch alone is short"
        if len(batch) not in shared:
            shared.add(len(batch))
            owned = np.concatenate([rank_positions(len(batch), rank, weights) for rank in range(num_ranks)])
            assert np.array_equal(np.sort(owned), np.arange(len(batch))), "a position has one owner"
        assert len(np.unique(batch)) == len(batch), "a sample is drawn once"
        for rank in ranks:
            sampler = EpochSampler(
                order=order,
                costs=None,
                global_batch_size=batch_size,
                rank=rank,
                share_weights=weights,
                micro_batch_size=lambda: batch_size,
            )
            work = next(sampler.epoch(cursor.epoch_in_stage, cursor.step_in_epoch))
            mine = np.concatenate([np.empty(0, dtype=np.int64), *work.micro_batches])
            assert np.array_equal(mine, batch[rank_positions(len(batch), rank, weights)]), f"rank {rank}, step {step}"
    seconds = time.perf_counter() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return VirtualWorld(
        num_ranks=num_ranks,
        num_samples=num_samples,
        steps=steps,
        samplers=len(ranks),
        seconds=seconds,
        peak_bytes=peak,
        process_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def main() -> int:
    """Print what was seen as JSON; return 1 where it took more memory than it may."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--ranks", type=int, default=NUM_RANKS)
    parser.add_argument("--samples", type=int, default=NUM_SAMPLES)
    parser.add_argument("--every", type=int, default=1, help="make the sampler of every so many ranks [1]")
    options = parser.parse_args()
    world = run_virtual_ranks(options.ranks, options.samples, options.every)
    print(json.dumps(asdict(world)))
    return int(world.peak_bytes > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
