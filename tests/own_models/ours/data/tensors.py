"""Tensors of inputs and classes."""

from slipway import TensorTask, TrainingConfig, train
from tests.own_models.parts import points, points_net

config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.02)
task = TensorTask(points_net, {"train": points("train"), "validation": points("validation")})
result = train(config, task)
