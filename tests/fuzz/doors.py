"""The doors through which files come in, each with the files that it is shown whole, and how it is opened."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from slipway.training.common.errors import UserError
from slipway.training.common.small_files import UnreadableError, read_json
from tests.conftest import ROOT

from . import makers, options


@dataclass(frozen=True, kw_only=True)
class Case:
    """Files of a door, whole."""

    name: str
    write: Callable[[Path], None]
    open: Callable[[Path], object]
    """Opens the door on a folder in which they are, or were."""
    allowed: tuple[type[Exception], ...] = (UserError,)
    """The errors of the door."""
    is_refused: bool = False
    """Whether the door does not let in the whole files either."""
    most_seconds: float = 10.0
    """Of the processor's time; what waits is given up after some times as much."""
    most_more_bytes: int = 200 << 20
    """Of memory, beside twice the size of the files."""
    mend: Callable[[Path, Random], str | None] = field(default=lambda folder, generator: None)
    """Makes hashes right again after the damage, so that what they guard is looked at too; returns what else it changed."""


@dataclass(frozen=True, kw_only=True)
class Door:
    """A kind of cases. Of the inputs as many are its own as its weight says."""

    name: str
    weight: float
    cases: Callable[[], list[Case]]


def _data() -> list[Case]:
    from slipway.training.data.prepared.prepare import find_or_prepare
    from slipway.training.data.specs import DataSpec
    from tests.training.data.layout_examples import EXAMPLES, REFUSED

    cases = []
    for number, example in enumerate((*EXAMPLES, *REFUSED)):
        sources: dict[Path, str] = {}

        def write(folder: Path, example=example, sources=sources) -> None:
            made = example.write(folder)
            sources[folder] = made if isinstance(made, str) else made.source

        def read(folder: Path, example=example, sources=sources) -> object:
            reading = getattr(example, "reading", None)
            spec = DataSpec(source=str(folder / sources[folder]))
            return find_or_prepare(spec if reading is None else replace(spec, reading=reading), 0, None)

        cases.append(Case(name=f"{number}", write=write, open=read, is_refused=example in REFUSED))
    return cases


def _labelled() -> list[Case]:
    from slipway.training.tasks import images, text
    from tests.training.labelled_sources import write_pictures, write_sentences

    return [
        Case(
            name="pictures",
            write=lambda folder: write_pictures(folder / "data", 2) and None,
            open=lambda folder: images.make_task(folder / "data"),
        ),
        Case(
            name="sentences",
            write=lambda folder: write_sentences(folder / "texts.csv", 12) and None,
            open=lambda folder: text.make_task(folder / "texts.csv"),
        ),
    ]


def _text(
    name: str, suffix: str, texts: list[str], read: Callable[[Path], object], *allowed: type[Exception]
) -> list[Case]:
    return [
        Case(
            name=f"{name} {number}",
            write=lambda folder, text=text: (folder / f"file{suffix}").write_text(text, encoding="utf-8") and None,
            open=lambda folder: read(folder / f"file{suffix}"),
            allowed=allowed or (UserError,),
        )
        for number, text in enumerate(texts)
    ]


def _yaml() -> list[Case]:
    from slipway.training.common.small_files import UnreadableError, read_yaml

    return _text("yaml", ".yaml", makers.YAML_TEXTS, read_yaml, UnreadableError, OSError)


def _stages() -> list[Case]:
    from slipway.training.config.stages import load_stages
    from slipway.training.tasks.sign.options import SignStage
    from slipway.training.tasks.sign.presets import PRESETS

    return _text("stages", ".yaml", makers.STAGES_TEXTS, lambda path: load_stages(str(path), PRESETS, SignStage))


