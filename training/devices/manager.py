"""Choose the device of this process, describe it, and set what suits it."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch

from ..common.errors import UserError, nearest
from .backends import (
    DEVICE_KINDS,
    accelerator_memory_bytes,
    accelerator_name,
    choose_kind,
    compute_capability,
    describe_build,
    device_count,
    has_tf32,
    launcher_wants_cpu,
    torch_build,
)
from .host import cpu_name, host_memory_bytes, set_cpu_threads, usable_cores
from .precision import has_native_bf16, resolve_precision
from .world import launched_world, log_once, start_accelerator

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceFallback:
    """What is used instead of several devices that were asked for and are not there."""

    requested: str
    missing: str
    used: str

    @property
    def message(self) -> str:
        """One line for the log."""
        return f"--multi-gpu with --device {self.requested}: {self.missing}; used instead: {self.used}"

    def as_dict(self) -> dict[str, str]:
        """Return the record for the journal."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """A device; a field is `None` if the backend does not tell."""

    kind: str
    index: int | None
    name: str
    total_memory_bytes: int | None
    free_memory_bytes: int | None
    compute_capability: str | None
    native_bf16: bool
    fp16: bool
    """Whether mixed fp16 really trains in fp16; on a CPU Accelerate silently stays in fp32."""
    torch_build: str
    cores: int | None
    """CPU cores this process may use; `None` for an accelerator."""

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON types."""
        return dataclasses.asdict(self)


