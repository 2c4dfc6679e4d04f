"""What somebody puts into a file to have code run, memory taken, or files written elsewhere; each is made from a folder."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .proof import MARKER, Hostile


def pickled(folder: Path) -> bytes:
    """Return a pickle."""
    return pickle.dumps(Hostile(folder))


def of_torch(folder: Path) -> bytes:
    """Return what `torch.save` writes: an archive with a pickle."""
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "more": Hostile(folder)}, file)
    return file.getvalue()


def of_old_torch(folder: Path) -> bytes:
    """Return what `torch.save` wrote before it wrote archives: pickles one after the other."""
    file = io.BytesIO()
    torch.save(Hostile(folder), file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def objects(folder: Path) -> np.ndarray:
    """Return an array that NumPy saves as a pickle."""
    array = np.empty(12, dtype=object)
    array[:] = [Hostile(folder)] * 12
    return array


def npy(folder: Path) -> bytes:
    """Return a .npy of objects."""
    file = io.BytesIO()
    np.save(file, objects(folder), allow_pickle=True)
    return file.getvalue()


def npz(folder: Path) -> bytes:
    """Return a .npz whose labels are objects."""
    file = io.BytesIO()
    np.savez(file, X=np.zeros((12, 4, 63), np.float32), y=objects(folder))
    return file.getvalue()


def npz_with_more(folder: Path) -> bytes:
    """Return a .npz of good clips and labels, with objects beside them."""
    file = io.BytesIO()
    np.savez(file, X=np.ones((12, 4, 63), np.float32), y=np.arange(12) % 3, metadata=objects(folder))
    return file.getvalue()


def npz_of_pickles(folder: Path) -> bytes:
    """Return a .npz of good clips, whose labels are a bare pickle."""
    file = io.BytesIO()
    np.savez(file, X=np.ones((12, 4, 63), np.float32))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("y.npy", pickled(folder))
    return file.getvalue()


def climbing(folder: Path) -> bytes:
    """Return an archive with members above and outside its folder."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in (f"../../{MARKER}", f"../{MARKER}.npy", str(folder / MARKER), f"..\\{MARKER}", "X.npy"):
            archive.writestr(name, "it was unpacked")
    return file.getvalue()


def zip_bomb(folder: Path) -> bytes:
    """Return an archive that unpacks to a thousand times its size."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("X.npy", "w", force_zip64=True) as member,
    ):
        block = bytes(1 << 22)
        for _ in range(60):
            member.write(block)
    return file.getvalue()


def tagged(folder: Path) -> bytes:
    """Return YAML whose tag has a function called."""
    return f"!!python/object/apply:os.system ['touch {folder / MARKER}']\n".encode()


def tagged_value(folder: Path) -> bytes:
    """Return YAML whose tag, in a value that may be there, has a function called."""
    return (
        f"epochs: !!python/object/apply:os.system ['touch {folder / MARKER}']\n"
        "name: !!python/name:os.system ''\nlaunch: !!python/module:os ''\n"
    ).encode()


def aliases(folder: Path) -> bytes:
    """Return YAML of a few hundred bytes that stands for thousands of millions of values."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    return ("\n".join(lines) + "\n").encode()


def merges(folder: Path) -> bytes:
    """Return YAML whose mappings hold each other by `<<`."""
    lines = ["a: &a {k: 1}"]
    lines += [f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    return ("\n".join(lines) + "\n").encode()


PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    make.__name__: make
    for make in (
        pickled, of_torch, of_old_torch, npy, npz, npz_with_more, npz_of_pickles, climbing, zip_bomb, tagged, tagged_value,
        aliases, merges,
    )
}  # fmt: skip
