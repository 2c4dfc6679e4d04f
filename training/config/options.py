"""The options that every training has, whatever its task: typed, grouped, checked, with one line of help each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ..common.conversion import convert, field_types
from ..common.errors import UserError, flag_of
from .intervals import Interval
from .plan import MemoryFormat
from .recipe import (
    BatchRule,
    LearningRateRule,
    OptimizerName,
    OptimizerSpec,
    Precision,
    Recipe,
    Schedule,
    Stage,
    TaskSpec,
)
from .stages import shorten

_COUNTS = (
    "micro_batch_size",
    "gradient_accumulation",
    "bucket_bytes",
    "epochs",
    "batch_size",
    "max_steps",
    "patience",
    "bad_steps",
    "keep",
    "profile_steps",
)
"""Options that are at least 1."""


@dataclass(frozen=True, kw_only=True)
class OptionGroup:
    """Options that stand together in the help."""

    title: str
    decides_weights: bool
    """Whether they decide what is learned, so that a resumed run keeps them."""


RECIPE = OptionGroup(title="recipe: what is learned", decides_weights=True)
PLAN = OptionGroup(title="plan: how it is computed", decides_weights=False)
RUN = OptionGroup(title="run", decides_weights=False)


def option(default: Any, group: OptionGroup, help_text: str) -> Any:
    """Return the field of an option."""
    return dataclasses.field(default=default, metadata={"group": group, "help": help_text})


@dataclass(frozen=True, kw_only=True)
class GeneralOptions:
    """The options of any training: what is learned beside the task, how it is computed, where the run is kept."""

    stages_config: str = option(
        "default", RECIPE, "default, conservative, aggressive, minimal, or a YAML file of stages"
    )
    quick_test: bool = option(False, RECIPE, "the first two stages, at most 3 epochs each, patience 3")
    batch_size: int = option(Recipe.batch_size, RECIPE, "base batch size: the global batch of one process")
    batch_rule: BatchRule | None = option(
        None, RECIPE, "scale (the default): global batch = base x processes; fixed: global batch = base"
    )
    auto_adjust_batch_size: bool | None = option(None, RECIPE, "another spelling of --batch-rule: yes scale, no fixed")
    learning_rate: float = option(OptimizerSpec.learning_rate, RECIPE, "at the base batch size")
    learning_rate_rule: LearningRateRule = option(
        Recipe.learning_rate_rule, RECIPE, "how the learning rate follows the global batch"
    )
    optimizer: OptimizerName = option(OptimizerSpec.name, RECIPE, "the optimizer")
    weight_decay: float | None = option(None, RECIPE, "for every stage, instead of each stage's own")
    clip_norm: float = option(OptimizerSpec.clip_norm, RECIPE, "largest norm of the global gradient; 0: no clipping")
    ema_decay: float | None = option(
        OptimizerSpec.ema_decay, RECIPE, "keep a moving average of the weights and evaluate it"
    )
    schedule: Schedule | None = option(
        None, RECIPE, "learning rate schedule of every stage, instead of each stage's own"
    )
    warmup_epochs: float | None = option(None, RECIPE, "for every stage, instead of each stage's own")
    epochs: int | None = option(None, RECIPE, "epochs of every stage, instead of each stage's own")
    max_steps: int | None = option(Recipe.max_steps, RECIPE, "optimizer steps of the whole run")
    patience: int | None = option(None, RECIPE, "epochs without improvement before a stage stops, for every stage")
    monitor: Literal["accuracy", "macro_f1", "loss"] = option(
        Recipe.monitor, RECIPE, "validation metric for early stopping and for the best weights"
    )
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = option(
        "auto", RECIPE, "auto: bf16 where the device has it, else fp16 on GPUs, else no; frozen with the run"
    )
    precision: Precision = option(Recipe.precision, RECIPE, "of weights and data; float64 is for checks")
    tf32: bool = option(
        Recipe.tf32, RECIPE, "let NVIDIA GPUs round the factors of float32 products to TF32: faster, 10 bits of 23"
    )
    bad_steps: int = option(
        Recipe.bad_steps,
        RECIPE,
        "steps in a row with a loss or gradient that is not finite before going back and passing over them",
    )
    loss_spike_score: float | None = option(
        Recipe.loss_spike_score,
        RECIPE,
        "robust standard deviations above recent losses at which to do the same; none: never",
    )
    seed: int = option(Recipe.seed, RECIPE, "decides order, splits, initial weights and all that is drawn at random")

    device: Literal["auto", "cuda", "xpu", "mps", "npu", "hpu", "cpu"] = option("auto", PLAN, "where to compute")
    multi_gpu: bool = option(False, PLAN, "use several devices; falls back to one with a warning")
    use_data_parallel: bool = option(True, PLAN, "replicate the model over the processes")
    micro_batch_size: int | Literal["auto"] = option(
        "auto", PLAN, "most samples in one forward pass to begin with; auto: as many as are measured to fit"
    )
    gradient_accumulation: int | None = option(None, PLAN, "micro-batches per step instead; sets the micro-batch size")
    share_weights: tuple[float, ...] | None = option(None, PLAN, "ranks' shares of a batch, such as 3,1")
    reduction: Literal["auto", "flat", "overlap"] = option(
        "auto", PLAN, "one reduction after the micro-batches, or during the last backward pass"
    )
    bucket_bytes: int | None = option(
        None, PLAN, "gradients reduced at once with --reduction overlap; left open: an eighth of them, 1 to 25 MiB"
    )
    sharding: Literal["auto", "replicate", "fsdp"] = option(
        "auto",
        PLAN,
        "every process holds all parameters, or its rows of each (FSDP2); auto: as the launcher's config says",
    )
    memory_format: MemoryFormat = option(
        "auto",
        PLAN,
        "layout of images and convolutions in memory; auto: channels_last where the model has 2-D convolutions and gains",
    )
    compile: bool | None = option(
        None, PLAN, "torch.compile for the forward and backward pass; left open: as the launcher's config says"
    )
    gradient_checkpointing: bool = option(
        False, PLAN, "compute activations again in the backward pass: slower, in less memory, the same numbers"
    )
    hang_timeout: str = option("10min", PLAN, "end a run without progress for this long, with its stacks; or never")
    num_workers: int | None = option(None, PLAN, "threads that prepare micro-batches ahead; 0: none")

    experiment_name: str | None = option(None, RUN, "folder of the run under --runs-dir")
    runs_dir: str = option("runs", RUN, "where runs are kept")
    overwrite: bool = option(False, RUN, "replace an existing run of this name instead of numbering a new one")
    save_every: str = option(
        "10min", RUN, "write a checkpoint this often: 10min, 500step, 1epoch, or never: only when stopped"
    )
    keep: int = option(2, RUN, "checkpoints that are kept")
    data_cache: bool = option(True, RUN, "keep prepared local data in the user's cache, and take them from there")
    resume: str | None = option(
        None, RUN, "a run's folder or name, a checkpoint's folder, or auto: the experiment's newest, if there is one"
    )
    allow_recipe_change: bool = option(False, RUN, "resume although the recipe is no longer the run's")
    profile: bool = option(False, RUN, "trace some steps, and print where their time goes")
    profile_steps: int = option(20, RUN, "steps that --profile traces, after 10 to warm up on")
    log_level: Literal["debug", "info", "warning", "error"] = option("info", RUN, "least level that is shown")
    debug: bool = option(False, RUN, "show tracebacks of errors in the input")

    def __post_init__(self) -> None:
        for name, kind in field_types(type(self)).items():
            # From Python nothing has checked the values yet: a misspelt choice must not pass for another one.
            try:
                value = convert(getattr(self, name), kind, flag_of(name))
            except UserError as error:
                raise UserError(str(error), option=name) from None
            object.__setattr__(self, name, value)
        if self.batch_rule is not None and self.auto_adjust_batch_size is not None:
            spelled = "scale" if self.auto_adjust_batch_size else "fixed"
            if spelled != self.batch_rule:
                raise UserError(
                    f"--batch-rule {self.batch_rule} contradicts auto_adjust_batch_size="
                    f"{str(self.auto_adjust_batch_size).lower()}, which means {spelled}: give one of them",
                    option="batch_rule",
                )
        if self.micro_batch_size != "auto" and self.gradient_accumulation is not None:
            raise UserError(
                "--micro-batch-size and --gradient-accumulation set each other: give one of them",
                option="micro_batch_size",
            )
        for name in _COUNTS:
            value = getattr(self, name)
            _check(name, not isinstance(value, int) or value >= 1, f"must be at least 1, got {value}")
        workers, weights, decay = self.num_workers, self.share_weights, self.ema_decay
        _check("num_workers", workers is None or workers >= 0, f"must be at least 0, got {workers}")
        is_share = weights is None or (min(weights, default=-1) >= 0 and sum(weights) > 0)
        _check("share_weights", is_share, f"must be at least 0 and not all 0, got {weights}")
        _check("ema_decay", decay is None or 0 < decay < 1, f"must be between 0 and 1, got {decay}")
        Interval.parse(self.save_every, "save_every")
        hang = Interval.parse(self.hang_timeout, "hang_timeout")
        is_time = hang is None or hang.unit == "second"
        _check("hang_timeout", is_time, f"{self.hang_timeout!r} is no time; give one such as 10min, or never")
        has_buckets = self.reduction != "flat" and self.sharding != "fsdp"
        problem = "there are buckets with --reduction overlap only, and without --sharding fsdp"
        _check("bucket_bytes", self.bucket_bytes is None or has_buckets, problem)
        _check("clip_norm", self.clip_norm >= 0, f"must be at least 0, got {self.clip_norm}")

    @property
    def effective_batch_rule(self) -> BatchRule:
        """The batch rule, whichever way it was spelled."""
        if self.batch_rule is not None:
            return self.batch_rule
        if self.auto_adjust_batch_size is not None:
            return "scale" if self.auto_adjust_batch_size else "fixed"
        return Recipe.batch_rule

    def recipe_of(self, task: TaskSpec, stages: tuple[Stage, ...]) -> Recipe:
        """Return the recipe of a task and its stages, not yet resolved for a number of processes."""
        return Recipe(
            task=task,
            optimizer=OptimizerSpec(
                name=self.optimizer,
                learning_rate=self.learning_rate,
                clip_norm=self.clip_norm or None,
                ema_decay=self.ema_decay,
            ),
            stages=self._change_stages(stages),
            batch_size=self.batch_size,
            batch_rule=self.effective_batch_rule,
            learning_rate_rule=self.learning_rate_rule,
            monitor=self.monitor,
            bad_steps=self.bad_steps,
            loss_spike_score=self.loss_spike_score,
            precision=self.precision,
            tf32=self.tf32,
            max_steps=self.max_steps,
            seed=self.seed,
        )

    def _change_stages(self, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = ("epochs", "patience", "weight_decay", "schedule", "warmup_epochs")
        chosen = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        stages = tuple(dataclasses.replace(stage, **chosen) for stage in stages)
        return shorten(stages) if self.quick_test else stages


def _check(name: str, is_right: bool, problem: str) -> None:
    if not is_right:
        raise UserError(f"{flag_of(name)}: {problem}", option=name)
