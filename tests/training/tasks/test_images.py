"""The task for pictures: digits are learned, options are checked, and what a picture is changed by can be repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slipway.training.common.keyed_random import sample_keys
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Stage
from slipway.training.tasks import images
from slipway.training.tasks.images import make_task
from tests.training.helpers import catch, make_recipe, make_trainer
from tests.training.labelled_sources import CLASSES, write_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("images") / "pictures")


def trained(task: Any, epochs: int = 1, **plan: Any) -> Any:
    stage = Stage(name="only", epochs=epochs, warmup_epochs=0, weight_decay=0.0)
    recipe = make_recipe(stage, precision="float64", learning_rate=2e-3)
    trainer, recorder = make_trainer(task, recipe, plan=replace(Plan.alone(), micro_batch_size=16, **plan))
    try:
        trainer.run()
    finally:
        trainer.loader.close()
    return trainer, recorder


def test_digits_are_learned_in_a_few_epochs() -> None:
    task = make_task("digits", width=16)
    assert task.describe()["about"] == "1,797 images 8 x 8, 1 channel, 10 classes; 80/10/10"
    assert task.describe()["samples"] == {"train": 1438, "validation": 179, "test": 180}
    trainer, _ = make_trainer(task, make_recipe(Stage(name="only", epochs=4, warmup_epochs=0, weight_decay=0.0)))
    trainer.run()
    assert trainer.evaluate("test")["accuracy"] >= 0.95


def test_the_classes_and_what_the_pictures_became_stand_beside_the_weights(folder: Path) -> None:
    task = make_task(folder, size=16, resize="pad")
    assert task.describe()["about"] == "36 images made 16 x 16 (they are 12 x 12), 3 channels, 3 classes; 81/8/11"
    assert task.class_names == task.prediction_spec()["class_names"] == list(CLASSES)
    assert task.prediction_spec()["options"]["size"] == [16, 16]
    assert next(iter(task.fetch("train", torch.arange(2)).values())).shape == (2, 3, 16, 16)


def test_training_pictures_are_changed_anew_in_each_epoch_and_the_same_again_for_a_key(folder: Path) -> None:
    task, still = make_task(folder, flip=True, shift=0.2), make_task(folder, shift=0.0)
    indices = torch.arange(8)

    def fetched(epoch: int) -> torch.Tensor:
        return next(iter(task.fetch_training(indices, sample_keys(1, epoch, indices.numpy())).values()))

    def plain(of: Any, split: str) -> torch.Tensor:
        return next(iter(of.fetch(split, torch.arange(3)).values()))

    assert torch.equal(fetched(0), fetched(0))
    assert not torch.equal(fetched(0), fetched(1))
    for split in ("validation", "test"):
        assert torch.equal(plain(task, split), plain(still, split))


def test_processes_that_decode_give_the_same_weights(folder: Path) -> None:
    first, second = (trained(make_task(folder, width=8), num_workers=count)[0] for count in (0, 2))
    assert torch.equal(first.parameters.values, second.parameters.values)


def test_a_network_with_batch_statistics_is_trained_too(folder: Path) -> None:
    trainer, recorder = trained(make_task(folder, width=8, norm="batch"), epochs=4)
    assert any(isinstance(one, nn.BatchNorm2d) for one in trainer.model.modules())
    assert recorder.epochs[-1].train_loss < recorder.epochs[0].train_loss


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resize": "squash"}, "images: resize must be one of crop, pad, stretch, got squash"),
        ({"normalise": "mean"}, "images: normalise must be one of centred, imagenet, none, got mean"),
        ({"norm": "layer"}, "images: norm must be one of group, batch, got layer"),
        ({"size": 4}, "images: size must be 8 or more, got 4"),
        ({"width": 12}, "images: width must be a multiple of 8, got 12"),
        ({"shift": 1.0}, "images: shift must be from 0 to below 1, got 1.0"),
        ({"channels": 4}, "images: channels must be 1 or 3, got 4"),
        ({"channels": 1, "normalise": "imagenet"}, "images: channels must be 3 with normalise=imagenet, got 1"),
        ({"train_ratio": 80}, "train_ratio must be between 0 and 1, got 80"),
        ({"dropout": 1.5}, "images: dropout must be from 0 to below 1, got 1.5"),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], words: str) -> None:
    assert str(catch(make_task, "digits", **options)) == words


@pytest.mark.parametrize("name", ["images", "text"])
def test_our_own_tasks_stay_as_short_as_a_user_could_write_them(name: str) -> None:
    file = Path(images.__file__).with_name(f"{name}.py")
    assert len(file.read_text(encoding="utf-8").splitlines()) < 150
