"""Two groups of parameters: the backbone learns at a tenth of the rate of the head."""

from slipway import DatasetTask, ParameterGroup, TrainingConfig, train
from tests.own_models.parts import Finetuned, points


class TwoRates(DatasetTask):
    def parameter_groups(self, model):
        return [ParameterGroup(model.backbone, learning_rate_factor=0.1), ParameterGroup(model.head)]


config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.05)
result = train(config, TwoRates(Finetuned, train=points("train"), validation=points("validation")))
