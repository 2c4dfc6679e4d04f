"""What is good to know of a plan that is not wrong: how a batch is cut, what the training loop or the file lacks."""

from __future__ import annotations

from collections.abc import Iterator

from ...training.common.apportion import apportion
from ...training.common.plan_file import LaunchPlan
from .script import batch_options, is_own_training, script_name
from .state import WizardState


def remarks(state: WizardState) -> Iterator[str]:
    """Yield a line for each."""
    said = describe_split(state.plan, state.intent.global_batch_size)
    if said:
        yield said
    flags = batch_options(state.script, state.intent)
    if flags:
        yield f"{script_name(state.script)} is started with {' '.join(flags)}, for a config carries no batch"
    if state.plan.sharding in ("zero2", "zero3") and is_own_training(state.script):
        yield "Slipway's own training shards by FSDP2 and refuses DeepSpeed's ZeRO; name a script that uses DeepSpeed"


def describe_split(plan: LaunchPlan, global_batch_size: int | None) -> str:
    """Return how a step's samples are cut where that is uneven, else an empty string."""
    if global_batch_size is None:
        return ""
    counts = apportion(global_batch_size, plan.share_weights)
    micro = plan.micro_batch_size or max(counts)
    shares = f"{global_batch_size} samples on {len(counts)} process{'es' * (len(counts) > 1)}"
    if len(set(counts)) > 1:
        different = sorted(set(counts), reverse=True)
        groups = (f"{counts.count(one)} with {one}" for one in different)
        shares += f" are uneven shares: {', '.join(groups)}"
    elif counts[0] % micro:
        shares += f": {counts[0]} each"
    else:
        return ""
    if any(count % micro for count in counts):
        passes = -(-max(counts) // micro)
        smallest = max(counts) // passes
        sizes = f"{smallest}" if max(counts) % passes == 0 else f"{smallest} to {smallest + 1}"
        if passes > 1:
            shares += f"; the largest is cut into {passes} micro-batches of {sizes}"
    return f"{shares}. Slipway's loop weighs every sample alike, so the step stays exact; another may pad or drop some"
