"""Numpy arrays of inputs and classes."""

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import points_as_arrays, points_net

config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.02)
task = DatasetTask(points_net, train=points_as_arrays("train"), validation=points_as_arrays("validation"))
result = train(config, task)
