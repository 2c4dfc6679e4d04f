"""The parts of a model card: what the run has measured, what it is for, its data, its limits, and how it was trained."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....training.common.program.shown import one_line
from ....training.data.readers.tables.hub import PREFIX
from ....training.observers.screen.tables import format_metric, plural
from ...common.values import at, items, mapping, number, text
from ...report import words
from ...report.classes import Confusion
from ...report.content import Content
from ...use.trained import Trained
from .markdown import code, table, without_places

HOME = "https://github.com/slipway-train/slipway"

_SPLITS = ("test", "validation")
_ALL_SPLITS = ("train", "validation", "test")
_MOST_CLASSES = 100
_FEW_SAMPLES = 100


def _split_of(confusion: Confusion) -> str:
    return confusion.split if confusion.split in _ALL_SPLITS else code(confusion.split)


def data_name(record: Mapping[str, Any]) -> str:
    """Return the name of the data without the folder in which they lie."""
    name = text(record, "data", "data") or text(record, "recipe", "task", "name") or "unknown"
    return name if name.startswith(PREFIX) else Path(without_places(name)).name or "unknown"


def measured(content: Content) -> list[tuple[str, str, float]]:
    """Return (split, metric, value) of the best weights: what the run ended with, else what its best epoch had."""
    result = mapping(content.record, "result")
    found = [
        (split, name.removeprefix(f"{split}_"), value)
        for split in _SPLITS
        for name in result
        if str(name).startswith(f"{split}_") and (value := number(result, name)) is not None
    ]
    if not found and (best := next((one for one in reversed(content.history.epochs) if one.improved), None)):
        found = [("validation", name, value) for name, value in best.validation.items()]
    return found


def metric_name(metric: str) -> str:
    """Return how people write the name of a metric."""
    return metric.replace("macro_f1", "macro-F1").replace("top5", "top-5").replace("_", " ")


def summary(content: Content, trained: Trained) -> Iterator[str]:
    """Yield the title, and what the model is in a sentence."""
    record = content.record
    yield f"# {code(without_places(text(record, 'name')))}"
    yield ""
    count = len(trained.class_names or ())
    what = (
        f"that tells {plural(count, 'class', 'es')}"
        if count
        else f"of the task {code(without_places(text(record, 'recipe', 'task', 'name')))}"
    )
    samples = _samples(record)
    on = (
        f" on {samples['train']:,} {'synthetic ' if _is_synthetic(record) else ''}samples" if "train" in samples else ""
    )
    yield f"A model {what}, trained by [Slipway]({HOME}){on} of {code(data_name(record).removeprefix(PREFIX))}."
    state, _ = words.state_of(record, content.is_held)
    if state != "finished":
        yield f"Its training is not finished ({state}): these are its best weights until now."
    yield ""


def results(content: Content, files: Sequence[str]) -> Iterator[str]:
    """Yield what was measured, on which split, and how well each class is known."""
    found, samples = measured(content), _samples(content.record)
    yield "## Results"
    yield ""
    if not found:
        yield "Nothing was measured."
        yield ""
        return
    splits = [split for split in _SPLITS if any(one == split for one, _, _ in found)]
    names = list(dict.fromkeys(name for _, name, _ in found))
    values = {(split, name): value for split, name, value in found}
    heads = [f"{split}, {plural(samples[split], 'sample')}" if split in samples else split for split in splits]
    lines = [[_cell(name), *(format_metric(name, values.get((split, name))) for split in splits)] for name in names]
    yield from table(["metric", *heads], lines, right=len(splits))
    if "validation" in splits:
        yield "The best weights were chosen by the validation samples, so on them the numbers are a little too good."
    if "test" not in splits:
        yield "There is no test: no sample was kept from the choice of the weights."
    yield ""
    yield from _pictures(files, "confusion_matrix", "Which class was taken for which")
    confusion = content.confusion
    if confusion is None:
        return
    known = confusion.rows()
    shown = known[:_MOST_CLASSES]
    more = f", the {_MOST_CLASSES} least known of {len(known):,}" if len(known) > len(shown) else ""
    yield f"Classes on the {_split_of(confusion)} split{more}, the least known first:"
    yield ""
    yield from table(
        ["class", "most often taken for", "samples", "precision", "recall", "F1"],
        [
            [
                code(row.name),
                code(row.taken_for) if row.taken_for else "",
                f"{row.samples:,}",
                *("" if one is None else f"{one:.3f}" for one in (row.precision, row.recall, row.f1)),
            ]
            for row in shown
        ],
        right=4,
    )


def intended(trained: Trained) -> Iterator[str]:
    """Yield what the model is for."""
    yield "## Intended use"
    yield ""
    if trained.class_names:
        yield f"To tell which of its classes {_sample(trained)} is, for input that is like the data it was trained on."
        yield "It always says one of them, with a probability, also for what is none of them."
    else:
        yield "What its task says, for input that is like the data it was trained on."
    how = "" if trained.kind == "own" else ": `slipway evaluate FOLDER --data YOURS`"
    yield f"Measure it on data of your own before anything depends on it{how}."
    yield ""


def _sample(trained: Trained) -> str:
    return {"sign": "a clip of landmarks", "images": "a picture", "text": "a text"}.get(trained.kind, "a sample")


def data(content: Content) -> Iterator[str]:
    """Yield what the model learned from: counts, and no names of people."""
    record = content.record
    understood, frames = mapping(record, "data", "understood"), mapping(record, "data", "understood", "frames")
    found = [("name", code(data_name(record).removeprefix(PREFIX)))]
    if about := text(record, "data", "about"):
        found.append(("what they are", code(without_places(about))))
    if _is_synthetic(record):
        found.append(("kind", "synthetic: made by a program, not recorded"))
    if samples := _samples(record):
        found.append(("samples", ", ".join(f"{split} {count:,}" for split, count in samples.items())))
    if (classes := number(record, "data", "classes")) is not None:
        found.append(("classes", f"{classes:,.0f}"))
    if kind := text(record, "data", "split"):
        found.append(("split", code(without_places(kind))))
    if (landmarks := number(understood, "landmarks")) is not None:
        found.append(("landmarks", f"{landmarks:.0f}, {code(text(understood, 'coords'))}"))
    if all(number(frames, name) is not None for name in ("min", "median", "max")):
        shortest, median, longest = (number(frames, name) or 0 for name in ("min", "median", "max"))
        found.append(("frames of a clip", f"{shortest:,.0f} to {longest:,.0f}, median {median:g}"))
    if (missing := number(understood, "missing_share")) is not None:
        found.append(("missing points", f"{100 * missing:.1f} %"))
    if people := _people(record):
        found.append(("signers", ", ".join(f"{split} {count:,}" for split, count in people.items())))
    if hashed := text(record, "recipe", "task", "data_fingerprint"):
        found.append(("fingerprint", code(hashed)))
    yield "## Data"
    yield ""
    yield from table(["", ""], [list(row) for row in found])


def limits(content: Content, trained: Trained) -> Iterator[str]:
    """Yield what is known to be weak, and what was not measured."""
    record, samples, confusion = content.record, _samples(content.record), content.confusion
    yield "## Limits"
    yield ""
    if _is_synthetic(record):
        yield "- It learned from synthetic data; on recorded ones it was not measured."
    if "test" in samples and samples["test"] < _FEW_SAMPLES:
        yield f"- The test has {plural(samples['test'], 'sample')}: take its numbers as rough ones."
    people = _signers(record)
    if people and all(people.get(split) for split in ("train", "test")):
        shared = len(people["train"] & people["test"])
        are = "is" if shared == 1 else "are"
        yield (
            f"- {plural(shared, 'signer')} of the test {are} in the training too: of new signers expect less."
            if shared
            else "- The signers of the test are not in the training."
        )
    elif trained.kind == "sign":
        yield "- Who made the clips is not known: the test may hold people that the training holds too."
    weak = [row for row in (confusion.rows() if confusion else []) if row.f1 is not None and row.f1 < 0.5]
    if weak and confusion:
        named = ", ".join(code(row.name) for row in weak[:5])
        more = f" and {len(weak) - 5} more" if len(weak) > 5 else ""
        yield f"- Classes with an F1 below 0.5 on the {_split_of(confusion)} split: {named}{more}."
    unseen = len(trained.class_names or ()) - len([row for row in confusion.rows() if row.samples]) if confusion else 0
    if unseen > 0 and confusion:
        yield f"- {plural(unseen, 'class', 'es')} without a sample in the {_split_of(confusion)} split, so not measured."
    yield "- Nothing was measured but what stands under Results: no other people, devices or places."
    yield ""


def training(content: Content, files: Sequence[str]) -> Iterator[str]:
    """Yield the recipe, the stages and what it was computed on."""
    record, result = content.record, mapping(content.record, "result")
    yield "## How it was trained"
    yield ""
    yield from _pictures(files, "results", "Curves of the training")
    recipe = [[_cell(name), code(without_places(value))] for name, value in words.recipe_rows(record) if value]
    yield from table(["recipe", ""], recipe)
    stages = [
        [code(row[0]), *(code(without_places(cell)) if cell else "" for cell in (row[1], row[2], row[3], row[5]))]
        for row in words.stage_rows(record)
    ]
    yield from table(["stage", "epochs", "learning rate", "weight decay", "best epoch"], stages)
    plan = mapping(record, "plan")
    device = text(plan, "device_name") or text(plan, "device")
    processes = number(plan, "world_size") or 1
    seconds, steps = number(result, "seconds"), number(result, "steps")
    told = [
        *([f"on {code(device)}, {plural(int(processes), 'process', 'es')}"] if device else []),
        *(
            [f"in {f'{seconds:.0f} s' if seconds < 120 else f'{seconds / 60:,.0f} minutes'}"]
            if seconds is not None
            else []
        ),
        *([plural(int(steps), "optimizer step")] if steps else []),
    ]
    if told:
        yield f"Trained {', '.join(told)}."
    versions = ", ".join(f"{name} {version}" for name, version in mapping(record, "versions").items())
    if versions:
        yield f"With {code(versions)}."
    if said := _command(record):
        yield ""
        yield "Command, with paths cut to their last part:"
        yield ""
        yield f"    {one_line(said)}"
    yield ""


def _command(record: Mapping[str, Any]) -> str:
    """Return what trains the same again, without the folders of the machine."""
    here = {**record, "command": {**mapping(record, "command"), "folder": ""}}
    return shlex.join(without_places(word) for word in shlex.split(words.command(here)))


def _pictures(files: Sequence[str], name: str, words_of: str) -> Iterator[str]:
    for file in files:
        if file in (f"{name}.png", f"{name}.svg"):
            yield f"![{words_of}]({file})"
            yield ""


def _cell(name: str) -> str:
    """Return the name of a metric or an option: words as they are, and all else as code."""
    shown = metric_name(name)
    return shown if shown.replace("-", "").replace(" ", "").isalnum() else code(shown)


def _samples(record: Mapping[str, Any]) -> dict[str, int]:
    return {
        split: int(count) for split in _ALL_SPLITS if (count := number(record, "data", "samples", split)) is not None
    }


def _is_synthetic(record: Mapping[str, Any]) -> bool:
    return at(record, "data", "synthetic") is True


def _signers(record: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the signers of each split; their names stay here."""
    return {
        split: set(map(str, items(record, "data", "signers", split)))
        for split in _ALL_SPLITS
        if split in mapping(record, "data", "signers")
    }


def _people(record: Mapping[str, Any]) -> dict[str, int]:
    return {split: len(names) for split, names in _signers(record).items() if names}
