"""The parts of the GPU benchmark, each measured in a process of its own: what it compares, in ratios and figures."""

from __future__ import annotations

import gc
import resource
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch

from benchmarks.gpu_sides import ByHand, Case, Slipway, make_recipe, make_task, resident_batches
from benchmarks.gpu_waits import measure_waits
from benchmarks.measure import Cost, Ratio, in_turn, wall
from benchmarks.micro_batch import powers_of_two
from benchmarks.workers import run_ranks
from slipway.training.config.plan import Plan
from slipway.training.devices.memory import release_memory
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.trainer import Trainer
from slipway.training.loop.utilisation import find_model_flops
from slipway.training.observers.events import Decision, Observer
from slipway.training.observers.runtime import Runtime
from slipway.training.tasks.task import Batch, Task

STEP_TARGET, AUTO_TARGET, MEMORY_TARGET = 1.01, 0.97, 1.02
SAME_WEIGHTS = 1e-5
SAME_LOSSES = 0.01
"""The largest relative difference of a loss in the first round. Rounding in bf16 makes some 1e-4, twice the rate 0.025."""

BY_HAND, SLIPWAY = "plain PyTorch", "Slipway"
_GIB = 1 << 30
_FULL_SIZE_GIB = 64
"""Memory of a device on which the batches are as large as they stand here."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how long is measured."""

    device: torch.device
    rounds: int
    quick: bool

    @property
    def is_rehearsal(self) -> bool:
        """Whether there is no GPU: everything runs, in the smallest sizes, and no figure means anything."""
        return self.device.type == "cpu"

    def batch_size(self, most: int) -> int:
        """Return the largest power of two that suits the device's memory, at most `most`."""
        gib = torch.cuda.get_device_properties(self.device).total_memory / _GIB
        fitting = max(4, int(most * min(1.0, gib / _FULL_SIZE_GIB)))
        return 1 << (fitting.bit_length() - 1)

    def case(self, case: Case) -> Case:
        """Return a case as it is measured here."""
        if self.is_rehearsal:
            small: dict[str, Any] = {"width": 16, "blocks": 1, "heads": 2, "tokens": 6, "batch_size": 8, "steps": 3}
            return replace(case, **small, backend=None if case.backend is None else "aot_eager")
        return replace(case, batch_size=self.batch_size(case.batch_size), steps=4 if self.quick else case.steps)


@dataclass(frozen=True, kw_only=True)
class Part:
    """What was found."""

    ratios: list[Ratio]
    figures: dict[str, Any] = field(default_factory=dict)


ENCODER = Case(
    model="encoder",
    width=768,
    blocks=12,
    heads=12,
    tokens=512,
    batch_size=64,
    steps=20,
    mixed_precision="bf16",
    backend="inductor",
)
"""As large as BERT's and ViT's base models: 85 million parameters."""

SIGN = Case(
    model="sign", width=384, blocks=4, heads=6, batch_size=256, steps=20, mixed_precision="bf16", backend="inductor"
)
"""The bundled model, four times as wide as the default and twice as deep, on clips of 8 to 128 frames."""

SEARCHED = replace(ENCODER, width=512, blocks=6, heads=8, tokens=128, batch_size=256, steps=6, backend=None)
STARVED = replace(ENCODER, width=256, blocks=8, heads=4, tokens=256, steps=6, mixed_precision="no", backend=None)
SMALLEST_SHARE = 32
"""The smallest fixed micro-batch that auto is compared with is the batch over this."""


def step_time(case: Case, setting: Setting) -> Part:
    """Compare a step of both loops on the same batches; tell the utilisation where the device's peak is known."""
    case, device = setting.case(case), setting.device
    task = make_task(case)
    ours = Slipway(case, task, device, micro_batch_size=case.batch_size)
    hand = ByHand(case, task, device, resident_batches(case, task, device))
    hand.run()
    ours.run()
    own, other = torch.tensor(ours.losses), torch.tensor(hand.losses)
    apart = float(((own - other) / other).abs().max())
    costs = in_turn({BY_HAND: hand.run, SLIPWAY: ours.run}, setting.rounds)
    words = f"{case.model}{', compiled' if case.backend else ''}"
    ratios = [
        Ratio.of(f"{words}: step time", wall(costs[SLIPWAY]), wall(costs[BY_HAND]), at_most=STEP_TARGET),
        Ratio.single(f"{words}: difference of losses", apart, at_most=SAME_LOSSES),
    ]
    found = find_model_flops(ours.loop.step, ours.trainer.loader, Ranks.alone(device), ours.stage)
    if found is not None and case.model == "encoder":
        # Where lengths differ the count is of typical samples, not of these.
        flops = found.flops_per_sample * case.batch_size * case.steps
        peak = found.peak_flops_per_second
        for side in (SLIPWAY, BY_HAND):
            used = [flops / seconds / peak for seconds in wall(costs[side])]
            ratios.append(Ratio.of(f"{words}: MFU, {side}", used, [1.0] * len(used)))
    ours.close()
    return Part(ratios=ratios, figures={**_figures(case, costs), "model_flops": asdict(found) if found else None})


