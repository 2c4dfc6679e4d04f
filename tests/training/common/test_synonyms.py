"""Names that people know from other tools lead to the right one, on the command line, in files and in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.training.common.errors import UserError, nearest
from slipway.training.common.synonyms import _NAMES, right_name
from slipway.training.config.options import GeneralOptions
from slipway.training.run.cli import parse_config
from slipway.training.run.training_config import TrainingConfig


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("--lr", "--learning-rate"), ("--bs", "--batch-size"), ("--wd", "--weight-decay"), ("--batch_size", "--batch-size"),
        ("--num_epochs", "--epochs"), ("--max_grad_norm", "--clip-norm"),
        ("--gradient_accumulation_steps", "--gradient-accumulation"),
        ("--output_dir", "--runs-dir"), ("--resume_from_checkpoint", "--resume"), ("--fp16", "--mixed-precision"),
        ("--gpus", "--multi-gpu"), ("--workers", "--num-workers"),
        ("--dataset", "--data"), ("--learning-rat", "--learning-rate"),
    ],
)  # fmt: skip
def test_a_flag_of_another_tool_is_answered_with_the_right_one(typed: str, right: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        parse_config([typed, "1"], {}, tmp_path)
    assert f"unknown option {typed} (did you mean {right!r}?)" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (["--device", "gpu"], "cuda"), (["--mixed-precision", "float16"], "fp16"), (["--mixed-precision", "fp32"], "no"),
        (["--device", "metal"], "mps"), (["--class-weights", "balance"], "balanced"),
    ],
)  # fmt: skip
def test_a_value_of_another_tool_is_answered_with_the_right_one(
    arguments: list[str], right: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"did you mean '{right}'"):
        parse_config(arguments, {}, tmp_path)


@pytest.mark.parametrize("typed", ["--num_processes", "--num-processes", "--nproc_per_node", "--world-size"])
def test_the_number_of_processes_is_an_option_of_the_launch(typed: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="slipway launch --num-processes 2"):
        parse_config([typed, "2"], {}, tmp_path)


def test_a_keyword_that_is_no_option_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^TrainingConfig: unknown option 'lr' .did you mean 'learning_rate'"):
        TrainingConfig(lr=0.1)  # type: ignore[call-arg]
    assert TrainingConfig(learning_rate=0.1).learning_rate == 0.1


def test_no_name_of_another_tool_hides_one_of_our_own() -> None:
    own = {*GeneralOptions.__dataclass_fields__, *TrainingConfig.__dataclass_fields__}
    for name in own:
        assert right_name(name, own) == name
    assert nearest("qqqq", own) == ""
    assert [name for name in _NAMES if name in own] != []
