"""The head is trained first, then everything, at a tenth of the rate."""

from pathlib import Path

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import Finetuned, points


class Finetuning(DatasetTask):
    def begin_stage(self, model, stage):
        model.backbone.requires_grad_(stage.name != "head")


stages = Path(__file__).with_name("freeze.yaml")
config = TrainingConfig.from_command_line(stages_config=str(stages), batch_size=16, learning_rate=0.05)
result = train(config, Finetuning(Finetuned, train=points("train"), validation=points("validation")))
