"""Digits, by a convolutional network with batch norm and dropout."""

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import DigitsNet, digits

config = TrainingConfig.from_command_line(epochs=4, batch_size=32, learning_rate=0.01)
task = DatasetTask(DigitsNet, train=digits("train"), validation=digits("validation"))
result = train(config, task)
