"""What a plan needs of memory, and about how long a step takes, each from what is known; else why it is not estimated. Pure.

An accelerator computes the operations of its samples at 15 to 80 % of the peak in its data sheet, and moves what they read and
write, of which fused and 16-bit operations save up to three quarters, at 60 to 100 % of its bandwidth; it starts a kernel every
3 to 15 microseconds. These go on at once at best and one after another at worst. On this CPU a pass was measured. Sums over
processes come on top.
"""

from __future__ import annotations

from ...training.common.apportion import apportion
from ...training.common.known_devices import KnownDevice, known_device
from ...training.common.plan_file import LaunchPlan, Precision
from ..common.numbers import short_count
from ..plan.devices import slots
from ..plan.model import ACTIVATIONS_SHARE, STATE_BYTES_PER_PARAMETER
from .script import is_own_training
from .state import WizardState

_WEIGHT_BYTES = 4  # which ZeRO-2 leaves whole on each device
_BEST_COMPUTE, _WORST_COMPUTE = 0.8, 0.15
_BEST_TRAFFIC, _WORST_TRAFFIC = 0.5, 1.0  # of the bytes that are counted in float32
_BEST_TRAFFIC_HALF, _WORST_TRAFFIC_HALF, _WORST_BANDWIDTH = 0.25, 0.75, 0.6
_BEST_LAUNCH_SECONDS, _WORST_LAUNCH_SECONDS = 3e-6, 15e-6
_UPDATE_BYTES, _HOST_BYTES_PER_SECOND = 28, 4e9
_MOST_OF_OTHERS = 0.15
_CPU_BEST, _CPU_WORST = 0.7, 1.6  # other processes, another batch

Range = tuple[float, float]


