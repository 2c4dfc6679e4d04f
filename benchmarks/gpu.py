"""What only a GPU shows: step time, waits, micro-batches, memory that really runs out, peak memory, utilisation, overlap.

Slipway against a loop by hand (`benchmarks/gpu_sides.py`): bf16 autocast, torch.compile, fused AdamW and clipping, on
batches that are on the device already. Each part has a process of its own, so that neither memory nor compiled code of one
is another's; one that fails is told, and the others go on. On other machines it leaves itself out. `--device cpu` rehearses
it in the smallest sizes: everything runs, nothing is judged and no result is written.

Nothing here needs the `datasets` library: clips are random ones, laid out as they are stored.

    python -m benchmarks.gpu [--rounds 5] [--only encoder,waits [--add]] [--device cuda] [--quick]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_parts import PARTS, SIDES_OF_PARTS, Setting
from benchmarks.measure import Ratio, console, finish, option_parser, ratio_table, result_path
from benchmarks.workers import run_ranks

LEFT_OUT = "left out:"
"""How the line begins that says why nothing is measured; `benchmarks.__main__` looks for it."""


def describe(device: torch.device) -> dict[str, Any]:
    """Return what is known of the device and of what was built for it."""
    if device.type != "cuda":
        return {"name": device.type}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def measure_part(name: str, setting: Setting) -> dict[str, Any]:
    """Measure a part in this process; return ratios, figures and the device."""
    part = {**PARTS, **SIDES_OF_PARTS}[name](setting)
    return {**asdict(part), "device": describe(setting.device)}


def measure_all(names: list[str], options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Measure parts, each in a process of its own; return what was found, and how others failed."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    words = ["--rounds", str(options.rounds), "--device", options.device, *(["--quick"] if options.quick else [])]
    for name in names:
        started = time.monotonic()
        try:
            found[name] = run_ranks("benchmarks.gpu", 1, ["--part", name, *words])
        except RuntimeError as error:
            failed[name] = f"failed: {error}"
        # At once: what is known then outlives a run that is cut short.
        print(f"{name}: {failed.get(name, '')} {time.monotonic() - started:.0f} s", file=sys.stderr)
        for ratio in found.get(name, {}).get("ratios", []):
            print(f"  {ratio['name']}: {ratio['value']:.4g}", file=sys.stderr, flush=True)
    return found, failed


def main() -> int:
    """Measure, print the table, write the figures, and return 1 where a part failed or a target is missed."""
    parser = option_parser(__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas [all]")
    parser.add_argument("--add", action="store_true", help="keep what the result file holds of other parts")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal [cuda]")
    parser.add_argument("--part", choices=[*PARTS, *SIDES_OF_PARTS], help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    is_rehearsal = options.device == "cpu"
    options.quick = options.quick or is_rehearsal
    if options.device == "cuda" and not torch.cuda.is_available():
        print(f"{LEFT_OUT} no GPU that this torch can use")
        return 0
    if options.part:
        setting = Setting(
            device=torch.device(options.device),
            rounds=1 if options.quick else options.rounds,
            quick=options.quick,
        )
        options.output.write_text(json.dumps(measure_part(options.part, setting)), encoding="utf-8")
        return 0
    names = [name for name in options.only.split(",") if name]
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"--only: unknown {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    found, failed = measure_all(names, options)
    if options.add and found:
        found = {**kept_parts(result_path("gpu", quick=options.quick), next(iter(found.values()))["device"]), **found}
    return report(found, failed, quick=options.quick, is_rehearsal=is_rehearsal)


def kept_parts(path: Path, device: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that a result file holds, where they were measured on a device like this one."""
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))["figures"]["parts"]
        return {name: part for name, part in parts.items() if name in PARTS and part["device"] == device}
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def report(found: dict[str, Any], failed: dict[str, str], *, quick: bool, is_rehearsal: bool) -> int:
    """Print what was found; write it where it is a GPU's. Return the exit code."""
    found = {name: found[name] for name in PARTS if name in found}
    ratios = [Ratio(**row) for part in found.values() for row in part["ratios"]]
    if is_rehearsal:
        title = "Rehearsal on the CPU: everything ran, no figure is a GPU's, nothing is judged or written"
        console().print(ratio_table(title, {"gpu": ratios}, judged=False))
        code = 0
    elif found:
        absent = {name: failed.get(name, "not measured") for name in PARTS if name not in found}
        code = finish("gpu", ratios, quick=quick, figures={"parts": found, "missing": absent})
    else:
        code = 1
    for name, why in failed.items():
        console().print(f"{name}: {why}", markup=False)
    return int(bool(failed) or code != 0)


if __name__ == "__main__":
    sys.exit(main())
