"""A run's weights predict what the run reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from slipway.training.common.errors import UserError
from slipway.training.config.recipe import Stage
from slipway.training.data.prepared.prepare import prepare_data
from slipway.training.data.specs import DataSpec
from slipway.training.data.understanding.understand import read_landmarks
from slipway.training.tasks.sign.options import ModelSpec
from slipway.training.tasks.sign.predict import SignPredictor
from slipway.training.tasks.sign.task import SignTask
from tests.training.helpers import make_recipe, make_trainer


def test_a_saved_model_predicts_as_it_was_tested(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(3, 9, 40)
    path = tmp_path / "clips.npz"
    np.savez(path, X=random.normal(size=(lengths.sum(), 21, 3)), y=np.arange(40) % 4, lengths=lengths)
    data = prepare_data(DataSpec(source=str(path)), seed=0)
    task = SignTask(data, ModelSpec(width=16, blocks=1))
    trainer, _ = make_trainer(task, make_recipe(Stage(name="only", epochs=1)), folder=tmp_path)
    result = trainer.run()
    predictor = SignPredictor.load(tmp_path / "best")
    raw = read_landmarks(str(path))
    values, offsets = (raw.values, raw.offsets)
    test = data.indices["test"].tolist()
    probabilities = predictor.probabilities([values[offsets[index] : offsets[index + 1]] for index in test])
    assert probabilities.shape == (len(test), 4)
    assert probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    labels = data.store.labels[data.indices["test"]]
    loss = -np.log(probabilities[np.arange(len(test)), labels]).mean()
    assert loss == pytest.approx(result["test_loss"], rel=1e-4)
    assert (torch.from_numpy(probabilities).argmax(1) == labels).double().mean().item() == result["test_accuracy"]
    with pytest.raises(UserError, match=r"clip 0: expected \[frames, 21, 3\]"):
        predictor.probabilities([np.zeros((4, 20, 3))])
    with pytest.raises(UserError, match=r"cannot be read \(No such file"):
        SignPredictor.load(tmp_path)
