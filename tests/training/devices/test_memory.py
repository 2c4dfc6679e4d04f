"""How running out of memory is recognised, how the limit of a micro-batch moves, and what needs less memory."""

from __future__ import annotations

import errno
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.exactness import MODEL, make_data
from benchmarks.exactness import make_recipe as make_sign_recipe
from slipway.training.batches.loader import Loader
from slipway.training.devices import memory
from slipway.training.devices.memory import (
    MemoryReserve,
    MemoryWatch,
    drop_traceback,
    is_out_of_memory,
    leave_onednn,
    out_of_memory_message,
)
from slipway.training.devices.world import leave_group
from slipway.training.loop.trainer import Trainer
from slipway.training.step.micro_batch.limit import MicroBatchLimit
from slipway.training.tasks.sign.task import SignTask
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import PLAN, catch, make_recipe, make_task, make_trainer
from tests.training.processes import run_group
from tests.training.starved import Case, make_world, read_found, run_case, write_found

CPU = torch.device("cpu")

OUT_OF_MEMORY = {
    "CUDA": "CUDA out of memory. Tried to allocate 1.71 GiB (GPU 0; 6.00 GiB total capacity; 3.49 GiB already allocated)",
    "CUDA, later": "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB",
    "CUDA, driver": "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
    "CUDA, cudaMallocAsync": "Allocation on device 0 would exceed allowed memory. (out of memory)\nRequested : 512.00 KiB",
    "NCCL": "NCCL error: unhandled cuda error\nncclUnhandledCudaError: Call to CUDA function failed. 'out of memory'",
    "cuBLAS": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN": "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN, too large a batch": "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if",
    "HIP": "HIP out of memory. Tried to allocate 3.31 GiB. GPU 0 has a total capacity of 128.00 GiB",
    "HIP, driver": "HIP error: hipErrorOutOfMemory",
    "hipBLAS": "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
    "MIOpen": "MIOpen Error: /MIOpen/src/hip/handlehip.cpp:70: Memory not available to allocate buffer: 655360000",
    "MIOpen, status": "miopenStatusAllocFailed",
    "XPU": "XPU out of memory. Tried to allocate 4.66 GiB. GPU 0 has a total capacity of 5.65 GiB of which 5.65 GiB is free.",
    "Level Zero": "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    "Level Zero, host": "level_zero backend failed with error: 38 (UR_RESULT_ERROR_OUT_OF_HOST_MEMORY)",
    "Level Zero, resources": "UR backend failed. UR backend returns:40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)",
    "MPS": "MPS backend out of memory (MPS allocated: 5.56 GB, other allocations: 1.10 GB, max allowed: 6.80 GB). Tried to "
    "allocate 768.00 MB on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit",
    "NPU": "NPU out of memory. Tried to allocate 52.00 MiB (NPU 0; 60.96 GiB total capacity; 59.36 GiB already allocated;",
    "CANN": "EL0004: Failed to allocate memory.\n        Possible Cause: Available memory is insufficient.",
    "HPU": "[Rank:0] FATAL ERROR :: MODULE:PT_DEVMEM Allocation failed for size::234881024 (224)MB",
    "CPU": "[enforce fail at alloc_cpu.cpp:73] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 1168138567 "
    "bytes. Error code 12 (Cannot allocate memory)",
    "CPU, Windows": "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to",
    "C++": "std::bad_alloc",
}
"""As they were reported by users of each."""

SOMETHING_ELSE = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError(
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that workers are out of shared memory"
    ),
    RuntimeError(
        "out of resource: shared memory, Required: 131072, Hardware limit: 101376. Reducing block sizes may help"
    ),
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 0"),
    RuntimeError(
        "unsupported operation: some elements of the input tensor and the written-to tensor refer to one memory location"
    ),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)"),
    IndexError("index 9 is out of memory bounds"),
    KeyError("out of memory"),
    ValueError("memory_format: not enough memory formats"),
    OSError(errno.ENOSPC, "No space left on device"),
]


@pytest.mark.parametrize("message", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY.keys())
def test_every_allocator_is_understood(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))


def test_types_that_mean_it_need_no_message() -> None:
    for error in (MemoryError(), torch.OutOfMemoryError(), torch.cuda.OutOfMemoryError("")):
        assert is_out_of_memory(error)
    assert is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, dtype=np.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("error", SOMETHING_ELSE, ids=str)
def test_an_error_that_means_something_else_is_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert out_of_memory_message(error) is None