def _figures(case: Case, costs: dict[str, list[Cost]]) -> dict[str, Any]:
    seconds = {side: [cost.wall_seconds / case.steps for cost in found] for side, found in costs.items()}
    return {"case": asdict(case), "seconds_per_step": seconds}


def waits(case: Case, setting: Setting) -> Part:
    """Look for waits of the host while a step is issued."""
    ratios, figures = measure_waits(setting.case(case), setting.device, rounds=setting.rounds)
    return Part(ratios=ratios, figures=figures)


def micro_batch(setting: Setting) -> Part:
    """Compare the size that auto takes, looked for anew in each round, with fixed ones."""
    case, device = setting.case(SEARCHED), setting.device
    task = make_task(case)
    batch = case.batch_size
    sizes = [size for size in powers_of_two(batch) if size >= batch / SMALLEST_SHARE]
    fixed = {size: Slipway(case, task, device, micro_batch_size=size) for size in sizes}
    chosen: list[int] = []
    search_seconds: list[float] = []

    def again(side: Slipway) -> Cost:
        # As auto's: each is timed right behind a round of its own.
        side.run()
        return side.run()

    def auto() -> Cost:
        side = Slipway(case, task, device, micro_batch_size=None)
        chosen.append(side.trainer.state.limit.limit)
        search_seconds.append(side.search_seconds)
        cost = again(side)
        side.close()
        return cost

    sides: dict[str, Callable[[], Cost]] = {str(size): partial(again, side) for size, side in fixed.items()}
    costs = in_turn({**sides, "auto": auto}, setting.rounds)
    best = min(sides, key=lambda name: statistics.median(wall(costs[name])))
    for side in fixed.values():
        side.close()
    ones = [1.0] * setting.rounds
    ratios = [
        # Seconds of the best over those of auto: samples a second the other way round.
        Ratio.of(
            "auto micro-batch: samples/s over best fixed", wall(costs[best]), wall(costs["auto"]), at_least=AUTO_TARGET
        ),
        Ratio.of("auto micro-batch: seconds of the search", search_seconds[-setting.rounds :], ones),
    ]
    return Part(ratios=ratios, figures={**_figures(case, costs), "best": int(best), "chosen": chosen})


class _Told(Observer):
    """Keeps what was decided because memory ran out."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def on_decision(self, event: Decision) -> None:
        if event.kind == "out_of_memory":
            self.reasons.append(event.reason)


class _Starved:
    """A task in whose training more than some samples never fit: what a rehearsal has instead of a full device."""

    def __init__(self, task: Task, most: int) -> None:
        self._forward, self._most = task.forward, most

    def forward(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """As the task's, where it fits."""
        if len(batch.indices) > self._most:
            raise torch.OutOfMemoryError("rehearsed: out of memory")
        return self._forward(model, batch)


@dataclass(frozen=True, kw_only=True)
class _Ended:
    weights: torch.Tensor
    reasons: list[str]
    standing_bytes: int
    """Reserved once the trainer was made."""
    peak_bytes: int


