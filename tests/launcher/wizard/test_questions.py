"""What the wizard asks of a machine, what a reply means, what it remarks; and its documentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway.launcher.plan.accelerate import config as accelerate_config
from slipway.launcher.plan.make_plan import Intent, make_plan
from slipway.launcher.wizard.answers import ACTIONS, Answers, parse_count, read_answers
from slipway.launcher.wizard.answers import given_answers as said
from slipway.launcher.wizard.conversation import machine_lines
from slipway.launcher.wizard.destination import destination_question
from slipway.launcher.wizard.dialogue import INTRODUCTION
from slipway.launcher.wizard.questions import QUESTIONS, next_question
from slipway.launcher.wizard.remarks import describe_split, remarks
from slipway.launcher.wizard.script import script_words
from slipway.launcher.wizard.state import Question, WizardState, make_state, new_warnings, parse_reply
from slipway.training.batches.share import micro_batches
from slipway.training.common.errors import UserError
from slipway.training.run.cli import parse_config
from tests.conftest import ROOT
from tests.launcher.machines import machines
from tests.launcher.plans import golden_plans

MACHINES = machines()
PLANS = golden_plans()


def start(name: str, **fixed: Any) -> WizardState:
    return make_state(MACHINES[name], Answers(intent=Intent(**fixed)))


def question(name: str) -> Question:
    return next(one for one in QUESTIONS if one.name == name)


def walk(state: WizardState) -> list[tuple[Question, WizardState]]:
    """Return the questions that somebody is asked who takes every recommendation."""
    met: list[tuple[Question, WizardState]] = []
    settled = list(said(state.answers))
    while one := next_question(state, [*settled, *(question.name for question, _ in met)]):
        met.append((one, state))
        state = state.with_answer(one.name, parse_reply(one, one.options(state), ""))
    return met


@pytest.mark.parametrize("name", MACHINES)
def test_taking_every_recommendation_gives_the_plan_of_the_machine(name: str) -> None:
    met = walk(start(name))
    last, state = met[-1]
    state = state.with_answer(last.name, None)
    assert state.plan == PLANS[name]
    assert state.answers == Answers()
    assert len(met) <= 8


@pytest.mark.parametrize("name", MACHINES)
def test_everything_offered_as_possible_works_and_the_rest_says_why_not(name: str) -> None:
    for one, state in walk(start(name)):
        options = one.options(state)
        assert options[0].value is None
        assert all(option.meaning for option in options)
        assert len({option.label for option in options}) == len(options)
        for option in options[1:]:
            if option.possible:
                plan = state.with_answer(one.name, option.value).plan
                assert getattr(plan, one.name) == option.value
            else:
                with pytest.raises(UserError):
                    state.with_answer(one.name, option.value)


def test_only_what_can_be_chosen_is_asked() -> None:
    def asked(name: str, **fixed: Any) -> list[str]:
        return [one.name for one, _ in walk(start(name, **fixed))]

    assert asked("container_2_of_64_cores") == [
        "script",
        "num_processes",
        "mixed_precision",
        "parameters",
        "global_batch_size",
        "compile",
    ]
    assert "num_processes" not in asked("t4")  # one GPU
    assert "compile" not in asked("m2")
    assert {"device", "num_machines"} <= set(asked("slurm_step_4_nodes"))
    assert "sharding" in asked("8xh100", parameters=7_000_000_000)
    assert "sharding" not in asked("8xh100")
    assert "sharding" not in asked("t4", parameters=7_000_000_000)  # one process has nothing to share
    assert {"micro_batch_size", "gradient_accumulation"} <= set(asked("8xh100", global_batch_size=64))
    assert "micro_batch_size" not in asked("8xh100", global_batch_size=64, gradient_accumulation=2)


def test_several_machines_without_slurm_are_asked_where_they_meet() -> None:
    state = start("8xh100", num_machines=2)
    names: list[str] = []
    while one := next_question(state, ["num_machines", *names]):
        names.append(one.name)
        state = state.with_answer(one.name, "10.0.0.1" if one.name == "main_process_ip" else None)
    assert names[1:4] == ["device", "main_process_ip", "machine_rank"]
    assert (state.plan.main_process_ip, state.plan.num_processes) == ("10.0.0.1", 16)
    with pytest.raises(UserError, match="nothing is recommended here"):
        parse_reply(question("main_process_ip"), [], "")


def test_a_later_recommendation_follows_an_earlier_answer() -> None:
    state = start("rtx3090_rtx2080ti")
    assert question("mixed_precision").options(state)[0].label == "fp16"
    assert question("mixed_precision").options(state.with_answer("num_processes", 1))[0].label == "bf16"
    assert question("mixed_precision").options(state.with_answer("device", "cpu"))[0].label == "no"


def test_a_precision_that_works_badly_is_offered_with_its_fault_and_warned_of() -> None:
    state = start("t4")
    (bf16,) = [option for option in question("mixed_precision").options(state) if option.label == "bf16"]
    assert bf16.meaning.startswith("Tesla T4 has no native bf16")
    (warning,) = new_warnings(state, state.with_answer("mixed_precision", "bf16"))
    assert "Tesla T4 has no native bf16" in warning


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("1", None),
        ("bf16", None),
        ("2", "fp16"),
        ("FP16", "fp16"),
        ("3", "no"),
        ("no", "no"),
        ("fp8", "fp8"),
    ],
)
def test_a_choice_is_its_number_its_name_or_enter(text: str, value: str | None) -> None:
    one = question("mixed_precision")
    options = one.options(start("rtx3090_rtx2080ti", num_processes=1))
    assert [option.label for option in options] == ["bf16", "fp16", "no", "fp8"]
    assert not options[-1].possible
    assert parse_reply(one, options, text) == value


@pytest.mark.parametrize("text", ["0", "4", "bf8", "-1", "²", "\x1b[A"])
def test_what_means_nothing_is_refused(text: str) -> None:
    one = question("mixed_precision")
    with pytest.raises(UserError, match=r"is not one of them.*type 1 to 3 or a name"):
        parse_reply(one, one.options(start("rtx3090_rtx2080ti", num_processes=1)), text)


def test_where_a_number_is_asked_for_what_is_typed_is_the_number() -> None:
    one, state = question("num_processes"), start("8xh100")
    options = one.options(state)
    assert [option.label for option in options] == ["8", "4", "2", "1"]
    assert (parse_reply(one, options, "2"), parse_reply(one, options, "3"), parse_reply(one, options, "8")) == (
        2,
        3,
        None,
    )
    with pytest.raises(UserError, match="'two' is not a whole number"):
        parse_reply(one, options, "two")
    with pytest.raises(UserError, match="more than a launch can have"):
        parse_reply(one, options, "1000000000")


@pytest.mark.parametrize(
    ("text", "count"),
    [("300000", 300_000), ("7e9", 7 * 10**9), ("1.1B", 11 * 10**8), ("12 k", 12_000), ("1,000", 1000)],
)
def test_a_number_of_parameters_may_be_written_as_people_do(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "B", "many", "1.5", "nan", "inf", "1e400", "0x10"])
def test_what_is_no_number_of_parameters_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_count(text)


def test_an_uneven_batch_is_told_as_it_is_cut() -> None:
    hardware = MACHINES["8xh100"]

    def told(processes: int, **intent: int) -> str:
        return describe_split(
            make_plan(hardware, Intent(num_processes=processes, **intent)), intent["global_batch_size"]
        )

    assert told(2, global_batch_size=64) == told(2, global_batch_size=64, micro_batch_size=8) == ""
    assert told(3, global_batch_size=100).startswith(
        "100 samples on 3 processes are uneven shares: 1 with 34, 2 with 33. Slipway's loop"
    )
    sizes = {part.stop - part.start for part in micro_batches(34, 8)}
    assert (len(micro_batches(34, 8)), sizes) == (5, {6, 7})
    assert "1 with 34, 2 with 33; the largest is cut into 5 micro-batches of 6 to 7." in told(
        3, global_batch_size=100, micro_batch_size=8
    )
    assert told(1, global_batch_size=9, micro_batch_size=6).startswith(
        "9 samples on 1 process: 9 each; the largest is cut into 2 micro-batches of 4 to 5."
    )


def test_deepspeed_is_said_to_be_too_much_for_slipways_own_loop_and_fsdp_is_not() -> None:
    assert list(remarks(start("8xh100", sharding="fsdp"))) == []
    state = start("8xh100", sharding="zero3")
    (line,) = remarks(state)
    assert line.startswith("Slipway's own training shards by FSDP2 and refuses DeepSpeed's ZeRO")
    assert list(remarks(state.with_answer("script", "mine.py --deep"))) == []


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_is_told_in_two_to_four_lines(name: str) -> None:
    lines = list(machine_lines(MACHINES[name]))
    assert 2 <= len(lines) <= 4
    assert f"{MACHINES[name].cpu.usable_cpus:g} usable CPUs" in lines[0]
    assert ("none" in lines[1]) == (not MACHINES[name].accelerators)


def test_where_to_write_never_starts_with_overwriting(tmp_path: Path) -> None:
    plan = PLANS["t4"]
    path = tmp_path / "c.yaml"

    def labels() -> list[str]:
        return [option.label for option in destination_question(path, plan)[1]]

    assert labels() == [str(path), "no file"]
    path.write_text(accelerate_config.to_yaml(plan), encoding="utf-8")
    assert labels() == [str(path), "no file"]
    path.write_text("mine\n", encoding="utf-8")
    assert labels() == [str(tmp_path / "c_2.yaml"), "overwrite", "no file"]
    (tmp_path / "c_2.yaml").touch()
    question, options = destination_question(path, plan)
    assert options[0].label == str(tmp_path / "c_3.yaml")
    assert parse_reply(question, options, "other.yml").path == Path("other.yml")
    with pytest.raises(UserError, match=r"'yes' is not one of them; type a number, or a path that ends in \.yaml"):
        parse_reply(question, options, "yes")
    with pytest.raises(UserError, match="Is a directory"):
        destination_question(tmp_path, plan)


def test_slipways_own_training_is_told_the_batch_that_was_chosen() -> None:
    answers = Answers(intent=Intent(global_batch_size=63, micro_batch_size=4))
    script = script_words(answers)
    assert script[0] == "bin/train.py"
    config = parse_config(script[1:], {})
    assert (config.batch_size, config.micro_batch_size, config.batch_rule) == (63, 4, "fixed")
    told = replace(answers, script="./bin/train.py --batch-size=8 --epochs 1")
    assert script_words(told) == ["./bin/train.py", "--batch-size=8", "--epochs", "1", "--micro-batch-size", "4"]
    assert script_words(replace(answers, script="mine.py")) == ["mine.py"]


@pytest.mark.parametrize("text", ["--num-processes 2", "-m", "   ", "a 'b"])
def test_what_names_no_script_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        start("t4").with_answer("script", question("script").read(text))  # type: ignore[misc]


def test_the_answers_and_the_screen_of_the_documentation_are_the_wizards(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "wizard.md").read_text(encoding="utf-8")
    path = tmp_path / "a.yaml"
    path.write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    assert set(ACTIONS) < set(read_answers(str(path)))
    screen = text.split("```console\n")[1].split("```")[0].splitlines()
    assert INTRODUCTION in screen
    shown = [line for line in screen if line.endswith(("]:", "]: 2"))]
    for one in map(question, ("num_processes", "mixed_precision", "parameters", "global_batch_size")):
        assert any(line.split(":")[0] == one.title for line in screen)
        assert any(line.startswith(one.prompt or "Choose 1 to 2") for line in shown)
