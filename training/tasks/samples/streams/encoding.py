"""Samples as bytes, and back exactly: types, structure, shapes, the order of axes in memory. Nothing is pickled."""

from __future__ import annotations

import dataclasses
import math
import struct
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from ....common.errors import UserError
from ....storage.files import bytes_of

Form = str | tuple[Any, ...]
"""What a sample is without its values and sizes: a word for a plain value, a tuple that begins with one for all else."""

_ALIGNMENT = 16
"""Bytes at whose multiples arrays begin in a sample, so that they can be used where they lie."""

MOST_PARTS = 16
"""A shorter tuple is a sample of so many parts, a longer one may be a row of numbers."""

_KINDS_OF_ARRAYS = "biufcSUMm"
_NAMES = {one: str(one).removeprefix("torch.") for one in vars(torch).values() if isinstance(one, torch.dtype)}
_DTYPES = {name: one for one, name in _NAMES.items()}
_NUMBERS = {int: "<i8", float: "<f8", bool: "?"}
_LISTS: dict[str, type] = {"list": list, "tuple": tuple}


class NotStorable(Exception):  # noqa: N818 - the fault is in a sample, not in the program
    """A value that cannot be kept exactly; the message says which, and what to give instead."""


@dataclasses.dataclass(slots=True)
class EncodedSample:
    """A sample in three parts; `form` with `sizes` says how to read `data`."""

    form: Form
    sizes: list[int]
    data: bytes


def encode(sample: Any, classes: dict[str, type]) -> EncodedSample:
    """Return a sample as bytes; dataclasses and named tuples are put into `classes` by name. Raises `NotStorable`."""
    encoder = _Encoder(classes)
    form = encoder.encode(sample, ())
    return EncodedSample(form, encoder.sizes, b"".join(encoder.pieces))


def decode(form: Form, sizes: Sequence[int], data: np.ndarray, classes: Mapping[str, type]) -> Any:
    """Return the sample that was encoded; its arrays share the memory of `data`, uint8 [bytes], writable and aligned."""
    return _Decoder(sizes, data, classes).decode(form)


def form_of(plain: Any) -> Form:
    """Return a form that was written as JSON."""
    return tuple(map(form_of, plain)) if isinstance(plain, list) else plain


def classes_of(forms: Sequence[Form], known: Mapping[str, type]) -> dict[str, type]:
    """Return the dataclasses and named tuples of forms by name, from `known` or the modules that are loaded.

    Raises `UserError` for one that is not there.
    """
    found: dict[str, type] = {}
    for name in sorted({name for form in forms for name in _class_names(form)}):
        module, _, path = name.partition(":")
        one: Any = known.get(name, sys.modules.get(module))
        if name not in known:
            for part in path.split("."):
                one = getattr(one, part, None)
        if not (isinstance(one, type) and (dataclasses.is_dataclass(one) or _is_named_tuple(one))):
            raise UserError(
                f"{path} of module {module} is not there; define it at the top of a module that is imported"
            )
        found[name] = one
    return found


def _class_names(form: Form) -> list[str]:
    if isinstance(form, str) or not form:
        return []
    own = [form[1]] if form[0] in ("dataclass", "namedtuple") else []
    return own + [name for part in form[1:] if isinstance(part, tuple) for name in _class_names(part)]


def _is_named_tuple(one: type) -> bool:
    return issubclass(one, tuple) and hasattr(one, "_fields")


