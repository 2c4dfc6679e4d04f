"""SGD with momentum."""

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import points, points_net

config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.1, optimizer="sgd", momentum=0.8)
task = DatasetTask(points_net, train=points("train"), validation=points("validation"))
result = train(config, task)
