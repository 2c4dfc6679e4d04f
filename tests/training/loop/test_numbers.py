"""Bad numbers change no weight: skipped on every rank, gone back from and passed over, and given up in the end."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slipway.training.batches.order import Order
from slipway.training.common.errors import TrainingFailed
from slipway.training.common.keyed_random import sample_keys
from slipway.training.config.intervals import Interval
from slipway.training.config.recipe import Stage
from slipway.training.observers.journal import lineage
from slipway.training.observers.journal_schema import COMMON_FIELDS, DECISION_FIELDS, EVENT_FIELDS
from slipway.training.step.loss_scale import LossScale
from slipway.training.tasks.task import Batch
from tests.training.helpers import PLAN, catch, make_recipe, make_trainer
from tests.training.misbehaviour import (
    NAME,
    ActingTask,
    difference,
    events_of,
    read_weights,
    record_of,
    run,
    run_saving,
    steps_of,
    weights_of,
)
from tests.training.processes import run_group, started

SAMPLE = 7
ORDER = Order(seed=0, num_samples=50)


@pytest.fixture(autouse=True)
def as_if_alone(training_in_this_process: None) -> None:
    """Each test may train in this process."""


def with_infinity(features: torch.Tensor) -> torch.Tensor:
    """Return the training samples with an infinity in one of them."""
    features = features.clone()
    features[SAMPLE, 2] = float("inf")
    return features


def step_of_sample(epoch: int, batch_size: int = 16) -> int:
    """Return the step of an epoch, from 0, whose batch holds the sample."""
    order = ORDER.indices(epoch, 0, 50).tolist()
    return order.index(SAMPLE) // batch_size


def nan_at(steps: tuple[int, ...], rank: int, step: int, batch: Batch, losses: torch.Tensor) -> torch.Tensor | None:
    """Act: lose the numbers in some steps of this process, on one rank."""
    if step in steps and int(os.environ.get("RANK", "0")) == rank:
        return losses * float("nan")
    return None


def nan_from(first: int, step: int, batch: Batch, losses: torch.Tensor) -> torch.Tensor | None:
    """Act: lose the numbers of every batch from one of the run on, counted from 1, however often it is computed."""
    (epoch,) = (
        epoch
        for epoch in range(9)
        if torch.equal(batch.keys, sample_keys(0, epoch, batch.indices.numpy()))  # type: ignore[arg-type]
    )
    place = ORDER.indices(epoch, 0, 50).tolist().index(int(batch.indices[0]))
    return losses * float("nan") if 4 * epoch + place // 16 + 1 >= first else None


def spike_at(at: int, factor: float, step: int, batch: Batch, losses: torch.Tensor) -> torch.Tensor | None:
    """Act: have far too high a loss, once."""
    return losses * factor if step == at else None


def rewinds_of(runs_dir: Path) -> list[dict[str, Any]]:
    return [event for event in events_of(runs_dir) if event["event"] == "rewind"]


def check_fields(runs_dir: Path) -> None:
    """Every decision of a known kind has just the fields that the journal's page declares."""
    common = {*COMMON_FIELDS, *EVENT_FIELDS["decision"]} - {"non_finite"}
    for event in events_of(runs_dir):
        if event["event"] in DECISION_FIELDS:
            assert set(event) - common <= set(DECISION_FIELDS[event["event"]]), event


def skipped_without_a_trace(**options: Any) -> tuple[list[bool], list[bool]]:
    """Return which steps changed anything of weights, average, moments and count, and which were is_finite."""
    recipe = make_recipe(Stage(name="only", epochs=2, weight_decay=0.3), learning_rate=0.05, ema_decay=0.9, **options)
    trainer, recorder = make_trainer(ActingTask(None, with_infinity), recipe)
    step, training = trainer.step, trainer.state
    compute, changed = step.run, []

    def state() -> list[torch.Tensor]:
        average, optimizer = training.average, training.optimizer
        assert average is not None
        kept = [training.parameters.values, average, *optimizer.moments.values(), torch.tensor(optimizer.updates)]
        return [tensor.clone() for tensor in kept]

    def watched(*arguments: Any, **named: Any) -> Any:
        before = state()
        pending = compute(*arguments, **named)
        after = state()
        same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
        assert all(same) or not any(same[:3]), same
        changed.append(not all(same))
        assert all(tensor.isfinite().all() for tensor in after)
        return pending

    step.run = watched  # type: ignore[method-assign]
    trainer.run()
    return changed, [bool(torch.isfinite(torch.tensor(event.loss))) for event in recorder.steps]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_update_of_bad_numbers_leaves_weights_average_moments_and_count_as_they_were(optimizer: str) -> None:
    changed, is_finite = skipped_without_a_trace(optimizer=optimizer)
    expected = [step != step_of_sample(epoch) for epoch in (0, 1) for step in range(4)]
    assert changed == is_finite == expected


