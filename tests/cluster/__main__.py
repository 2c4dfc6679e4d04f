"""Slipway on real hosts, which are namespaces of this machine: `python -m tests.cluster [--short]`. It needs root.

Exit code 1 where something did not go as it must. All of it is gone at the end, also where it is killed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from functools import partial

from tests.cluster.scenes import Scenes, stop_codes
from tests.cluster.stand import INSIDE, Stand, is_allowed

_INSIDE = "--inside"


def main() -> int:
    """Run the scenes; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--short", action="store_true", help="two hosts, one training and the mistakes")
    parser.add_argument("--only", metavar="TEXT", default="", help="the scenes with this in their name")
    parser.add_argument(_INSIDE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        why = is_allowed()
        if why is not None:
            print(f"skipped: no hosts can be made here ({why})")
            return 0
        # In namespaces that end with this process, however it ends.
        os.execvp(INSIDE[0], [*INSIDE, sys.executable, "-m", "tests.cluster", _INSIDE, *sys.argv[1:]])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    problems: list[str] = []
    stands = [(("alpha", "beta"), False)]
    if not options.short:
        stands += [(("alpha", "beta"), True), (("alpha", "beta", "gamma"), False), (("alpha", "beta", "gamma"), True)]
    for number, (names, shared) in enumerate(stands):
        with Stand(*names, shared=shared) as stand:
            say(f"{len(names)} hosts, {'a' if shared else 'no'} shared folder")
            scenes = Scenes(stand, say, checks_time=not options.short)
            for name, scene in scenes_of(scenes, is_short=options.short, is_first=number == 0):
                if options.only in name:
                    scenes.run(name, scene)
            problems += scenes.problems
    for problem in problems:
        print(problem[:3000], file=sys.stderr)
    say("all as it must be" if not problems else f"{len(problems)} failed")
    return int(bool(problems))


def scenes_of(scenes: Scenes, *, is_short: bool, is_first: bool) -> list[tuple[str, partial[str]]]:
    """Return the scenes of a stand, by name."""
    references: dict[str, object] = {}

    def reference(dtype: str) -> object:
        if dtype not in references:
            references[dtype] = scenes.reference(dtype)
        return references[dtype]

    def trains(dtype: str, counts: str) -> str:
        return scenes.trains_equal(dtype, counts, reference(dtype))  # type: ignore[arg-type]

    def by_hand(dtype: str) -> str:
        return scenes.trains_equal_by_hand(dtype, reference(dtype))  # type: ignore[arg-type]

    def killed() -> str:
        return scenes.killed_rank(reference("float64"))  # type: ignore[arg-type]

    num_hosts = len(scenes.stand.hosts)
    uneven = "2,1" if num_hosts == 2 else "1,2,1"
    found: list[tuple[str, partial[str]]] = []
    if is_short:
        found.append(("train float64 2,1", partial(trains, "float64", "2,1")))
    else:
        for dtype in ("float32", "float64"):
            for counts in ("1", "2"):
                found.append((f"train {dtype} {counts} a host", partial(trains, dtype, counts)))
        found.append((f"train float64 {uneven}", partial(trains, "float64", uneven if num_hosts == 3 else "2,1")))
        found.append(("train float64 by hand, last host first", partial(by_hand, "float64")))
    if not is_first:
        return found
    one, two, bf16 = ("--machine-rank", "1"), ("--num-machines", "2"), ("--mixed-precision", "bf16")
    found += [
        ("unreachable", partial(scenes.unreachable)),
        ("cut off", partial(scenes.cut_off)),
        ("busy port", partial(scenes.busy_port)),
        ("another Slipway", partial(scenes.other_version)),
        ("another script, other data", partial(scenes.other_script_and_data)),
        ("firewall", partial(scenes.firewall)),
        ("two of rank 0", partial(scenes.by_hand, (), (), says=("two machines say --machine-rank 0",))),
        ("rank 2 of 2", partial(scenes.by_hand, ("--machine-rank", "2"), says=("--machine-rank 2: 2 machines",))),
        ("counts differ", partial(scenes.by_hand, two, ("--num-machines", "3", *one), says=("--num-machines 3",))),
        ("precision differs", partial(scenes.by_hand, (), (*bf16, *one), says=("--mixed-precision bf16",))),
        ("crash at the end", partial(scenes.crash_at_the_end)),
        *((f"stopped by {signum}", partial(scenes.stopped, signum, code)) for signum, code in stop_codes().items()),
    ]
    if not is_short:
        found.append(("killed rank", partial(killed)))
        found += [("late by 60 s", partial(scenes.late, 60.0)), ("cut off in the middle", partial(scenes.lost_host))]
    return found


if __name__ == "__main__":
    sys.exit(main())
