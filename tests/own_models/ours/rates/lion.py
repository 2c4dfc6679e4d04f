"""An optimizer that is written by hand."""

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import Lion, points, points_net

config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.005)
task = DatasetTask(points_net, train=points("train"), validation=points("validation"))
result = train(config, task, optimizer=Lion)
