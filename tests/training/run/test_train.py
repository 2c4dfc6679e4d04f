"""A whole run in this process: what it returns, what it leaves in its folder, and how it ends when something is wrong."""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import nn

from slipway.training.config.recipe import Stage
from slipway.training.observers.events import Observer, RunEnd, RunStart, StepEnd
from slipway.training.observers.journal import read_journal
from slipway.training.run.train import train
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.task import Batch
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import catch, make_task

NUM_CLIPS = 40
SMALL: dict[str, Any] = {
    "device": "cpu", "stages_config": "minimal", "epochs": 2, "batch_size": 8, "log_level": "error",
}  # fmt: skip
SMALL_MODEL: dict[str, Any] = {"model_width": 16, "model_blocks": 1}


@contextmanager
def logging_kept() -> Iterator[None]:
    """Undo what a run sets for its process: where log messages go."""
    logger = logging.getLogger("slipway")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture(autouse=True)
def as_if_alone(accelerate_state: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave nothing behind for other tests; take one thread, for tests run side by side."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    with logging_kept():
        yield


def write_clips(path: Path, labels: np.ndarray, **arrays: np.ndarray) -> Path:
    """Write clips of 3 to 7 frames that tell of their class."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 8, len(labels))
    values = random.normal(size=(lengths.sum(), 21, 3)) * 0.1
    values[:, :, 1] += np.linspace(0, 1, 21)
    values[:, :, 0] += np.repeat(labels, lengths)[:, None] * np.linspace(-1, 1, 21) ** 2
    np.savez(path, X=values.astype(np.float32), y=labels, lengths=lengths, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("data") / "clips.npz", np.arange(NUM_CLIPS) % 2)


@pytest.fixture(scope="module")
def reference_losses(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of a plain run."""
    runs_dir = tmp_path_factory.mktemp("reference")
    with logging_kept():
        train(config(clips, runs_dir, experiment_name="plain"))
    AcceleratorState._reset_state(True)
    return [event["loss"] for event in read_journal(runs_dir / "plain" / "events.jsonl") if event["event"] == "step"]


def config(source: Path | None, runs_dir: Path, **options: Any) -> TrainingConfig:
    """Return the config of a small run on clips, or of a task of one's own where there is no source."""
    of_task = {} if source is None else {**SMALL_MODEL, "data": str(source)}
    return TrainingConfig(**{**SMALL, **of_task, "runs_dir": str(runs_dir), **options})


def read_run(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def test_run_json_holds_the_recipe_the_plan_the_versions_and_the_result(clips: Path, tmp_path: Path) -> None:
    asked = config(clips, tmp_path, stages_config="curriculum", quick_test=True, epochs=None)
    result = train(asked)
    run = read_run(tmp_path / "clips-curriculum")
    recipe = asked.make_recipe().resolve(1, "no")
    assert run["state"] == "finished"
    of_task = run["recipe"]["task"]
    recipe = replace(
        recipe,
        monitor="loss",  # of a small validation
        task=replace(
            recipe.task,
            model_fingerprint=of_task["model_fingerprint"],
            weights_fingerprint=of_task["weights_fingerprint"],
            data_fingerprint=run["data"]["fingerprint"],
        ),
    )
    assert run["recipe"] == recipe.as_dict()
    assert (run["recipe_hash"], run["base_recipe_hash"]) == (recipe.hash, recipe.base_hash)
    assert len(of_task["model_fingerprint"]) == len(of_task["weights_fingerprint"]) == 16
    assert run["world_size"] == run["plan"]["world_size"] == 1
    assert run["plan"]["device"] == "cpu"
    assert {"python", "torch", "accelerate", "datasets"} <= run["versions"].keys()
    assert {"script_commit", "slipway_commit"} <= run.keys()
    assert run["data"]["samples"] == {"train": 32, "validation": 4, "test": 4}
    assert run["result"] == json.loads(json.dumps(result))
    assert 0 <= result["test_accuracy"] <= 1
    assert 0 <= result["test_macro_f1"] <= 1
    assert sum(map(sum, result["test_confusion_matrix"])) == 4
    assert [(row["stage"], row["epochs"], row["steps"]) for row in result["stages"]] == [
        ("baseline", 3, 12),
        ("augmentation", 3, 12),
    ]


def test_the_journal_tells_the_run_in_order(clips: Path, tmp_path: Path) -> None:
    train(config(clips, tmp_path))
    events = read_journal(tmp_path / "clips-minimal" / "events.jsonl")
    names = [event["event"] for event in events]
    told = [name for name in names if name in ("run", "stage", "step", "epoch", "stage_end", "run_end")]
    assert told == ["run", "stage", *(["step"] * 4 + ["epoch"]) * 2, "stage_end", "run_end"]
    assert names[0] == "run"
    assert "batch_rule" in names[1 : names.index("stage")]
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 9))
    times = [event["time_seconds"] for event in events]
    assert times == sorted(times)


