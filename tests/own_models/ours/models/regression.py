"""Regression, measured by R2 and the mean absolute error; the best weights are those of the highest R2."""

from torch import nn
from torchmetrics import MeanAbsoluteError, R2Score

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import diabetes

config = TrainingConfig.from_command_line(epochs=6, batch_size=32, learning_rate=0.1, monitor="r2:max")
task = DatasetTask(
    lambda: nn.Linear(10, 1),
    train=diabetes("train"),
    validation=diabetes("validation"),
    loss=nn.MSELoss(),
    metrics={"r2": R2Score(), "mae": MeanAbsoluteError()},
)
result = train(config, task)
