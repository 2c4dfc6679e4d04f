"""On a GPU a profile has the device's own times, and the utilisation is told where the data sheet's peak is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from slipway.training.config.recipe import Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.trainer import Trainer
from slipway.training.loop.utilisation import peak_flops_per_second
from slipway.training.observers.events import Observers, ProfileEnd
from slipway.training.observers.profiling.profiler import Profiler
from slipway.training.observers.runtime import Runtime
from slipway.training.run.announce import announce_run
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import PLAN, Recorder, make_recipe

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


class Told(Recorder):
    """Keeps the profile too."""

    profile: ProfileEnd

    def on_profile(self, event: ProfileEnd) -> None:
        self.profile = event


def test_a_profile_has_the_times_of_the_device(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(512, 1024, generator=generator), torch.arange(512) % 4
    task = TensorTask(
        lambda: nn.Sequential(nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 4)), {"train": (inputs, labels)}
    )
    ranks, told = Ranks.alone("cuda"), Told()
    profiler = Profiler(tmp_path, rank=0, device=ranks.device, num_steps=5, observer=told)
    recipe = make_recipe(Stage(name="only", epochs=1))
    trainer = Trainer(
        task=task,
        recipe=recipe,
        plan=replace(PLAN, device="cuda", micro_batch_size=16),
        runtime=Runtime(ranks=ranks, observer=Observers([told, profiler]), sections=profiler.sections),
    )
    announce_run(trainer, "trial")
    trainer.run()
    device = {section.name: section.device_seconds for section in told.profile.sections}
    assert told.profile.steps == 5
    # The backward pass is queued by another thread than the one that is within its section.
    for name in ("forward", "backward", "optimizer"):
        assert device[name] > 0, device
    assert "device_wait" in device
    flops = [one.fields["flops_per_sample"] for one in told.decisions if one.kind == "model_flops"]
    if peak_flops_per_second(torch.cuda.get_device_name(), "no") and not torch.backends.cuda.matmul.allow_tf32:
        # Two layers forward, their weights' gradients, and the second one's input's.
        assert flops == [2 * (1024 * 2048 + 2048 * 4) * 2 + 2 * 2048 * 4]
    else:
        assert flops == []
