"""The exactness contract, measured: any plan against a plain PyTorch loop over the same batches.

Prints max|a - b| / max|w| of the final weights for 1 to 4 CPU processes, several micro-batch sizes, even, uneven and empty
shares, both reductions, both forms of the update, float64 and float32, with dropout and augmentation on and a short last
batch; and all of it again with classes drawn equally often and weighted in the loss. One process group for each world size
runs the complete grid. Then the same with a user's data sets, optimizers, groups and schedules (`own_exactness.py`).

    python -m benchmarks.exactness [--world-sizes 1,2] [--epochs 30]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn.utils.rnn import pad_sequence

from benchmarks import own_exactness
from benchmarks.process_groups import import_once, in_process_group, start_rank, write_result
from slipway.training.batches.class_order import _CLASS_STREAM
from slipway.training.batches.order import permute
from slipway.training.common.keyed_random import fold, sample_keys
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Recipe
from slipway.training.config.schedule import learning_rate
from slipway.training.data.landmarks import LandmarkLayout
from slipway.training.data.prepared.prepared import DataFacts, PreparedData
from slipway.training.data.prepared.store import RaggedStore
from slipway.training.devices.ranks import Ranks
from slipway.training.devices.world import leave_group
from slipway.training.loop.trainer import MODEL_STREAM, Trainer
from slipway.training.observers.runtime import Runtime
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.sign.options import AUGMENTATION, ModelSpec
from slipway.training.tasks.sign.task import SignTask
from slipway.training.tasks.task import Batch

BOUNDS = {"float64": 1e-10, "float32": 1e-5}
NUM_CLIPS, GLOBAL_BATCH_SIZE, NUM_CLASSES = 57, 16, 5
CLASS_SHARES = (0.6, 0.2, 0.1, 0.06, 0.04)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One plan to compare with the reference."""

    precision: str
    shares: str
    share_weights: tuple[float, ...]
    micro_batch_size: int | None
    reduction: str
    update: str
    """`host`: as on a CPU. `device`: as on a GPU, where steps are queued and their outcomes read one step later."""
    classes: str = "as they are"
    """`balanced`: drawn equally often, and weighted by the square root of what would balance them."""


def cases_for(world_size: int, precisions: tuple[str, ...] = ("float64", "float32")) -> list[Case]:
    """Return the grid of a world size; one process has no shares to vary and nothing to reduce."""
    shares = {"even": (1.0,) * world_size}
    if world_size > 1:
        shares["uneven"] = (5.0, *(float(rank) for rank in range(1, world_size)))
        shares["empty"] = (0.0, *(1.0,) * (world_size - 1))
    reductions = ("flat", "overlap") if world_size > 1 else ("flat",)
    return [
        Case(
            precision=precision,
            shares=name,
            share_weights=weights,
            micro_batch_size=micro,
            reduction=reduction,
            update=update,
            classes=classes,
        )
        for classes in ("as they are", "balanced")
        for precision in precisions
        for name, weights in shares.items()
        for reduction in reductions
        for micro in (1, 5, None)
        for update in ("host", "device")
    ]


