"""Bad options, recipes, stages, settings and plans."""

from __future__ import annotations

from typing import Any

from slipway.training.config.stages import load_stages
from slipway.training.tasks.sign.options import SignStage
from slipway.training.tasks.sign.presets import PRESETS

from .case import FILES, TRAIN, Case, Prepare, case, pipe, text, train, yaml_files

OPTIONS = {
    f"options.{words}": train(words)
    for words in (
        "--batch-size 0", "--batch-size 8.5", "--epochs nan", "--epochs 1:30",
        "--learning-rate nan", "--learning-rate inf", "--learning-rate -1", "--learning-rate 1e400",
        "--num-workers -1", "--micro-batch-size 0", "--keep 0",
        "--save-every 0step", "--save-every bananas", "--save-every -1step", "--train-ratio nan", "--train-ratio 1.5",
        "--hang-timeout -1", "--hang-timeout nan", "--dropout 1", "--dropout nan", "--model-width 1000000000",
        "--model-blocks 1000000000", "--model-width 0", "--weight-decay -1", "--weight-decay nan",
        "--clip-norm nan", "--ema-decay 1", "--warmup-epochs -1", "--max-steps 0", "--patience 0", "--seeds 0",
        "--share-weights 1 x", "--share-weights 0", "--bucket-bytes 0", "--profile-steps 0", "--device cuda",
        "--device cpu:7", "--experiment-name", "--resume nowhere",
        "--monitor nothing", "--task nothing.py:make", "--task json:dumps", "--task-options width", "--optimizer-options lr=x",
        "--eps -1", "--betas 2 3", "--fold 3", "--folds 2 --fold 9", "--held-out ann", "--loss-spike-score 0",
        "--gradient-accumulation 0", "--local-rank 0", "--seed -1", "--batch-size 1e30", "--num-workers 1000000",
        "--class-weights odd", "--no-epochs", "--epochs=",
        "--mixed-precision fp16 --precision float64",
    )
}  # fmt: skip

SWEEPS = {
    f"sweep.{words}": case(f"sweep {words} --runs-dir PATH/runs")
    for words in (
        "--sweep lr=1,2", "--sweep learning_rate=1e-2:1e-4", "--sweep learning_rate=0:1:log", "--sweep learning_rate=1:2:3:4",
        "--sweep learning_rate=nan,1", "--sweep dropout=0,1.5", "--sweep dropout=0.1", "--sweep dropout=0:0.5:0.7",
        "--sweep model_width=32:33", "--sweep optimizer=adamw:sgd", "--sweep seed=1,2", "--sweep threads=1,2",
        "--sweep train_ratio=0.5,0.8", "--sweep betas=0.9,0.99", "--sweep clip_norm", "--sweep dropout dropout",
        "--sweep task_options.width=1,2", "--trials 0", "--keep-one-in 1", "--trails 3", "--folds 5", "--seeds 3",
        "--experiment-name a", "--final-fit", "--name a/b",
    )
}  # fmt: skip

CONFIG = {
    **{
        name: one
        for name, one in yaml_files("config", f"{TRAIN} --config FILE").items()
        if not name.endswith(("empty", "deep"))
    },
    **{
        f"config.{content}": train("--config f.yaml", text("f.yaml", content.replace("; ", "\n") + "\n"))
        for content in (
            "epoch: 3", "epochs: three", "epochs: [1, 2]", "epochs: {a: 1}", "epochs: 1:30",
            "epochs: 2024-01-01", "epochs: yes", "epochs: .nan", "epochs: 3; epochs: 4", f"seed: {'9' * 5000}",
            "learning_rate: 1e-3x",
            "compile: maybe", "data: 5", "device: [cpu]", "task_options: 3", "betas: 0.9", "1: 2", "null: 2",
            "recipe: {epochs: 3}", "resume: true", "share_weights: [1, .inf]",
        )
    },
}  # fmt: skip


def stages(name: str, prepare: Prepare = lambda root: None) -> Case:
    """Return the reading of the stages of sign recognition from a file of the working folder."""
    return Case(prepare=prepare, act=lambda root: load_stages(name, PRESETS, SignStage))


STAGES = {
    **{f"stages.file.{name}": stages(file, write) for name, (write, file) in FILES.items() if name != "deep"},
    **{
        f"stages.{content}": stages("f.yaml", text("f.yaml", content.replace("; ", "\n") + "\n"))
        for content in (
            "stages: []", "stages: 3", "stages: {a: 1}", "stages: [{}]", "stages: [{name: a, epochs: 0}]",
            "stages: [{name: a, epochs: 1:30}]", "stages: [{name: a, epochs: 2}, {name: a, epochs: 2}]",
            "stages: [{name: a, epochs: 2, lr: 1}]", "stages: [{name: a, epochs: 2, learning_rate: -1}]",
            "stages: [{name: a, epochs: 2, dropout: 2}]", "stages: [{name: a, epochs: 2, augmentation: {noise: -1}}]",
            "stages: [{name: a, epochs: 2, augmentation: {nose: 1}}]",
            "stages: [{name: a, epochs: 2, augmentation: {scale: 90}}]",
            "stages: [{name: a, epochs: 2, augmentation: strong}]", "stages: [{name: a, epochs: 2}]; stages: []",

        )
    },
    "stages.mistyped": stages("agressive"),
}  # fmt: skip

SETTINGS = {
    "settings.project.list": train("", text("slipway.yaml", "- 1\n")),
    "settings.project.unknown": train("", text("slipway.yaml", "train: {epoch: 3}\n")),
    "settings.project.section": train("", text("slipway.yaml", "trian: {epochs: 3}\n")),
    "settings.project.twice": train("", text("slipway.yaml", "train: {epochs: 3}\ntrain: {epochs: 4}\n")),
    "settings.project.closed": train("", text("slipway.yaml", "train: {}\n", 0o600), is_other_user=True),
    "settings.home.cut": train("", text("config/slipway/config.yaml", "train: {\n")),
    "settings.plan.unknown": case("plan", text("slipway.yaml", "plan: {nodes: 3}\n")),
    "settings.variable.number": train("", environment={"SLIPWAY_EPOCHS": "many"}),
    "settings.variable.control": train("", environment={"SLIPWAY_DEVICE": "\x1b[2Jcpu"}),
}


def plan_file(content: str | bytes) -> dict[str, Any]:
    return {"prepare": text("plan.json", content), "environment": {"SLIPWAY_PLAN": "PATH/plan.json"}}


PLANS = {
    "plan.missing": train("", environment={"SLIPWAY_PLAN": "PATH/plan.json"}),
    "plan.empty variable": train("", environment={"SLIPWAY_PLAN": " "}),
    "plan.folder": train("", environment={"SLIPWAY_PLAN": "PATH"}),
    "plan.device": train("", environment={"SLIPWAY_PLAN": "/dev/urandom"}),
    "plan.pipe": train("", pipe("plan.json"), environment={"SLIPWAY_PLAN": "PATH/plan.json"}),
    "plan.cut": train("", **plan_file('{"schema_version": 1')),
    "plan.list": train("", **plan_file("[]")),
    "plan.empty": train("", **plan_file("{}")),
    "plan.deep": train("", **plan_file("[" * 100_000)),
    "plan.number": train("", **plan_file('{"schema_version": ' + "9" * 5000 + "}")),
    "plan.version": train("", **plan_file('{"schema_version": 99}')),
    "plan.closed": train(
        "", text("plan.json", "{}", 0o600), environment={"SLIPWAY_PLAN": "PATH/plan.json"}, is_other_user=True
    ),
}
