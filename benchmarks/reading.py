"""Reading data: Slipway against numpy and pandas doing the least possible work on the same files, and its memory.

Each reading is a fresh process, which has imported what it needs before its clock starts; the files are in the system's
cache. Slipway's side ends with landmarks of which everything is known and checked. What it holds at its peak beyond the
numbers of the source as float32 is told beside.

    python -m benchmarks.reading [--rounds 5] [--folder FOLDER] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.measure import Ratio, console, finish, option_parser

MOST_TIME = 1.5
"""Of the time of numpy or pandas."""
MOST_MEMORY_BYTES = 200e6
"""Beyond the data."""

SLIPWAY, PLAIN = SIDES = ("Slipway", "plain")
_FRAMES, _HANDS, _POSE_AND_HANDS, _HAND, _POSE = 30, 126, 258, 63, 33
_CLASSES = 10


def write_npz(folder: Path, scale: float) -> tuple[Path, int]:
    """Write 10,000 clips of 30 frames of two hands in float64; return the file and the count of its numbers."""
    x = np.random.default_rng(0).uniform(0.1, 0.9, (int(10_000 * scale), _FRAMES, _HANDS))
    np.savez(folder / "clips.npz", X=x, y=np.arange(len(x)) % _CLASSES)
    return folder / "clips.npz", x.size


def write_csv(folder: Path, scale: float) -> tuple[Path, int]:
    """Write a coords.csv of 50 MB: a row a frame, a pose of x, y, z and visibility."""
    rng = np.random.default_rng(0)
    header = ",".join(["class", *(f"{axis}{point}" for point in range(1, _POSE + 1) for axis in "xyzv")])
    numbers = 0
    with (folder / "coords.csv").open("w", encoding="utf-8") as file:
        file.write(header + "\n")
        while file.tell() < 50e6 * scale:
            rows = rng.uniform(0.1, 0.9, (500, 4 * _POSE)).round(6)
            numbers += rows.size
            file.writelines(
                f"class{row % _CLASSES}," + ",".join(map(str, rows[row].tolist())) + "\n" for row in range(500)
            )
    return folder / "coords.csv", numbers


def write_frames(folder: Path, scale: float) -> tuple[Path, int]:
    """Write 100,000 .npy of 258 numbers in float64, as MP_Data/<class>/<sequence>/<frame>.npy."""
    rng = np.random.default_rng(0)
    root, numbers = folder / "MP_Data", 0
    sequences = max(2, int(100_000 * scale) // _FRAMES // _CLASSES)
    for label in range(_CLASSES):
        for sequence in range(sequences):
            place = root / f"class{label}" / str(sequence)
            place.mkdir(parents=True)
            for number, frame in enumerate(rng.uniform(0.1, 0.9, (_FRAMES, _POSE_AND_HANDS))):
                np.save(place / f"{number}.npy", frame)
                numbers += frame.size
    return root, numbers


def write_parquet(folder: Path, scale: float) -> tuple[Path, int]:
    """Write a Parquet file of 10,000 clips of 30 frames of a hand, a row a clip."""
    import pyarrow as pa
    from pyarrow import parquet

    clips = int(10_000 * scale)
    numbers = np.random.default_rng(0).uniform(0.1, 0.9, clips * _FRAMES * _HAND).astype(np.float32)
    frames = pa.ListArray.from_arrays(np.arange(0, numbers.size + 1, _HAND, dtype=np.int32), pa.array(numbers))
    column = pa.ListArray.from_arrays(np.arange(0, clips * _FRAMES + 1, _FRAMES, dtype=np.int32), frames)
    table = pa.table({"landmarks": column, "label": [f"class{clip % _CLASSES}" for clip in range(clips)]})
    parquet.write_table(table, folder / "clips.parquet")
    return folder / "clips.parquet", numbers.size


def plain_npz(path: Path) -> object:
    """Load the arrays."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def plain_csv(path: Path) -> object:
    """Read the table."""
    return import_module("pandas").read_csv(path)


def plain_frames(path: Path) -> object:
    """Load each array."""
    found = []
    for label in os.scandir(path):
        for sequence in os.scandir(label.path):
            found += [np.load(file.path) for file in os.scandir(sequence.path)]
    return found