def test_best_and_last_weights_are_kept_with_what_is_needed_to_load_them(clips: Path, tmp_path: Path) -> None:
    train(config(clips, tmp_path, ema_decay=0.9))
    best, last = (load_file(tmp_path / "clips-minimal" / kind / "model.safetensors") for kind in ("best", "last"))
    assert best.keys() == last.keys()
    # The average is kept as best, the raw weights as last; what is not trained is in both.
    assert not torch.equal(best["head.weight"], last["head.weight"])
    assert torch.equal(best["feature_mean"], last["feature_mean"])
    for kind in ("best", "last"):
        spec = json.loads((tmp_path / "clips-minimal" / kind / "spec.json").read_text())
        assert spec["model"] == "SignEncoder"
        assert spec["class_names"] == ["0", "1"]


def test_a_second_run_gets_a_number_and_overwrite_takes_the_place_of_the_first(clips: Path, tmp_path: Path) -> None:
    train(config(clips, tmp_path, experiment_name="t", max_steps=1))
    train(config(clips, tmp_path, experiment_name="t", max_steps=2))
    train(config(clips, tmp_path, experiment_name="t", max_steps=3, overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t", "t-2"]
    assert [read_run(tmp_path / name)["result"]["steps"] for name in ("t", "t-2")] == [3, 2]


class FailingTask(TensorTask):
    """Raises when it has computed the losses of some batches."""

    def __init__(self, error: BaseException, after: int) -> None:
        self.__dict__.update(make_task().__dict__)
        self.error, self.left = error, after

    def losses(self, outputs: torch.Tensor, batch: Batch, stage: Stage | None) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().losses(outputs, batch, stage)


@pytest.mark.parametrize(
    ("error", "state", "told"),
    [
        (RuntimeError("broken kernel"), "failed", "RuntimeError: broken kernel"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
    ],
)
def test_a_run_that_is_broken_off_says_so_and_keeps_its_journal(
    tmp_path: Path, error: BaseException, state: str, told: str
) -> None:
    with pytest.raises(type(error)):
        train(
            config(None, tmp_path, experiment_name="t", micro_batch_size=8), task=FailingTask(error, after=5)
        )  # two in rehearsal
    run = read_run(tmp_path / "t")
    assert (run["state"], run["error"]) == (state, told)
    assert "result" not in run
    events = [event["event"] for event in read_journal(tmp_path / "t" / "events.jsonl")]
    assert events.count("step") == 3
    assert "run_end" not in events


class Counting(Observer):
    """Counts the events of a run."""

    def __init__(self, raises_in: str = "") -> None:
        self.heard: Counter[str] = Counter()
        self._raises_in = raises_in

    def _hear(self, name: str) -> None:
        self.heard[name] += 1
        if name == self._raises_in:
            raise ValueError("out of ink")

    def on_run_start(self, event: RunStart) -> None:
        self._hear("run")

    def on_step(self, event: StepEnd) -> None:
        self._hear("step")

    def on_run_end(self, event: RunEnd) -> None:
        self._hear("run_end")

    def close(self) -> None:
        self._hear("close")


def test_an_observer_of_ones_own_hears_of_the_run(tmp_path: Path) -> None:
    observer = Counting()
    train(config(None, tmp_path, max_steps=3), task=small_task(), observers=[observer])
    assert observer.heard == {"run": 1, "step": 2, "run_end": 1, "close": 1}


@pytest.mark.parametrize(("where", "method"), [("step", "on_step"), ("run_end", "on_run_end"), ("close", "close")])
def test_an_observer_that_raises_is_named_and_keeps_nothing_else_from_its_end(
    tmp_path: Path, where: str, method: str
) -> None:
    observer = Counting(raises_in=where)
    with pytest.raises(ValueError, match="out of ink") as caught:
        train(config(None, tmp_path, experiment_name="t"), task=small_task(), observers=[observer])
    assert caught.value.__notes__ == [f"raised by the observer Counting, in {method}"]
    run = read_run(tmp_path / "t")
    assert observer.heard["close"] == 1
    if where == "step":
        assert run["error"] == "ValueError: out of ink; raised by the observer Counting, in on_step"
    assert ("result" in run) == (where != "step")


def test_options_of_ones_own_task_that_are_no_mapping_are_one_line(tmp_path: Path) -> None:
    task = small_task()
    task.options = argparse.Namespace(depth=3)  # type: ignore[assignment]
    assert str(catch(train, config(None, tmp_path / "runs"), task=task)) == (
        "task 'own': its `options` must be keys and values that stand in the recipe, got Namespace; "
        "make them a dictionary, or rename the attribute"
    )


def test_an_option_of_ones_own_task_that_every_process_writes_otherwise_is_one_line(tmp_path: Path) -> None:
    task = small_task()
    task.options = {"depth": 3, "layers": [print, lambda x: x]}  # type: ignore[assignment]
    error = str(catch(train, config(None, tmp_path / "runs"), task=task))
    assert error.startswith("task 'own': its option 'layers' is no plain value: [")
    assert error.endswith("give a name or a number")


def test_what_is_no_observer_is_one_line(tmp_path: Path) -> None:
    for wrong, kind in ((print, "builtin_function_or_method"), (Counting, "the class Counting")):
        error = catch(train, config(None, tmp_path / "runs"), task=small_task(), observers=[wrong])
        assert str(error) == f"observers: expected objects of classes made from slipway.Observer, got {kind}"


def test_a_model_that_cannot_be_built_leaves_no_folder(tmp_path: Path) -> None:
    def broken() -> nn.Module:
        raise RuntimeError("no such layer")

    task = TensorTask(broken, {"train": (torch.randn(8, 3), torch.arange(8) % 2)})
    with pytest.raises(RuntimeError, match="no such layer"):
        train(config(None, tmp_path / "runs", experiment_name="t"), task=task)
    assert not (tmp_path / "runs").exists()


def test_a_task_of_ones_own_is_trained_and_not_called_synthetic(tmp_path: Path) -> None:
    result = train(config(None, tmp_path, epochs=8, learning_rate=0.02), task=make_task(name="blobs"))
    run = read_run(tmp_path / "blobs-minimal")
    assert result["test_accuracy"] > 0.5
    assert run["data"]["samples"] == {"train": 50, "validation": 20, "test": 20}
    assert run["recipe"]["task"]["name"] == "blobs"
    assert not run["data"].get("synthetic", False)
    weights = load_file(tmp_path / "blobs-minimal" / "best" / "model.safetensors")
    assert weights["0.weight"].shape == (16, 8)


def small_task(
    make_model: Callable[[], nn.Module] = lambda: nn.Linear(3, 2), shift: float = 0.0, **options: Any
) -> TensorTask:
    """Return a task of one's own, told certain options."""
    inputs = torch.arange(24.0).reshape(8, 3) + shift
    task = TensorTask(make_model, {"train": (inputs, torch.arange(8) % 2)}, name="own")
    task.options = options
    return task


def test_the_hash_of_ones_own_task_is_of_its_model_its_data_and_its_options(tmp_path: Path) -> None:
    tasks = {
        "plain": small_task(),
        "again": small_task(),
        "net": small_task(lambda: nn.Linear(3, 2, bias=False)),
        "data": small_task(shift=1.0),
        "options": small_task(depth=3),
    }
    for name, task in tasks.items():
        train(config(None, tmp_path, experiment_name=name, max_steps=1), task=task)
    runs = {name: read_run(tmp_path / name) for name in tasks}
    hashes = {name: run["base_recipe_hash"] for name, run in runs.items()}
    assert hashes.pop("again") == hashes["plain"]
    assert len(set(hashes.values())) == len(hashes)
    assert runs["options"]["recipe"]["task"]["options"] == {"depth": 3}


def test_the_record_of_ones_own_task_lists_no_option_of_another(tmp_path: Path) -> None:
    train(config(None, tmp_path, experiment_name="own", max_steps=1), task=small_task())
    run = read_run(tmp_path / "own")
    assert not {"data", "split", "model_width", "model_blocks", "dropout", "augment"} & run["config"].keys()
    assert run["recipe"]["stages"][0]["options"] == {"label_smoothing": 0.1}
    assert run["recipe"]["task"]["options"] == {}


@pytest.mark.parametrize(
    ("options", "flag"),
    [({"model_width": 64}, "--model-width"), ({"data": "x.npz"}, "--data"), ({"dropout": 0.5}, "--dropout")],
)
def test_an_option_that_does_nothing_for_ones_own_task_is_refused(
    tmp_path: Path, options: dict[str, Any], flag: str
) -> None:
    error = catch(train, config(None, tmp_path / "runs", **options), task=small_task())
    assert str(error) == (f"{flag}: an option of sign recognition, which does nothing for the task 'own'; leave it out")
    assert not (tmp_path / "runs").exists()


def test_a_task_of_ones_own_brings_its_own_stage_options(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Settings:
        dropout: float = 0.0
        temperature: float = 1.0

    seen = []

    class Tempered(TensorTask):
        stage_options = Settings

        def begin_stage(self, model: nn.Module, stage: Stage) -> None:
            seen.append(stage.options)

    task = Tempered(lambda: nn.Linear(3, 2), {"train": (torch.randn(8, 3), torch.arange(8) % 2)}, name="own")
    # A preset gives what it knows, and `--dropout` is an option of this task too.
    train(config(None, tmp_path, max_steps=1, dropout=0.4), task=task)
    (tmp_path / "stages.yaml").write_text("- {name: only, epochs: 1, temperature: 2}\n")
    train(config(None, tmp_path, stages_config=str(tmp_path / "stages.yaml"), max_steps=1), task=task)
    assert list(dict.fromkeys(seen)) == [Settings(dropout=0.4), Settings(temperature=2.0)]
    (tmp_path / "stages.yaml").write_text("- {name: only, epochs: 1, temprature: 2}\n")
    error = catch(train, config(None, tmp_path, stages_config=str(tmp_path / "stages.yaml")), task=task)
    assert "stage 1: unknown key 'temprature' (did you mean 'temperature'?)" in str(error)
    (tmp_path / "stages.yaml").write_text("- {name: only, epochs: 1, augmentation: {noise: 1}}\n")
    error = catch(train, config(None, tmp_path, stages_config=str(tmp_path / "stages.yaml")), task=task)
    assert str(error).endswith(
        "unknown key 'augmentation'; the settings of this task in a stage are dropout, temperature"
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"make_model": lambda: nn.Linear(3, 2, bias=False)}, "the structure of the model: fingerprint"),
        ({"shift": 1.0}, "the samples of the data: fingerprint"),
        ({"depth": 4}, "task.options.depth 3 -> 4"),
    ],
)
def test_ones_own_task_is_not_resumed_with_another_net_data_or_options(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    options = {"experiment_name": "own", "resume": "auto"}
    task = small_task(depth=3)
    break_in_training(task)
    with pytest.raises(RuntimeError, match="enough"):
        train(config(None, tmp_path, **options), task=task)
    error = catch(train, config(None, tmp_path, **options), task=small_task(**{"depth": 3, **changes}))
    assert str(error).startswith(f"own: the recipe is not the run's any more: {told}")
    assert "\n" not in str(error)
    assert train(config(None, tmp_path, **options), task=small_task(depth=3))["steps"] == 2


def break_in_training(task: TensorTask) -> None:
    losses, rehearsed = task.losses, iter(range(2))

    def broken(*given: Any) -> torch.Tensor:
        if next(rehearsed, None) is None:
            raise RuntimeError("enough")
        return losses(*given)

    task.losses = broken  # type: ignore[method-assign]


def test_tensors_are_not_announced_as_synthetic_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(config(None, tmp_path, max_steps=1, log_level="info"), task=make_task())
    told = capsys.readouterr()
    assert "data: tensors" in told.err
    assert "synthetic" not in told.err + told.out


@pytest.mark.parametrize("missing", ["validation", "test"])
def test_a_task_without_a_validation_or_test_split_trains_all_the_same(tmp_path: Path, missing: str) -> None:
    task = make_task()
    task._splits[missing] = (torch.empty(0, 8), torch.empty(0, dtype=torch.int64))
    result = train(config(None, tmp_path), task=task)
    assert ("test_accuracy" in result) == (missing != "test")
    assert ("validation_accuracy" in result) == (missing != "validation")
    assert (result["stages"][0]["best_epoch"] is None) == (missing == "validation")
    assert (tmp_path / "tensors-minimal" / "best" / "model.safetensors").is_file()


def test_clips_too_few_to_split_are_trained_on_without_a_test(tmp_path: Path) -> None:
    source = write_clips(tmp_path / "few.npz", np.array([0, 1]))
    result = train(config(source, tmp_path / "runs"))
    assert read_run(tmp_path / "runs" / "few-minimal")["data"]["samples"] == {"train": 2, "validation": 0, "test": 0}
    assert "test_accuracy" not in result


def test_one_class_is_learnt_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    source = write_clips(tmp_path / "single.npz", np.zeros(NUM_CLIPS, dtype=np.int64))
    result = train(config(source, tmp_path / "runs"))
    assert result["test_accuracy"] == 1.0
    assert result["test_confusion_matrix"] == [[4]]
    assert not [warning for warning in recwarn if "label" in str(warning.message)]


def test_fewer_samples_than_a_batch_are_one_short_batch(clips: Path, tmp_path: Path) -> None:
    result = train(config(clips, tmp_path, batch_size=1000))
    events = read_journal(tmp_path / "clips-minimal" / "events.jsonl")
    steps = [event["samples_per_rank"] for event in events if event["event"] == "step"]
    assert steps == [[32], [32]]
    assert result["steps"] == 2


def test_nothing_but_missing_points_and_clips_of_one_frame_train(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 1, 21, 2)).astype(np.float32)
    values[:5] = np.nan
    np.savez(tmp_path / "frames.npz", X=values, y=np.arange(20) % 2 * 7 + 3)
    result = train(config(tmp_path / "frames.npz", tmp_path / "runs"))
    assert np.isfinite(result["test_loss"])
    assert len(result["test_confusion_matrix"]) == 2


def test_max_steps_counts_over_the_whole_run(clips: Path, tmp_path: Path) -> None:
    result = train(config(clips, tmp_path, stages_config="curriculum", quick_test=True, max_steps=14))
    assert result["steps"] == 14
    assert [(row["steps"], row["stopped"]) for row in result["stages"]] == [(8, "all epochs"), (6, "max_steps")]


@pytest.mark.parametrize(
    "options",
    [
        {"mixed_precision": "bf16"},
        {"ema_decay": 0.99},
        {"precision": "float64"},
        {"num_workers": 2, "micro_batch_size": 3},
    ],
)
def test_options_of_how_to_compute_reach_nearly_the_same_result(
    clips: Path, reference_losses: list[float], tmp_path: Path, options: dict[str, Any]
) -> None:
    result = train(config(clips, tmp_path, **options))
    events = read_journal(tmp_path / "clips-minimal" / "events.jsonl")
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert len(losses) == 8
    assert losses == pytest.approx(reference_losses, abs=0.03 if "mixed_precision" in options else 2e-4)
    assert np.isfinite(result["test_loss"])
    run = read_run(tmp_path / "clips-minimal")
    assert run["recipe"]["resolution"]["mixed_precision"] == options.get("mixed_precision", "no")
    weights = load_file(tmp_path / "clips-minimal" / "last" / "model.safetensors")["head.weight"]
    assert weights.dtype == (torch.float64 if "precision" in options else torch.float32)


def test_runs_of_different_precision_follow_each_other_in_one_process(clips: Path, tmp_path: Path) -> None:
    for number, precision in enumerate(("no", "bf16", "no")):
        train(config(clips, tmp_path, mixed_precision=precision, max_steps=1, experiment_name=f"run-{number}"))
        resolution = read_run(tmp_path / f"run-{number}")["recipe"]["resolution"]
        assert resolution["mixed_precision"] == precision


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share_weights": (1.0, 1.0)}, "--share-weights: 2 weights for 1 process"),
        (
            {"gradient_accumulation": 9},
            "--gradient-accumulation 9: a process has 8 samples a step at most; give at most 8",
        ),
        ({"data": "nowhere.npz", "data_format": "npz"}, "nowhere.npz: no such file"),
        ({"experiment_name": "../up"}, "--experiment-name: '../up' is not a folder's name"),
    ],
)
def test_input_that_cannot_be_used_leaves_no_folder(
    clips: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    error = catch(train, config(clips, tmp_path / "runs", **options))
    assert message in str(error)
    assert not (tmp_path / "runs").exists()


def test_a_launch_that_asks_for_sharding_that_is_not_done_is_refused_and_not_quietly_replicated(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert "asks for DEEPSPEED, which training does not do" in str(catch(train, config(clips, tmp_path / "runs")))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("compiles", "told"), [(None, "compiled"), (False, "not_compiled")])
def test_a_launch_that_asks_for_compiling_is_followed_or_told_that_it_is_not(
    compiles: bool | None, told: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")
    train(config(clips, tmp_path, max_steps=1, compile=compiles))
    events = read_journal(tmp_path / "clips-minimal" / "events.jsonl")
    assert [event["event"] for event in events if event.get("backend") == "eager"] == [told]


def test_tf32_can_be_asked_for_and_is_part_of_the_recipe(clips: Path, tmp_path: Path) -> None:
    train(config(clips, tmp_path, max_steps=1, tf32=True))
    events = read_journal(tmp_path / "clips-minimal" / "events.jsonl")
    (told,) = [event["reason"] for event in events if event.get("setting") == "tf32"]
    assert told == "tf32 off: --tf32 asks for it, but cpu here does not have it"
    assert read_run(tmp_path / "clips-minimal")["recipe"]["tf32"] is True
    assert config(clips, tmp_path).make_recipe().hash != config(clips, tmp_path, tf32=True).make_recipe().hash


def test_a_loss_that_runs_away_leaves_a_run_json_that_any_reader_can_read(clips: Path, tmp_path: Path) -> None:
    train(config(clips, tmp_path, learning_rate=1e30))

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    run = json.loads((tmp_path / "clips-minimal" / "run.json").read_text(), parse_constant=refuse)
    assert run["result"]["test_loss"] is None
    assert "result.test_loss" in run["non_finite"]


def test_data_with_a_name_that_is_no_folders_trains(clips: Path, tmp_path: Path) -> None:
    source = tmp_path / "my data (1).npz"
    source.write_bytes(clips.read_bytes())
    train(config(source, tmp_path / "runs", max_steps=1))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["my-data-1-minimal"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adm"}, "--optimizer: 'adm' is none of adamw, sgd"),
        ({"precision": "float16"}, "--precision: 'float16' is none of float32, float64"),
        ({"clip_norm": float("nan")}, "--clip-norm: expected a number, got nan"),
        ({"warmup_epochs": float("inf")}, "--warmup-epochs: expected a number, got inf"),
        ({"batch_size": "many"}, "--batch-size: expected a whole number, got 'many'"),
    ],
)
def test_a_choice_misspelt_in_python_does_not_pass_for_another_one(options: dict[str, Any], message: str) -> None:
    assert message in str(catch(TrainingConfig, **options))


@pytest.mark.parametrize("options", [{"model_width": 30}, {"model_width": 0}, {"model_blocks": 0}])
def test_a_model_of_impossible_size_is_one_line(clips: Path, tmp_path: Path, options: dict[str, int]) -> None:
    name = next(iter(options)).removeprefix("model_")
    assert f"model: {name} must be " in str(catch(train, config(clips, tmp_path / "runs", **options)))


def test_a_metric_that_the_task_does_not_have_is_named(tmp_path: Path) -> None:
    class Regression(TensorTask):
        def metrics(self, rows: np.ndarray, split: str) -> dict[str, Any]:
            return {"loss": float(rows[:, 0].mean())}

    task = Regression(
        lambda: nn.Linear(3, 2), {split: (torch.randn(8, 3), torch.arange(8) % 2) for split in ("train", "validation")}
    )
    assert "--monitor accuracy: the task has no metric 'accuracy', only loss" in str(
        catch(train, config(None, tmp_path), task=task)
    )


def test_labels_that_are_no_classes_are_refused() -> None:
    inputs = torch.randn(4, 3)
    for labels in (torch.tensor([0, 1, -100, 1]), torch.rand(4), torch.zeros(4, 1, dtype=torch.int64)):
        assert "must be whole numbers from 0 up" in str(catch(TensorTask, nn.Identity, {"train": (inputs, labels)}))
    error = catch(TensorTask, nn.Identity, {"train": (inputs, torch.arange(4))}, class_names=["a", "b"])
    assert "2 class names, but a label of 3" in str(error)
