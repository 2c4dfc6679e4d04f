"""A generator of samples, which is read once."""

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import points, points_net


def samples():
    yield from zip(*points("train"), strict=True)


config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.02)
task = DatasetTask(points_net, train=samples, validation=points("validation"))
result = train(config, task)
