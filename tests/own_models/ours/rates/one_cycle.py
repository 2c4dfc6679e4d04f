"""A rate that goes up and down in one cycle."""

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import points, points_net

config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.05, schedule="one_cycle")
task = DatasetTask(points_net, train=points("train"), validation=points("validation"))
result = train(config, task)
