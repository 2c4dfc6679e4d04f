"""A model of three inputs, given by name."""

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import PairNet, Pairs

config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.02)
task = DatasetTask(PairNet, train=Pairs("train"), validation=Pairs("validation"))
result = train(config, task)
