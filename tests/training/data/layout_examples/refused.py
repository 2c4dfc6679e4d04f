"""Examples of what is not read: pickles, archives, videos, and numbers that may be several things."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .arrays import classes, stack
from .bodies import clips_of
from .example import Refused


def pickled(name: str, content: Callable[[], object]) -> Callable[[Path], str]:
    """Return what writes a pickle."""

    def write(root: Path) -> str:
        (root / name).write_bytes(pickle.dumps(content()))
        return name

    return write


def tar(root: Path) -> str:
    (root / "0.npy").write_bytes(b"1")
    with tarfile.open(root / "MP_Data.tar.gz", "w:gz") as archive:
        archive.add(root / "0.npy", "MP_Data/hello/0/0.npy")
    (root / "0.npy").unlink()
    return ""


def zipped(root: Path) -> str:
    with zipfile.ZipFile(root / "MP_Data.zip", "w") as archive:
        archive.writestr("MP_Data/hello/0/0.npy", "1")
    return "MP_Data.zip"


def videos(root: Path) -> str:
    for label in ("hello", "thanks"):
        (root / label).mkdir()
        for number in range(3):
            (root / label / f"{number}.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    return ""


def vectors(numbers: np.ndarray) -> Callable[[Path], str]:
    """Return what writes X [clips, frames, numbers] and y."""

    def write(root: Path) -> str:
        np.savez(root / "data.npz", X=numbers, y=np.arange(len(numbers)) % 3)
        return ""

    return write


def two_orders(root: Path) -> str:
    values = np.random.default_rng(0).uniform(0.2, 0.8, (9, 6, 543, 3))
    np.savez(root / "data.npz", X=values, y=np.arange(9) % 3)
    return ""


def hand_or_time(root: Path) -> str:
    clips = clips_of("hand", frames=21)
    np.savez(root / "data.npz", X=stack(clips, "xyz").transpose(0, 2, 1)[:, :2], y=classes(clips))
    return ""


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 0.9, shape)


ROWS: Sequence[Sequence[float]] = [[0.5] * 42] * 4
REFUSED = [
    Refused(
        on_disk="`data.pickle` of the tutorial",
        write=pickled("data.pickle", lambda: {"data": ROWS, "labels": ["0", "0", "1", "1"]}),
    ),
    Refused(
        on_disk="pickled poses of WLASL and the like",
        write=pickled("00335.pkl", lambda: {"keypoints": np.ones((3, 75, 3)), "confidences": np.ones((3, 75))}),
    ),
    Refused(on_disk="`MP_Data.tar.gz` in a folder", write=tar),
    Refused(on_disk="`MP_Data.zip`", write=zipped),
    Refused(on_disk="`<class>/<clip>.mp4`", write=videos),
    Refused(on_disk="66 numbers a frame", write=vectors(random(9, 6, 66))),
    Refused(on_disk="34 numbers a frame", write=vectors(random(9, 6, 34))),
    Refused(on_disk="[clips, 25, 3]: frames or points", write=vectors(random(9, 25, 3))),
    Refused(on_disk="[clips, 2, 21]: axes in another order", write=hand_or_time),
    Refused(on_disk="543 points whose order nothing tells", write=two_orders),
]
