"""One comparison on the sign model: the loop by hand and Slipway in turn, in the same ranks, with their weights compared.

python -m benchmarks.side_by_side --case '{"clips": "real", ...}' --output FILE      on every rank: see `measure`
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks import sign_loops
from benchmarks.measure import Cost, Ratio, cpu, in_turn, wall
from benchmarks.slipway_side import Trained
from benchmarks.workers import run_ranks
from slipway.training.devices.manager import make_accelerator
from slipway.training.devices.ranks import Ranks
from slipway.training.devices.world import leave_group

BY_HAND, SLIPWAY = "plain PyTorch", "Slipway"
SAME_WEIGHTS = 1e-5
_EQUAL_BATCHES = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is compared."""

    clips: Literal["real", "default", "equal"]
    """Real lengths, the default recipe's, or all 32 frames."""
    num_ranks: int = 1
    augments: bool = False
    epochs: int = 4
    num_batches: int | None = None
    """Most global batches in an epoch; none: all."""
    accumulation: int | None = None
    """Micro-batches of equal size in a step of either side; none: the loop by hand takes whole batches, Slipway chooses."""
    threads: int = 1
    """Of each rank, on both sides."""
    rounds: int = 5


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a comparison found."""

    data: str
    samples: int
    """That one side trains on in a round."""
    costs: dict[str, list[Cost]]
    """CPU time is that of all ranks."""
    difference: float
    """max|a - b| / max|w| of the final weights."""
    micro_batch_size: int
    """Slipway's."""

    def ratios(self, name: str, *, at_least: float | None) -> list[Ratio]:
        """Return Slipway's samples a second over the other's, both by wall time and by CPU time, and the difference."""
        hand, ours = self.costs[BY_HAND], self.costs[SLIPWAY]
        return [
            Ratio.of(f"{name}: samples/s", wall(hand), wall(ours), at_least=at_least),
            Ratio.of(f"{name}: samples per CPU second", cpu(hand), cpu(ours)),
            Ratio.single(f"{name}: difference of weights", self.difference, at_most=SAME_WEIGHTS),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return what was found as plain values, with samples a second for each round."""
        rates = {side: [self.samples / cost.wall_seconds for cost in costs] for side, costs in self.costs.items()}
        return {**asdict(self), "samples_per_second": rates}


def measure(case: Case) -> Found:
    """Compare both sides in fresh processes, with nothing remembered of micro-batch sizes. Raises `RuntimeError`."""
    found = run_ranks("benchmarks.side_by_side", case.num_ranks, ["--case", json.dumps(asdict(case))])
    costs = {side: [Cost(**cost) for cost in rounds] for side, rounds in found.pop("costs").items()}
    return Found(costs=costs, **found)


def compare(case: Case, ranks: Ranks) -> Found:
    """Run both sides in turn as one of the ranks."""
    recipe = sign_loops.make_recipe(ranks.size, epochs=case.epochs, augments=case.augments)
    batch = recipe.resolved.global_batch_size
    makers: dict[str, Callable[[], sign_loops.Clips]] = {
        "real": sign_loops.real_clips,
        "default": sign_loops.default_clips,
        "equal": partial(sign_loops.equal_clips, (case.num_batches or _EQUAL_BATCHES) * batch, 32),
    }
    clips = sign_loops.whole_batches(makers[case.clips](), batch, at_most=case.num_batches)
    accumulation = case.accumulation or 1
    micro_batch_size = None if case.accumulation is None else batch // ranks.size // accumulation
    last: dict[str, Trained] = {}

    def side(name: str, train: Callable[[], Trained]) -> Cost:
        last[name] = trained = train()
        seconds = torch.tensor(trained.cost.cpu_seconds, dtype=torch.float64)
        return Cost(wall_seconds=trained.cost.wall_seconds, cpu_seconds=float(ranks.sum_(seconds)))

    hand = partial(sign_loops.train_by_hand, clips, recipe, ranks, accumulation=accumulation)
    ours = partial(
        sign_loops.train_by_slipway,
        clips,
        recipe,
        ranks,
        micro_batch_size=micro_batch_size,
        accumulation=accumulation,
    )
    costs = in_turn({BY_HAND: partial(side, BY_HAND, hand), SLIPWAY: partial(side, SLIPWAY, ours)}, case.rounds)
    assert last[BY_HAND].steps == last[SLIPWAY].steps
    return Found(
        data=clips.name,
        samples=last[SLIPWAY].steps * batch,
        costs=costs,
        difference=sign_loops.difference(last[SLIPWAY], last[BY_HAND]),
        micro_batch_size=last[SLIPWAY].micro_batch_size,
    )


def main() -> None:
    """Compare on this rank; rank 0 writes what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--case", required=True)
    parser.add_argument("--output", required=True, type=Path)
    options = parser.parse_args()
    case = Case(**json.loads(options.case))
    accelerator = make_accelerator(device="cpu", mixed_precision="no")
    torch.set_num_threads(case.threads)
    rank = accelerator.process_index
    ranks = Ranks(rank=rank, size=accelerator.num_processes, local_rank=rank, device=torch.device("cpu"))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        found = compare(case, ranks)
    if ranks.is_main:
        options.output.write_text(json.dumps(asdict(found)), encoding="utf-8")
    leave_group()


if __name__ == "__main__":
    main()
