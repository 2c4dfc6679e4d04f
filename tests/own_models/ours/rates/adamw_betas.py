"""AdamW with constants and a weight decay of one's own."""

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import points, points_net

config = TrainingConfig.from_command_line(
    epochs=4, batch_size=16, learning_rate=0.02, betas=(0.8, 0.95), eps=1e-8, weight_decay=0.1
)
task = DatasetTask(points_net, train=points("train"), validation=points("validation"))
result = train(config, task)
