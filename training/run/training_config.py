"""Every option of a training in one flat record, and the recipe that they make. No torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.options import GeneralOptions
from ..config.recipe import Recipe, TaskSpec
from ..config.stages import load_stages
from ..tasks.presets import PRESETS
from ..tasks.sign_options import SignOptions, SignStage

if TYPE_CHECKING:
    from ..tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(GeneralOptions, SignOptions):
    """Every option of a training run. The command line, the YAML file and the environment are read into it."""

    def make_recipe(self, task: Task | None = None) -> Recipe:
        """Return the recipe that these options describe for a task, not yet resolved for a number of processes.

        Without a task it is sign recognition.
        """
        stage_options = SignStage if task is None else task.stage_options
        spec = self.sign_task if task is None else TaskSpec(name=task.name)
        stages = tuple(
            dataclasses.replace(stage, options=self.change_stage_options(stage.options))
            for stage in load_stages(self.stages_config, PRESETS, stage_options)
        )
        return self.recipe_of(spec, stages)


AdvancedTrainingConfig = TrainingConfig
"""The config's earlier name."""