def state_bytes(plan: LaunchPlan, parameters: int) -> int:
    """Return the bytes of weights, gradients and optimizer state that one process holds."""
    whole, world = STATE_BYTES_PER_PARAMETER * parameters, plan.num_processes
    if plan.sharding == "zero2":
        kept = _WEIGHT_BYTES * parameters
        return kept - (kept - whole) // world
    return whole if plan.sharding == "replicate" else -(-whole // world)


def free_bytes(state: WizardState) -> int | None:
    """Return the free memory of the device that has least; of the host's a process's part. None: it is not known."""
    plan, hardware = state.plan, state.machine.hardware
    if plan.device == "cpu":
        return max(0, min(hardware.memory.available_bytes, hardware.memory.usable_bytes)) // plan.local_processes
    used = {(device.index, device.part) for device in plan.devices}
    found = [
        slot.memory_bytes for slot in slots(hardware, plan.device) if (slot.device.index, slot.device.part) in used
    ]
    return min((one for one in found if one is not None), default=None) if None not in found else None


def batch_of(state: WizardState) -> int | None:
    """Return the samples of a step: those that were fixed, else those of Slipway's own training, else None."""
    needs, given = state.needs, state.intent.global_batch_size
    if given is not None or needs.base_batch_size is None or not is_own_training(state.script):
        return given
    return needs.base_batch_size * (state.plan.num_processes if needs.is_batch_scaled else 1)


def step_seconds(state: WizardState) -> Range | str:
    """Return within which seconds a step is expected, or why that is not estimated."""
    plan, needs, batch = state.plan, state.needs, batch_of(state)
    if needs.flops_per_sample is None:
        return needs.problem or "nothing says what a sample of the model computes"
    if batch is None:
        return "the batch is the script's own"
    counts = apportion(batch, plan.share_weights)
    if plan.device == "cpu":
        return _on_cpu(state, max(counts))
    found: list[Range] = []
    for rank, count in enumerate(counts):
        name = plan.devices[rank % len(plan.devices)].name
        device = known_device(name)
        peak = None if device is None else _peak(device, plan.mixed_precision)
        if device is None or peak is None:
            return f"no peak of {name} in {_precision(plan)} is known here"
        found.append(_on_accelerator(state, count, peak, device.bandwidth * 1e9))
    return max(low for low, _ in found), max(high for _, high in found)


def _peak(device: KnownDevice, precision: Precision) -> float | None:
    has_bf16 = not isinstance(device.architecture, tuple) or device.architecture >= (8, 0)
    if precision == "fp8" or (precision == "bf16" and not has_bf16):
        return None
    return 1e12 * (device.full if precision == "no" else device.half or device.full)


def _on_accelerator(state: WizardState, samples: int, peak: float, bandwidth: float) -> Range:
    plan, needs = state.plan, state.needs
    passes = -(-samples // (plan.micro_batch_size or max(1, samples)))
    compute = (needs.flops_per_sample or 0.0) * samples / peak
    traffic = (needs.bytes_per_sample * samples + needs.bytes_per_pass * passes) / bandwidth
    update = _UPDATE_BYTES / STATE_BYTES_PER_PARAMETER * state_bytes(plan, needs.parameters or 0) / bandwidth
    launches = (needs.launches_per_pass or 0) * passes
    is_full = plan.mixed_precision == "no"
    best = max(
        compute / _BEST_COMPUTE,
        traffic * (_BEST_TRAFFIC if is_full else _BEST_TRAFFIC_HALF),
        0.0 if plan.compile else launches * _BEST_LAUNCH_SECONDS,
    )
    worst = traffic * (_WORST_TRAFFIC if is_full else _WORST_TRAFFIC_HALF) / _WORST_BANDWIDTH
    worst += compute / _WORST_COMPUTE + launches * _WORST_LAUNCH_SECONDS
    return best + update, worst + update / _WORST_BANDWIDTH


def _on_cpu(state: WizardState, samples: int) -> Range | str:
    plan, needs = state.plan, state.needs
    if needs.cpu_seconds is None or not needs.cpu_samples or not needs.cpu_threads:
        return needs.problem or "no pass was measured"
    if not state.machine.is_here:
        return "the speed of another machine's processor is not known here"
    if plan.mixed_precision != "no":
        return f"a pass was measured in float32, not in {_precision(plan)}"
    if needs.cpu_share_of_others > _MOST_OF_OTHERS:
        return f"other programs had {needs.cpu_share_of_others:.0%} of the processors while a pass was measured"
    if plan.compile:
        return "a pass was measured uncompiled"
    seconds = max(needs.cpu_least_seconds or 0.0, needs.cpu_seconds / needs.cpu_samples * samples)
    seconds *= needs.cpu_threads / plan.threads_per_process
    return seconds * _CPU_BEST, seconds * _CPU_WORST + _UPDATE_BYTES * (needs.parameters or 0) / _HOST_BYTES_PER_SECOND


def _precision(plan: LaunchPlan) -> str:
    return "float32" if plan.mixed_precision == "no" else plan.mixed_precision


def step_words(state: WizardState) -> str:
    """Return the time of a step for a person, `about 0.2 to 0.6 s a step`; nothing where it is not estimated."""
    found = step_seconds(state)
    return "" if isinstance(found, str) else f"about {_range(found)} a step"


def memory_words(state: WizardState) -> str:
    """Return what a process holds and what is free for it; the largest model where its size is not known."""
    if state.intent.parameters is None:
        free = free_bytes(state)
        return "" if free is None else f"up to {short_count(_fitting(state.plan, free))} parameters fit"
    held, free = state_bytes(state.plan, state.intent.parameters), free_bytes(state)
    each = " each" if state.plan.num_processes > 1 else ""
    if free is None:
        return f"{memory(held)} of memory{each}"
    shown, of = memory(held), memory(free)
    if shown[-3:] == of[-3:]:
        shown = shown[:-4]
    return f"{shown} of {of}{each}" + (", too little" if held > free else "")


def _fitting(plan: LaunchPlan, free: int) -> int:
    """Return the parameters that a plan has room for, in two digits."""
    count = int(free * (1 - ACTIVATIONS_SHARE) / state_bytes(plan, 1000) * 1000)
    return int(f"{count:.1e}".partition("e")[0].replace(".", "")) * 10 ** max(0, len(str(count)) - 2)


def memory(value: int) -> str:
    """Return bytes for a person: `13.0 GiB`, `140 MiB`."""
    if value >= 1 << 30:
        return f"{value / (1 << 30):,.1f} GiB"
    return f"{value / (1 << 20):,.0f} MiB" if value >= 1 << 20 else f"{value / (1 << 10):,.0f} KiB"


def _range(found: Range) -> str:
    unit, scale = next(
        (unit, scale) for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)) if found[1] >= scale or unit == "us"
    )
    low, high = (_digits(one / scale) for one in found)
    return f"{high} {unit}" if low == high else f"{low} to {high} {unit}"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1g}" if value < 1 else f"{value:.2g}"
