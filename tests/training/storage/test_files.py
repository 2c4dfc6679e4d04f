"""Durable writes: hashed, fsynced; safetensors files too."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from slipway.training.storage import files as durable
from slipway.training.storage.files import describe_os_error, flush_folder, sha256_of, write_durably, write_tensors


def test_what_is_written_in_pieces_is_hashed_as_one(tmp_path: Path) -> None:
    pieces = [b"one", memoryview(b"two"), b"", b"three"]
    written = write_durably(tmp_path / "file", pieces)
    assert (tmp_path / "file").read_bytes() == b"onetwothree"
    assert written == (11, hashlib.sha256(b"onetwothree").hexdigest())
    assert sha256_of(tmp_path / "file") == written.sha256


def test_tensors_larger_than_a_piece_come_back_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_PIECE_BYTES", 1000)
    tensors = {"a": torch.randn(777, generator=torch.Generator().manual_seed(3)), "b": torch.arange(1001)}
    written = write_tensors(tmp_path / "model.safetensors", tensors)
    read = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    assert written == ((tmp_path / "model.safetensors").stat().st_size, sha256_of(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("dtype", list(durable._TYPE_NAMES), ids=str)
def test_every_type_is_read_by_the_formats_own_library(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.tensor([0, 1, 1, 0, 1]).to(dtype)
    write_tensors(tmp_path / "one.safetensors", {"odd": torch.ones(3, dtype=torch.uint8), "a": tensor})
    read = load_file(tmp_path / "one.safetensors")["a"]
    assert read.dtype == dtype
    assert torch.equal(read.to(torch.float32), tensor.to(torch.float32))
    with safe_open(tmp_path / "one.safetensors", "pt") as file:
        assert set(file.keys()) == {"odd", "a"}


@pytest.mark.parametrize("name", ["", "a", "ab", "abc"])
def test_every_tensor_starts_where_its_elements_can_be_mapped(tmp_path: Path, name: str) -> None:
    tensors = {name: torch.ones(3, dtype=torch.bool), "half": torch.ones(3).half(), "wide": torch.ones(3).double()}
    write_tensors(tmp_path / "model.safetensors", tensors)
    data = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    for name, tensor in tensors.items():
        assert header[name]["data_offsets"][0] % tensor.element_size() == 0


def test_a_folder_that_cannot_be_flushed_is_no_failure_but_a_broken_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> None:
        def fsync(handle: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    refuse(errno.EINVAL)
    flush_folder(tmp_path)
    refuse(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        flush_folder(tmp_path)


def test_an_error_is_described_in_words_not_in_numbers() -> None:
    assert describe_os_error(OSError(28, "No space left on device", "/runs/a")) == "No space left on device (/runs/a)"
    assert describe_os_error(OSError(28, "No space left on device")) == "No space left on device"
    assert describe_os_error(OSError("odd")) == "odd"
    assert describe_os_error(TimeoutError()) == "TimeoutError"
