"""All benchmarks, one after the other, and one table of what they found: `make bench`, or `python -m benchmarks`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks.measure import Ratio, console, ratio_table, read_ratios, result_path

BENCHMARKS = (
    "overhead",
    "watched",
    "throughput",
    "datasets",
    "ddp",
    "micro_batch",
    "memory",
    "scaling",
    "checkpoint",
    "startup",
    "reading",
    "busy",
    "gpu",
)
_TAIL_CHARACTERS = 2000


def run(name: str, *, quick: bool) -> bool | None:
    """Run one benchmark as a process of its own; return whether it ended by itself, targets met or not.

    None where it left itself out, as one that needs a GPU does elsewhere.
    """
    started = time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])]
    before = result_path(name, quick=quick).stat().st_mtime_ns if result_path(name, quick=quick).exists() else 0
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode == 0 and done.stdout.startswith("left out:"):
        print(f"{name}: {done.stdout.strip()}", file=sys.stderr)
        return None
    path = result_path(name, quick=quick)
    ended = done.returncode in (0, 1) and path.exists() and path.stat().st_mtime_ns > before
    print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    if not ended:
        print(done.stdout[-_TAIL_CHARACTERS:] + done.stderr[-_TAIL_CHARACTERS:], file=sys.stderr)
    return ended


def main() -> int:
    """Run them, print the table, and return 1 where one failed or, in the full form, missed a target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short forms, on which no target is asserted")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="names, separated by commas [all]")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"--only: unknown {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}")
    outcomes = {name: run(name, quick=options.quick) for name in names}
    failed = [name for name, ended in outcomes.items() if ended is False]
    found: dict[str, list[Ratio]] = {
        name: read_ratios(result_path(name, quick=options.quick)) for name, ended in outcomes.items() if ended
    }
    console().print(ratio_table("Ratios, a row each", found, judged=not options.quick))
    missed = [f"{name}: {ratio.name}" for name, ratios in found.items() for ratio in ratios if not ratio.is_met]
    if missed and not options.quick:
        console().print(f"missed {len(missed)} targets: {'; '.join(missed)}")
    if failed:
        console().print(f"failed: {', '.join(failed)}")
    return int(bool(failed or (missed and not options.quick)))


if __name__ == "__main__":
    sys.exit(main())