def make_data() -> PreparedData:
    """Return random clips of 4 to 14 frames with missing points: exactness does not ask for anything learnable."""
    random = np.random.default_rng(7)
    lengths = random.integers(4, 15, NUM_CLIPS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    layout = LandmarkLayout(num_landmarks=21, num_coords=3, parts=((0, 21, 0),), mirror=tuple(range(21)))
    values = random.normal(size=(offsets[-1], 21, 3)).astype(np.float32)
    values[random.random(values.shape[:2]) < 0.05] = np.nan
    return PreparedData(
        store=RaggedStore(
            values=torch.from_numpy(values),
            offsets=torch.from_numpy(offsets),
            labels=torch.from_numpy(random.choice(NUM_CLASSES, NUM_CLIPS, p=CLASS_SHARES)),
        ),
        indices={
            "train": torch.arange(NUM_CLIPS),
            "validation": torch.empty(0, dtype=torch.int64),
            "test": torch.empty(0, dtype=torch.int64),
        },
        facts=DataFacts(
            name="random clips",
            source_format="none",
            synthetic=True,
            class_names=tuple("abcde"),
            layout=layout,
            split_mode="none",
            notes=(),
            fingerprint="",
        ),
    )


MODEL = ModelSpec(width=32, kernel_size=5)


def make_recipe(precision: str, epochs: int, classes: str = "as they are") -> Recipe:
    """Return a recipe with everything on that could break exactness: augmentation, dropout, smoothing, clipping."""
    config = TrainingConfig(
        stages_config="minimal",
        epochs=epochs,
        batch_size=GLOBAL_BATCH_SIZE,
        batch_rule="fixed",
        precision=precision,  # type: ignore[arg-type]
        seed=11,
        sampling="balanced" if classes == "balanced" else "natural",
        class_weights="sqrt" if classes == "balanced" else "none",
    )
    recipe = config.make_recipe()
    options = replace(recipe.stages[0].options, augmentation=replace(AUGMENTATION, flip_probability=0.5), dropout=0.3)
    stage = replace(recipe.stages[0], warmup_epochs=1.0, options=options)
    return replace(recipe, stages=(stage,)).resolve(1, "no")


def draw_epochs(recipe: Recipe, labels: np.ndarray, epochs: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each epoch the samples in their order, and how many passes over its class an epoch had begun before each.

    Written once more, one draw after the other: slots in a keyed order; each class owns slots next to each other, as many
    as bring it to its share of all positions so far; it fills them by passes over its samples, each in a keyed order.
    """
    seed, count = recipe.seed, len(labels)
    slots = [permute(np.arange(count), count, fold(seed, epoch)) for epoch in range(epochs)]
    if recipe.sampling == "natural":
        return [(order, np.zeros(count, dtype=np.int64)) for order in slots]
    drawn, drawn_epochs = [0] * NUM_CLASSES, []
    for epoch in range(epochs):
        of_slot: list[tuple[int, int]] = []
        for number in range(NUM_CLASSES):
            members = np.flatnonzero(labels == number)
            positions = (epoch + 1) * count
            goal = positions * (number + 1) // NUM_CLASSES - positions * number // NUM_CLASSES
            first_pass = drawn[number] // len(members)
            while drawn[number] < goal:
                this_pass, place = divmod(drawn[number], len(members))
                image = permute(np.array([place]), len(members), fold(seed, _CLASS_STREAM, number, this_pass))
                of_slot.append((int(members[image[0]]), this_pass - first_pass))
                drawn[number] += 1
        samples, passes = np.array(of_slot)[slots[epoch]].T
        drawn_epochs.append((samples, passes))
    return drawn_epochs


def train_reference(recipe: Recipe, task: SignTask) -> tuple[torch.Tensor, torch.Tensor]:
    """Return first and final weights of a plain PyTorch loop over the same batches, flattened."""
    stage, optimizer_spec = recipe.stages[0], recipe.optimizer
    dtype = getattr(torch, recipe.precision)
    labels = task.labels("train")
    drawn = draw_epochs(recipe, labels, stage.epochs)
    class_weights = torch.ones(NUM_CLASSES, dtype=dtype)
    if recipe.class_weights == "sqrt":
        class_weights = torch.from_numpy(np.sqrt(NUM_CLIPS / (NUM_CLASSES * np.bincount(labels)))).to(dtype)
    steps = -(-NUM_CLIPS // GLOBAL_BATCH_SIZE)
    torch.manual_seed(fold(recipe.seed, MODEL_STREAM) % 2**63)
    model = task.build_model().to(dtype)
    task.begin_stage(model, stage)
    first = flatten(model)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": stage.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        betas=(optimizer_spec.beta1, optimizer_spec.beta2),
        eps=optimizer_spec.eps,
    )
    for step in range(stage.epochs * steps):
        epoch = step // steps
        start = step % steps * GLOBAL_BATCH_SIZE
        indices, passes = (column[start : start + GLOBAL_BATCH_SIZE] for column in drawn[epoch])
        keys = sample_keys(recipe.seed, epoch, indices + passes * NUM_CLIPS)
        clips = task.augment(task.fetch("train", torch.from_numpy(indices)), keys, stage)
        landmarks = pad_sequence(list(clips["landmarks"].split(clips["lengths"].tolist())), batch_first=True)
        scores = model(landmarks.to(dtype), clips["lengths"], keys)
        losses = torch.nn.functional.cross_entropy(
            scores, clips["labels"], label_smoothing=stage.options.label_smoothing, reduction="none"
        )
        weights = class_weights[clips["labels"]]
        loss = (weights * losses).sum() / weights.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optimizer_spec.clip_norm or torch.inf)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(
                step,
                peak=recipe.peak_learning_rate,
                num_steps=stage.epochs * steps,
                warmup_steps=min(round(stage.warmup_epochs * steps), stage.epochs * steps // 2),
                schedule=stage.schedule,
                final_fraction=stage.final_fraction,
            )
        optimizer.step()
    return first, flatten(model)


def flatten(model: torch.nn.Module) -> torch.Tensor:
    """Return all parameters as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


class CountingTask(SignTask):
    """Counts the samples that this rank really computes."""

    computed = 0

    def losses(self, outputs: torch.Tensor, batch: Batch, stage: Any) -> torch.Tensor:
        """Count, then return the losses."""
        self.computed += len(batch.indices)
        return super().losses(outputs, batch, stage)


def run_case(case: Case, epochs: int, ranks: Ranks) -> tuple[torch.Tensor, list[int]]:
    """Train as a plan says; return the final weights, flattened, and the samples that each rank computed."""
    recipe = make_recipe(case.precision, epochs, case.classes)
    task = CountingTask(make_data(), MODEL)
    plan = replace(
        Plan.alone(),
        world_size=ranks.size,
        # The whole share is named too: what is measured to find it would count as computed.
        micro_batch_size=case.micro_batch_size or recipe.resolved.global_batch_size,
        share_weights=case.share_weights,
        reduction=case.reduction,  # type: ignore[arg-type]
    )
    runtime = Runtime(ranks=ranks, queues_steps=case.update == "device")
    trainer = Trainer(task=task, recipe=recipe, plan=plan, runtime=runtime)
    trainer.run()
    computed = torch.zeros(ranks.size, dtype=torch.int64)
    computed[ranks.rank] = task.computed
    return flatten(trainer.model), ranks.sum_(computed).tolist()


def work(rank: int, world_size: int, port: int, output: str, cases: list[Case], epochs: int) -> None:
    """Run a grid as one rank of a group; rank 0 writes what was found."""
    ranks = start_rank(rank, world_size, port)
    references: dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor]] = {}
    found = []
    for case in cases:
        weights, computed = run_case(case, epochs, ranks)
        if rank != 0:
            continue
        key = case.precision, case.classes
        if key not in references:
            recipe = make_recipe(case.precision, epochs, case.classes)
            references[key] = train_reference(recipe, SignTask(make_data(), MODEL))
        first, final = references[key]
        largest = final.abs().max()
        found.append(
            {
                **asdict(case),
                "world_size": world_size,
                "difference": float((weights - final).abs().max() / largest),
                "moved": float((final - first).abs().max() / largest),
                "computed": computed,
            }
        )
    write_result(output, found, ranks)
    leave_group()


