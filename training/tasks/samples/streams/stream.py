"""What counts as a stream, and how its reading begins; what cannot be read is one sentence."""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import IterableDataset

from ....common.errors import UserError

logger = logging.getLogger("slipway")

_ENDLESS = (itertools.count, itertools.cycle, itertools.repeat)


class Stream:
    """Samples that can only be read one after the other: they are written to the disk once, then read by number.

    `source` is a function that returns an iterator (a generator function), an `IterableDataset` of torch or `datasets`, or
    anything else that can be iterated. `samples` is how many are taken: needed where there is no end, or it is far. `key`
    names the content: what was written under it is used again without reading the stream, also after a restart; give another
    key when the samples change. Without one a stream is read anew at each start, and a run is only resumed if it gave the same.
    """

    def __init__(self, source: Any, *, samples: int | None = None, key: str | None = None) -> None:
        if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 1):
            raise UserError(f"Stream: samples is how many to take, a whole number from 1; got {samples!r:.40}")
        if key is not None and (not isinstance(key, str) or not key):
            raise UserError(f"Stream: key is a text that names the content, such as 'v1'; got {key!r:.40}")
        if isinstance(source, Stream):
            raise UserError("Stream: it was given another Stream; give what that one was made of")
        self.source, self.samples, self.key = source, samples, key

    @property
    def length(self) -> int | None:
        """What the source says its length is; None: nothing."""
        try:
            return len(self.source)
        except (TypeError, NotImplementedError, AttributeError):
            return None

    @property
    def is_endless(self) -> bool:
        """Whether the source is known to have no end."""
        return isinstance(self.source, _ENDLESS)


def as_stream(data: Any) -> Stream | None:
    """Return what people give as a stream, if it is one: what cannot be asked for a sample by its number."""
    if isinstance(data, Stream):
        return data
    if isinstance(data, (type, nn.Module, Mapping, torch.Tensor)) or _is_loader(data):
        return None
    if isinstance(data, IterableDataset) or hasattr(data, "__next__"):
        return Stream(data)
    if hasattr(data, "__getitem__"):
        return None
    return Stream(data) if hasattr(data, "__iter__") or callable(data) else None


def begin(stream: Stream, where: str) -> Iterator[Any]:
    """Return an iterator over the samples, from the first. Raises `UserError` where there is none to be had."""
    source = stream.source
    if _is_loader(source):
        raise UserError(f"{where}: a DataLoader batches and shuffles; give its dataset")
    if isinstance(source, type):
        raise UserError(f"{where}: {source.__name__} is a class; give an object made from it: {source.__name__}(...)")
    if inspect.isgenerator(source):
        state = inspect.getgeneratorstate(source)
        if state == inspect.GEN_CLOSED:
            raise UserError(f"{where}: the generator was read to its end before; {_give_function(source)}")
        if state == inspect.GEN_SUSPENDED:
            logger.warning("%s: the generator was begun before: the samples it gave then are not among the data", where)
    if callable(source) and not hasattr(source, "__iter__"):
        source = _call(source, where)
    if inspect.isasyncgen(source) or inspect.iscoroutine(source):
        raise UserError(f"{where}: an async function cannot be read here; give a plain generator")
    if type(source).__module__.startswith("datasets.") and getattr(source, "_formatting", 0) is None:
        source = source.with_format("torch")  # torch cannot collate its lists
    if not hasattr(source, "__iter__") and hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return (source[number] for number in range(len(source)))
    try:
        return iter(source)
    except TypeError:
        raise UserError(
            f"{where}: {type(source).__name__} cannot be read from its first sample to its last; give a data set, or a "
            "function that yields samples"
        ) from None


def why_empty(stream: Stream) -> str:
    """Return what to say of a stream that gave no sample."""
    if hasattr(stream.source, "__next__"):
        return f"gave no sample: it was read before, or is empty; {_give_function(stream.source)}"
    return "gave no sample; give one that has some"


def _call(make: Callable[..., Any], where: str) -> Iterable[Any]:
    name = getattr(make, "__name__", type(make).__name__)
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise UserError(f"{where}: {name} is called without arguments, but {error}; give lambda: {name}(...)") from None
    except ValueError:
        pass  # a function without a signature
    made = make()
    if made is None:
        raise UserError(f"{where}: {name}() returned None; let it yield samples, or return what can be iterated")
    return made


def _give_function(source: Any) -> str:
    name = getattr(source, "__name__", "")
    if name and name.isidentifier():
        return f"give the function that makes it: {name} instead of {name}()"
    return "give a function that makes it, such as lambda: iter(samples)"


def _is_loader(data: Any) -> bool:
    return hasattr(data, "batch_sampler")