def _settings() -> list[Case]:
    from slipway.launcher.plan.make_plan import make_plan
    from slipway.launcher.plan.settings import read_intent
    from slipway.training.data.layouts.layout_file import read_layout
    from slipway.training.run.cli import parse_config
    from tests.launcher.machines import machines

    hardware = machines()["8xh100"]
    configs = [path.read_text() for path in sorted((ROOT / "accelerate_configs").glob("[cdft]*.yaml"))]

    def project(path: Path) -> object:
        if os.path.lexists(path):
            path.rename(path.with_name("slipway.yaml"))
        return parse_config([], {}, path.parent).make_recipe()

    def words(path: Path) -> object:
        given = read_json(path)
        if not isinstance(given, list):
            return None
        arguments = [one if isinstance(one, str) else json.dumps(one) for one in given]
        return parse_config([one for one in arguments if one not in ("-h", "--help")], {}, path.parent).make_recipe()

    def planned(path: Path) -> object:
        return make_plan(hardware, read_intent({}, str(path), {}, path.parent))

    return [
        *_text(
            "options",
            ".yaml",
            makers.OPTIONS_TEXTS,
            lambda path: parse_config(["--config", str(path)], {}, path.parent).make_recipe(),
        ),
        *_text("project", ".yaml", makers.PROJECT_TEXTS, project),
        *_text("words", ".json", makers.WORDS_TEXTS, words, UserError, UnreadableError, OSError),
        *_text("launch", ".yaml", [*makers.LAUNCH_TEXTS, *configs], planned),
        *_text("layout", ".yaml", makers.LAYOUT_TEXTS, lambda path: read_layout(str(path))),
    ]