def test_a_failed_pass_lets_its_tensors_go() -> None:
    tensors = []

    def fail() -> None:
        activation = torch.zeros(8)
        tensors.append(weakref.ref(activation))
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nwith more to it")

    def wrap() -> None:
        kept = torch.zeros(8)
        tensors.append(weakref.ref(kept))
        try:
            fail()
        except RuntimeError as error:
            raise MemoryError("the pass failed") from error

    for call, words in ((fail, "CUDA out of memory. Tried to allocate 2 GiB."), (wrap, "the pass failed")):
        said = None
        try:
            call()
        except Exception as error:
            said = out_of_memory_message(error)
            drop_traceback(error)
            held = [tensor() for tensor in tensors]
        assert said == words
        assert held == [None] * len(tensors)


def test_the_words_are_the_allocators() -> None:
    message = OUT_OF_MEMORY["CPU"]
    assert out_of_memory_message(RuntimeError(message)) == message.split(". ", 1)[1]
    assert out_of_memory_message(MemoryError()) == "MemoryError"


def test_the_reserve_does_without_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = MemoryReserve(CPU)
    held = reserve._held
    assert held is not None
    assert held.nbytes == 8 << 20
    reserve.hold()
    assert reserve._held is held
    reserve.release()

    def fail(*size: Any, **options: Any) -> torch.Tensor:
        raise RuntimeError(OUT_OF_MEMORY["CPU"])

    monkeypatch.setattr(torch, "empty", fail)
    reserve.hold()
    assert reserve._held is None


def test_a_limit_halves_and_grows_back_after_a_quiet_time() -> None:
    limit = MicroBatchLimit(limit=32, ceiling=32, patience=10)
    assert limit.shrink(32)
    assert limit.shrink(16)
    assert limit.limit == 8
    assert limit.patience == 10  # no try failed
    grown = [limit.succeed(8, 1.0) for _ in range(10)]
    assert grown == [False] * 9 + [True]
    assert limit.limit == 16
    # The try fails: the next one waits longer.
    assert limit.shrink(16)
    assert (limit.limit, limit.patience) == (8, 20)
    assert [limit.succeed(8, 1.0) for _ in range(20)].index(True) == 19
    # This one stands for as long as it takes to grow again, and what fails much later is another matter.
    assert [limit.succeed(16, 1.0) for _ in range(20)].index(True) == 19
    assert limit.limit == 32
    assert not any(limit.succeed(32, 1.0) for _ in range(50))
    assert limit.shrink(32)
    assert limit.patience == 20
    assert not MicroBatchLimit(limit=1, ceiling=8).shrink(1)


def test_a_limit_does_not_grow_beyond_what_was_found_fastest_nor_without_room() -> None:
    limit = MicroBatchLimit(limit=64, ceiling=64, patience=3)
    limit.choose(8, 1000)
    assert not any(limit.succeed(8, 1.0) for _ in range(20))
    assert limit.shrink(8)
    assert not any(limit.succeed(4, 1.0, has_room=False) for _ in range(20))
    assert limit.succeed(4, 1.0)
    assert limit.limit == 8


def test_a_size_that_fitted_long_samples_fits_fewer_and_shorter_ones() -> None:
    limit = MicroBatchLimit(limit=32, ceiling=32)
    assert not limit.is_proven(1, 1.0)
    limit.succeed(16, 40.0)
    limit.succeed(8, 90.0)
    assert limit.is_proven(16, 40.0)
    assert limit.is_proven(5, 80.0)
    assert not limit.is_proven(16, 41.0)
    assert not limit.is_proven(17, 1.0)
    limit.shrink(16)
    assert limit.is_proven(8, 90.0)
    assert not limit.is_proven(16, 1.0)


def test_a_limit_goes_on_where_it_was_but_not_on_another_machine() -> None:
    limit = MicroBatchLimit(limit=32, ceiling=32, key="here")
    limit.choose(16, 5)
    limit.shrink(16)
    limit.succeed(8, 3.5)
    same = MicroBatchLimit(limit=32, ceiling=32, key="here")
    same.restore(limit.state())
    assert same == limit
    other = MicroBatchLimit(limit=24, ceiling=24, key="there")
    other.restore(limit.state())
    assert other == MicroBatchLimit(limit=24, ceiling=24, key="there")


def test_memory_that_another_process_takes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    free = 4000
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    monkeypatch.setattr(memory.time, "monotonic", lambda: now)
    watch = MemoryWatch(CPU)
    assert watch.look(None, 4) == (False, False)
    assert watch.look(100, 4) == (False, False)
    free = 1000
    assert watch.look(100, 4) == (False, False)  # it looks every few seconds only
    now += 11
    assert watch.look(100, 4) == (False, True)
    assert watch.look(100, 4) == (False, True)
    now, free = now + 11, 399
    assert watch.look(100, 4) == (True, True)
    assert watch.look(100, 2) == (False, True)  # said once: the limit is smaller now
    now, free = now + 11, None  # type: ignore[assignment]
    assert watch.look(100, 2) == (False, True)


