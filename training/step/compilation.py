"""Compile forward passes with torch.compile: few times whatever the lengths of samples, and never ending a run."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from ..devices.memory import out_of_memory_message
from ..observers.events import Decision, Observer
from ..tasks.task import Batch, Task

logger = logging.getLogger(__name__)

Forward = Callable[[nn.Module, Batch], torch.Tensor]
"""As `Task.forward`."""


def make_forward(
    task: Task,
    backend: str | None,
    observer: Observer,
    unwatched: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Forward:
    """Return a task's forward pass, compiled by a backend of torch.compile; `None`: as it is.

    `unwatched` is entered while something may be compiled: that may take long, and is no hang.
    """
    return task.forward if backend is None else CompiledForward(task, backend, observer, unwatched)


@contextmanager
def uncompiled(forward: Forward) -> Iterator[None]:
    """Run a forward pass as written within the block: for counters of operations, and for shapes that occur only once."""
    if not isinstance(forward, CompiledForward):
        yield
        return
    compiled, forward.compiled = forward.compiled, None
    try:
        yield
    finally:
        forward.compiled = compiled


class CompiledForward:
    """A task's forward pass, and with it the backward one, through torch.compile.

    A task whose samples differ in length (`Task.costs`) is compiled for any length at once; others for the size of their
    micro-batches, and once more for any size if an epoch ends with a smaller one. After
    `torch._dynamo.config.recompile_limit` compilations everything else runs as written; if the compiler fails, everything.
    """

    def __init__(
        self,
        task: Task,
        backend: str,
        observer: Observer,
        unwatched: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._observer, self._backend, self._unwatched = observer, backend, unwatched
        self._as_written: Forward = task.forward
        self._before = _Before(draws=not task.keyed_randomness)
        self.compiled: Forward | None = None
        """`None`: it runs as written."""
        self._is_complete = False
        """Whether nothing further is compiled."""
        self._is_first = True
        self._failure: Exception | None = None
        """The error of setting up the compiler, reported at the first pass: the run has not been announced yet."""
        dynamic = True if task.costs("train") is not None else None
        try:
            self._compiler = _Compiler()
            self.compiled = torch.compile(task.forward, backend=backend, dynamic=dynamic)
        except Exception as error:  # no such backend, a folder that it cannot write, an import that fails
            self._failure = error

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the model's outputs for a batch. Raises `torch.OutOfMemoryError` also if the compiler ran out of memory."""
        if self.compiled is None:
            if self._failure is not None:
                self._give_up(self._failure)
            return self._as_written(model, batch)
        if self._is_complete:
            with torch.compiler.set_stance("eager_on_recompile"):
                return self.compiled(model, batch)
        started = time.perf_counter()
        self._before.keep(model)
        try:
            with self._unwatched(), self._compiler.strict():
                outputs = self.compiled(model, batch)
        except self._compiler.limit_error:
            self._before.restore()
            self._is_complete = True
            reason = "torch.compile has compiled for as many kinds of batches as it may: others run as written"
            self._observer.on_decision(Decision(kind="compile_limit", reason=reason, warning=True, fields={}))
            return self(model, batch)
        except self._compiler.error as error:
            self._before.restore()
            if (message := _out_of_memory_message(error)) is not None:
                raise torch.OutOfMemoryError(message) from None
            self._give_up(error)
            return self._as_written(model, batch)
        if self._is_first:
            self._is_first = False
            seconds = time.perf_counter() - started
            reason = f"torch.compile ({self._backend}): the first forward pass took {seconds:.1f} s"
            fields = {"backend": self._backend, "seconds": round(seconds, 3)}
            self._observer.on_decision(Decision(kind="compiled", reason=reason, fields=fields))
        return outputs

    def _give_up(self, error: Exception) -> None:
        """Run as written from now on, because of an error of the compiler."""
        self.compiled = self._failure = None
        logger.info("torch.compile failed: %s", error)
        # Of an error in a backend, the backend's own message.
        inner = getattr(error, "inner_exception", None) or error
        message = (str(inner).strip().splitlines() or [type(inner).__name__])[0]
        reason = f"torch.compile ({self._backend}) fails on this model, which runs as written: {message}"
        fields = {"backend": self._backend}
        self._observer.on_decision(Decision(kind="not_compiled", reason=reason, warning=True, fields=fields))


class _Compiler:
    """The errors of torch's compiler, and the settings with which it raises them."""

    def __init__(self) -> None:
        import torch._dynamo.config as dynamo_config  # takes long
        import torch._functorch.config as functorch_config
        from torch._dynamo import exc

        self.error: type[Exception] = exc.TorchDynamoException
        # As they are called since torch 2.7, and before.
        names = ("FailOnRecompileLimitHit", "FailOnCacheLimitHit")
        self.limit_error: type[Exception] = next(getattr(exc, name) for name in names if hasattr(exc, name))
        names = ("fail_on_recompile_limit_hit", "fail_on_cache_limit_hit")
        setting = next(name for name in names if hasattr(dynamo_config, name))
        self._settings: list[tuple[Any, str]] = [(dynamo_config, setting)]
        if hasattr(functorch_config, "force_non_lazy_backward_lowering"):
            self._settings.append((functorch_config, "force_non_lazy_backward_lowering"))
        # The cached functions compute constants, the same in each compilation.
        warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")

    @contextmanager
    def strict(self) -> Iterator[None]:
        """Raise an error at the limit of compilations, and compile the backward pass before it is needed, within the block.

        Only there: a task may compile by itself. Set and restored by hand: torch's own way takes five times as long.
        """
        before = [getattr(config, name) for config, name in self._settings]
        for config, name in self._settings:
            setattr(config, name, True)
        try:
            yield
        finally:
            for (config, name), value in zip(self._settings, before, strict=True):
                setattr(config, name, value)


class _Before:
    """Keeps what a forward pass in training changes besides its outputs: batch statistics, and generators if it `draws`."""

    def __init__(self, *, draws: bool) -> None:
        self._draws = draws
        self._buffers: list[torch.Tensor] | None = None
        self._kept: list[torch.Tensor] = []
        self._generators: list[tuple[Any, torch.Tensor]] = []
        self._is_kept = False

    def keep(self, model: nn.Module) -> None:
        """Copy it before a pass that may fail halfway. A run has one model."""
        self._is_kept = model.training
        if not model.training:
            return
        if self._buffers is None:
            self._buffers = [buffer for buffer in model.buffers() if buffer.numel()]
            self._kept = [torch.empty_like(buffer) for buffer in self._buffers]
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)
        if self._draws:
            device = next(model.parameters()).device.type
            modules = [torch.random, *([] if device == "cpu" else [torch.get_device_module(device)])]
            self._generators = [(module, module.get_rng_state()) for module in modules]

    def restore(self) -> None:
        """Set it to what was copied."""
        if not self._is_kept:
            return
        if self._buffers:
            with torch.no_grad():
                torch._foreach_copy_(self._buffers, self._kept)
        for module, state in self._generators:
            module.set_rng_state(state)


def _out_of_memory_message(error: BaseException | None) -> str | None:
    """Return the allocator's message, also from an error that the compiler wrapped; `None` for other errors."""
    while isinstance(error, Exception):
        if (message := out_of_memory_message(error)) is not None:
            return message
        error = error.__cause__ or error.__context__
    return None
