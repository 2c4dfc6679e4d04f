"""Damaged and foreign run folders, checkpoints and models."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slipway import SignPredictor, load, read_journal
from slipway.training.run.opening.resume import find_run
from tests.fuzz import makers

from .case import Case, both, case, text


def with_run(change: Callable[[Path], object], path: str = "", act: Callable[[Path], object] | None = None) -> Case:
    """Return a resume of a run in which something was changed: of its newest checkpoint, by name."""

    def prepare(root: Path) -> None:
        shutil.copytree(makers.trained_run(), root / "runs/one")
        change(root / "runs/one" / path)

    return Case(prepare=prepare, act=act or resume_named)


def resume_named(root: Path) -> None:
    """Resume from the newest checkpoint by its name, as far as it is looked at before the model is made."""
    (*_, newest) = sorted((root / "runs/one/checkpoints").iterdir())
    found = find_run(str(newest), root / "runs", "one")
    assert found is not None
    makers.resume_from(found.folder)


def shared(words: str) -> Callable[[Path], None]:
    """Return a `slipway card` or `slipway push` of the run, by a user without a token, on a machine without a network."""

    def share(root: Path) -> None:
        command, *rest = words.split()
        (root / "one").mkdir()
        (root / "one" / "mine").touch()
        module = import_module(f"slipway.results.share.{'card_command' if command == 'card' else 'push'}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("huggingface_hub.get_token", lambda: None)
            patch.chdir(root)
            module.main(rest)

    return share


def resume_run(root: Path) -> None:
    find_run("one", root / "runs", "one")
    makers.resume_from(root / "runs/one")


def of_newest(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda run: change(sorted((run / "checkpoints").iterdir())[-1])


def of_all(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what changes a file in every checkpoint, and writes its hash anew."""

    def act(run: Path) -> None:
        for folder in (run / "checkpoints").iterdir():
            change(folder)
            makers.mend_all_hashes(folder)

    return act


def write(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def changed(file: str, /, **values: object) -> Callable[[Path], object]:
    """Return what gives keys of a JSON file other values."""
    return lambda folder: (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **values}))


def edge(name: str) -> Callable[[Path], object]:
    return lambda folder: os.truncate(folder / name, 40)


RUN_FOLDERS = {
    **{f"run.{name}": with_run(change, act=resume_run) for name, change in {
        "record.missing": lambda run: (run / "run.json").unlink(),
        "record.empty": write("run.json", ""),
        "record.list": write("run.json", "[]"),
        "record.null": write("run.json", "null"),
        "record.name": changed("run.json", name=None),
        "record.recipe": changed("run.json", recipe=3),
        "record.pipe": lambda run: ((run / "run.json").unlink(), os.mkfifo(run / "run.json")),
        "record.folder": lambda run: ((run / "run.json").unlink(), (run / "run.json").mkdir()),
    }.items()},
    **{f"checkpoint.{name}": with_run(of_newest(change)) for name, change in {
        "no manifest": lambda folder: (folder / "manifest.json").unlink(),
        "manifest empty": write("manifest.json", ""),
        "manifest cut": edge("manifest.json"),
        "manifest null": write("manifest.json", "null"),
        "manifest changed": changed("manifest.json", step=10**30),
        "manifest version": changed("manifest.json", schema_version=99),
        "manifest deep": write("manifest.json", "[" * 10_000),
        "manifest digits": write("manifest.json", "9" * 5000),
        "state missing": lambda folder: (folder / "state.json").unlink(),
        "state cut": edge("state.json"),
        "weights missing": lambda folder: (folder / "model.safetensors").unlink(),
        "weights cut": edge("model.safetensors"),
        "weights pipe": lambda folder: ((folder / "model.safetensors").unlink(), os.mkfifo(folder / "model.safetensors")),
    }.items()},
    **{f"content.{name}": with_run(of_all(change), act=resume_run) for name, change in {
        "state empty": write("state.json", ""),
        "state list": write("state.json", "[]"),
        "state without progress": write("state.json", "{}"),
        "state null progress": changed("state.json", progress=None),
        "weights empty": write("model.safetensors", b""),
        "weights promise": write("model.safetensors", (1 << 62).to_bytes(8, "little") + b"{}"),
        "weights null header": write("model.safetensors", (4).to_bytes(8, "little") + b"null"),
        "weights of another model": lambda folder: save_file({"values": torch.zeros(3)}, folder / "model.safetensors"),
        "weights pickle": write("model.safetensors", b"\x80\x04K\x01."),
    }.items()},
    **{f"load.{name}": with_run(change, act=lambda root: load(root / "runs/one")) for name, change in {
        "missing": lambda run: shutil.rmtree(run / "best"),
        "no weights": lambda run: (run / "best/model.safetensors").unlink(),
        "no spec": lambda run: (run / "best/spec.json").unlink(),
        "spec empty": write("best/spec.json", ""),
        "spec list": write("best/spec.json", "[]"),
        "spec hostile": write("best/spec.json", '{"model": {"name": "os:system", "arguments": ["ls"]}}'),
        "weights cut": edge("best/model.safetensors"),
    }.items()},
    "predictor.missing": Case(act=lambda root: SignPredictor.load(root / "best")),
    "predictor.spec": Case(
        prepare=both(text("best/spec.json", "{}"), text("best/model.safetensors", "")),
        act=lambda root: SignPredictor.load(root / "best"),
    ),
    **{f"share.{words}": with_run(lambda run: None, act=shared(words)) for words in (
        "card oen", "card one --license Mine!", "card one --out one", "push one --to one", "push one --to a/b/c",
        "push one --yes", "push one --to USER/NAME", "push one --to ann/one --yes",
    )},
    "journal.missing": Case(act=lambda root: list(read_journal(root / "events.jsonl"))),
    "journal.folder": Case(prepare=lambda root: (root / "events.jsonl").mkdir(),
        act=lambda root: list(read_journal(root / "events.jsonl"))),
    "resume.record": case("resume one", text("runs/one/run.json", "{}")),
    "resume.record null": case("resume one", text("runs/one/run.json", "null")),
    "resume.record closed": case("resume one", text("runs/one/run.json", "{}", 0o600), is_other_user=True),
    "resume.mistyped": case("resume oen", text("runs/one/run.json", "{}")),
}  # fmt: skip
