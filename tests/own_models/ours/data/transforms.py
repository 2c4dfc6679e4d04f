"""Random transforms of images, which draw from torch, numpy and `random`."""

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import Compose, Flip, Noise, Pictures, Shift, pictures_net

config = TrainingConfig.from_command_line(epochs=4, batch_size=32, learning_rate=0.01)
pictures = Pictures("train", transform=Compose(Flip(), Shift(), Noise()))
task = DatasetTask(pictures_net, train=pictures, validation=Pictures("validation"))
result = train(config, task)
