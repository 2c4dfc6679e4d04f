"""Forward passes through torch.compile: compiled few times whatever lengths come, and never what ends a run."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from training.memory import words_of_out_of_memory
from training.observers.events import Decision, Observer
from training.tasks.task import Batch, Task

logger = logging.getLogger(__name__)

Forward = Callable[[nn.Module, Batch], torch.Tensor]
"""As `Task.forward`."""


def make_forward(task: Task, backend: str | None, observer: Observer) -> Forward:
    """Return a task's forward pass, compiled by a backend of torch.compile, or as it is where there is none."""
    return task.forward if backend is None else CompiledForward(task, backend, observer)


@contextmanager
def uncompiled(forward: Forward) -> Iterator[None]:
    """Have a forward pass run as written: for counters that look at each operation, and for shapes that come but once."""
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

    A task whose samples differ in length (`Task.costs`) is compiled for any length at once; others for the micro-batch they
    have, and once more for any where an epoch ends with a smaller one. After `torch._dynamo.config.recompile_limit`
    compilations what is not compiled yet runs as it was written. Where the compiler fails all does, from then on.
    """

    def __init__(self, task: Task, backend: str, observer: Observer) -> None:
        self._limit_error, self._compiler_error = _prepare_compiler()
        self._observer, self._backend = observer, backend
        self._as_written: Forward = task.forward
        self.compiled: Forward | None = None
        """None: it runs as written."""
        self._is_complete = False
        """Whether nothing more is compiled."""
        self._is_first = True
        dynamic = True if task.costs("train") is not None else None
        try:
            self.compiled = torch.compile(task.forward, backend=backend, dynamic=dynamic)
        except self._compiler_error as error:
            self._give_up(error)

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the model's outputs for a batch. Raises `torch.OutOfMemoryError` also where the compiler ran out."""
        if self.compiled is None:
            return self._as_written(model, batch)
        if self._is_complete:
            with torch.compiler.set_stance("eager_on_recompile"):
                return self.compiled(model, batch)
        started = time.perf_counter()
        try:
            outputs = self.compiled(model, batch)
        except self._limit_error:
            self._is_complete = True
            reason = "torch.compile has compiled for as many kinds of batches as it may: others run as written"
            self._observer.on_decision(Decision(kind="compile_limit", reason=reason, warning=True, fields={}))
            return self(model, batch)
        except self._compiler_error as error:
            if (words := _words_of_out_of_memory(error)) is not None:
                raise torch.OutOfMemoryError(words) from None
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
        self.compiled = None
        logger.info("torch.compile failed: %s", error)
        # Of an error in a backend, the backend's own words.
        inner = getattr(error, "inner_exception", None) or error
        said = (str(inner).strip().splitlines() or [type(inner).__name__])[0]
        reason = f"torch.compile ({self._backend}) fails on this model, which runs as written: {said}"
        fields = {"backend": self._backend}
        self._observer.on_decision(Decision(kind="not_compiled", reason=reason, warning=True, fields=fields))


def _prepare_compiler() -> tuple[type[Exception], type[Exception]]:
    """Set up torch's compiler, for the whole process; return what it raises at its limit, and what when it fails."""
    import torch._dynamo.config as dynamo_config  # takes long
    import torch._functorch.config as functorch_config
    from torch._dynamo import exc

    # Told rather than passed over in silence. Names before torch 2.7 in second place.
    name = "fail_on_recompile_limit_hit"
    setattr(dynamo_config, name if hasattr(dynamo_config, name) else "fail_on_cache_limit_hit", True)
    if hasattr(functorch_config, "force_non_lazy_backward_lowering"):
        # What fails then fails in the forward pass, before there are gradients.
        functorch_config.force_non_lazy_backward_lowering = True
    # Caches of constants, which are found again for each compilation.
    warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
    limit_error = getattr(exc, "FailOnRecompileLimitHit", None) or getattr(exc, "FailOnCacheLimitHit")  # noqa: B009
    return limit_error, exc.TorchDynamoException


def _words_of_out_of_memory(error: BaseException | None) -> str | None:
    """Return what an allocator said, also where the compiler wrapped it."""
    while isinstance(error, Exception):
        if (words := words_of_out_of_memory(error)) is not None:
            return words
        error = error.__cause__ or error.__context__
    return None
