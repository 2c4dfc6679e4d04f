"""The GPU benchmark where there is no GPU: it leaves itself out, rehearses on the CPU, and reads traces rightly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.__main__ as bench
from benchmarks import gpu, measure
from benchmarks.gpu_parts import ENCODER, Part, Setting, micro_batch, out_of_memory, peak_of, step_time
from benchmarks.gpu_sides import ByHand, Case, Slipway, make_task, resident_batches
from benchmarks.gpu_waits import ISSUE, READ, check_round, find_waits, measure_waits
from slipway.training.step.flat import FlatParameters

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
REHEARSAL = Setting(device=CPU, rounds=2, quick=True)
AS_WRITTEN = REHEARSAL.case(replace(ENCODER, backend=None))
EXACT = replace(AS_WRITTEN, mixed_precision="no")

Event = dict[str, Any]


def mark(name: str, start: float, stop: float) -> Event:
    return {"cat": "user_annotation", "name": name, "ts": start, "dur": stop - start}


def call(name: str, at: float, correlation: int = 0) -> Event:
    return {"cat": "cuda_runtime", "name": name, "ts": at, "dur": 1.0, "args": {"correlation": correlation}}


def work(start: float, stop: float, correlation: int, name: str = "gemm", category: str = "kernel") -> Event:
    return {"cat": category, "name": name, "ts": start, "dur": stop - start, "args": {"correlation": correlation}}


def steps() -> list[Event]:
    """Return three steps of 100 microseconds each on the device; the outcome of each is read behind the issuing of the next."""
    events = []
    for step, (issued, read) in enumerate(((0, 21), (10, 120), (110, 208))):
        events += [
            mark(ISSUE, issued, issued + 9),
            call("cudaLaunchKernel", issued + 5, step),
            work(100 * step + 6, 100 * step + 106, step),
            mark(READ, read, 100 * step + 107),
            call("cudaEventSynchronize", read),
        ]
    return events


def test_a_wait_for_an_outcome_with_the_next_step_queued_is_none_within_a_step() -> None:
    found = find_waits(steps())
    assert (found.issued, found.calls, found.waiting_calls) == (3, 3, {})
    assert (found.reads, found.reads_with_next_queued, found.reads_that_left_work) == (2, 2, 2)
    assert found.idle_share == 0.0


@pytest.mark.parametrize(
    "name", ["cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy", "cuMemcpyDtoH_v2"]
)
def test_a_call_that_waits_while_a_step_is_issued_is_counted(name: str) -> None:
    assert find_waits([*steps(), call(name, 12.0)]).waiting_calls == {name: 1}
    assert find_waits([*steps(), call(name, 50.0)]).waiting_calls == {}


@pytest.mark.parametrize("name", ["cudaMemcpyAsync", "cudaMemsetAsync", "cudaEventRecord", "cuLaunchKernelEx"])
def test_a_call_that_only_queues_is_not_counted(name: str) -> None:
    assert find_waits([*steps(), call(name, 12.0)]).waiting_calls == {}


def test_a_copy_of_memory_that_is_not_pinned_is_counted() -> None:
    pageable, pinned = "Memcpy HtoD (Pageable -> Device)", "Memcpy HtoD (Pinned -> Device)"
    copies = [call("cudaMemcpyAsync", at, number) for at, number in ((12.0, 7), (13.0, 8), (60.0, 9))]
    done = [work(90, 91, 7, pageable, "gpu_memcpy"), work(91, 92, 8, pinned, "gpu_memcpy"), work(92, 93, 9, pageable)]
    assert find_waits([*steps(), *copies, *done]).waiting_calls == {pageable: 1}


def test_a_loop_that_reads_before_it_issues_the_next_step_is_found_out() -> None:
    events = [event for event in steps() if event["name"] != READ]
    events += [mark(READ, 9.5, 9.8), mark(READ, 19.5, 19.8), mark(READ, 29.5, 29.8)]
    assert find_waits(events).reads_with_next_queued == 0


def test_a_wait_that_drains_the_queue_is_found_out() -> None:
    events = [event if event["name"] != READ else {**event, "dur": 1000.0} for event in steps()]
    assert find_waits(events).reads_that_left_work == 0


def test_idle_time_of_the_device_is_what_no_work_covers() -> None:
    overlapping = [work(0, 10, 1), work(5, 20, 2), work(30, 40, 3)]
    assert find_waits(overlapping).idle_share == pytest.approx(0.25)
    assert find_waits([]).idle_share is None


def test_both_sides_learn_the_same() -> None:
    def losses(case: Case) -> tuple[list[float], list[float]]:
        task = make_task(case)
        ours = Slipway(case, task, CPU, micro_batch_size=case.batch_size)
        hand = ByHand(case, task, CPU, resident_batches(case, task, CPU))
        for _ in range(2):
            ours.run()
            hand.run()
        ours.close()
        return ours.losses, hand.losses

    own, other = losses(EXACT)
    assert own == pytest.approx(other, rel=1e-6)
    assert own[0] != pytest.approx(own[1], rel=1e-6)


def test_whatever_the_micro_batch_the_batches_are_those_of_the_first_epoch() -> None:
    task = make_task(EXACT)
    whole, cut = (Slipway(EXACT, task, CPU, micro_batch_size=size) for size in (8, 3))
    for _ in range(2):
        whole.run()
        cut.run()
    assert cut.losses == pytest.approx(whole.losses, rel=1e-5)
    whole.close()
    cut.close()


@pytest.mark.parametrize(
    ("measure_it", "expected"),
    [
        (
            lambda setting: step_time(replace(ENCODER, backend=None), setting),
            ["encoder: step time", "encoder: difference"],
        ),
        (micro_batch, ["auto micro-batch: samples/s", "auto micro-batch: seconds"]),
        (out_of_memory, ["out of memory: difference", "out of memory: retries", "out of memory: retries with enough"]),
    ],
    ids=["step_time", "micro_batch", "out_of_memory"],
)
def test_a_part_is_rehearsed(measure_it: Callable[[Setting], Part], expected: list[str]) -> None:
    part = measure_it(REHEARSAL)
    assert len(part.ratios) == len(expected)
    for ratio, name in zip(part.ratios, expected, strict=True):
        assert ratio.name.startswith(name)
        # What is no matter of speed holds in a rehearsal too.
        assert ratio.is_met or "step time" in name or "samples/s" in name
    json.dumps(part.figures)


def test_the_peak_of_either_side_is_rehearsed() -> None:
    for side in ("plain PyTorch", "Slipway"):
        assert min(peak_of(side, replace(REHEARSAL, rounds=1)).figures["peak_bytes"]) > 0


def test_outcomes_are_read_one_step_late_in_a_rehearsal_too() -> None:
    ratios, figures = measure_waits(AS_WRITTEN, CPU, rounds=1)
    assert all(ratio.is_met for ratio in ratios)
    for found in figures.values():
        assert found["rounds"][0]["issued"] == AS_WRITTEN.steps
        assert found["rounds"][0]["reads"] == AS_WRITTEN.steps - 1


def test_what_torch_says_of_a_wait_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(flat: FlatParameters) -> None:
        raise RuntimeError("called a synchronizing CUDA operation\nC++ stack")

    side = Slipway(EXACT, make_task(EXACT), CPU, micro_batch_size=8)
    assert check_round(side) is None
    monkeypatch.setattr(FlatParameters, "zero_gradients", waits)
    assert check_round(side) == "called a synchronizing CUDA operation"
    side.close()


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def results() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in measure.RESULTS.rglob("gpu*.json")}


def test_a_rehearsal_says_so_and_writes_nothing() -> None:
    before = results()
    done = run_command("--device", "cpu", "--only", "out_of_memory")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Rehearsal on the CPU")
    assert "out of memory: retries" in done.stdout
    assert results() == before


def test_without_a_gpu_it_leaves_itself_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = results()
    assert bench.run("gpu", quick=True) is None
    assert "left out: no GPU" in capsys.readouterr().err
    assert results() == before


def test_it_needs_no_library_of_data_sets() -> None:
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "from benchmarks.gpu import *; from benchmarks.gpu_parts import *\n"
        "make_task(replace(SIGN, steps=1, batch_size=4)).build_model()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_part_that_fails_is_told_and_the_others_are_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_ranks(module: str, num_ranks: int, arguments: list[str]) -> dict[str, Any]:
        if arguments[1] == "sign":
            raise RuntimeError("sign failed: [no] kernel")
        ratio = {"name": "step time", "value": 1.2, "lowest": 1.2, "highest": 1.2, "rounds": 1}
        return {"ratios": [{**ratio, "bound": "at most", "target": None}], "figures": {}, "device": {"name": "G"}}

    monkeypatch.setattr(gpu, "run_ranks", run_ranks)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu", "--only", "encoder,sign"])
    assert gpu.main() == 1
    figures = json.loads((tmp_path / "gpu.json").read_text())["figures"]
    assert list(figures["parts"]) == ["encoder"]
    assert figures["missing"]["sign"].startswith("failed: sign failed")
    assert figures["missing"]["overlap"] == "not measured"
    told = capsys.readouterr()
    assert "sign: failed: sign failed: [no] kernel" in told.out
    assert "step time: 1.2" in told.err


def test_parts_are_added_to_those_of_a_like_device_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def measured(device: str, *arguments: str) -> list[str]:
        ratio = {"name": "told", "value": 1.0, "lowest": 1.0, "highest": 1.0, "rounds": 1}
        part = {"ratios": [{**ratio, "bound": "at most", "target": None}], "figures": {}, "device": {"name": device}}
        monkeypatch.setattr(gpu, "run_ranks", lambda *_: part)
        monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
        assert gpu.main() == 0
        written = json.loads((tmp_path / "gpu.json").read_text())
        assert len(written["ratios"]) == len(written["figures"]["parts"])
        return list(written["figures"]["parts"])

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    assert measured("A", "--only", "overlap", "--add") == ["overlap"]
    assert measured("A", "--only", "encoder", "--add") == ["encoder", "overlap"]
    assert measured("B", "--only", "waits", "--add") == ["waits"]
    assert measured("B", "--only", "sign") == ["sign"]
