"""Options become a recipe; what is wrong is named, with the nearest right one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway.training.common.errors import UserError
from slipway.training.config.recipe import LATER_FIELDS, Recipe, Stage, TaskSpec
from slipway.training.config.stages import load_stages
from slipway.training.data.specs import Augmentation
from slipway.training.devices.ranks import Ranks
from slipway.training.run.cli import build_parser, main, parse_config
from slipway.training.run.planning import make_plan
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.sign.options import SignStage
from slipway.training.tasks.sign.presets import PRESETS
from tests.training.helpers import catch

FLAGS = [
    "--augment",
    "--auto-adjust-batch-size",
    "--batch-rule",
    "--batch-size",
    "--class-weights",
    "--clip-norm",
    "--config",
    "--data",
    "--data-format",
    "--data-parallel",
    "--debug",
    "--device",
    "--dropout",
    "--duplicates",
    "--ema-decay",
    "--end-with",
    "--epochs",
    "--experiment-name",
    "--explain",
    "--final-fit",
    "--fold",
    "--folds",
    "--gradient-accumulation",
    "--help",
    "--held-out",
    "--learning-rate",
    "--learning-rate-rule",
    "--log-level",
    "--max-steps",
    "--micro-batch-size",
    "--min-clips",
    "--mixed-precision",
    "--model-blocks",
    "--model-width",
    "--monitor",
    "--multi-gpu",
    "--no-augment",
    "--no-auto-adjust-batch-size",
    "--no-data-parallel",
    "--no-debug",
    "--no-final-fit",
    "--no-hand-distances",
    "--no-multi-gpu",
    "--no-overwrite",
    "--no-quick-test",
    "--normalise",
    "--num-workers",
    "--optimizer",
    "--overwrite",
    "--patience",
    "--precision",
    "--quick-test",
    "--reduction",
    "--runs-dir",
    "--sampling",
    "--schedule",
    "--seed",
    "--seeds",
    "--share-weights",
    "--split",
    "--stages-config",
    "--threads",
    "--verbose",
    "--no-verbose",
    "--log-format",
    "--train-ratio",
    "--warmup-epochs",
    "--weight-decay",
    "--allow-recipe-change",
    "--no-allow-recipe-change",
    "--bad-steps",
    "--betas",
    "--eps",
    "--momentum",
    "--optimizer-options",
    "--bucket-bytes",
    "--compile",
    "--no-compile",
    "--memory-format",
    "--gradient-checkpointing",
    "--no-gradient-checkpointing",
    "--hand-distances",
    "--hang-timeout",
    "--keep",
    "--loss-spike-score",
    "--data-cache",
    "--no-data-cache",
    "--no-profile",
    "--no-report",
    "--report",
    "--no-test",
    "--test",
    "--tracker",
    "--tracker-project",
    "--profile",
    "--profile-steps",
    "--resume",
    "--save-every",
    "--sharding",
    "--start-from",
    "--task",
    "--task-options",
    "--tf32",
    "--no-tf32",
    "--landmarks",
    "--coords",
    "--layout",
    "--leave-out",
    "--keep-landmarks",
    "--label",
    "--signer",
    "--group",
    "--encoding",
    "-h",
]


def test_the_command_line_is_what_it_was() -> None:
    found = [option for action in build_parser()._actions for option in action.option_strings]
    assert sorted(found) == sorted(FLAGS)


def test_flags_beat_the_file_which_beats_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("batch_size: 16\nlearning_rate: 1e-3\nshare_weights: [3, 1]\n", encoding="utf-8")
    environment = {"SLIPWAY_BATCH_SIZE": "8", "SLIPWAY_SEED": "5", "SLIPWAY_QUICK_TEST": "true"}
    config = parse_config(["--learning-rate", "0.5", "--config", str(file)], environment)
    assert config.learning_rate == 0.5
    assert config.batch_size == 16
    assert config.seed == 5
    assert config.quick_test is True
    assert config.share_weights == (3.0, 1.0)
    assert config.epochs is None


@pytest.mark.parametrize("betas", [["0.9", "0.95"], ["0.9,0.95"]])
def test_arguments_of_the_optimizer_come_from_the_command_line(betas: list[str]) -> None:
    arguments = [
        "--optimizer",
        "nadam",
        "--betas",
        *betas,
        "--optimizer-options",
        "momentum_decay=1e-3",
        "maximize=true",
    ]
    config = parse_config(arguments, {"SLIPWAY_EPS": "1e-7"})
    assert config.optimizer_arguments == {
        "betas": (0.9, 0.95),
        "eps": 1e-7,
        "momentum_decay": 0.001,
        "maximize": True,
    }
    spec = parse_config(["--betas", *betas, "--eps", "1e-8"], {}).make_recipe().optimizer
    assert (spec.name, spec.beta1, spec.beta2, spec.eps) == ("adamw", 0.9, 0.95, 1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning-rat", "1"], r"--learning-rat .*'--learning-rate'"),
        (["--batch-rule", "scal"], r"--batch-rule: 'scal' .*'scale'"),
        (["--batch-size", "1.5"], r"--batch-size: expected a whole number, got '1.5'"),
        (["--batch-size", "0"], r"--batch-size: must be at least 1"),
        (["--learning-rate", "-1"], r"--learning-rate: must be above 0"),
        (["--seed"], r"--seed"),
        (["train"], r"unexpected argument 'train'"),
        (["--config", "/nowhere.yaml"], r"--config /nowhere\.yaml: No such file or directory"),
        (["--micro-batch-size", "4", "--gradient-accumulation", "2"], r"give one of them"),
        (["--batch-rule", "fixed", "--auto-adjust-batch-size"], r"contradicts"),
        (["--stages-config", "agressive"], r"'agressive' .*'aggressive'"),
        (["--share-weights", "0,0"], r"--share-weights"),
        (["--optimizer", "adm"], r"--optimizer: 'adm' .*'adam'"),
        (["--optimizer", "sgd", "--betas", "0.9", "0.95"], r"--betas: sgd has none; it has momentum"),
        (["--betas", "0.9", "1.5"], r"--betas: must be from 0 up to below 1"),
        (["--eps", "0"], r"--eps: must be above 0"),
        (["--optimizer", "sgd", "--momentum", "1"], r"--momentum: must be from 0 up to below 1"),
        (["--optimizer-options", "nesterov"], r"--optimizer-options: 'nesterov' is not NAME=VALUE"),
        (["--optimizer-options", "lr=1"], r"lr has an option of its own: --learning-rate"),
        (["--schedule", "onecycle"], r"--schedule: 'onecycle' .*'one_cycle'"),
        (["--schedule", "one_cycle", "--warmup-epochs", "1"], r"a warm-up of its own"),
        (["--train-ratio", "1.5"], r"--train-ratio must be between 0 and 1"),
        (["--dropout", "1"], r"dropout must be from 0 up to below 1"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(arguments, {}).make_recipe()
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_mistake_ends_with_exit_code_2_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--epoch", "3"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: unknown option --epoch (did you mean '--epochs'?)")
    assert captured.err.count("\n") == 1


def test_a_typo_in_the_file_names_file_and_nearest_key(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("batchsize: 16\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"recipe\.yaml: unknown key 'batchsize' \(did you mean 'batch_size'\?\)"):
        parse_config(["--config", str(file)], {})
    file.write_text("batch_size: [1\n", encoding="utf-8")
    with pytest.raises(UserError, match="not readable YAML"):
        parse_config(["--config", str(file)], {})


def test_auto_adjust_is_another_spelling_of_the_batch_rule() -> None:
    assert TrainingConfig().make_recipe().batch_rule == "scale"
    assert TrainingConfig(auto_adjust_batch_size=True).make_recipe().batch_rule == "scale"
    assert TrainingConfig(auto_adjust_batch_size=False).make_recipe().batch_rule == "fixed"
    assert parse_config(["--no-auto-adjust-batch-size"], {}).effective_batch_rule == "fixed"


def test_scale_multiplies_batch_and_rate_and_fixed_leaves_both() -> None:
    scaled = TrainingConfig(learning_rate=0.01).make_recipe().resolve(4, "no")
    assert (scaled.resolved.global_batch_size, scaled.peak_learning_rate) == (128, pytest.approx(0.04))
    fixed = TrainingConfig(learning_rate=0.01, batch_rule="fixed").make_recipe().resolve(4, "no")
    assert (fixed.resolved.global_batch_size, fixed.peak_learning_rate) == (32, pytest.approx(0.01))
    rooted = TrainingConfig(learning_rate=0.01, learning_rate_rule="sqrt").make_recipe().resolve(4, "no")
    assert rooted.peak_learning_rate == pytest.approx(0.02)


def test_the_hash_follows_what_is_learned_and_not_how_it_is_computed() -> None:
    base = TrainingConfig().make_recipe()
    assert TrainingConfig(micro_batch_size=3, num_workers=2, runs_dir="x").make_recipe().hash == base.hash
    assert TrainingConfig(seed=1).make_recipe().hash != base.hash
    resolved = base.resolve(2, "no")
    assert resolved.hash != base.hash
    assert resolved.base_hash == base.base_hash


def test_what_came_later_does_not_change_the_hash_of_a_recipe_that_leaves_it_alone() -> None:
    recipe = Recipe(task=TaskSpec(name="x"), stages=(Stage(name="s", epochs=1),))
    assert (recipe.hash, recipe.resolve(2, "no").hash) == ("857e88276f08a69c", "4ffd1bc9280968c8")
    assert len({replace(recipe, **{name: "sqrt"}).hash for name in LATER_FIELDS} | {recipe.hash}) == 1 + len(
        LATER_FIELDS
    )


def test_a_recipe_goes_to_plain_values() -> None:
    recipe = TrainingConfig(stages_config="aggressive", ema_decay=0.99).make_recipe().resolve(2, "no")
    values = recipe.as_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["stages"][1]["options"]["augmentation"]["noise"] > 0
    assert values["resolution"]["global_batch_size"] == 64


def test_presets_have_the_stages_they_promise() -> None:
    names = [stage.name for stage in load_stages("curriculum", PRESETS, SignStage)]
    assert names == ["baseline", "augmentation", "regularization", "fine-tuning", "polishing"]
    assert {name: len(load_stages(name, PRESETS, SignStage)) for name in PRESETS} == {
        "default": 1,
        "curriculum": 5,
        "conservative": 2,
        "aggressive": 3,
        "minimal": 1,
        "fine_tune": 1,
        "regularization": 1,
        "exploration": 1,
        "polish": 1,
    }
    baseline, _, regularized, *_ = load_stages("curriculum", PRESETS, SignStage)
    assert regularized.options.label_smoothing > 0
    assert regularized.options.dropout > baseline.options.dropout


def test_few_samples_are_trained_on_for_more_epochs_unless_their_number_is_given() -> None:
    recipe = TrainingConfig(batch_size=16).make_recipe()
    epochs, least = recipe.stages[0].epochs, recipe.stages[0].min_steps
    assert least is not None
    assert recipe.with_enough_epochs(64).stages[0].epochs == -(-least // 4) > epochs
    assert recipe.with_enough_epochs(16 * least).stages[0].epochs == epochs
    asked = TrainingConfig(batch_size=16, epochs=7).make_recipe()
    assert asked.with_enough_epochs(64).stages[0].epochs == 7


def test_a_recipe_keeps_the_hash_that_it_had_before_stages_could_say_more() -> None:
    stages = (Stage(name="only", epochs=2),)
    recipe = Recipe(task=TaskSpec(name="sign"), stages=stages)
    assert recipe.hash == "45f3810197ecd123"
    assert replace(recipe, stages=(Stage(name="only", epochs=2, end_with="last"),)).hash != recipe.hash


def test_a_quick_test_is_two_short_stages() -> None:
    stages = TrainingConfig(quick_test=True, epochs=50, stages_config="curriculum").make_recipe().stages
    assert [stage.epochs for stage in stages] == [3, 3]
    assert [stage.patience for stage in stages] == [3, 3]


def test_augmentation_can_be_forced_on_and_off() -> None:
    off = TrainingConfig(augment=False).make_recipe()
    assert all(stage.options.augmentation == Augmentation() for stage in off.stages)
    on = TrainingConfig(augment=True).make_recipe()
    assert all(stage.options.augmentation != Augmentation() for stage in on.stages)


def test_stages_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "stages.yaml"
    file.write_text(
        "- {name: first, epochs: 2, augmentation: {noise: 0.1}}\n- {name: second, epochs: 1, schedule: linear}\n",
        encoding="utf-8",
    )
    first, second = load_stages(str(file), PRESETS, SignStage)
    assert (first.epochs, first.options.augmentation.noise, second.schedule) == (2, 0.1, "linear")
    file.write_text("- {name: first, epoch: 2}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"stage 1: unknown key 'epoch' \(did you mean 'epochs'\?\)"):
        load_stages(str(file), PRESETS, SignStage)
    file.write_text("- {name: first}\n", encoding="utf-8")
    with pytest.raises(UserError, match="stage 1: missing key 'epochs'"):
        load_stages(str(file), PRESETS, SignStage)
    for wrong, told in (
        ("dropout: 1", r"dropout must be from 0 up to below 1"),
        ("epochs: 0", "stage 'first': epochs must be"),
    ):
        file.write_text(f"- {{name: first, {'' if 'epochs' in wrong else 'epochs: 1, '}{wrong}}}\n", encoding="utf-8")
        with pytest.raises(UserError, match=rf"stages\.yaml: stage 1: {told}"):
            load_stages(str(file), PRESETS, SignStage)
    file.write_text("- {name: a, epochs: 1}\n- {name: a, epochs: 1}\n", encoding="utf-8")
    with pytest.raises(UserError, match="same name"):
        load_stages(str(file), PRESETS, SignStage)


@pytest.mark.parametrize("options", [{"reduction": "flat"}, {"sharding": "fsdp"}])
def test_buckets_are_refused_where_there_are_none(options: dict[str, Any]) -> None:
    assert "--bucket-bytes: there are buckets with" in str(catch(TrainingConfig, bucket_bytes=1000, **options))


def test_buckets_that_are_not_used_are_told() -> None:
    config = TrainingConfig(bucket_bytes=1000)
    plan = make_plan(config, config.make_recipe().resolve(1, "no"), Ranks.alone())
    assert plan.bucket_bytes is None
    assert dict(plan.reasons)["bucket_bytes"] == "not used: one process: nothing to reduce"


def test_help_in_python_has_a_line_for_each_option_with_its_default_and_choices() -> None:
    lines = [line.strip() for line in str(TrainingConfig.__doc__).splitlines()]
    for name, field in TrainingConfig.__dataclass_fields__.items():
        (line,) = [line for line in lines if line.startswith(f"{name} = {field.default!r}")]
        assert line.endswith(f": {field.metadata['help']}")
    assert any(line.startswith("optimizer = 'adamw' (adamw, sgd, adadelta, ") for line in lines)