def test_an_infinity_in_one_sample_is_passed_over_in_every_epoch_and_harms_nothing_else(tmp_path: Path) -> None:
    for name, bad_steps in (("skipped", "9"), ("passed-over", "1")):
        arguments = ["--runs-dir", str(tmp_path / name), "--bad-steps", bad_steps, "--epochs", "5"]
        assert run(arguments, inputs=with_infinity) == 0
        check_fields(tmp_path / name)
    bad = [1 + 4 * epoch + step_of_sample(epoch) for epoch in range(5)]
    skipped = [event for event in events_of(tmp_path / "skipped") if event["event"] == "skipped_update"]
    assert [event["step"] for event in skipped] == bad
    assert rewinds_of(tmp_path / "skipped") == []

    told = rewinds_of(tmp_path / "passed-over")
    assert [event["passed_over"] for event in told] == [
        [
            {
                "epoch": epoch,
                "step_in_epoch": step_of_sample(epoch),
                "samples": ORDER.batch(epoch, step_of_sample(epoch), 16).tolist(),
            }
        ]
        for epoch in range(5)
    ]
    kept = [event["step"] for event in lineage(events_of(tmp_path / "passed-over"))]
    assert kept == [step for step in range(1, 21) if step not in bad]
    # A batch that is passed over and one whose update is skipped leave the same weights.
    assert torch.equal(weights_of(tmp_path / "passed-over"), weights_of(tmp_path / "skipped"))
    assert weights_of(tmp_path / "skipped").isfinite().all()


@pytest.mark.parametrize("bad_steps", [1, 2])
def test_a_device_that_is_a_step_ahead_of_what_is_known_comes_to_the_same(tmp_path: Path, bad_steps: int) -> None:
    finals, told = [], []
    for lag in (0, 1):
        task = ActingTask(partial(nan_at, (6, 7)[:bad_steps], 0))
        recipe = make_recipe(Stage(name="only", epochs=3), learning_rate=0.02, bad_steps=bad_steps, ema_decay=0.9)
        every = Interval.parse("2step", "")
        folder = tmp_path / str(lag)
        folder.mkdir()
        plan = replace(PLAN, micro_batch_size=16)
        trainer, recorder = make_trainer(
            task, recipe, plan=plan, folder=folder, save_every=every, queues_steps=bool(lag)
        )
        trainer.run()
        finals.append(trainer.parameters.values.clone())
        told.append([one.fields["passed_over"] for one in recorder.decisions if one.kind == "rewind"])
    # On the host the same numbers are rounded elsewhere.
    assert difference(*finals) < 1e-6
    assert told[0] == told[1]
    assert len(told[0]) == 1


@pytest.mark.parametrize("bad_steps", [1, 3])
@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-5), ("float64", 1e-10)])
def test_numbers_that_the_model_loses_on_one_rank_are_skipped_and_passed_over_on_all(
    tmp_path: Path, bad_steps: int, precision: str, bound: float
) -> None:
    options = ["--bad-steps", str(bad_steps), "--precision", precision, "--batch-rule", "fixed", "--ema-decay", "0.5"]
    steps = tuple(range(6, 6 + bad_steps))
    for size in (1, 2):
        act = partial(nan_at, steps, size - 1)
        arguments = [*options, "--runs-dir", str(tmp_path / str(size))]
        assert (
            run_group(size, tmp_path / "output", run, arguments, act, None, tmp_path / f"weights-{size}") == [0] * size
        )
        check_fields(tmp_path / str(size))
        (told,) = rewinds_of(tmp_path / str(size))
        assert [4 * one["epoch"] + one["step_in_epoch"] + 1 for one in told["passed_over"]] == list(steps)
        assert told["step"] <= steps[-1] - 1
        assert [event["step"] for event in lineage(events_of(tmp_path / str(size)))] == [
            step for step in range(1, 13) if step not in steps
        ]
    ranks = [read_weights(tmp_path / "weights-2" / f"rank_{rank}.safetensors") for rank in (0, 1)]
    assert torch.equal(*ranks)
    assert difference(ranks[0], read_weights(tmp_path / "weights-1" / "rank_0.safetensors")) < bound
    for kind in ("best", "last"):
        one, two = (weights_of(tmp_path / str(size), kind=kind) for size in (1, 2))
        assert difference(two, one) < bound