class _Encoder:
    def __init__(self, classes: dict[str, type]) -> None:
        self.sizes: list[int] = []
        self.pieces: list[bytes] = []
        self._length = 0
        self._classes = classes

    def encode(self, value: Any, place: tuple[Any, ...]) -> Form:
        kind = type(value)
        if kind is torch.Tensor or kind is torch.nn.Parameter:
            return self._tensor(value, place)
        if kind is np.ndarray or kind is np.memmap:
            return self._array(np.asarray(value), place)
        if kind in (list, tuple):
            return self._sequence(value, kind.__name__, place)
        if kind is dict or kind is OrderedDict:
            return self._mapping(value, "dict" if kind is dict else "ordered", place)
        if isinstance(value, np.generic) and value.dtype.kind in _KINDS_OF_ARRAYS:
            self._add(value.tobytes())
            return ("scalar", value.dtype.str)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = tuple(field.name for field in dataclasses.fields(value))
            parts = (self.encode(getattr(value, name), (*place, name)) for name in names)
            return ("dataclass", self._named(kind), names, *parts)
        if _is_named_tuple(kind):
            parts = (self.encode(part, (*place, name)) for name, part in zip(value._fields, value, strict=True))
            return ("namedtuple", self._named(kind), *parts)
        if isinstance(getattr(value, "data", None), dict) and isinstance(value, Mapping):
            return self._mapping(value, "dict", place)  # what a tokenizer returns
        return self._plain(value, kind, place)

    def _plain(self, value: Any, kind: type, place: tuple[Any, ...]) -> Form:
        if value is None:
            return "none"
        if kind is bool:
            self._add(b"\1" if value else b"\0")
            return "bool"
        if kind is int:
            if -(2**63) <= value < 2**63:
                self._add(struct.pack("<q", value))
                return "int"
            return self._sized("big", str(value).encode())
        if kind is float:
            self._add(struct.pack("<d", value))
            return "float"
        if kind is complex:
            self._add(struct.pack("<dd", value.real, value.imag))
            return "complex"
        if kind is str:
            return self._sized("text", value.encode("utf-8", "surrogatepass"))
        if kind in (bytes, bytearray):
            return self._sized(kind.__name__, bytes(value))
        raise _refusal(value, kind, place)

    def _tensor(self, tensor: torch.Tensor, place: tuple[Any, ...]) -> Form:
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise NotStorable(
                f"{_at(place)}a tensor that is {'quantized' if tensor.is_quantized else 'sparse'}; "
                "give it as a dense one"
            )
        if tensor.device.type == "meta":
            raise NotStorable(f"{_at(place)}a tensor on meta, which has no values")
        if tensor.dtype not in _NAMES:
            raise NotStorable(f"{_at(place)}a tensor of {tensor.dtype}, which has no bytes of its own")
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        order = None if tensor.is_contiguous() else _order(tensor.stride(), tensor.shape)
        self.sizes += tensor.shape
        self._align()
        if tensor.numel():
            self._add(bytes_of((tensor if order is None else tensor.permute(order)).contiguous()).tobytes())
        return ("tensor", _NAMES[tensor.dtype], tensor.ndim, order)

    def _array(self, array: np.ndarray, place: tuple[Any, ...]) -> Form:
        if array.dtype.kind not in _KINDS_OF_ARRAYS:
            raise NotStorable(f"{_at(place)}an array of {array.dtype}; give numbers or text, or a dictionary of arrays")
        order = None if array.flags.c_contiguous else _order(array.strides, array.shape)
        self.sizes += array.shape
        self._align()
        self._add((array if order is None else array.transpose(order)).tobytes())
        return ("array", array.dtype.str, array.ndim, order)

    def _sequence(self, value: Sequence[Any], name: str, place: tuple[Any, ...]) -> Form:
        kinds = set(map(type, value))
        is_short = name == "tuple" and len(value) < MOST_PARTS
        if len(kinds) == 1 and not is_short and (dtype := _NUMBERS.get(kind := kinds.pop())) is not None:
            try:
                numbers = np.array(value, dtype=dtype)
            except OverflowError:
                pass
            else:
                self.sizes.append(len(value))
                self._align()
                self._add(numbers.tobytes())
                return ("numbers", name, kind.__name__)
        return (name, *(self.encode(part, (*place, number)) for number, part in enumerate(value)))

    def _mapping(self, value: Mapping[Any, Any], name: str, place: tuple[Any, ...]) -> Form:
        for key in value:
            if type(key) not in (str, int):
                raise NotStorable(f"{_at(place)}a dictionary with the key {key!r:.40}; make keys text")
        return (name, tuple(value), *(self.encode(part, (*place, key)) for key, part in value.items()))

    def _named(self, kind: type) -> str:
        name = f"{kind.__module__}:{kind.__qualname__}"
        self._classes[name] = kind
        return name

    def _sized(self, form: str, content: bytes) -> str:
        self.sizes.append(len(content))
        self._add(content)
        return form

    def _align(self) -> None:
        self._add(b"\0" * (-self._length % _ALIGNMENT))

    def _add(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self._length += len(piece)


class _Decoder:
    def __init__(self, sizes: Sequence[int], data: np.ndarray, classes: Mapping[str, type]) -> None:
        self._sizes = iter(sizes)
        self._data = data
        self._position = 0
        self._classes = classes

    def decode(self, form: Form) -> Any:
        if isinstance(form, str):
            return _PLAIN[form](self)
        return _COMPOSED[form[0]](self, *form[1:])

    def take(self, count: int) -> np.ndarray:
        first = self._position
        self._position += count
        return self._data[first : self._position]

    def take_sized(self) -> bytes:
        return self.take(next(self._sizes)).tobytes()

    def take_shape(self, ndim: int) -> tuple[int, ...]:
        return tuple(islice(self._sizes, ndim))

    def take_aligned(self, count: int) -> np.ndarray:
        self._position += -self._position % _ALIGNMENT
        return self.take(count)

    def tensor(self, name: str, ndim: int, order: tuple[int, ...] | None) -> torch.Tensor:
        dtype, shape = _DTYPES[name], self.take_shape(ndim)
        count = math.prod(shape)
        raw = self.take_aligned(count * dtype.itemsize)
        flat = torch.from_numpy(raw).view(dtype) if count else torch.empty(0, dtype=dtype)
        if order is None:
            return flat.reshape(shape)
        return flat.reshape([shape[axis] for axis in order]).permute(_inverse(order))

    def array(self, dtype: str, ndim: int, order: tuple[int, ...] | None) -> np.ndarray:
        shape = self.take_shape(ndim)
        kind = np.dtype(dtype)
        flat = self.take_aligned(math.prod(shape) * kind.itemsize).view(kind)
        if order is None:
            return flat.reshape(shape)
        return flat.reshape([shape[axis] for axis in order]).transpose(_inverse(order))

    def scalar(self, dtype: str) -> Any:
        return np.frombuffer(self.take(np.dtype(dtype).itemsize).tobytes(), dtype=dtype)[0]

    def numbers(self, name: str, kind: str) -> Any:
        dtype = next(dtype for one, dtype in _NUMBERS.items() if one.__name__ == kind)
        return _LISTS[name](self.take_aligned(next(self._sizes) * np.dtype(dtype).itemsize).view(dtype).tolist())

    def sequence(self, *parts: Form, kind: type) -> Any:
        return kind([self.decode(part) for part in parts])

    def mapping(self, keys: tuple[Any, ...], *parts: Form, kind: type) -> Any:
        return kind(zip(keys, map(self.decode, parts), strict=True))

    def dataclass(self, name: str, fields: tuple[str, ...], *parts: Form) -> Any:
        # Not by its constructor: fields may be computed, or none of its arguments.
        made: Any = object.__new__(self._classes[name])
        for field, part in zip(fields, parts, strict=True):
            object.__setattr__(made, field, self.decode(part))
        return made

    def namedtuple(self, name: str, *parts: Form) -> Any:
        return self._classes[name]._make(map(self.decode, parts))  # type: ignore[attr-defined]


_PLAIN = {
    "none": lambda one: None,
    "bool": lambda one: bool(one.take(1)[0]),
    "int": lambda one: struct.unpack("<q", one.take(8))[0],
    "float": lambda one: struct.unpack("<d", one.take(8))[0],
    "complex": lambda one: complex(*struct.unpack("<dd", one.take(16))),
    "big": lambda one: int(one.take_sized()),
    "text": lambda one: one.take_sized().decode("utf-8", "surrogatepass"),
    "bytes": lambda one: one.take_sized(),
    "bytearray": lambda one: bytearray(one.take_sized()),
}
_COMPOSED: dict[str, Any] = {
    "tensor": _Decoder.tensor,
    "array": _Decoder.array,
    "scalar": _Decoder.scalar,
    "numbers": _Decoder.numbers,
    "list": partial(_Decoder.sequence, kind=list),
    "tuple": partial(_Decoder.sequence, kind=tuple),
    "dict": partial(_Decoder.mapping, kind=dict),
    "ordered": partial(_Decoder.mapping, kind=OrderedDict),
    "dataclass": _Decoder.dataclass,
    "namedtuple": _Decoder.namedtuple,
}


def _order(strides: Sequence[int], shape: Sequence[int]) -> tuple[int, ...] | None:
    """Return the axes from the widest apart in memory to the nearest; None: as they are numbered."""
    if 0 in shape or min(strides) <= 0:
        return None
    axes = tuple(sorted(range(len(shape)), key=lambda axis: -strides[axis]))
    moved = [axis for axis in axes if shape[axis] != 1]
    return None if moved == sorted(moved) else axes


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(axis) for axis in range(len(order))]


def _at(place: tuple[Any, ...]) -> str:
    return f"{''.join(f'[{key!r}]' for key in place)} is " if place else "it is "


def _refusal(value: Any, kind: type, place: tuple[Any, ...]) -> NotStorable:
    name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}".removeprefix("builtins.")
    if kind.__module__.startswith("PIL."):
        what = "give its pixels: numpy.asarray(image)"
    elif isinstance(value, torch.Tensor):
        what = "give it as a plain tensor: value.as_subclass(torch.Tensor)"
    elif isinstance(value, Mapping):
        what = "give it as a dictionary: dict(value)"
    elif isinstance(value, (int, float, str)):
        what = f"give its plain value as {next(one.__name__ for one in (int, float, str) if isinstance(value, one))}"
    else:
        what = "give tensors, arrays, numbers, text, and tuples, lists, dictionaries and dataclasses of them"
    return NotStorable(f"{_at(place)}of type {name}; {what}")