def pressed(folder: Path) -> int:
    """As a rank: train while the last rank sees less and less free memory, and then more again."""
    ranks = make_world()
    case = Case(name="pressed", options={"epochs": None})

    def prepare(trainer: Trainer) -> None:
        state = trainer.state
        state.limit.bytes_per_sample = 1 << 20
        state.limit.patience = 2
        # What one of the ranks sees free after this many steps, in samples; the share is 12.
        seen = {0: 100, 1: 11, 2: 100, 3: 4, 4: 9, 5: 100}
        is_last = ranks.rank == ranks.size - 1
        memory.free_bytes = lambda device: (seen[state.progress.step] if is_last else 1000) << 20  # type: ignore[assignment]
        memory._LOOK_SECONDS = 0.0

    write_found(folder, ranks, case.name, run_case(case, ranks, prepare))
    leave_group()
    return 0


def test_a_rank_with_little_memory_left_makes_all_cut_finer_at_the_same_step(tmp_path: Path) -> None:
    assert run_group(2, tmp_path / "output", pressed, tmp_path) == [0, 0]
    first, last = (read_found(tmp_path, "pressed", rank) for rank in range(2))
    # Steps of 12, 12 and 1 sample for each rank; 6 and 3 are the most in one pass from step 3 on, and from step 5.
    assert first["micro_batches"] == last["micro_batches"] == [1, 1, 1, 2, 4, 1]
    assert first["pressure"] == last["pressure"] == [6, 3]
    assert torch.equal(first["values"], last["values"])


def sign_trainer(checkpointing: bool) -> Trainer:
    """Return a trainer of the sign encoder, dropout and augmentation on."""
    recipe = make_sign_recipe("float32", 1)
    plan = replace(PLAN, micro_batch_size=5, gradient_checkpointing=checkpointing)
    trainer, _ = make_trainer(SignTask(make_data(), MODEL), recipe, plan=plan)
    return trainer


def test_gradient_checkpointing_needs_less_memory_for_the_same_weights() -> None:
    plain, checkpointed = (sign_trainer(checkpointing) for checkpointing in (False, True))
    saved = []
    for trainer in (plain, checkpointed):
        stage = trainer.recipe.stages[0]
        trainer.task.begin_stage(trainer.model, stage)
        batch = trainer.loader.training_batch(np.arange(16), 0, stage)
        taken: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            taken[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()  # noqa: B023
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            outputs = trainer.task.forward(trainer.model, batch)
        saved.append(sum(taken.values()))
        del outputs
        trainer.run()
    assert saved[1] < 0.4 * saved[0]
    assert torch.equal(plain.parameters.values, checkpointed.parameters.values)


def test_a_model_that_cannot_compute_again_is_told_in_a_line() -> None:
    error = catch(make_trainer, make_task(), make_recipe(), plan=replace(PLAN, gradient_checkpointing=True))
    assert str(error) == (
        "--gradient-checkpointing: Sequential has no gradient_checkpointing_enable(); add it to the model, or override "
        "Task.checkpoint_gradients"
    )


class SlowTask(TensorTask):
    """Four blobs that are fetched when the gate is open."""

    def __init__(self) -> None:
        self.__dict__.update(make_task().__dict__)
        self.gate = threading.Event()
        self.fetched = 0

    def fetch(self, split: str, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        self.gate.wait()
        self.fetched += 1
        return super().fetch(split, indices)


def test_what_was_prepared_for_steps_that_are_cut_anew_is_dropped() -> None:
    task, recipe = SlowTask(), make_recipe()
    sampler = make_trainer(make_task(), recipe, plan=replace(PLAN, micro_batch_size=4))[0].loop.sampler
    loader = Loader(task, seed=0, dtype=torch.float32, device=CPU, num_workers=1)
    steps = loader.steps(sampler.epoch(0), 0, recipe.stages[0])
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    task.gate.set()
    loader.close()
    assert task.fetched <= 4  # those of the first step, which is being computed


def test_where_memory_runs_out_in_onednn_a_run_goes_on_without_it() -> None:
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    try:
        assert not leave_onednn("DefaultCPUAllocator: can't allocate memory")
        assert leave_onednn("could not create a primitive descriptor")
        assert not torch.backends.mkldnn.enabled
        assert not leave_onednn("could not create a primitive")  # what fails now is the batch
    finally:
        torch.backends.mkldnn.enabled = True  # type: ignore[assignment]
