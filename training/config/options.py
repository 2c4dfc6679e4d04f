"""The options that every training has, whatever its task: typed, grouped, checked, with one line of help each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ..common.conversion import choices_of, convert, field_types, problem_of_count
from ..common.errors import UserError, flag_of
from ..common.small_files import UnreadableError, parse_yaml
from .intervals import Interval
from .plan import MemoryFormat
from .recipe import (
    BatchRule,
    ClassWeights,
    Ending,
    LearningRateRule,
    OptimizerName,
    OptimizerSpec,
    OwnOptimizer,
    Precision,
    Recipe,
    Sampling,
    Schedule,
    Stage,
    TaskSpec,
    split_monitor,
)
from .stages import OF_STAGES, change_stages, says_weight_decay
from .trackers import PROJECT, check_names

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
    "seeds",
    "threads",
)
"""Options that are at least 1."""
_FROM_0 = ("clip_norm", "weight_decay", "warmup_epochs")


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


def describe_options(options: type) -> str:
    """Return a line for each option of a class, by group: name, default, choices, help."""
    groups: dict[str, list[str]] = {}
    for field in dataclasses.fields(options):
        choices = choices_of(field_types(options)[field.name])
        shown = f" ({', '.join(map(str, choices))})" if choices else ""
        line = f"    {field.name} = {field.default!r}{shown}: {field.metadata['help']}"
        groups.setdefault(field.metadata["group"].title, []).append(line)
    return "\n\n".join(f"{title}\n\n" + "\n".join(lines) for title, lines in groups.items())


@dataclass(frozen=True, kw_only=True)
class GeneralOptions:
    """The options of any training: what is learned apart from the task, how it is computed, where the run is kept."""

    stages_config: str = option(
        "default",
        RECIPE,
        "stages to train: default (one stage), curriculum (five), conservative, aggressive, minimal, fine_tune, "
        "regularization, exploration, polish, or a YAML file",
    )
    quick_test: bool = option(False, RECIPE, "try out: the first two stages, at most 3 epochs each")
    batch_size: int = option(Recipe.batch_size, RECIPE, "base batch: samples of an optimizer step with one process")
    batch_rule: BatchRule | None = option(
        None, RECIPE, "scale (unless given): global batch = base batch x processes; fixed: global batch = base batch"
    )
    auto_adjust_batch_size: bool | None = option(None, RECIPE, "the same as --batch-rule: yes is scale, no is fixed")
    learning_rate: float = option(OptimizerSpec.learning_rate, RECIPE, "learning rate at the base batch")
    learning_rate_rule: LearningRateRule = option(
        Recipe.learning_rate_rule, RECIPE, "how the learning rate grows with the global batch"
    )
    optimizer: OptimizerName = option(
        "adamw", RECIPE, "algorithm that updates the weights: adamw, sgd, or a class of torch.optim"
    )
    betas: tuple[float, float] | None = option(
        None,
        RECIPE,
        "decays of the two moments of adamw and its kin, such as 0.9 0.95; for adamw 0.9 0.99 unless given",
    )
    eps: float | None = option(
        None, RECIPE, "what is added to the denominator of adamw and its kin; for adamw 1e-6 unless given"
    )
    momentum: float | None = option(None, RECIPE, "momentum of sgd and its kin; for sgd 0.9 unless given")
    optimizer_options: tuple[str, ...] | None = option(
        None, RECIPE, "other arguments of the class of torch.optim, such as nesterov=true alpha=0.95"
    )
    weight_decay: float | None = option(None, RECIPE, "weight decay of every stage; each stage's own unless given")
    clip_norm: float = option(OptimizerSpec.clip_norm, RECIPE, "clip the global gradient to this norm; 0: do not clip")
    ema_decay: float | None = option(
        OptimizerSpec.ema_decay, RECIPE, "evaluate a moving average of the weights with this decay"
    )
    schedule: Schedule | None = option(
        None, RECIPE, "learning rate schedule of every stage; each stage's own unless given"
    )
    warmup_epochs: float | None = option(
        None, RECIPE, "epochs of warm-up in every stage; each stage's own unless given"
    )
    epochs: int | None = option(None, RECIPE, "epochs of every stage; each stage's own unless given")
    max_steps: int | None = option(Recipe.max_steps, RECIPE, "end the run after this many optimizer steps")
    end_with: Ending | None = option(
        None,
        RECIPE,
        "weights with which every stage ends: of its best epoch or its last; each stage's own unless given",
    )
    patience: int | None = option(
        None, RECIPE, "end a stage after this many epochs without improvement; each stage's own unless given"
    )
    sampling: Sampling = option(
        Recipe.sampling,
        RECIPE,
        "classes drawn in an epoch: natural, as in the data; balanced, equally often; sqrt, by the root of their samples",
    )
    class_weights: ClassWeights = option(
        Recipe.class_weights,
        RECIPE,
        "weight of each class in the training loss: balanced, samples / (classes x samples of the class); sqrt, its root",
    )
    monitor: str = option(
        "auto",
        RECIPE,
        "validation metric that decides which weights are best, and when a stage ends early; auto: macro_f1 if one class is "
        "most of the training samples, else accuracy, or loss where there is none or sign recognition validates on fewer than "
        "100 clips; decided once for a run; of a task's own "
        "metric with the better end where its name does not say it: r2:max",
    )
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = option(
        "auto", RECIPE, "auto: bf16 if the device has it, else fp16 on GPUs, else no; decided once for a run"
    )
    precision: Precision = option(
        Recipe.precision, RECIPE, "type of weights and data; float64 is for tests of exactness"
    )
    tf32: bool = option(
        Recipe.tf32,
        RECIPE,
        "let NVIDIA GPUs round the factors of float32 products to TF32: faster, 10 bits instead of 23",
    )
    bad_steps: int = option(
        Recipe.bad_steps,
        RECIPE,
        "after this many steps in a row with a loss or gradient that is not finite, go back and skip their batches",
    )
    loss_spike_score: float | None = option(
        Recipe.loss_spike_score,
        RECIPE,
        "do the same when a loss is this many robust standard deviations above the recent ones; never unless given",
    )
    seed: int = option(
        Recipe.seed, RECIPE, "seed of the order, the splits, the initial weights and everything else that is random"
    )
    seeds: int | None = option(None, RECIPE, "train with this many seeds, --seed and those after it, as one study")

    device: Literal["auto", "cuda", "xpu", "mps", "npu", "hpu", "cpu"] = option(
        "auto", PLAN, "kind of device to compute on"
    )
    multi_gpu: bool = option(False, PLAN, "use several devices; one, with a warning, if there are no more")
    use_data_parallel: bool = option(
        True, PLAN, "several processes may train together, each on its part of a batch; no: one process only"
    )
    micro_batch_size: int | Literal["auto"] = option(
        "auto", PLAN, "most samples in one forward pass; auto: as many as fit, measured at the start"
    )
    gradient_accumulation: int | None = option(
        None, PLAN, "micro-batches of an optimizer step, in place of --micro-batch-size"
    )
    share_weights: tuple[float, ...] | None = option(
        None, PLAN, "how large each process's part of a batch is, relative to the others, such as 3,1"
    )
    reduction: Literal["auto", "flat", "overlap"] = option(
        "auto",
        PLAN,
        "sum gradients over the processes after the last micro-batch (flat) or during its backward pass (overlap)",
    )
    bucket_bytes: int | None = option(
        None,
        PLAN,
        "bytes of gradients summed together with --reduction overlap; an eighth of all, 1 to 25 MiB, unless given",
    )
    sharding: Literal["auto", "replicate", "fsdp"] = option(
        "auto",
        PLAN,
        "replicate: each process holds all parameters; fsdp: a part of each (FSDP2); auto: as the launcher planned",
    )
    memory_format: MemoryFormat = option(
        "auto",
        PLAN,
        "memory layout of images and 2-D convolutions; auto: channels_last if the model gains by it",
    )
    compile: bool | None = option(
        None, PLAN, "compile the forward and backward pass with torch.compile; as the launcher planned unless given"
    )
    gradient_checkpointing: bool = option(
        False, PLAN, "compute activations again in the backward pass: less memory, more time, the same numbers"
    )
    hang_timeout: str = option(
        "10min", PLAN, "end a run that makes no progress for this long, and print where it hangs: 10min, 2h, or never"
    )
    threads: int | None = option(
        None, PLAN, "threads of a process that compute on the CPU; its share of the cores unless given"
    )
    num_workers: int | None = option(
        None, PLAN, "threads that prepare micro-batches in advance; 0: none; chosen for the device unless given"
    )

    experiment_name: str | None = option(
        None, RUN, "name of the run's folder; made from the data and the stages unless given"
    )
    runs_dir: str = option("runs", RUN, "folder of all runs")
    overwrite: bool = option(False, RUN, "replace a run of the same name; else the new run's name gets a number")
    save_every: str = option(
        "10min", RUN, "write a checkpoint at this interval: 10min, 500step, 1epoch, or never (only when stopped)"
    )
    keep: int = option(2, RUN, "number of checkpoints to keep")
    data_cache: bool = option(True, RUN, "keep prepared data in the user's cache, and use what is there")
    resume: str | None = option(
        None,
        RUN,
        "continue a run: its folder or name, a checkpoint's folder, or auto (the newest run of this name, if any)",
    )
    allow_recipe_change: bool = option(False, RUN, "resume although the recipe differs from the run's")
    test: bool = option(True, RUN, "measure the best weights on the test split, once, at the end")
    report: bool = option(True, RUN, "make report.html, pictures and a table of the run at its end, in its folder")
    tracker: tuple[str, ...] | None = option(
        None,
        RUN,
        "send the numbers of the run to these experiment trackers, such as tensorboard,mlflow: also trackio, wandb, comet_ml, "
        "aim, swanlab",
    )
    tracker_project: str = option(PROJECT, RUN, "the project, or experiment, that the run belongs to in the trackers")
    profile: bool = option(False, RUN, "trace some steps and print where their time goes")
    profile_steps: int = option(20, RUN, "number of steps that --profile traces, after 10 steps of warm-up")
    log_level: Literal["debug", "info", "warning", "error"] = option("info", RUN, "least important messages to show")
    log_format: Literal["auto", "text", "logfmt", "json"] = option(
        "auto", RUN, "lines of the run: auto (bars on a terminal, else text), text, or records for programs"
    )
    verbose: bool = option(False, RUN, "show the whole plan with its reasons, and every decision")
    debug: bool = option(False, RUN, "show the traceback of an error in the input")

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
                given = f"auto_adjust_batch_size={str(self.auto_adjust_batch_size).lower()}, which means {spelled}"
                _check("batch_rule", False, f"{self.batch_rule} contradicts {given}: give one of them")
        if self.micro_batch_size != "auto" and self.gradient_accumulation is not None:
            raise UserError(
                "--micro-batch-size and --gradient-accumulation set each other: give one of them",
                option="micro_batch_size",
            )
        for name in (*_COUNTS, "num_workers", "seed"):
            problem = problem_of_count(name, getattr(self, name), int(name in _COUNTS))
            _check(name, problem is None, str(problem))
        weights, decay = self.share_weights, self.ema_decay
        is_share = weights is None or (min(weights, default=-1) >= 0 and sum(weights) > 0)
        _check("share_weights", is_share, f"must be at least 0 and not all 0, got {weights}")
        _check("ema_decay", decay is None or 0 < decay < 1, f"must be between 0 and 1, got {decay}")
        split_monitor(self.monitor)
        object.__setattr__(self, "tracker", check_names(self.tracker or ()) or None)
        Interval.parse(self.save_every, "save_every")
        hang = Interval.parse(self.hang_timeout, "hang_timeout")
        is_time = hang is None or hang.unit == "second"
        _check("hang_timeout", is_time, f"{self.hang_timeout!r} is not a time; give one such as 10min, or never")
        has_buckets = self.reduction != "flat" and self.sharding != "fsdp"
        problem = "there are buckets with --reduction overlap only, and without --sharding fsdp"
        _check("bucket_bytes", self.bucket_bytes is None or has_buckets, problem)
        for name in ("clip_norm", "weight_decay", "warmup_epochs", "learning_rate", "loss_spike_score"):
            value, least = getattr(self, name), "at least" if name in _FROM_0 else "above"
            holds = value is None or value > 0 or (value == 0 and name in _FROM_0)
            _check(name, holds, f"must be {least} 0, got {value}")
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        betas, eps, momentum = self.betas, self.eps, self.momentum
        _check(
            "betas", betas is None or (min(betas) >= 0 and max(betas) < 1), f"must be from 0 up to below 1, got {betas}"
        )
        _check("eps", eps is None or eps > 0, f"must be above 0, got {eps}")
        _check("momentum", momentum is None or 0 <= momentum < 1, f"must be from 0 up to below 1, got {momentum}")
        has = {"adamw": ("betas", "eps"), "sgd": ("momentum",)}.get(self.optimizer)
        for name in ("betas", "eps", "momentum"):
            is_unknown = has is not None and name not in has and getattr(self, name) is not None
            # A class from Python may take what the default, adamw, does not.
            if is_unknown and self.optimizer != OptimizerSpec.name:
                _check(name, False, f"{self.optimizer} has none; it has {' and '.join(has or ())}")
        _ = self.optimizer_arguments
        is_cycle = self.schedule == "one_cycle" and self.warmup_epochs is not None
        problem = "the schedule one_cycle has a warm-up of its own: leave one of them out"
        _check("warmup_epochs", not is_cycle, problem)

    @property
    def optimizer_arguments(self) -> dict[str, Any]:
        """Return the arguments of an optimizer's class that are given, by name. Raises `UserError`."""
        named = {"betas": self.betas, "eps": self.eps, "momentum": self.momentum}
        arguments = {name: value for name, value in named.items() if value is not None}
        for text in self.optimizer_options or ():
            name, is_given, value = text.partition("=")
            _check("optimizer_options", bool(is_given), f"{text!r} is not NAME=VALUE, such as nesterov=true")
            has_option = name in ("lr", "weight_decay", *named)
            flag = flag_of("learning_rate" if name == "lr" else name)
            _check("optimizer_options", not has_option, f"{name} has an option of its own: {flag}")
            try:
                arguments[name] = parse_yaml(value)
            except UnreadableError:
                _check("optimizer_options", False, f"{value!r} is no value")
        return arguments

    @property
    def own_optimizer(self) -> OwnOptimizer:
        """Return what the options say of an optimizer that is not the flat one."""
        return OwnOptimizer(arguments=self.optimizer_arguments, stage_decay=self.gives_weight_decay)

    @property
    def gives_weight_decay(self) -> bool:
        """Return whether the user says what the weight decay is, by the option or in a file of stages."""
        return self.weight_decay is not None or says_weight_decay(self.stages_config)

    @property
    def effective_batch_rule(self) -> BatchRule:
        """The batch rule, from whichever of the two options gives it."""
        if self.batch_rule is not None:
            return self.batch_rule
        if self.auto_adjust_batch_size is not None:
            return "scale" if self.auto_adjust_batch_size else "fixed"
        return Recipe.batch_rule

    def recipe_of(self, task: TaskSpec, stages: tuple[Stage, ...]) -> Recipe:
        """Return the recipe of a task and its stages, not yet resolved for a number of processes.

        Its monitor is accuracy where that is to be decided by the samples.
        """
        monitor, direction = split_monitor(self.monitor)
        given = {"eps": self.eps, "momentum": self.momentum}
        if self.betas is not None:
            given |= {"beta1": self.betas[0], "beta2": self.betas[1]}
        is_flat = self.optimizer in ("adamw", "sgd") and not self.optimizer_options
        return Recipe(
            task=task,
            optimizer=OptimizerSpec(
                name=self.optimizer,
                learning_rate=self.learning_rate,
                clip_norm=self.clip_norm or None,
                ema_decay=self.ema_decay,
                **{name: value for name, value in given.items() if value is not None},
            ),
            own_optimizer=None if is_flat else self.own_optimizer,
            stages=change_stages(stages, {name: getattr(self, name) for name in OF_STAGES}, self.quick_test),
            batch_size=self.batch_size,
            batch_rule=self.effective_batch_rule,
            learning_rate_rule=self.learning_rate_rule,
            sampling=self.sampling,
            class_weights=self.class_weights,
            monitor=Recipe.monitor if monitor == "auto" else monitor,
            monitor_direction=direction,
            bad_steps=self.bad_steps,
            loss_spike_score=self.loss_spike_score,
            precision=self.precision,
            tf32=self.tf32,
            max_steps=self.max_steps,
            seed=self.seed,
        )


def _check(name: str, is_right: bool, problem: str) -> None:
    if not is_right:
        raise UserError(f"{flag_of(name)}: {problem}", option=name)
