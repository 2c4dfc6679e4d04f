"""The bundled recogniser and classical methods on data sets of signs and gestures: accuracy over seeds, size, time.

Each cell, a method on one cut of one data set with one seed, is kept in a file as soon as it is measured, so that a
benchmark that was stopped goes on where it was.

    python -m benchmarks.recognition --data ../shared/data [--seeds 5] [--only libras --only digits] [--minutes 60]
    python -m benchmarks.recognition --variant "ema_decay=0.99"     the same recipe with other options
    python -m benchmarks.recognition --write                        the tables of what was measured, into docs/recognition.md
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.recognition_baselines import INPUTS, METHODS, NEED_AEON, can_measure, measure_baseline
from benchmarks.recognition_sets import PROTOCOLS, Part, Protocol, parts_of
from slipway import SignPredictor, TrainingConfig, UserError, train
from slipway.training.common.small_files import parse_yaml
from slipway.training.inspection.convert import write_parquet

OURS = "Slipway"
_ROOT = Path(__file__).parent.parent
_CELLS = _ROOT / "benchmarks/results/recognition"
_PAGE = _ROOT / "docs/recognition.md"
_DECIDES = ("training/tasks/sign", "training/data/*.py", "training/data/layouts")
"""What a recogniser's cells depend on: after a change of these they are measured again."""
_MARKS = ("<!-- measured -->", "<!-- end -->")
_TIMED_CLIPS = 30
_STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""97.5 % points of Student's t by the number of seeds."""


