"""What a run was, in plain words: its summary, its recipe, its plan, its time, and the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...training.observers.screen.tables import format_duration, format_metric, format_rate, plural
from ..common.values import counts, items, mapping, number, rows, text
from .classes import Confusion
from .curves import History
from .drawing import format_number

Row = tuple[str, str]

_STATES = {
    "finished": "It is finished.",
    "running": "It still trains: what is shown is what it has written until now.",
    "dead": "It is marked as running, but no process trains it: `slipway resume` continues it.",
    "interrupted": "It was stopped and saved: `slipway resume` continues it.",
    "failed": "It failed.",
}
_USUAL = {"reduction": "flat", "sharding": "replicate", "memory_format": "contiguous"}
_SHORTEST_SECONDS = 0.05


def summary(record: Mapping[str, Any], history: History, confusion: Confusion | None) -> str:
    """Return two or three sentences: what was learned from what, how long it took, and how good it is."""
    data, result = mapping(record, "data"), mapping(record, "result")
    samples = {
        name: int(found)
        for name in ("train", "validation", "test")
        if (found := number(data, "samples", name)) is not None
    }
    kind = "synthetic " if data.get("synthetic") is True else ""
    what = text(record, "recipe", "task", "name") or "task"
    classes, seconds = number(data, "classes"), number(result, "seconds")
    told = f" to tell {plural(int(classes), 'class', 'es')}" if classes else ""
    parts = [f"A model of the task “{what}” was trained{told}"]
    if samples.get("train"):
        parts.append(f"on {plural(samples['train'], f'{kind}sample')}")
    if history.epochs:
        parts.append(f"in {plural(len(history.epochs), 'epoch')}")
    if seconds is not None:
        parts.append(
            f"and {format_duration(seconds)}{'' if seconds < 60 else ' minutes' if seconds < 3600 else ' hours'},"
        )
    device = text(record, "plan", "device_name") or text(record, "plan", "device")
    processes = int(number(record, "plan", "world_size") or 1)
    if device:
        parts.append(f"on {device}{f', {processes} processes' if processes > 1 else ''}")
    sentences = [f"{' '.join(parts)}."]
    name, value = best_metric(record, history)
    if value is not None:
        split = "test" if name.startswith("test_") else "validation"
        unseen = f" on {plural(samples[split], f'{split} sample')}" if samples.get(split) else f" on the {split} split"
        shown = format_metric(name, value)
        named = name.removeprefix(f"{split}_").replace("_", " ")
        stage = text(result, "best_stage")
        sentences.append(f"Its best weights{f', of stage {stage},' if stage else ''} have {named} {shown}{unseen}.")
    if confusion is not None and confusion.mistakes and (pairs := confusion.pairs()):
        right, said, count = pairs[0]
        sentences.append(f"Most often “{right}” was taken for “{said}”: {plural(count, 'time')}.")
    return " ".join(sentences)


def state_of(record: Mapping[str, Any], is_held: bool) -> tuple[str, str]:
    """Return the state of a run and a sentence on it; one that says it runs, while no process has its lock, is dead."""
    state = text(record, "state") or "unknown"
    if state == "running" and not is_held:
        state = "dead"
    why = text(record, "error")
    return state, f"{_STATES.get(state, '')}{f' {why}' if why and state in ('failed', 'interrupted') else ''}"


def best_metric(record: Mapping[str, Any], history: History) -> tuple[str, float | None]:
    """Return the name and value of what stands for a run: of its test, or of its validation; else of its best epoch."""
    result, monitor = mapping(record, "result"), text(record, "recipe", "monitor") or "accuracy"
    for name in ("test_accuracy", f"test_{monitor}", "validation_accuracy", f"validation_{monitor}", "test_loss"):
        if (value := number(result, name)) is not None:
            return name, value
    values = [one.validation[monitor] for one in history.epochs if monitor in one.validation and one.improved]
    return f"validation_{monitor}", values[-1] if values else None


def figures(record: Mapping[str, Any], history: History) -> list[tuple[str, str, str]]:
    """Return the numbers at the top: label, number, and what belongs to it."""
    result = mapping(record, "result")
    found: list[tuple[str, str, str]] = []
    monitor = text(record, "recipe", "monitor")
    names = [str(name) for name in result if number(result, str(name)) is not None]
    names.sort(key=lambda name: name.endswith("_loss"))
    split = "test" if any(name.startswith("test_") for name in names) else "validation"
    for name in names:
        if name.startswith(f"{split}_") or name == f"validation_{monitor}":
            kind, named = name.split("_", 1)
            found.append((named.replace("_", " "), format_metric(name, result[name]), f"{kind}, best weights"))
    del found[8:]
    if not found and (best := best_metric(record, history))[1] is not None:
        found.append((best[0].replace("_", " "), format_metric(*best), "best so far"))
    if history.windows and history.train_seconds > 0:
        samples = sum(sum(counts(step, "samples_per_rank")) for step in history.steps)
        found.append(("samples per second", format_rate(samples / history.train_seconds), "while training"))
    steps = number(result, "steps") or (history.steps[-1]["step"] if history.steps else None)
    if steps:
        found.append(("optimizer steps", f"{int(steps):,}", plural(len(history.epochs), "epoch")))
    return found


def recipe_rows(record: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what decides the learned weights, and what it is."""
    recipe = mapping(record, "recipe")
    if run := text(record, "parent", "run"):
        step = number(record, "parent", "step")
        at = "" if step is None else f", of step {int(step):,}"
        yield "starts from", f"the {text(record, 'parent', 'weights')} weights of {run}{at}"
    optimizer, resolved = mapping(recipe, "optimizer"), mapping(recipe, "resolution")
    rate, batch = number(optimizer, "learning_rate"), number(resolved, "global_batch_size")
    own = text(recipe, "own_optimizer", "class_name")
    yield "optimizer", own or text(optimizer, "name")
    if rate is not None:
        factor = number(resolved, "batch_size_factor") or 1.0
        yield (
            "learning rate",
            f"{rate:.4g}" + ("" if factor == 1 else f", at its peak {rate * factor:.4g}: it follows the batch"),
        )
    if batch is not None:
        base = number(recipe, "batch_size")
        rule = (
            ""
            if base is None or base == batch
            else f": {base:.0f} for each of {number(resolved, 'num_processes') or 1:.0f} processes"
        )
        yield "samples in a step", f"{batch:.0f}{rule}"
    if (norm := number(optimizer, "clip_norm")) is not None:
        yield "gradient", f"its norm is cut to {norm:g}"
    if (decay := number(optimizer, "ema_decay")) is not None:
        yield "weights", f"their moving average is evaluated, decay {decay:g}"
    mixed = text(resolved, "mixed_precision")
    yield "numbers", text(recipe, "precision") + ("" if mixed in ("", "no") else f", mixed with {mixed}")
    yield "best weights by", text(recipe, "monitor").replace("_", " ")
    for name in ("sampling", "class_weights"):
        if text(recipe, name) not in ("", "natural", "none"):
            yield name.replace("_", " "), text(recipe, name)
    yield "seed", text(recipe, "seed")
    for name, value in _flat(mapping(recipe, "task", "options", "model") or mapping(recipe, "task", "options")):
        yield name, value
    yield "its hash", text(record, "recipe_hash")