def plain_parquet(path: Path) -> object:
    """Read the table."""
    return import_module("pandas").read_parquet(path)


Write = Callable[[Path, float], tuple[Path, int]]
CASES: dict[str, tuple[Write, Callable[[Path], object]]] = {
    "npz": (write_npz, plain_npz),
    "csv": (write_csv, plain_csv),
    "frames": (write_frames, plain_frames),
    "parquet": (write_parquet, plain_parquet),
}


def read(side: str, case: str, path: Path) -> dict[str, float]:
    """Read in this process; return the seconds, wall and CPU, and the bytes that were held at the peak beyond those before."""
    for name in ("datasets", "pandas"):
        import_module(name)
    from slipway.training.data.understanding.understand import read_landmarks

    before = _memory("VmRSS")
    started, cpu = time.perf_counter(), time.process_time()
    kept = read_landmarks(str(path)) if side == SLIPWAY else CASES[case][1](path)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    del kept
    return {"wall_seconds": seconds, "cpu_seconds": cpu, "bytes": _memory("VmHWM") - before}


def _memory(field: str) -> int:
    """Return the memory of this process, now (VmRSS) or at its peak (VmHWM), where the system tells it, else the peak."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def measure(case: str, path: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Read by both sides in turn, `rounds` times after a first one that brings the files into the system's cache."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(rounds + 1):
        for side in SIDES if number % 2 else SIDES[::-1]:
            command = [sys.executable, "-m", "benchmarks.reading", "--side", side, "--case", case, "--path", str(path)]
            done = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if number:
                found[side].append(json.loads(done.stdout.splitlines()[-1]))
    return found


def compare(case: str, found: dict[str, list[dict[str, float]]], numbers: int) -> list[Ratio]:
    """Return the times over those of the plain side, and the memory beyond the data in units of what is allowed."""
    times = {side: [run["wall_seconds"] for run in runs] for side, runs in found.items()}
    more = [max(0.0, run["bytes"] - 4 * numbers) / 1e6 for run in found[SLIPWAY]]
    return [
        Ratio.of(f"{case}: time, of numpy or pandas", times[SLIPWAY], times[PLAIN], at_most=MOST_TIME),
        Ratio.of(f"{case}: MB beyond the data", more, [1.0] * len(more), at_most=MOST_MEMORY_BYTES / 1e6),
    ]


def draw(found: dict[str, dict[str, list[dict[str, float]]]], rounds: int) -> Table:
    """Return a row for each kind of data."""
    table = Table(title=f"Reading: medians of {rounds}", title_justify="left")
    for column in ("data", *(f"{side}: {what}" for side in SIDES for what in ("wall s", "CPU s", "peak MB"))):
        table.add_column(column, justify="left" if column == "data" else "right")
    for case, sides in found.items():
        cells = []
        for side in SIDES:
            median = {key: statistics.median(run[key] for run in sides[side]) for key in sides[side][0]}
            cells += [f"{median['wall_seconds']:.2f}", f"{median['cpu_seconds']:.2f}", f"{median['bytes'] / 1e6:.0f}"]
        table.add_row(case, *cells)
    return table


def main() -> int:
    """Measure, print the tables, write the figures, and return 1 where a target is missed."""
    parser = option_parser(__doc__)
    parser.add_argument(
        "--folder", type=Path, help="an existing folder to write the data in; a temporary one otherwise"
    )
    parser.add_argument("--only", default=",".join(CASES), help="kinds of data, separated by commas [all]")
    for name in ("--side", "--case", "--path"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(read(options.side, options.case, Path(options.path))))
        return 0
    rounds, scale = (1, 0.01) if options.quick else (options.rounds, 1.0)
    found: dict[str, Any] = {}
    ratios: list[Ratio] = []
    for case in options.only.split(","):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path, numbers = CASES[case][0](Path(folder), scale)
            found[case] = measure(case, path, rounds)
        ratios += compare(case, found[case], numbers)
    console().print(draw(found, rounds))
    return finish("reading", ratios, quick=options.quick, figures={"rounds": rounds, "scale": scale, "runs": found})


if __name__ == "__main__":
    sys.exit(main())
