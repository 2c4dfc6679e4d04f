"""Arrays are read as float32 whatever their type, order and container, in blocks, and never unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers import numpy_files
from slipway.training.data.readers.numpy_files import (
    describe_arrays,
    header_of,
    load_arrays,
    read_numbers,
    stored_arrays,
)

TYPES = ("f4", ">f4", "f8", ">f8", "f2", "i4", ">i8", "u1", "?")


@pytest.mark.parametrize("block", [7, 100, 1 << 21])
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (9, 10), (4, 5, 6), (3, 2, 2, 5)])
def test_numbers_of_any_type_order_and_block_are_those_of_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], block: int
) -> None:
    monkeypatch.setattr(numpy_files, "_BLOCK_NUMBERS", block)
    values = np.asarray(np.random.default_rng(0).normal(0, 50, shape))
    for dtype in TYPES:
        for order in ("C", "F"):
            array = np.asarray(values.astype(dtype), order=order)  # type: ignore[call-overload]
            np.save(tmp_path / "a.npy", array)
            np.savez(tmp_path / "a.npz", X=array)
            np.savez_compressed(tmp_path / "c.npz", X=array)
            for file in ("a.npy", "a.npz", "c.npz"):
                (stored,) = stored_arrays(tmp_path / file)
                out = np.full(shape, np.nan, np.float32)
                stored.read_into(out)
                np.testing.assert_array_equal(out, array.astype(np.float32), err_msg=f"{file} {dtype} {order}")
                loaded = stored.load()
                assert loaded.dtype == array.dtype
                np.testing.assert_array_equal(loaded, array)
            out = np.full(shape, np.nan, np.float32)
            read_numbers(tmp_path / "a.npy", header_of(tmp_path / "a.npy"), out)
            np.testing.assert_array_equal(out, array.astype(np.float32))


def test_a_long_header_and_text_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1,) * 60))
    assert header_of(tmp_path / "a.npy").shape == (1,) * 60
    np.save(tmp_path / "a.npy", np.array(["안녕", "b"]))
    assert load_arrays(tmp_path / "a.npy")[""].tolist() == ["안녕", "b"]


@pytest.mark.parametrize("cut", [0, 5, 9, 60, 130, 500])
def test_a_file_that_was_cut_short_says_so_wherever_it_was_cut(tmp_path: Path, cut: int) -> None:
    np.save(tmp_path / "a.npy", np.ones(63))
    np.savez(tmp_path / "a.npz", X=np.ones(63))
    for name in ("a.npy", "a.npz"):
        file = tmp_path / name
        file.write_bytes(file.read_bytes()[:cut])
        with pytest.raises(UserError, match=rf"{name}: is not a complete {file.suffix} file"):
            stored_arrays(file)[0].read_into(np.empty(63, np.float32))
    with pytest.raises(UserError, match="not a complete"):
        read_numbers(tmp_path / "a.npy", header_of(tmp_path / "a.npy"), np.empty(63, np.float32))


def test_pickled_objects_are_refused_and_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match="pickled objects, which are not read"):
        load_arrays(tmp_path / "a.npy")


def test_arrays_are_described_by_their_headers(tmp_path: Path) -> None:
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", np.zeros((424, 30, 100), np.uint8))
    plain = sorted(tmp_path.glob("*.npy"))
    assert describe_arrays(plain) == "3 .npy of [424, 30, 100]"
    np.save(tmp_path / "c.npy", np.zeros(5))
    np.savez(tmp_path / "d.npz", X=np.ones((2, 30, 63)), y=[1, 2])
    (tmp_path / "e.npz").write_bytes(b"PK")
    assert describe_arrays([*plain, tmp_path / "d.npz", tmp_path / "e.npz"]) == (
        "3 .npy: 2 of [424, 30, 100], 1 of [5]; d.npz with X [2, 30, 63], y [2]; e.npz, which is not complete"
    )