def stage_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """Return the stages: name, epochs, peak rate, decay, settings, best epoch and its score, why it ended, time."""
    recipe, done = mapping(record, "recipe"), {text(row, "stage"): row for row in rows(record, "result", "stages")}
    base = (number(recipe, "optimizer", "learning_rate") or 0) * (
        number(recipe, "resolution", "batch_size_factor") or 1
    )
    monitor = text(recipe, "monitor") or "accuracy"
    found = []
    for stage in rows(recipe, "stages"):
        name = text(stage, "name")
        row = done.get(name, {})
        most, epochs = number(stage, "epochs"), number(row, "epochs")
        score, seconds, best = number(row, f"validation_{monitor}"), number(row, "seconds"), number(row, "best_epoch")
        settings = [
            f"{key} {value}" for key, value in _flat(mapping(stage, "options")) if value not in ("0", "0.0", "")
        ]
        schedule = text(stage, "schedule")
        found.append(
            [
                name,
                f"{most or 0:.0f}" if epochs in (None, most) else f"{epochs:.0f} of {most or 0:.0f}",
                f"{base * (number(stage, 'learning_rate_factor') or 1):.3g}{f', {schedule}' if schedule else ''}",
                text(stage, "weight_decay"),
                ", ".join(settings),
                "" if best is None else f"{best:.0f}",
                "" if score is None else format_metric(monitor, score),
                text(row, "stopped"),
                "" if seconds is None else format_duration(seconds),
            ]
        )
    return found


