"""An observer of one's own, which keeps a table of the losses."""

from pathlib import Path

from slipway import DatasetTask, Observer, TrainingConfig, train
from tests.own_models.parts import points, points_net


class Table(Observer):
    def on_epoch_end(self, event):
        with Path("losses.csv").open("a") as file:
            print(event.epoch, event.train_loss, event.validation["loss"], sep=",", file=file)


config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.02)
task = DatasetTask(points_net, train=points("train"), validation=points("validation"))
result = train(config, task, observers=[Table()])