def test_a_loss_spike_is_undone_where_the_recipe_asks_for_it(tmp_path: Path) -> None:
    options = ["--batch-size", "4", "--clip-norm", "0", "--save-every", "7step"]
    spiked = ["--loss-spike-score", "1000"]
    act = partial(spike_at, 25, 1e6)
    assert run([*options, *spiked, "--runs-dir", str(tmp_path / "one")], act) == 0
    (told,) = rewinds_of(tmp_path / "one")
    (passed,) = told["passed_over"]
    assert (passed["epoch"], passed["step_in_epoch"]) == (1, 11)
    assert told["step"] < 25
    assert sorted(passed["samples"]) == sorted(ORDER.batch(1, 11, 4).tolist())
    assert "skipped_update" not in {event["event"] for event in events_of(tmp_path / "one")}
    # As if that batch had not been there; and without being asked for, the spike is trained on.
    assert run([*options, "--runs-dir", str(tmp_path / "skipped")], partial(nan_at, (25,), 0)) == 0
    assert torch.equal(weights_of(tmp_path / "one"), weights_of(tmp_path / "skipped"))
    assert run([*options, "--runs-dir", str(tmp_path / "plain")], act) == 0
    assert rewinds_of(tmp_path / "plain") == []
    assert not torch.equal(weights_of(tmp_path / "plain"), weights_of(tmp_path / "skipped"))


def test_losses_of_a_new_stage_are_no_spike(tmp_path: Path) -> None:
    stages = tmp_path / "stages.yaml"
    stages.write_text(
        "- {name: one, epochs: 8, learning_rate_factor: 3}\n- {name: two, epochs: 2, label_smoothing: 0.9}\n"
    )
    arguments = [*("--runs-dir", str(tmp_path)), *("--loss-spike-score", "6"), *("--batch-size", "8")]
    assert run([*arguments, "--stages-config", str(stages), "--epochs", "8"]) == 0
    losses = [event["loss"] for event in events_of(tmp_path) if event["event"] == "step"]
    assert min(losses[56:60]) > 2 * max(losses[40:56])
    assert rewinds_of(tmp_path) == []


def test_numbers_that_stay_bad_end_the_run_after_some_tries_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["--runs-dir", str(tmp_path), "--bad-steps", "1"], partial(nan_from, 7)) == 1
    told = [line for line in capfd.readouterr().err.split("\n") if line.startswith("error: ")]
    assert len(told) == 1
    assert told[0].startswith(
        "error: step 10: the loss or gradient is not finite or far too high (epoch 3 batch 2), and going back 3 times did "
        "not help: lower the learning rate"
    )
    assert len(rewinds_of(tmp_path)) == 3
    assert record_of(tmp_path)["state"] == "failed"
    assert record_of(tmp_path)["error"].startswith("TrainingFailed: step 10: ")


def test_going_back_ends_though_earlier_epochs_are_done_again_each_time(tmp_path: Path) -> None:
    # Nothing but the start is saved: each try does two good epochs before it fails.
    arguments = ["--runs-dir", str(tmp_path), "--bad-steps", "1", "--save-every", "1000step", "--epochs", "4"]
    assert run(arguments, partial(nan_from, 9)) == 1
    assert [event["step"] for event in rewinds_of(tmp_path)] == [0, 0, 0]


def nan_in_every_other(step: int, batch: Batch, losses: torch.Tensor) -> torch.Tensor | None:
    """Act: lose the numbers of every other batch of an epoch, however often it is computed."""
    keys = [sample_keys(0, epoch, batch.indices.numpy()) for epoch in range(3)]
    epoch = next(epoch for epoch, known in enumerate(keys) if torch.equal(batch.keys, known))  # type: ignore[arg-type]
    place = ORDER.indices(epoch, 0, 50).tolist().index(int(batch.indices[0]))
    return losses * float("nan") if place // 4 % 2 else None


def test_good_steps_between_bad_ones_are_no_progress_within_an_epoch(tmp_path: Path) -> None:
    assert run(["--runs-dir", str(tmp_path), "--bad-steps", "1", "--batch-size", "4"], nan_in_every_other) == 1
    assert len(rewinds_of(tmp_path)) == 3


def test_two_ranks_give_up_together(tmp_path: Path) -> None:
    arguments = ["--runs-dir", str(tmp_path), "--bad-steps", "2", "--batch-rule", "fixed"]
    with started(2, tmp_path / "output", run, arguments, partial(nan_from, 5)) as group:
        assert group.exit_codes() == [1, 1]
        assert group.output(0).count("error: ") == 1
        assert "Traceback" not in group.output(0)
        assert group.output(1) == ""