def _plans() -> list[Case]:
    from slipway.launcher.hardware.detect import load_hardware
    from slipway.launcher.plan.make_plan import make_plan
    from slipway.training.common.plan_file import PLAN_VARIABLE
    from slipway.training.run.cli import parse_config
    from tests.launcher.machines import FOLDER, machines
    from tests.launcher.plans import golden_plans

    plans = [plan.to_json() for plan in list(golden_plans().values())[::16]]
    written = [path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.json"))[::16]]
    records = [*written, *(record.to_json() for record in list(machines().values())[::32])]

    def plan(path: Path) -> object:
        return parse_config([], {PLAN_VARIABLE: str(path)}, path.parent)

    def hardware(path: Path) -> object:
        found = load_hardware(str(path))
        return found, make_plan(found)

    return [*_text("plan", ".json", plans, plan), *_text("hardware", ".json", records, hardware)]


def _runs() -> list[Case]:
    from slipway.launcher.launch.resume import _start_of, folder_of, read_record
    from slipway.results.runs.command import main as show_runs
    from slipway.training.run.cli import parse_config
    from slipway.training.run.opening.resume import find_run

    run = makers.trained_run()

    def write(folder: Path) -> None:
        for name in ("good", "bad"):
            shutil.copytree(run, folder / "runs" / name, ignore=shutil.ignore_patterns("*.png", "report.html", "*.log"))
        for path in (folder / "runs" / "good").rglob("*"):
            path.chmod(path.stat().st_mode)

    def listed(folder: Path) -> object:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
            show_runs(["--runs-dir", str(folder / "runs")])
            show_runs(["--runs-dir", str(folder / "runs"), "--json"])
        return shown.getvalue()

    def again(folder: Path) -> object:
        bad = folder_of("bad", folder / "runs", "slipway resume")
        return _start_of(bad, read_record(bad))

    def resumed(folder: Path) -> object:
        found = find_run("bad", folder / "runs", "bad")
        return found, parse_config(["--resume", str(folder / "runs" / "bad")], {}, folder).make_recipe()

    def journal(folder: Path) -> object:
        return makers.open_journal(folder / "runs" / "bad" / "events.jsonl")

    return [
        Case(name=name, write=write, open=read)
        for name, read in (("list", listed), ("again", again), ("resumed", resumed), ("journal", journal))
    ]


def _checkpoints() -> list[Case]:
    run = makers.trained_run()

    def write(folder: Path) -> None:
        shutil.copytree(run / "checkpoints", folder / "run" / "checkpoints")

    return [
        Case(
            name="resume", write=write, open=lambda folder: makers.resume_from(folder / "run"), mend=makers.mend_hashes
        )
    ]


def _models() -> list[Case]:
    import slipway
    from slipway.training.tasks.sign.predict import SignPredictor

    sign, own = makers.trained_sign_run() / "best", makers.trained_run() / "best"

    def write(source: Path) -> Callable[[Path], None]:
        return lambda folder: shutil.copytree(source, folder / "best") and None

    return [
        Case(name="predictor", write=write(sign), open=lambda folder: SignPredictor.load(folder / "best")),
        Case(name="load sign", write=write(sign), open=lambda folder: slipway.load(folder / "best")),
        Case(name="load own", write=write(own), open=lambda folder: slipway.load(folder / "best", trust=True)),
    ]


def _shares() -> list[Case]:
    from slipway.training.batches.class_order import ClassOrder
    from slipway.training.batches.order import Order
    from slipway.training.common.apportion import apportion, plan_micro_batches

    def shares(path: Path) -> object:
        samples, weights, seed = read_json(path)
        samples = int(samples)
        if (
            not 0 < samples < 2**40
            or not weights
            or not all(isinstance(one, (int, float)) and 0 < one < 1e30 for one in weights)
        ):
            return None
        parts = apportion(samples, weights)
        assert sum(parts) == samples
        assert min(parts) >= 0
        ideal = [samples * one / sum(weights) for one in weights]
        assert all(abs(part - one) <= 1 + 1e-6 * samples for part, one in zip(parts, ideal, strict=True))
        plan_micro_batches(samples, weights, None, 1)
        order = Order(num_samples=samples, seed=int(seed))
        first = order.indices(3, 0, min(samples, 200))
        assert len(set(first.tolist())) == len(first)
        assert 0 <= min(first.tolist()) <= max(first.tolist()) < samples
        labels = np.array([abs(int(one)) % 5 for one in weights])
        return ClassOrder.of(np.unique(labels, return_inverse=True)[1], seed=int(seed)).indices(1, 0, len(labels))

    texts = ["[10, [5, 3, 3], 0]", "[1000003, [1.0, 0.25, 7, 7, 1e-3], 5]", "[1, [1], 1]", "[64, [1, 1], 9999999999]"]
    return _text("shares", ".json", texts, shares, UserError, ValueError, TypeError, OverflowError, OSError)


def _bounds(line: str) -> dict[str, Any]:
    """Return the bounds of a command: those that train or trace a model do what they are asked before they can fail."""
    words = line.split()
    is_long = "whole" in words or words[0] in ("export", "evaluate", "predict")
    return {"most_seconds": 40.0, "most_more_bytes": 1 << 30} if is_long else {}


def _lines() -> list[Case]:
    def case(name: str) -> Case:
        def write(folder: Path) -> None:
            options.write_place(folder)
            (folder / LINE).write_text(json.dumps(["--version"]), encoding="utf-8")

        def choose(folder: Path, generator: Random) -> str:
            words = json.dumps(options.any_line(name, generator))
            with contextlib.suppress(OSError):
                (folder / LINE).write_text(words, encoding="utf-8")
            return words[:300]

        return Case(name=name, write=write, open=open_line, mend=choose, **_bounds(name))

    return [case(name) for name in options.commands()]


def _used() -> list[Case]:
    """Return what uses a run, on damaged ones."""
    lines = (
        *("report own", "report signs", "compare own signs", "runs", "watch --once own", "resume --dry-run own"),
        *("evaluate signs --data data.csv", "predict signs data.csv", "export signs --to torchscript"),
        *("card signs", "push signs --to me/signs", "track own --tracker tensorboard"),
        *("continue --dry-run own", "continue --dry-run signs", "data inspect data.csv"),
    )

    def case(line: str) -> Case:
        def write(folder: Path) -> None:
            options.write_place(folder)
            (folder / LINE).write_text(json.dumps(line.split()), encoding="utf-8")

        return Case(name=line, write=write, open=open_line, **_bounds(line))

    return [case(line) for line in lines]


LINE = "line.json"
"""The file of a folder that holds the command line to try in it."""


def open_line(folder: Path) -> None:
    """Run the command line of a folder."""
    with contextlib.suppress(OSError, UnreadableError):
        words = read_json(folder / LINE)
        if isinstance(words, list) and words and all(isinstance(word, str) and "\0" not in word for word in words):
            options.run_line(words, folder)


DOORS = (
    Door(name="data", weight=30, cases=cache(_data)),
    Door(name="labelled", weight=2, cases=cache(_labelled)),
    Door(name="yaml", weight=30, cases=cache(_yaml)),
    Door(name="stages", weight=20, cases=cache(_stages)),
    Door(name="settings", weight=35, cases=cache(_settings)),
    Door(name="plans", weight=20, cases=cache(_plans)),
    Door(name="runs", weight=15, cases=cache(_runs)),
    Door(name="checkpoints", weight=15, cases=cache(_checkpoints)),
    Door(name="models", weight=10, cases=cache(_models)),
    Door(name="lines", weight=10, cases=cache(_lines)),
    Door(name="used", weight=10, cases=cache(_used)),
    Door(name="shares", weight=23, cases=cache(_shares)),
)
