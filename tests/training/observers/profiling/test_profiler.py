"""`--profile` writes a trace for each rank and a table of where the time went, and changes nothing that is learned."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from slipway.training.config.recipe import Stage
from slipway.training.loop.trainer import Trainer
from slipway.training.observers.events import Observers, ProfileEnd
from slipway.training.observers.journal import read_journal
from slipway.training.observers.profiling.profiler import Profiler
from slipway.training.observers.profiling.sections import SECTION_NAMES, UNMARKED
from slipway.training.observers.profiling.trace import section_times
from slipway.training.run.announce import announce_run
from tests.training.helpers import Recorder, make_recipe, make_task, make_trainer
from tests.training.misbehaviour import run
from tests.training.observers import make_run_start, make_stage_start, make_step
from tests.training.processes import run_group

CPU = torch.device("cpu")


class Told(Recorder):
    """Keeps the profiles too."""

    def __init__(self) -> None:
        super().__init__()
        self.profiles: list[ProfileEnd] = []
        self.is_closed = False

    def on_profile(self, event: ProfileEnd) -> None:
        assert not self.is_closed
        self.profiles.append(event)

    def close(self) -> None:
        self.is_closed = True


def profiled(folder: Path, *stages: Stage, num_steps: int = 4, **options: Any) -> tuple[Trainer, Told]:
    """Return a trainer that has run with a profiler, and what it told."""
    told = Told()
    profiler = Profiler(folder, rank=0, device=CPU, num_steps=num_steps, observer=told)
    trainer, _ = make_trainer(
        make_task(),
        make_recipe(*(stages or (Stage(name="only", epochs=5),)), **options),
        sections=profiler.sections,
        observer=Observers([told, profiler]),
    )
    announce_run(trainer, "trial")
    trainer.run()
    profiler.close()
    return trainer, told


def read_trace(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        return json.load(file)["traceEvents"]


def test_the_trace_holds_the_sections_of_the_steps_that_were_asked_for(tmp_path: Path) -> None:
    _, told = profiled(tmp_path)
    (profile,) = told.profiles
    assert (profile.first_step, profile.steps) == (7, 4)
    assert profile.trace == tmp_path / "profile" / "rank_0.trace.json.gz"
    marked = [event["name"] for event in read_trace(profile.trace) if event.get("cat") == "user_annotation"]
    for name in ("forward", "backward", "reduce", "optimizer"):
        assert marked.count(name) == 4, name
    # Two waits a step: to draw the samples and to get their batch.
    assert marked.count("data_wait") >= 8
    assert marked.count("evaluate") == 1
    by_name = {section.name: section for section in profile.sections}
    assert by_name["forward"].times == 4
    assert 0 < by_name["forward"].seconds < profile.seconds
    assert sum(section.seconds for section in profile.sections) == pytest.approx(profile.seconds)
    assert all(section.device_seconds is None for section in profile.sections)
    assert profile.seconds_per_step_before is not None


def test_a_profile_changes_no_bit_of_the_weights(tmp_path: Path) -> None:
    trainer, told = profiled(tmp_path, learning_rate=0.01)
    plain, _ = make_trainer(make_task(), make_recipe(Stage(name="only", epochs=5), learning_rate=0.01))
    plain.run()
    assert len(told.profiles) == 1
    assert torch.equal(trainer.parameters.values, plain.parameters.values)


@pytest.mark.parametrize(("epochs", "first", "steps"), [(1, 2, 3), (2, 3, 6), (10, 11, 20)])
def test_a_short_run_is_profiled_after_a_third_of_it(tmp_path: Path, epochs: int, first: int, steps: int) -> None:
    _, told = profiled(tmp_path, Stage(name="only", epochs=epochs), num_steps=20)
    assert [(profile.first_step, profile.steps) for profile in told.profiles] == [(first, steps)]


def test_a_run_of_one_step_is_profiled_too(tmp_path: Path) -> None:
    _, told = profiled(tmp_path, max_steps=1)
    assert [(profile.first_step, profile.steps) for profile in told.profiles] == [(1, 1)]


def test_a_stage_that_ends_within_the_window_ends_it(tmp_path: Path) -> None:
    patient = Stage(name="only", epochs=50, patience=3)
    trainer, told = profiled(tmp_path, patient, Stage(name="next", epochs=1), num_steps=100)
    (profile,) = told.profiles
    ended = trainer.progress.rows[0]["steps"]
    assert ended < 50 * 4
    assert (profile.first_step, profile.first_step + profile.steps - 1) == (11, ended)


def started(folder: Path, told: Told, *, rank: int, num_steps: int) -> Profiler:
    """Return a profiler of a run whose first stage begins."""
    profiler = Profiler(folder, rank=rank, device=CPU, num_steps=num_steps, observer=told)
    profiler.on_run_start(make_run_start())
    profiler.on_stage_start(make_stage_start())
    return profiler


def test_a_run_that_is_stopped_within_the_window_reports_the_steps_it_did(tmp_path: Path) -> None:
    told = Told()
    profiler = started(tmp_path, told, rank=0, num_steps=5)
    for step in range(1, 6):
        profiler.on_step(make_step(step))
    assert told.profiles == []
    # The journal is there before the profiler, and hears of it while it can still write.
    observers = Observers([told, profiler])
    observers.close()
    observers.close()
    assert told.is_closed
    assert [(profile.first_step, profile.steps) for profile in told.profiles] == [(3, 3)]


def test_a_run_that_ends_before_the_window_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    profiler = started(tmp_path, Told(), rank=0, num_steps=5)
    logging.getLogger("slipway").propagate = True
    profiler.on_step(make_step(1))
    profiler.close()
    assert "the run ended before the first step that was to be profiled" in caplog.text
    assert not (tmp_path / "profile").exists()


def test_a_trace_that_cannot_be_written_does_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "profile").write_text("in the way")
    logging.getLogger("slipway").propagate = True
    trainer, told = profiled(tmp_path)
    assert trainer.progress.step == 20
    assert told.profiles == []
    assert "rank_0.trace.json.gz cannot be written or read, training goes on" in caplog.text


def test_only_rank_0_reports(tmp_path: Path) -> None:
    told = Told()
    profiler = started(tmp_path, told, rank=1, num_steps=1)
    for step in range(1, 5):
        profiler.on_step(make_step(step))
    assert (tmp_path / "profile" / "rank_1.trace.json.gz").is_file()
    assert told.profiles == []


def test_each_of_two_ranks_leaves_a_trace_and_the_run_a_table(tmp_path: Path) -> None:
    options = [
        *["--device", "cpu", "--stages-config", "minimal", "--epochs", "3"],
        *["--profile", "--profile-steps", "3", "--runs-dir", str(tmp_path)],
    ]
    assert run_group(2, tmp_path / "output", run, [*options, "--experiment-name", "trial"]) == [0, 0]
    for rank in (0, 1):
        events = read_trace(tmp_path / "trial" / "profile" / f"rank_{rank}.trace.json.gz")
        marked = [event["name"] for event in events if event.get("cat") == "user_annotation"]
        assert marked.count("reduce") == 3
        assert any("allreduce" in event["name"] for event in events if "name" in event)
    output = (tmp_path / "output" / "rank_0.txt").read_text()
    assert "where the time of steps 3 to 5 went" in output
    assert "where the time" not in (tmp_path / "output" / "rank_1.txt").read_text()
    assert "USDT" not in output
    events = read_journal(tmp_path / "trial" / "events.jsonl")
    (profile,) = [event for event in events if event["event"] == "profile"]
    assert (profile["first_step"], profile["steps"]) == (3, 3)
    assert [section["name"] for section in profile["sections"]][-1] == "other"
    # Told once, by the one process that has a console.
    assert [
        event["seconds"] > event["seconds_before_run"] > 0 for event in events if event["event"] == "first_step"
    ] == [True]


def kernel(name: str, correlation: int, duration: float, category: str = "kernel") -> dict[str, Any]:
    return {"cat": category, "name": name, "ts": 900.0, "dur": duration, "args": {"correlation": correlation}}


def launch(correlation: int, moment: float) -> dict[str, Any]:
    return {
        "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": moment, "dur": 1.0, "args": {"correlation": correlation},
    }  # fmt: skip


def mark(name: str, start: float, duration: float) -> dict[str, Any]:
    return {"cat": "user_annotation", "name": name, "ts": start, "dur": duration}


def test_what_a_device_did_belongs_to_the_section_that_queued_it() -> None:
    events = [
        {"ph": "M", "name": "process_name"},
        mark("forward", 0.0, 100.0),
        mark("backward", 100.0, 200.0),
        mark("optimizer", 320.0, 30.0),
        {**mark("forward", 900.0, 5.0), "cat": "gpu_user_annotation"},
        *(launch(1, 50.0), launch(2, 150.0), launch(3, 299.0), launch(4, 310.0), launch(5, 349.0)),
        kernel("gemm", 1, 1000.0),
        kernel("gemm_backward", 2, 2000.0),
        kernel("ncclDevKernel_AllReduce_Sum_f32", 3, 400.0),
        kernel("Memcpy DtoH", 4, 7.0, "gpu_memcpy"),
        kernel("adam", 5, 60.0),
        kernel("queued before the trace", 99, 3.0),
    ]
    found = {section.name: section for section in section_times(events, 500e-6, has_device=True)}
    assert list(found) == [*SECTION_NAMES, "other"]
    device = {name: section.device_seconds for name, section in found.items() if section.device_seconds}
    expected = {"forward": 1e-3, "backward": 2e-3, "reduce": 4e-4, "optimizer": 6e-5, "other": 1e-5}
    assert device == pytest.approx(expected)
    assert found["backward"].seconds == pytest.approx(200e-6)
    assert found["other"].seconds == pytest.approx(170e-6)
    assert found["save"].times == 0


def test_without_a_profile_entering_a_section_does_nothing() -> None:
    with UNMARKED.forward as inside:
        assert inside is None
