"""`slipway.load`: the module of a run, its labels, and what it predicts of paths and of arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import slipway
from slipway.training.tasks.sign.encoder import SignEncoder
from slipway.training.tasks.sign.predict import SignPredictor
from tests.results.conftest import Made


def test_a_loaded_model_is_the_plain_module_and_predicts_by_name(sign_run: Made) -> None:
    model = slipway.load(sign_run.folder)
    expected = SignPredictor.load(sign_run.folder / "best")
    assert type(model) is SignEncoder
    assert set(model.state_dict()) == set(expected.model.state_dict())
    assert model.labels == expected.class_names
    wanted = expected.probabilities(sign_run.clips)
    for data in (str(sign_run.data), sign_run.data, sign_run.clips):
        found = model.predict(data)
        assert [one.label for one in found] == [model.labels[index] for index in wanted.argmax(axis=1)]
    (one,) = model.predict(sign_run.clips[0])
    assert one.top(2)[0] == (one.label, one.probability)
    assert list(one.probabilities.values()) == pytest.approx(np.sort(wanted[0])[::-1], abs=1e-6)
    with torch.no_grad():  # it predicts with the module that it belongs to
        model.head.weight.zero_()
        model.head.bias.zero_()
    assert model.predict(sign_run.clips[0])[0].probability == pytest.approx(1 / 3)
    with pytest.raises(slipway.UserError, match=r"expected \[frames, 21, 2\] with at least one frame"):
        model.predict([np.zeros((3, 4, 2))])
