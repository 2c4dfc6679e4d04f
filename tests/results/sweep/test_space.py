"""What `--sweep` asks for: options, their values and ranges, and one line for what is wrong."""

from __future__ import annotations

import pytest

from slipway.results.sweep.space import given_values, read_space, without
from slipway.training.common.errors import UserError
from slipway.training.run.training_config import TrainingConfig


def test_values_ranges_and_usual_values_are_read_with_the_types_of_the_options() -> None:
    space = read_space(["learning-rate=1e-4:1e-2:log", "dropout=0,.1", "model_width=32:70:16", "augment"],
                       [], TrainingConfig())  # fmt: skip
    rate, dropout, width, augment = space
    assert (rate.name, rate.low, rate.high, rate.is_log, rate.is_whole) == ("learning_rate", 1e-4, 1e-2, True, False)
    assert dropout.choices == (0.0, 0.1)
    assert (width.low, width.high, width.step, width.is_whole) == (32, 64, 16, True)
    assert augment.choices == (True, False)
    assert [one.described() for one in space] == ["0.0001:0.01:log", "0,0.1", "32:64:16", "yes,no"]
    assert [rate.words(0.00123456), dropout.words(0.1), width.words(48), augment.words(False)] == [
        ["--learning-rate", "0.00123"], ["--dropout", "0.1"], ["--model-width", "48"], ["--no-augment"],
    ]  # fmt: skip


def test_options_of_a_task_are_tried_by_their_names() -> None:
    config = TrainingConfig(task="toy.py:make", task_options={"width": 16})
    rest = ["--task", "toy.py:make", "--task-options", "width=16"]
    (width,) = read_space(["task_options.width=8,16"], rest, config)
    assert width.words(8) == ["--task-options", "width=8"]
    assert without([*rest, "depth=2", "--epochs", "3"], [width]) == [*rest[:3], "depth=2", "--epochs", "3"]
    assert without(rest, [width]) == rest[:2]
    assert given_values([width], config) == {"task_options.width": 16}


def test_the_first_trial_has_what_the_command_sets_where_that_is_tried() -> None:
    config = TrainingConfig(learning_rate=1e-3, dropout=0.5)
    space = read_space(["learning_rate=1e-4:1e-2:log", "dropout=0,0.1"], [], config)
    assert given_values(space, config) == {"learning_rate": 1e-3}


def test_what_is_tried_is_left_out_of_the_words_of_the_training() -> None:
    space = read_space(["learning_rate", "augment"], [], TrainingConfig())
    words = ["--learning-rate", "1", "--epochs", "3", "--no-augment", "--learning-rate=2", "--betas", "0.9", "0.99"]
    assert without(words, space) == ["--epochs", "3", "--betas", "0.9", "0.99"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lr=1,2", "--sweep lr: no such option (did you mean 'learning_rate'?)"),
        ("learning_rate=1e-2:1e-4", "the range is empty: 0.01 is not below 0.0001"),
        ("learning_rate=0:1:log", "a range on a log scale begins above 0"),
        ("dropout=0,1.5", "dropout must be from 0 up to below 1, got 1.5"),
        ("dropout=0.1", "one value is nothing to compare"),
        ("model_width=32:33", "width must be a multiple of its 4 heads, got 33"),
        ("optimizer=adamw:sgd", "optimizer is not a number"),
        ("seed=1,2", "it would choose the luckiest seed"),
        ("threads=1,2", "it does not decide what is learned"),
        ("train_ratio=0.5,0.8", "trials are compared on the same data"),
        ("betas=0.9,0.99", "it takes several values at once"),
        ("clip_norm", "say what to try"),
    ],
)
def test_what_cannot_be_tried_is_told_in_one_line(word: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_space([word], [], TrainingConfig())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