def code_digest() -> str:
    """Return a hash of the files that decide what the recogniser learns."""
    digest = hashlib.sha256()
    for pattern in _DECIDES:
        for path in sorted(_ROOT.glob(pattern if pattern.endswith(".py") else f"{pattern}/*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def measure_recogniser(part: Part, seed: int, variant: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train the bundled recogniser on a part and return what it reaches, its size and its times."""
    write_parquet(folder / "clips.parquet", part.data.to_table())
    config = TrainingConfig(
        data=str(folder / "clips.parquet"),
        split="own",
        seed=seed,
        device="cpu",
        runs_dir=str(folder / "runs"),
        experiment_name="run",
        save_every="never",
        report=False,
        data_cache=False,
        log_level="warning",
        threads=1,
        **variant,
    )
    began = time.perf_counter()
    result = train(config)
    seconds = time.perf_counter() - began
    test = part.chosen("test")
    clips, labels = [part.data.clip(index) for index in test], part.data.labels[test]
    cell = {"accuracy": result["test_accuracy"], "seconds": seconds, "steps": result["steps"]}
    for which in ("best", "last"):
        predictor = SignPredictor.load(result.folder / which)
        found = predictor.probabilities(clips).argmax(axis=1)
        names = [predictor.class_names.index(part.data.class_names[label]) for label in labels]
        cell[which] = float(np.mean(found == names))
    times = []
    for clip in clips[:_TIMED_CLIPS]:
        began = time.perf_counter()
        predictor.probabilities([clip])
        times.append(time.perf_counter() - began)
    return {
        **cell,
        **({"top5": result["test_top5_accuracy"]} if "test_top5_accuracy" in result else {}),
        "macro_f1": result["test_macro_f1"],
        "parameters": sum(one.numel() for one in predictor.model.parameters()),
        "milliseconds_of_a_clip": 1e3 * statistics.median(times),
    }


def cells(options: argparse.Namespace, protocols: list[Protocol]) -> Iterator[tuple[Protocol, str, Path, Any]]:
    """Yield what is to be measured: protocol, method, the file of its cell, and a function that measures it."""
    variants: dict[str, dict[str, Any]] = {} if options.variant else {OURS: {}}
    for text in options.variant:
        variants[f"{OURS} {text}"] = dict(parse_pair(pair) for pair in text.split())
    digest = code_digest()
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for protocol in protocols:
            try:
                parts = list(parts_of(protocol, options.data, seed))
            except FileNotFoundError as missing:
                print(f"left out: {protocol.name}, no {missing}", file=sys.stderr)
                continue
            for number, part in enumerate(parts):
                place = f"{_file_name(protocol.name)}/{{}}/{seed}-{number}.json"
                for name, variant in variants.items() if not options.method or OURS in options.method else ():
                    tag = options.tag or digest
                    path = options.cells / place.format(f"{_file_name(name)}-{tag}")
                    yield protocol, name, path, lambda p=part, v=variant, s=seed: _with_folder(p, s, v)
                for method in METHODS if not options.variant else ():
                    is_asked = not options.method or method in options.method
                    is_done = protocol.cut in ("own", "last", "signer") and _is_fixed(method, seed)
                    if not is_asked or is_done or not can_measure(method, part):
                        continue
                    for values in INPUTS if part.data.layout.spatial else INPUTS[:1]:
                        path = options.cells / place.format(f"{_file_name(method)}-{values}")
                        yield (
                            protocol,
                            f"{method} ({values})",
                            path,
                            lambda m=method, i=values, p=part, s=seed: measure_baseline(m, i, p, s),
                        )


def _is_fixed(method: str, seed: int) -> bool:
    """Return whether a method gives the same with any seed, and had its turn."""
    return seed > 0 and method in ("logistic regression", "1-NN", "1-NN DTW")


def _with_folder(part: Part, seed: int, variant: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return measure_recogniser(part, seed, variant, Path(folder))


def parse_pair(pair: str) -> tuple[str, Any]:
    """Return name and value of an option such as `ema_decay=0.99`."""
    name, _, value = pair.partition("=")
    return name, parse_yaml(value)


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "=.-" else "_" for letter in text)


def run(options: argparse.Namespace, protocols: list[Protocol]) -> None:
    """Measure the cells that are not there yet, until the time is up."""
    until = time.monotonic() + 60 * options.minutes
    for protocol, method, path, measure in cells(options, protocols):
        if path.exists():
            continue
        if time.monotonic() > until:
            print("the time is up; the same command goes on", file=sys.stderr)
            return
        try:
            cell = {"protocol": protocol.name, "method": method, **measure()}
        except UserError as error:
            print(f"{protocol.name}, {method}: {error}", file=sys.stderr)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(cell) + "\n", encoding="utf-8")
        print(f"{protocol.name}, {method}, {path.stem}: {cell['accuracy']:.3f}, {cell['seconds']:.0f} s", flush=True)


def gather(options: argparse.Namespace) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Return the means over the parts of each seed, by protocol and method."""
    found: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
    for path in sorted(options.cells.glob("*/*/*.json")):
        own = path.parent.name.startswith(OURS)
        if own and not path.parent.name.endswith(options.tag or code_digest()):
            continue
        cell = json.loads(path.read_text(encoding="utf-8"))
        seeds = found.setdefault(cell["protocol"], {}).setdefault(cell["method"], {})
        seeds.setdefault(path.stem.split("-")[0], []).append(cell)
    return {
        protocol: {
            method: [
                {
                    name: statistics.mean(cell[name] for cell in parts)
                    for name, value in parts[0].items()
                    if isinstance(value, (int, float))
                }
                for parts in seeds.values()
            ]
            for method, seeds in methods.items()
        }
        for protocol, methods in found.items()
    }


def spread(values: list[float]) -> str:
    """Return mean and half the 95 % interval of a mean over seeds."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    factor = _STUDENT.get(len(values), 2.0)
    return f"{mean:.3f} ± {factor * statistics.stdev(values) / len(values) ** 0.5:.3f}"


def tables(options: argparse.Namespace) -> str:
    """Return the tables of what was measured, in Markdown."""
    found = gather(options)
    names = list(METHODS)
    lines = [
        "| data set and cut | target | Slipway | " + " | ".join(names) + " |",
        "|" + "---|" * (len(names) + 3),
    ]
    costs = [
        "| data set and cut | parameters | steps | training, s | a clip, ms | top-5 | macro-F1 | last weights |",
        "|" + "---|" * 8,
    ]
    for protocol in PROTOCOLS:
        methods = found.get(protocol.name, {})
        row = [protocol.name, "" if protocol.target is None else f"{protocol.target:g}"]
        ours = methods.get(OURS)
        row.append("" if not ours else f"{spread([cell['accuracy'] for cell in ours])} ({len(ours)})")
        for name in names:
            of_inputs = [methods[key] for key in (f"{name} ({values})" for values in INPUTS) if key in methods]
            best = max(of_inputs, key=lambda cells: statistics.mean(c["accuracy"] for c in cells), default=None)
            row.append("" if best is None else spread([cell["accuracy"] for cell in best]))
        lines.append(f"| {' | '.join(row)} |")
        if ours:
            mean = {name: statistics.mean(cell[name] for cell in ours) for name in ours[0]}
            costs.append(
                f"| {protocol.name} | {mean['parameters']:,.0f} | {mean['steps']:,.0f} | {mean['seconds']:.0f} | "
                f"{mean['milliseconds_of_a_clip']:.1f} | {_shown(mean.get('top5'))} | {mean['macro_f1']:.3f} | "
                f"{spread([cell['last'] for cell in ours])} |"
            )
    others = [
        f"| {protocol} | {method.removeprefix(OURS).strip()} | {spread([c['accuracy'] for c in cells])} | "
        f"{spread([c['last'] for c in cells])} | {statistics.mean(c['steps'] for c in cells):,.0f} | {len(cells)} |"
        for protocol, methods in found.items()
        for method, cells in methods.items()
        if method.startswith(f"{OURS} ")
    ]
    head = ["| data set and cut | variant | accuracy | last weights | steps | seeds |", "|" + "---|" * 6]
    return "\n".join(["\n".join(lines), "", "\n".join(costs), *(["", *head, *others] if others else [])])


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def with_tables(page: str, tables: str) -> str:
    """Return the page with other tables between its marks."""
    before, _, rest = page.partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    return f"{before}{_MARKS[0]}\n\n{tables}\n\n{_MARKS[1]}{after}"


def main() -> int:
    """Measure what is missing, print the tables, and write them into the page if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared/data", help="folder of the data sets")
    parser.add_argument("--cells", type=Path, default=_CELLS, help="folder of what was measured")
    parser.add_argument("--seeds", type=int, default=5, help="how many [5]")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], help="name of a data set and cut, as in the table")
    parser.add_argument("--method", action="append", default=[], help="name of a method, as in the table")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no cell after this time")
    parser.add_argument(
        "--variant", action="append", default=[], help="options of the training, as NAME=VALUE NAME=VALUE"
    )
    parser.add_argument("--tag", help="name of a state of the code; a hash of it unless given")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {_PAGE.name}; measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if importlib.util.find_spec("aeon") is None:
        print(f"left out: {' and '.join(NEED_AEON)}; docs/recognition.md says how to install aeon", file=sys.stderr)
    for given, known in ((options.only, [one.name for one in PROTOCOLS]), (options.method, [OURS, *METHODS])):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"{unknown[0]!r} is none of: {', '.join(known)}")
    if options.write:
        _PAGE.write_text(with_tables(_PAGE.read_text(encoding="utf-8"), tables(options)), encoding="utf-8")
        return 0
    run(options, [one for one in PROTOCOLS if not options.only or one.name in options.only])
    print(tables(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
