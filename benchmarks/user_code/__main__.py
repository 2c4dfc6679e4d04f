"""Run the programs of all libraries and write the table of their lines: `python -m benchmarks.user_code [CASE ...]`.

Each runs on 1 process, on 2, and on 1 where it is killed in the middle and started again. Exit code 1 where one fails,
does not go on from what it saved, ends far from Slipway's best metric, or is shorter than Slipway's.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from benchmarks.user_code.child import run_program
from benchmarks.user_code.lines import Lines
from benchmarks.user_code.programs import LIBRARIES, METRICS, cases
from benchmarks.user_code.table import RESULT, all_lines, write_tables
from tests.training.processes import started

LIMIT_SECONDS = 300.0
FAR = 0.25
"""Of scores, which are at most 1; of losses it is relative. Each library shuffles and changes the rate in its own way."""
_PRELOADED = ["benchmarks.user_code.child", "benchmarks.user_code.preload", "tests.training.processes"]
_PACKAGES = {"accelerate": "accelerate", "lightning": "lightning", "trainer": "transformers"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a program."""

    lines: int
    imports: int
    score_1_process: float | None = None
    score_2_processes: float | None = None
    resumed_score: float | None = None
    resumed_after: int | None = None
    """Backward passes that were not computed again after the kill."""
    fault: str = ""


def run(library: str, case: str, lines: Lines, folder: Path) -> Outcome:
    """Run a program in all three ways."""
    counted = {"lines": lines.code, "imports": lines.imports}
    try:
        alone = _run(1, library, case, folder / "alone")
        pair = _run(2, library, case, folder / "pair")
        _run(1, library, case, folder / "killed", kill_after=alone["backwards"] // 2 + 1)
        resumed = _run(1, library, case, folder / "killed")
    except RuntimeError as error:
        return Outcome(**counted, fault=str(error))
    saved = alone["backwards"] - resumed["backwards"]
    return Outcome(
        **counted,
        score_1_process=alone["score"],
        score_2_processes=pair["score"],
        resumed_score=resumed["score"],
        resumed_after=saved,
        fault="" if saved > 0 else "began anew after the kill",
    )


def _run(size: int, library: str, case: str, folder: Path, *, kill_after: int = 0) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    arguments = (library, case, METRICS.get(case, "accuracy"), folder, kill_after)
    with started(size, folder / "output", run_program, *arguments) as group:
        codes = group.exit_codes(LIMIT_SECONDS)
        if codes != ([-signal.SIGKILL] if kill_after else [0] * size):
            raise RuntimeError(f"exit codes {codes} on {size}: {group.output()[-1500:]}")
    return {} if kill_after else json.loads((folder / "result.json").read_text(encoding="utf-8"))


def far_from(ours: Outcome, theirs: Outcome) -> bool:
    """Return whether a score differs from Slipway's by more than the libraries' ways to shuffle explain."""
    scores = (theirs.score_1_process, theirs.score_2_processes, theirs.resumed_score)
    reference = ours.score_1_process
    return reference is not None and any(
        one is not None and abs(one - reference) > FAR * max(1.0, abs(reference)) for one in scores
    )


def main() -> int:
    """Run what was asked for, print a line for each program, and write what each reached and the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases())}; all unless given")
    parser.add_argument("--count", action="store_true", help="run nothing, write the tables")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(cases()):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if options.count:
        write_tables()
        return 0
    lines = all_lines()
    # One process imports all libraries and each program is forked from it.
    forkserver.set_forkserver_preload(_PRELOADED)
    os.environ.update(ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="")
    found: dict[str, dict[str, Outcome]] = {}
    bad = False
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        for case in options.cases or cases():
            found[case] = {}
            for library, title in LIBRARIES.items():
                one = found[case][library] = run(library, case, lines[case][library], Path(folder) / case / library)
                ours = found[case]["slipway"]
                faults = [one.fault] if one.fault else []
                faults += ["far from Slipway's metric"] if far_from(ours, one) else []
                faults += ["shorter than Slipway's"] if one.lines < ours.lines else []
                bad |= bool(faults)
                scores = [one.score_1_process, one.score_2_processes, one.resumed_score]
                shown = " ".join("-" if score is None else f"{score:.3f}" for score in scores)
                print(f"{case:14} {title:11} {one.lines:3} lines  {shown}  {'; '.join(faults)}", flush=True)
    record = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() and options.cases else {"cases": {}}
    record["versions"] = {LIBRARIES[name]: version(package) for name, package in _PACKAGES.items()}
    record["cases"] |= {case: {name: vars(one) for name, one in by.items()} for case, by in found.items()}
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    write_tables()
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
