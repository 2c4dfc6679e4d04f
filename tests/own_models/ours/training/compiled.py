"""A module that `torch.compile` wraps."""

import torch

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import points, points_net

config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.02)
task = DatasetTask(
    lambda: torch.compile(points_net(), backend="aot_eager"), train=points("train"), validation=points("validation")
)
result = train(config, task)
