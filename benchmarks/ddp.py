"""Two processes with equal work: Slipway against a hand-written `DistributedDataParallel` loop, both under torchrun.

All clips are equally long, so that nothing is gained by their order. With accumulation 4 the loop by hand holds back the
reduction of three micro-batches in four with `no_sync`.

    python -m benchmarks.ddp [--rounds 7] [--quick]
"""

from __future__ import annotations

import sys
from dataclasses import replace

from benchmarks.measure import Ratio, finish, option_parser
from benchmarks.side_by_side import Case, Found, measure

TARGET = 1.0
CASES = {
    "2 processes": Case(clips="equal", num_ranks=2, epochs=3, accumulation=1),
    "2 processes, accumulation 4": Case(clips="equal", num_ranks=2, epochs=3, accumulation=4),
}


def main() -> int:
    """Measure, print the table, write the figures, and return 1 where a target is missed."""
    options = option_parser(__doc__, rounds=7).parse_args()
    found: dict[str, Found] = {}
    ratios: list[Ratio] = []
    for name, case in CASES.items():
        quick = replace(case, epochs=1, num_batches=4, rounds=1)
        found[name] = measure(quick if options.quick else replace(case, rounds=options.rounds))
        ratios += found[name].ratios(name, at_least=TARGET)
    figures = {"cases": {name: of_case.as_dict() for name, of_case in found.items()}}
    return finish("ddp", ratios, quick=options.quick, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
