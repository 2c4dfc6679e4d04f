"""The generators from which samples draw, torch's, numpy's and Python's: set for each sample, and put back."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...common.errors import UserError

State = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Generator:
    """One of the generators of a process."""

    seed: Callable[[int], object]
    """Set it by a key of 64 bits."""
    state: Callable[[], Any]
    """Return its state; two that are equal by `==` have nothing drawn between them."""
    restore: Callable[[Any], object]
    """Put it back to a state."""


# `torch.manual_seed` also notes a call with the stack of its caller for each kind of device that is not in use: a
# millisecond, and memory that is never freed.
_seed_torch = torch.default_generator.manual_seed


def _torch_state() -> bytes:
    return torch.default_generator.get_state().numpy().tobytes()


def _restore_torch(state: bytes) -> None:
    torch.default_generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


_NUMPY_BYTES = 4 * (624 + 1)
"""Of the state of a Mersenne twister in memory: its words, and its position. `get_state` takes 70 times as long to read it."""

_numpy_plain = b""
"""A state in memory at which numpy is known to keep no normal number for the next call, of which memory has no trace."""


_numpy_at: tuple[object, int] = (None, 0)
"""numpy's global generator when it was last looked at, and where in memory its state is."""


def _numpy_address() -> int:
    global _numpy_at
    generator = np.random.mtrand.get_bit_generator()
    if generator is not _numpy_at[0]:
        if not isinstance(generator, np.random.MT19937):
            raise UserError(
                f"numpy's global generator is {type(generator).__name__}, which cannot be seeded for each sample; leave out "
                "np.random.set_bit_generator"
            )
        _numpy_at = (generator, generator.ctypes.state_address)
    return _numpy_at[1]


def _numpy_state() -> tuple[bytes, float | None]:
    """Return the state in memory, and the normal number that is kept for the next call, if there is one."""
    global _numpy_plain
    memory = ctypes.string_at(_numpy_address(), _NUMPY_BYTES)
    if memory == _numpy_plain:
        return memory, None
    whole: Any = np.random.get_state(legacy=False)
    if memory != whole["state"]["key"].tobytes() + np.int32(whole["state"]["pos"]).tobytes():
        raise RuntimeError(f"numpy {np.__version__} keeps the state of MT19937 in another way than is known here")
    if whole["has_gauss"]:
        return memory, whole["gauss"]
    _numpy_plain = memory
    return memory, None


def _restore_numpy(state: tuple[bytes, float | None]) -> None:
    global _numpy_plain
    memory, normal = state
    if normal is None:
        np.random.seed(0)
        ctypes.memmove(_numpy_address(), memory, _NUMPY_BYTES)
        _numpy_plain = memory
    else:
        words = np.frombuffer(memory, dtype=np.uint32)
        np.random.set_state(("MT19937", words[:-1], int(words[-1]), 1, normal))
        _numpy_plain = b""


_PYTHON_BYTES = 4 * (1 + 624)
"""Of the state of Python's Mersenne twister in memory: its position, and its words. `getstate` makes 625 objects of it."""


def _python_address() -> int | None:
    """Return where in memory the state of Python's generator is; None where it is not kept as CPython does."""
    address = id(_PYTHON) + object.__basicsize__
    if type(_PYTHON).__basicsize__ < object.__basicsize__ + _PYTHON_BYTES:
        return None
    (_, words, _) = random.getstate()
    known = np.array([words[-1], *words[:-1]], dtype=np.uint32).tobytes()
    return address if ctypes.string_at(address, _PYTHON_BYTES) == known else None


_PYTHON: Any = random.getstate.__self__  # type: ignore[attr-defined]  # the generator whose methods the module's functions are
_PYTHON_AT = _python_address()


def _python_state() -> tuple[Any, ...]:
    """Return the state, and the normal number that is kept for the next call, if there is one."""
    if _PYTHON_AT is None:
        return random.getstate()
    return ctypes.string_at(_PYTHON_AT, _PYTHON_BYTES), _PYTHON.gauss_next


def _restore_python(state: tuple[Any, ...]) -> None:
    if _PYTHON_AT is None:
        random.setstate(state)
    else:
        memory, _PYTHON.gauss_next = state
        ctypes.memmove(_PYTHON_AT, memory, _PYTHON_BYTES)


GENERATORS = (
    Generator(seed=lambda key: _seed_torch(key & (2**63 - 1)), state=_torch_state, restore=_restore_torch),
    Generator(seed=lambda key: np.random.seed(key & (2**32 - 1)), state=_numpy_state, restore=_restore_numpy),
    Generator(seed=random.seed, state=_python_state, restore=_restore_python),
)
"""torch's, numpy's and Python's."""


def seed_generators(key: int, device: torch.device | None = None) -> None:
    """Set the three generators by a key of 64 bits, and those of devices only if a device other than the host is given."""
    for generator in GENERATORS:
        generator.seed(key)
    global _numpy_plain
    _numpy_plain = ctypes.string_at(_numpy_address(), _NUMPY_BYTES)
    if device is not None and device.type != "cpu":
        module = torch.get_device_module(device)
        getattr(module, "manual_seed_all", module.manual_seed)(key & (2**63 - 1))


def generator_states() -> State:
    """Return the states of the three generators; equal ones have nothing drawn between them."""
    return tuple(generator.state() for generator in GENERATORS)


def set_generators(states: State) -> None:
    """Put the three generators back to what `generator_states` returned."""
    for generator, state in zip(GENERATORS, states, strict=True):
        generator.restore(state)


@contextmanager
def kept_generators(generators: Sequence[Generator] = GENERATORS) -> Iterator[None]:
    """Put the generators back at the end: what samples draw moves nothing that the model draws from."""
    before = [generator.state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.restore(state)