class DeviceManager:
    """Chooses a device and its settings. Nothing is chosen, set or started at import."""

    @staticmethod
    def detect_best_device(requested: str = "auto", multi_gpu: bool = True) -> torch.device:
        """Return the device for this process: the first present of cuda (or ROCm), xpu, npu, hpu, mps, cpu.

        With several processes the index is the local rank's, as Accelerate places it. `multi_gpu` asks for several
        devices; if they are missing, one warning says what is used instead (`multi_gpu_fallback` returns the record).
        Raises `UserError` if a kind is asked for by name and is absent.
        """
        kind = choose_kind(requested)
        fallback = DeviceManager.multi_gpu_fallback(requested) if multi_gpu else None
        if fallback:
            log_once(logging.WARNING, fallback.message)
        world = launched_world()
        if kind in ("cuda", "xpu", "npu") and world.size > 1:
            return torch.device(kind, world.local_rank % DeviceManager.device_count(kind))
        return torch.device(kind)

    @staticmethod
    def multi_gpu_fallback(requested: str = "auto") -> DeviceFallback | None:
        """Return what is used here if several devices are asked for; `None` if none is missing. Logs nothing."""
        kind = choose_kind(requested)
        size = launched_world().size
        if kind == "cpu":
            asked = requested == "cpu" or launcher_wants_cpu()
            missing = "the CPU was asked for" if asked else f"no accelerator found ({describe_build()})"
            used = f"cpu, {size} processes" if size > 1 else "one device, cpu"
            return DeviceFallback(requested=requested, missing=missing, used=used)
        if size == 1 and DeviceManager.device_count(kind) < 2:
            missing = f"only one {kind} device found, it takes two"
            return DeviceFallback(requested=requested, missing=missing, used=f"one device, {kind}")
        return None

    @staticmethod
    def device_count(kind: str) -> int:
        """Return how many devices of `kind` this process sees; the CPU is one. Starts no device context."""
        return device_count(kind)

    @staticmethod
    def is_multi_gpu_available() -> bool:
        """Return whether this process sees two or more accelerators of one kind."""
        return any(DeviceManager.device_count(kind) > 1 for kind in DEVICE_KINDS if kind != "cpu")

    @staticmethod
    def setup_multi_gpu(model: torch.nn.Module, accelerator: Accelerator | None = None) -> torch.nn.Module:
        """Return `model` replicated over the processes of the world; with one process, placed on its device.

        Replication is DistributedDataParallel, one process per device, never `nn.DataParallel`. Every
        replica holds the same weights. Without an `accelerator` one is made for `--device auto`, in full precision.
        """
        size = launched_world().size if accelerator is None else accelerator.num_processes
        kind = choose_kind("auto") if accelerator is None else accelerator.device.type
        if size == 1 and kind != "cpu" and (count := DeviceManager.device_count(kind)) > 1:
            log_once(logging.INFO, describe_idle_devices(count, kind))
        if accelerator is None:
            if size == 1:
                return model.to(kind)
            accelerator = make_accelerator(device="auto", mixed_precision="no")
        from accelerate.utils import DistributedDataParallelKwargs

        # A rank whose share is empty runs no forward, where the others would wait for it in a broadcast of buffers.
        accelerator.ddp_handler = accelerator.ddp_handler or DistributedDataParallelKwargs()
        accelerator.ddp_handler.broadcast_buffers = False
        with warnings.catch_warnings():
            # torch 2.13 renames `broadcast_buffers`, which Accelerate passes on; the new name is not in older ones.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
            replicated = accelerator.prepare_model(
                model,
                # On a CPU host the device is "cpu:0", and moving there copies parameters that are views of a buffer.
                device_placement=accelerator.device.type != "cpu",
                evaluation_mode=size == 1,  # placed and cast, not wrapped
            )
        trainable = any(parameter.requires_grad for parameter in model.parameters())
        if size > 1 and trainable and not isinstance(replicated, torch.nn.parallel.DistributedDataParallel):
            raise UserError(
                f"the launcher's config asks for {accelerator.distributed_type.value}, but replication here is plain "
                "data parallel; use distributed_type: MULTI_GPU (or leave FSDP and DeepSpeed out)"
            )
        return replicated

    @staticmethod
    def get_effective_batch_size(
        base_batch_size: int,
        device: torch.device | str | None = None,
        *,
        batch_rule: str = "scale",
        num_processes: int | None = None,
    ) -> int:
        """Return the global batch in samples: processes x base under `scale`, the base under `fixed`.

        One process drives one device, so `device` changes nothing; `num_processes` defaults to the launched world.

        >>> DeviceManager.get_effective_batch_size(32, num_processes=4)
        128
        """
        if base_batch_size < 1:
            raise UserError(f"--batch-size {base_batch_size}: a batch holds at least 1 sample")
        if batch_rule not in ("scale", "fixed"):
            hint = nearest(batch_rule, ("scale", "fixed"))
            raise UserError(f"--batch-rule {batch_rule}: unknown{hint}; choose scale or fixed")
        size = launched_world().size if num_processes is None else num_processes
        return base_batch_size * size if batch_rule == "scale" else base_batch_size

    @staticmethod
    def get_device_info(device: torch.device | str) -> DeviceInfo:
        """Return name, memory and abilities of `device`; on a CUDA device this starts its context."""
        device = torch.device(device)
        on_cpu = device.type == "cpu"
        total, free = host_memory_bytes() if on_cpu else accelerator_memory_bytes(device)
        return DeviceInfo(
            kind=device.type,
            index=device.index,
            name=cpu_name() if on_cpu else accelerator_name(device),
            total_memory_bytes=total,
            free_memory_bytes=free,
            compute_capability=compute_capability(device),
            native_bf16=has_native_bf16(device),
            fp16=not on_cpu,
            torch_build=torch_build(),
            cores=usable_cores() if on_cpu else None,
        )

    @staticmethod
    def optimize_for_device(
        device: torch.device | str, *, threads: int | None = None, allow_tf32: bool = False
    ) -> dict[str, str]:
        """Set CPU threads and TF32; return each setting with its reason. Without TF32 only the order of sums changes.

        Call it after the Accelerator is made. `threads` and `allow_tf32` are the user's choice.
        """
        device = torch.device(device)
        settings = {"cpu_threads": set_cpu_threads(threads)}
        if device.type == "cuda":
            # cuDNN's TF32 is on by default in PyTorch, and Accelerate turns matmul's on when it compiles.
            torch.backends.cuda.matmul.allow_tf32 = allow_tf32
            torch.backends.cudnn.allow_tf32 = allow_tf32
            settings["tf32"] = (
                "on: --tf32 asks for it" if allow_tf32 else "off: it keeps 10 of float32's 23 bits; --tf32 turns it on"
            )
        if allow_tf32 and not has_tf32(device):
            settings["tf32"] = f"off: --tf32 asks for it, but {device.type} here does not have it"
        return settings

    @staticmethod
    def resolve_precision(requested: str, device: torch.device | str) -> tuple[str, str]:
        """Return (precision, reason); see `precision.resolve_precision`."""
        return resolve_precision(requested, torch.device(device))


def describe_idle_devices(count: int, kind: str) -> str:
    """Return that one process leaves devices idle, and how to use all."""
    return (
        f"one process drives one of {count} {kind} devices; to use all, start the script with `slipway launch` or "
        f"`accelerate launch --multi_gpu --num_processes {count}`"
    )


def make_accelerator(*, device: str, mixed_precision: str, timeout_seconds: float = 600.0) -> Accelerator:
    """Return the Accelerator of this process, with the process group started; `world.check_world` checks it.

    `device` is a kind or `auto`, `mixed_precision` as in `resolve_precision`; a collective that waits longer than
    `timeout_seconds` fails. Accumulation is pinned to 1 whatever the environment says, and no seed is set.
    """
    target = DeviceManager.detect_best_device(device, multi_gpu=False)
    precision, _ = resolve_precision(mixed_precision, target)
    return start_accelerator(kind=target.type, precision=precision, timeout_seconds=timeout_seconds)