def measure(world_size: int, cases: list[Case], epochs: int) -> list[dict[str, Any]]:
    """Run a grid in one process group and return a row for each case."""
    return in_process_group(work, world_size, cases, epochs)


def draw(rows: list[dict[str, Any]], steps: int) -> Table:
    """Return the rows as a table."""
    table = Table(title=f"max|a - b| / max|w| after {steps} steps, against plain PyTorch over the same batches")
    for name in (
        "processes",
        "precision",
        "shares",
        "micro-batch",
        "reduction",
        "update",
        "classes",
        "difference",
        "bound",
        "moved",
    ):
        table.add_column(name, justify="right")
    table.add_column("samples computed by each rank")
    for row in rows:
        bound = BOUNDS[row["precision"]]
        table.add_row(
            str(row["world_size"]),
            row["precision"],
            row["shares"],
            str(row["micro_batch_size"] or "all"),
            row["reduction"],
            row["update"],
            row["classes"],
            f"{row['difference']:.1e}",
            f"{bound:.0e}",
            f"{row['moved']:.2f}",
            " ".join(map(str, row["computed"])),
            style=None if row["difference"] <= bound else "bold red",
        )
    return table


def of(row: dict[str, Any]) -> tuple[str, str, str]:
    """Return precision, form of the update and what is done with the classes of a row."""
    return row["precision"], row["update"], row["classes"]


def main() -> int:
    """Measure the grid, print the table, and return 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--world-sizes", default="1,2,3,4")
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    import_once("benchmarks.exactness")
    rows: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    for world_size in map(int, options.world_sizes.split(",")):
        rows += measure(world_size, cases_for(world_size), options.epochs)
        own += own_exactness.measure(world_size)
    steps = options.epochs * -(-NUM_CLIPS // GLOBAL_BATCH_SIZE)
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(draw(rows, steps))
    worst = {
        " ".join(kind[:2]) + (", classes balanced" if kind[2] == "balanced" else ""): max(
            row["difference"] for row in rows if of(row) == kind
        )
        for kind in sorted({of(row) for row in rows}, reverse=True)
    }
    console.print(
        f"{NUM_CLIPS} clips, global batch {GLOBAL_BATCH_SIZE}, short last batch {NUM_CLIPS % GLOBAL_BATCH_SIZE}, dropout "
        f"and augmentation on. Worst: {'; '.join(f'{name} {apart:.1e}' for name, apart in worst.items())}. A rank of weight "
        "0 computes one stand-in a step where the reduction overlaps; it counts nothing."
    )
    console.print(own_exactness.draw(own))
    is_apart = any(row["difference"] > BOUNDS[row["precision"]] for row in rows)
    return int(is_apart or any(row["difference"] > own_exactness.BOUND for row in own))


if __name__ == "__main__":
    sys.exit(main())
