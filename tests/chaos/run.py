"""A run in a folder of its own: its attempts, its journal, its checkpoints, and its end against that of another run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from slipway.training.observers import journal
from slipway.training.storage.checkpoint import Manifest, newest_checkpoint
from tests.chaos.attempt import Attempt, Failed
from tests.chaos.ledger import Audit, audit, lineage, read_events
from tests.chaos.scenario import NUM_STAGES, NUM_TRAINING_SAMPLES, Found, Scenario

BOUND = 1e-5
"""For a changed number of processes, of max|a - b| / max|w|; the same number has to give the same bytes."""


class Run:
    """A run in a folder of its own, and its attempts."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.folder = folder
        folder.mkdir(parents=True)
        self.run_folder = folder / "runs" / "chaos"
        self._num_attempts = 0
        self._journalled: list[int] = []
        """The attempt behind each `run` event of the journal."""

    def start(self, world_size: int, *, by_name: bool = False, pass_seconds: float = 0.0) -> Attempt:
        """Start or restart the run: by the same command with `--resume auto`, or by `slipway resume`."""
        options = self.scenario.launch_options(world_size)
        command = ["resume", *options, "chaos"] if by_name else ["launch", *options, *self.scenario.arguments()]
        self._num_attempts += 1
        return Attempt(self.folder, self._num_attempts, command, pass_seconds=pass_seconds)

    def note(self, attempt: Attempt) -> None:
        """Learn whether an attempt, which has ended, came as far as the journal."""
        events = self.events()
        starts = sum(event["event"] == "run" for event in events)
        self._journalled += [attempt.number] * (starts - len(self._journalled))

    def is_journalled(self, attempt: Attempt) -> bool:
        """Return whether the newest `run` event of the journal is an attempt's, once it is noted."""
        return self._journalled[-1:] == [attempt.number]

    def events(self) -> list[dict[str, Any]]:
        """Return the journal, empty where there is none yet. Raises `Failed` where a line other than the last is torn."""
        journal = self.run_folder / "events.jsonl"
        try:
            return read_events(journal) if journal.exists() else []
        except ValueError as error:
            raise Failed(f"the journal has a torn line before its end: {error}") from None

    def record(self) -> dict[str, Any]:
        """Return `run.json`."""
        return json.loads((self.run_folder / "run.json").read_text(encoding="utf-8"))

    def is_finished(self) -> bool:
        """Return whether the run says that it is done."""
        return (self.run_folder / "run.json").exists() and self.record()["state"] == "finished"

    def newest(self) -> Manifest | None:
        """Return the newest checkpoint. Raises `Failed` where one of the folders is damaged: a kill must leave none."""
        manifest, problems = newest_checkpoint(self.run_folder)
        if problems:
            raise Failed(f"a kill left a damaged checkpoint: {problems}")
        return manifest

    def audit(self) -> Audit:
        """Return what the lineage of the final weights was trained on."""
        computed = self.folder / "computed"
        books = [[computed / f"{number:03d}.{rank}" for rank in range(8)] for number in self._journalled]
        scenario = self.scenario
        return audit(
            lineage(self.events()),
            books,
            num_steps=scenario.num_steps,
            num_epochs=NUM_STAGES * scenario.epochs,
            num_samples=NUM_TRAINING_SAMPLES,
        )

    def weights(self) -> dict[str, Path]:
        """Return the files of the final weights."""
        return {kind: self.run_folder / kind / "model.safetensors" for kind in ("best", "last")}

    def results(self) -> dict[str, Any]:
        """Return the final metrics, without times."""
        result = self.record()["result"]
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in result["stages"]]
        return {**{key: value for key, value in result.items() if key != "seconds"}, "stages": rows}


def run_untouched(scenario: Scenario, folder: Path) -> Run:
    """Return the run that nobody killed, on the processes that the scenario starts with."""
    run = Run(scenario, folder)
    attempt = run.start(scenario.segments[0][0])
    try:
        if attempt.finish() != 0:
            raise Failed(f"the untouched run ended with {attempt.process.returncode}: {attempt.said()}")
        attempt.wait_until_gone()
    finally:
        attempt.close()
    run.note(attempt)
    return run


def compare(found: Found, run: Run, reference: Run) -> None:
    """Take in how the end of a run differs from that of the untouched one."""
    identical, differences = True, []
    for kind, path in run.weights().items():
        other = reference.weights()[kind]
        identical = identical and path.read_bytes() == other.read_bytes()
        differences.append(_difference(load_file(path), load_file(other)))
    found.is_identical, found.difference = identical, max(differences)
    if found.scenario.is_changed:
        if not found.difference <= BOUND:
            found.problems.append(f"the weights differ by {found.difference:.1e}, more than {BOUND:.0e}")
    else:
        if not identical:
            found.problems.append(f"the weights are not bit-identical: {found.difference:.1e}")
        if run.results() != reference.results():
            found.problems.append("the final metrics are not those of the untouched run")
    books, due = run.audit(), reference.audit()
    found.num_lost, found.num_duplicated = books.num_lost, books.num_duplicated
    found.problems += [*books.problems, *(f"the untouched run: {problem}" for problem in due.problems)]
    if due.num_lost or due.num_duplicated or books.num_lost or books.num_duplicated:
        found.problems.append(f"{books.num_lost} samples lost, {books.num_duplicated} trained twice")
    if [step["step"] for step in journal.lineage(run.events())] != list(range(1, found.scenario.num_steps + 1)):
        found.problems.append("the journal's own `lineage` is another one")
    if books.batches != due.batches:
        found.problems.append("a step was trained on other samples than in the untouched run")
    idle = [world for world, _ in found.scenario.segments if not books.steps_by_processes.get(world)]
    if idle:
        found.problems.append(f"no step of the lineage was made on {idle} processes: nothing was shown of them")


def _difference(tensors: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    if tensors.keys() != others.keys():
        return float("inf")
    largest = max(float(other.double().abs().max()) for other in others.values())
    return (
        max(float((tensor.double() - others[name].double()).abs().max()) for name, tensor in tensors.items()) / largest
    )