def test_without_a_checkpoint_to_go_back_to_the_run_ends_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--runs-dir", str(tmp_path), "--save-every", "never"]
    assert run([*arguments, "--bad-steps", "3"], partial(nan_at, (5, 6, 7), 0)) == 1
    told = [line for line in capfd.readouterr().err.split("\n") if line.startswith("error: ")]
    assert len(told) == 1
    assert "step 7: " in told[0]
    assert "and there is no checkpoint to go back to: lower the learning rate" in told[0]
    assert "--save-every" in told[0]
    # In a row: two of them are skipped, and the run goes on.
    assert run([*arguments, "--bad-steps", "3", "--overwrite"], partial(nan_at, (5, 6, 8, 9), 0)) == 0
    assert steps_of(tmp_path) == list(range(1, 13))


def test_a_damaged_checkpoint_is_told_and_the_one_before_gone_back_to(tmp_path: Path) -> None:
    def damage(step: int, batch: Batch, losses: torch.Tensor) -> torch.Tensor | None:
        if step != 8:
            return None
        older, newest = sorted((tmp_path / NAME / "checkpoints").glob("[!.]*"))[-2:]
        assert older.name.endswith("-step-4")
        (newest / "model.safetensors").write_bytes(b"nothing")
        return losses * float("nan")

    assert run_saving(["--runs-dir", str(tmp_path), "--bad-steps", "1", "--keep", "3"], damage) == 0
    (told,) = [event for event in events_of(tmp_path) if event["event"] == "damaged_checkpoint"]
    assert "model.safetensors: 7 bytes instead of" in told["reason"]
    (rewind,) = rewinds_of(tmp_path)
    assert rewind["step"] == 4


def test_what_cannot_go_on_is_no_bad_input(tmp_path: Path) -> None:
    trainer, _ = make_trainer(ActingTask(partial(nan_from, 1)), make_recipe(Stage(name="only", epochs=2), bad_steps=1))
    with pytest.raises(TrainingFailed, match="no checkpoint to go back to"):
        trainer.run()
    assert "--bad-steps: must be at least 1" in str(catch(make_recipe, bad_steps=0))


def test_the_loss_scale_halves_at_an_overflow_and_doubles_after_a_quiet_time() -> None:
    scale = LossScale(1024.0, torch.device("cpu"), enabled=True, growth_interval=3)
    is_finite, unsound = torch.tensor(True), torch.tensor(False)

    def after(*steps: torch.Tensor) -> float:
        for step in steps:
            scale.update(step)
        return float(scale.scale)

    assert after(is_finite, is_finite) == 1024.0
    assert after(is_finite) == 2048.0
    assert after(is_finite, is_finite, unsound) == 1024.0
    assert after(is_finite, is_finite) == 1024.0
    assert after(is_finite) == 2048.0
    # A step that ran out of memory says nothing of the numbers.
    scale.update(unsound, torch.tensor(False))
    assert float(scale.scale) == 2048.0
    assert float(scale.scaled(torch.tensor(3.0))) == 6144.0
    assert float(scale.unscale(torch.tensor(1.0))) == 1 / 2048.0


def test_without_fp16_there_is_no_scale() -> None:
    scale = LossScale(1024.0, torch.device("cpu"), enabled=False)
    loss = torch.tensor(3.0)
    assert scale.scaled(loss) is loss
    assert scale.unscale(loss) is loss
    scale.update(torch.tensor(False))
    assert float(scale.scale) == 1.0


@pytest.mark.parametrize(("position", "most"), [(5, 6), (6, 6), (7, 6), (8, 8)])
def test_max_steps_holds_where_batches_are_passed_over(tmp_path: Path, position: int, most: int) -> None:
    arguments = ["--runs-dir", str(tmp_path), "--bad-steps", "1", "--max-steps", str(most)]
    assert run(arguments, partial(nan_at, (position,), 0)) == 0
    assert record_of(tmp_path)["result"]["steps"] == most
    kept = [event["step"] for event in lineage(events_of(tmp_path))]
    assert kept == [step for step in range(1, most + 1) if step != position]


def test_bad_numbers_do_not_get_into_running_statistics() -> None:
    task = ActingTask(None, with_infinity)
    task.build_model = lambda: nn.Sequential(  # type: ignore[method-assign]
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 4)
    )
    recipe = make_recipe(Stage(name="only", epochs=2), bad_steps=9, learning_rate=0.05)
    trainer, _ = make_trainer(task, recipe)
    trainer.run()
    assert all(tensor.isfinite().all() for tensor in trainer.model.state_dict().values())