def _train(case: Case, setting: Setting, *, is_starved: bool) -> _Ended:
    """Train two epochs from start to end, as a user's run does, with whole batches as the micro-batch to begin with."""
    task, device, told = make_task(case), setting.device, _Told()
    if is_starved and setting.is_rehearsal:
        task.forward = _Starved(task, case.batch_size // 3).forward  # type: ignore[method-assign]
    trainer = Trainer(
        task=task,
        recipe=make_recipe(case, epochs=2),
        plan=replace(Plan.alone(device.type), micro_batch_size=case.batch_size),
        runtime=Runtime(ranks=Ranks.alone(device), observer=told),
    )
    is_cuda = device.type == "cuda"
    standing = torch.cuda.memory_reserved(device) if is_cuda else 0
    trainer.run()
    peak = torch.cuda.max_memory_reserved(device) if is_cuda else 0
    weights = trainer.parameters.values.cpu().clone()
    return _Ended(weights=weights, reasons=told.reasons, standing_bytes=standing, peak_bytes=peak)


def out_of_memory(setting: Setting) -> Part:
    """Train with enough memory, then with less than a micro-batch needs: the weights must be the same."""
    case, device = setting.case(STARVED), setting.device
    enough = _train(case, setting, is_starved=False)
    gc.collect()
    release_memory(device)
    # Two fifths of what a whole batch takes: half of it does not fit either, and what a step needs beside it does.
    allowed = enough.standing_bytes + (enough.peak_bytes - enough.standing_bytes) * 2 // 5
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(allowed / total, device)
    try:
        starved = _train(case, setting, is_starved=True)
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, device)
    difference = float((starved.weights - enough.weights).abs().max() / enough.weights.abs().max())
    ratios = [
        Ratio.single("out of memory: difference of weights", difference, at_most=SAME_WEIGHTS),
        Ratio.single("out of memory: retries", len(starved.reasons), at_least=1),
        Ratio.single("out of memory: retries with enough", len(enough.reasons), at_most=0),
    ]
    figures = {
        "case": asdict(case),
        "peak_bytes": enough.peak_bytes,
        "allowed_bytes": allowed,
        "reasons": starved.reasons,
    }
    return Part(ratios=ratios, figures=figures)


def peak_of(side: str, setting: Setting) -> Part:
    """Measure the peak of one side in each round, once what is made once is made."""
    # Two steps' batches: what lies there beside the training would make any two sides alike.
    case, device = replace(setting.case(ENCODER), steps=2), setting.device
    task = make_task(case)
    run: Callable[[], Cost]
    if side == BY_HAND:
        run = ByHand(case, task, device, resident_batches(case, task, device)).run
    else:
        run = Slipway(case, task, device, micro_batch_size=case.batch_size).run
    run()
    found = []
    for _ in range(setting.rounds):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        run()
        is_cuda = device.type == "cuda"
        peak = (
            torch.cuda.max_memory_allocated(device) if is_cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        )
        found.append(peak)
    return Part(ratios=[], figures={"case": asdict(case), "peak_bytes": found})


def peak_memory(setting: Setting) -> Part:
    """Compare both sides' peak memory, each in a fresh process, at the same micro-batch."""
    words = ["--rounds", str(setting.rounds), "--device", str(setting.device), *(["--quick"] if setting.quick else [])]
    found = {
        side: run_ranks("benchmarks.gpu", 1, ["--part", name, *words])["figures"]
        for name, side in (("peak_by_hand", BY_HAND), ("peak_slipway", SLIPWAY))
    }
    ours, theirs = (found[side]["peak_bytes"] for side in (SLIPWAY, BY_HAND))
    ratio = Ratio.of("encoder, compiled: peak memory", ours, theirs, at_most=MEMORY_TARGET)
    return Part(ratios=[ratio], figures=found)


def overlap(setting: Setting) -> Part:
    """Compare a step whose batches two threads prepare, pin and copy meanwhile with one whose batches are there."""
    case, device = setting.case(ENCODER), setting.device
    task = make_task(case)
    resident = Slipway(case, task, device, micro_batch_size=case.batch_size)
    loaded = Slipway(case, task, device, micro_batch_size=case.batch_size, num_workers=2)
    costs = in_turn({"on the device": resident.run, "loaded": loaded.run}, setting.rounds)
    loaded.close()
    resident.close()
    name = "encoder, compiled: step time, 2 loader threads over batches there"
    return Part(
        ratios=[Ratio.of(name, wall(costs["loaded"]), wall(costs["on the device"]))], figures=_figures(case, costs)
    )


PARTS: dict[str, Callable[[Setting], Part]] = {
    "encoder": partial(step_time, ENCODER),
    "encoder_as_written": partial(step_time, replace(ENCODER, backend=None)),
    "sign": partial(step_time, SIGN),
    "sign_as_written": partial(step_time, replace(SIGN, backend=None)),
    "waits": partial(waits, ENCODER),
    "sign_waits": partial(waits, replace(SIGN, backend=None)),
    "micro_batch": micro_batch,
    "out_of_memory": out_of_memory,
    "peak_memory": peak_memory,
    "overlap": overlap,
}
"""What the benchmark consists of."""

SIDES_OF_PARTS: dict[str, Callable[[Setting], Part]] = {
    "peak_by_hand": partial(peak_of, BY_HAND),
    "peak_slipway": partial(peak_of, SLIPWAY),
}
"""What a part measures in processes of its own."""
