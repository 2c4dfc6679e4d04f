"""A ResNet of transformers from its config."""

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import digits, make_resnet

config = TrainingConfig.from_command_line(epochs=4, batch_size=32, learning_rate=0.02)
task = DatasetTask(make_resnet, train=digits("train"), validation=digits("validation"))
result = train(config, task)
