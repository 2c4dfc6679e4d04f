"""Copies a run's tensors to the host, into the memory of the copy before: new memory takes several times as long."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch

from .checkpoint import Content
from .files import bytes_of


class _Kept(NamedTuple):
    host: torch.Tensor
    source: weakref.ref[torch.Tensor]


class HostCopy:
    """Takes copies of the content of checkpoints; each copy is valid until the next is taken.

    It holds as much host memory as the changing part of a checkpoint takes on the disk: with AdamW about three times the
    parameters. For a CUDA device that memory is pinned.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}

    def take(self, content: Content) -> Content:
        """Return the content as it is now, on the host; unchanging tensors that are there already are not copied."""
        kept: dict[tuple[str, str], _Kept] = {}
        groups: dict[str, Mapping[str, torch.Tensor]] = {}
        devices: set[torch.device] = set()
        with torch.no_grad():
            for group, tensors in content.tensors.items():
                unchanging = group in content.unchanging
                for name, tensor in tensors.items():
                    if unchanging and tensor.device.type == "cpu":
                        continue
                    kept[group, name] = self._copy(self._kept.get((group, name)), tensor, unchanging=unchanging)
                    devices.add(tensor.device)
                groups[group] = {
                    name: kept[group, name].host if (group, name) in kept else tensor
                    for name, tensor in tensors.items()
                }
        for device in devices:
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()
        self._kept = kept
        return replace(content, tensors=groups)

    @staticmethod
    def _copy(old: _Kept | None, tensor: torch.Tensor, *, unchanging: bool) -> _Kept:
        if old is not None and unchanging and old.source() is tensor:
            return old
        if old is not None and old.host.shape == tensor.shape and old.host.dtype == tensor.dtype:
            host = old.host
        else:
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        if tensor.device.type == "cpu" and tensor.is_contiguous():
            # In one thread, which is as fast as the memory: of several, all would wait for the slowest on shared cores.
            bytes_of(host)[:] = bytes_of(tensor)
        else:
            host.copy_(tensor, non_blocking=tensor.is_cuda)
        return _Kept(host, weakref.ref(tensor))