def plan_rows(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield how it was computed: what, its value, and the reason."""
    plan = mapping(record, "plan")
    reasons = mapping(plan, "reasons")
    device, name = text(plan, "device"), text(plan, "device_name")
    yield "device", device if name in ("", device) else f"{device} ({name})", text(reasons, "device")
    yield "processes", text(plan, "world_size"), text(reasons, "world_size")
    if threads := text(plan, "threads_per_process"):
        yield "threads of a process", threads, text(reasons, "threads_per_process")
    for field in (
        "micro_batch_size",
        "gradient_accumulation",
        "num_workers",
        "sharding",
        "reduction",
        "memory_format",
        "compile_backend",
    ):
        value, reason = text(plan, field), text(reasons, field)
        if reason or (value and value != _USUAL.get(field)):
            yield field.replace("_", " "), value or "a rank's share", reason
    for package, version in mapping(record, "versions").items():
        yield str(package), str(version), ""
    for field in ("script_commit", "slipway_commit"):
        if value := text(record, field):
            yield field.replace("_", " "), value, ""


def timing_rows(
    record: Mapping[str, Any], history: History, events: Sequence[Mapping[str, Any]]
) -> list[tuple[str, float]]:
    """Return where the time went, in seconds; of a run that was resumed, of all its processes together."""
    first = [event for event in events if event.get("event") == "first_step"]
    before = sum(number(event, "seconds_before_run") or 0 for event in first)
    total = number(record, "result", "seconds")
    ready = sum((number(event, "seconds") or 0) - (number(event, "seconds_before_run") or 0) for event in first)
    found = [
        ("start: imports, data, model", before),
        ("steps", max(0.0, history.train_seconds - history.data_wait_seconds)),
        ("waiting for data", min(history.data_wait_seconds, history.train_seconds)),
        ("validation", history.validation_seconds),
    ]
    searching = sum(number(event, "time_seconds") or 0 for event in events if event.get("event") == "micro_batch")
    if searching and ready:
        found.insert(1, ("looking for the micro-batch", min(searching, ready)))
    if total is not None:
        found.append(
            ("test, saving and the rest", total - sum(seconds for name, seconds in found if name != found[0][0]))
        )
    return [(name, seconds) for name, seconds in found if seconds >= _SHORTEST_SECONDS]


def data_rows(record: Mapping[str, Any]) -> Iterator[Row]:
    """Yield how the data were understood."""
    data = mapping(record, "data")
    understood = mapping(data, "understood")
    yield "name", text(data, "data")
    if about := text(data, "about"):
        yield "what they are", about
    samples = [
        f"{name} {int(count):,}"
        for name in mapping(data, "samples")
        if (count := number(data, "samples", name)) is not None
    ]
    yield "samples", ", ".join(samples)
    yield "classes", text(data, "classes")
    if understood:
        yield "format", text(understood, "format")
        yield (
            "landmarks",
            " ".join(
                one
                for one in (
                    text(understood, "landmarks"),
                    f"({text(understood, 'layout')})",
                    text(understood, "coords"),
                )
                if one != "()"
            ),
        )
        frames = mapping(understood, "frames")
        yield (
            "frames of a clip",
            f"{text(frames, 'min')} to {text(frames, 'max')}, median {format_number(number(frames, 'median') or 0)}",
        )
        if (missing := number(understood, "missing_share")) is not None:
            yield "missing points", f"{100 * missing:.1f} %"
        yield "signers", str(len(mapping(understood, "signers")) or "not known")
    yield "split", text(data, "split")
    for note in (*items(data, "notes"), *items(understood, "notes")):
        yield "note", str(note)
    for warning in items(understood, "warnings"):
        yield "doubt", str(warning)
    yield "their hash", text(record, "recipe", "task", "data_fingerprint")


def command(record: Mapping[str, Any]) -> str:
    """Return the shell command that trains the same again, with the folder it was started in; empty if it is not known."""
    said = mapping(record, "command")
    words = [str(word) for word in items(said, "arguments")]
    script, module = text(said, "script"), text(said, "module")
    processes = int(number(record, "plan", "world_size") or 1)
    is_own = Path(script).parts[-2:] == ("bin", "train.py")
    if not (script or module):
        return ""
    start = ["-m", module] if module else [script]
    continued = mapping(said, "continues")
    if run := text(continued, "run"):
        asked = {**mapping(continued, "asked")}
        last = ["--weights", "last"] if Path(str(asked.pop("start_from", ""))).name == "last" else []
        line = ["slipway", "continue", "--num-processes", str(processes), *last, run]
        for name, value in asked.items():
            given = shlex.split(str(value)) if name == "task_options" else [str(value)]
            line += [f"--{str(name).replace('_', '-')}", *given]
    elif processes > 1:
        line = ["slipway", "launch", "--num-processes", str(processes), *start, *words]
    elif is_own:
        line = ["slipway", "train", *words]
    else:
        line = ["python", *start, *words]
    folder = text(said, "folder")
    return f"{f'cd {shlex.quote(folder)} && ' if folder else ''}{shlex.join(line)}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[Row]:
    """Yield the single values in nested mappings by their names."""
    for name, value in values.items():
        named = str(name).replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, prefix)
        elif isinstance(value, list):
            yield f"{prefix}{named}", ", ".join(map(str, value[:12]))
        elif value is not None:
            yield f"{prefix}{named}", f"{value:g}" if isinstance(value, float) else str(value)
