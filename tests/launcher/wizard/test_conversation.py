"""What a person says to the wizard, what it answers, and what it writes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from slipway.launcher.common.paths import TRAIN_SCRIPT
from slipway.launcher.plan.accelerate.config import to_yaml
from slipway.launcher.wizard.questions import QUESTIONS
from slipway.launcher.wizard.screen import NAMES
from slipway.launcher.wizard.terms import TERMS
from tests.launcher.machines import machines
from tests.launcher.plans import golden_plans
from tests.launcher.wizard.screens import PAGE, page
from tests.launcher.wizard.talk import Talker, of

PLANS = golden_plans()


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", machines())
def test_two_keys_write_the_plan_of_the_machine(name: str, talk: Talker, tmp_path: Path) -> None:
    done = talk(["", ""], *of(name))
    (file,) = written(tmp_path)
    assert (done.code, Path(file).read_text(encoding="utf-8")) == (0, to_yaml(PLANS[name]))
    assert "Everything is as planned for this machine." in done.said
    assert done.same == ["config", *of(name)]
    shown = re.findall(r"^  ([1-6])  (\w+)", done.said, flags=re.MULTILINE)[: len(NAMES)]
    assert shown == [(str(number), one) for number, one in enumerate(NAMES, 1)]
    assert done.told.count("\n") == 1  # the command, and nothing else, can be taken from a pipe
    assert done.told.endswith(f"accelerate launch --config_file {file} {done.told.split(f'{file} ')[1]}")


def test_three_changes_and_only_they_differ_at_the_end(talk: Talker, tmp_path: Path) -> None:
    done = talk(["2 0,2", "4 7B", "5", "fp16", "", "", ""], *of("8xh100"))
    assert done.same == [
        "config", *of("8xh100"), "--gpu-ids", "0,2", "--mixed-precision", "fp16", "--parameters", "7000000000"
    ]  # fmt: skip
    differs = done.said.split("What differs from the plan of the machine alone:")[1].split("What now?")[0]
    assert [line.split()[0] for line in differs.strip().splitlines()] == ["2", "4", "5"]
    assert "2 x NVIDIA H100 80GB HBM3 (numbers 0, 2 of 8)" in differs
    assert "52.2 of 79.1 GiB each" in done.said
    (file,) = written(tmp_path)
    data = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    assert (data["gpu_ids"], data["mixed_precision"], data["distributed_type"]) == ("0,2", "fp16", "FSDP")


@pytest.mark.parametrize(
    ("machine", "reply", "why"),
    [
        ("t4", "5 fp8", "Tesla T4 cannot compute fp8"),
        ("t4", "2 rocm", "this machine has cuda"),
        ("t4", "4 fsdp", "one process has nothing to share"),
        ("t4", "2 3", "3 processes, but 1 cuda device"),
        ("2xrtx4090", "2 0,5", "no GPU 5 that can be used; there are 0, 1"),
        ("2xrtx4090", "2 0,0", "name each GPU once"),
        ("8xmi300x", "2 0,1", "write HIP_VISIBLE_DEVICES=0,1 before the command"),
        ("8xh100", "5 2", "'2' is none of bf16, fp16, no, fp8"),
        ("m2", "5 compile", "none of bf16, fp16, no, fp8"),
        ("m2", "5 yes", "torch.compile has no proven backend on mps"),
        ("m2", "4 fsdp", "not on mps"),
        ("8xh100", "3 0", "is no whole number from 1"),
        ("8xh100", "4 7e99", "a model has 1 to 1000T parameters"),
        ("8xh100", "4 many", "is no number of parameters"),
        ("8xh100", "4 count me", "is no number of parameters"),
        ("8xh100", "6 -3", "is no whole number from 1"),
        ("8xh100", "1 --fast", "names no script"),
        ("8xh100", "7", "is none of 1 to 6"),
        ("8xh100", "devics", "did you mean 'devices'?"),
        ("8xh100", "? fsbp", "did you mean 'fsdp'?"),
    ],
)
def test_what_cannot_be_is_refused_with_why_and_the_person_goes_on(
    machine: str, reply: str, why: str, talk: Talker
) -> None:
    done = talk([reply, "q"], *of(machine), typed=True)
    (line,) = [one for one in done.said.splitlines() if one.startswith("not possible: ")]
    assert why in line
    assert done.code == 1
    assert done.said.endswith("left: nothing was written\n")


@pytest.mark.parametrize("name", machines())
def test_every_choice_that_is_offered_works_and_every_other_says_why(name: str, talk: Talker) -> None:
    replies = [key for line in "123456" for key in (line, *["-", ""] * 4)]
    said = talk([*replies, "q"], *of(name), typed=True).said
    folded = {word for line in re.findall(r"not possible here: (.*); - says why", said) for word in line.split(", ")}
    assert folded == set(re.findall(r"^ +(\w+) +not possible: .", said, flags=re.MULTILINE))


def test_each_line_and_each_question_has_its_words_with_an_example(talk: Talker) -> None:
    assert {one.line for one in TERMS} == set(range(1, len(NAMES) + 1))
    assert {one.term for one in QUESTIONS} <= {one.word for one in TERMS}
    said = talk(["?", "q"], *of("t4"), typed=True).said
    assert all(f"{one.meaning}. Example: {one.example}." in said for one in TERMS)
    third = talk(["? 3", "q"], *of("t4"), typed=True).said
    assert [one.word in third for one in TERMS if one.line == 3] == [True] * 3
    assert "the loss is scaled so that" not in third
    assert "spread over the processes" in talk(["5", "? fsdp", "back", "q"], *of("t4"), typed=True).said


def test_back_leaves_a_line_undoes_a_change_and_auto_takes_an_answer_back(talk: Talker) -> None:
    done = talk(["back", "5 fp16", "5", "no", "back", "back", "4 1B", "4 auto", "", "3"], *of("8xh100"), typed=True)
    assert "Nothing was changed yet." in done.said
    assert "Left as it was." in done.said
    assert "Everything is as planned for this machine." in done.said
    assert done.told == f"slipway launch {TRAIN_SCRIPT}\n"


def test_several_machines_are_asked_where_they_meet_before_anything_else(talk: Talker) -> None:
    done = talk(["3", "2", "", "70B", "10.0.0.1:29501", "1", "", "3"], *of("8xh100"), typed=True)
    assert "nothing is planned here; type a value" in done.said
    assert "'70B' is a number, not a host" in done.said
    flags = "--num-machines 2 --machine-rank 1 --main-process-ip 10.0.0.1 --main-process-port 29501"
    assert done.told == f"slipway launch {flags} {TRAIN_SCRIPT}\n"
    again = talk(["", "node7", "", "3"], "--num-machines", "2", *of("8xh100"), typed=True)
    assert "2; where they meet is missing" in again.said
    assert again.told == f"slipway launch --num-machines 2 --main-process-ip node7 {TRAIN_SCRIPT}\n"


def test_as_many_gpus_of_each_machine_stay_where_their_number_changes(talk: Talker) -> None:
    done = talk(["2 4", "3 2", "node7", "", "3"], *of("8xh100"), typed=True)
    assert "--num-processes 8 --num-machines 2 --main-process-ip node7" in done.told


def test_a_number_behind_the_number_of_a_line_is_a_value(talk: Talker) -> None:
    assert "--num-processes 2 " in talk(["2 2", "", "3"], *of("8xh100")).told


def test_the_end_of_the_input_is_one_line_at_each_question_and_writes_nothing(talk: Talker, tmp_path: Path) -> None:
    replies = ["5", "fp16", "no", "3", "1", ""]
    for count in range(len(replies)):
        done = talk(replies[:count], *of("8xh100"))
        last = done.said.splitlines()[-1]
        assert (done.code, done.told) == (2, "")
        assert last.startswith("error: the input ended at the question ")
        assert "--yes" in last
    assert written(tmp_path) == []


def test_in_a_pipe_a_wrong_answer_ends_it_for_the_next_line_is_of_another_question(
    talk: Talker, tmp_path: Path
) -> None:
    for replies, wrong in (
        (["4 70BB", "", ""], "4 70BB"),
        (["5", "bf17", "", "", ""], "bf17"),
        (["", "nowhere"], "nowhere"),
    ):
        done = talk(replies, *of("8xh100"))
        assert done.code == 2
        assert done.said.splitlines()[-1].startswith(f"error: the input's answer '{wrong}' cannot be: ")
    assert written(tmp_path) == []


def test_a_file_that_is_there_is_kept(talk: Talker, tmp_path: Path) -> None:
    Path("c.yaml").write_text("mine\n", encoding="utf-8")
    done = talk(["", "c.yaml", "sub", "~nobody9/c.yaml", "1"], "--out", "c.yaml", *of("t4"), typed=True)
    assert "1  write    c_2.yaml, c.yaml holds something else and is kept" in done.said
    assert "not possible: c.yaml holds something else; name another file" in done.said
    assert "not possible: ~nobody9/c.yaml: this machine has no such user" in done.said
    assert "not possible: 'sub' is none of 1 to 4, nor a path that ends in .yaml" in done.said
    assert done.same[-2:] == ["--out", "c_2.yaml"]
    assert written(tmp_path) == ["c.yaml", "c_2.yaml"]
    assert Path("c.yaml").read_text(encoding="utf-8") == "mine\n"
    assert talk([], "--yes", "--out", "c.yaml", *of("t4")).code == 0
    assert Path("c.yaml").read_text(encoding="utf-8") == to_yaml(PLANS["t4"])


def test_nothing_and_the_command_write_no_file(talk: Talker, tmp_path: Path) -> None:
    done = talk(["", "4"], *of("t4"))
    assert (done.code, done.told, written(tmp_path)) == (0, "", [])
    assert done.said.endswith("left: nothing was written\n")
    assert talk(["", "3"], *of("t4")).told == f"slipway launch {TRAIN_SCRIPT}\n"


def test_train_now_starts_what_was_planned_and_ends_with_its_code(
    talk: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def start(arguments: list[str]) -> int:
        calls.append(arguments)
        return 42

    fake: Any = SimpleNamespace(main=start)
    monkeypatch.setitem(sys.modules, "slipway.launcher.launch.command", fake)
    options = ("--device", "cpu", "--script", "mine.py -n 1")
    assert "mine.py is not in this folder" in talk(["", "2", "4"], *options, typed=True).said
    Path("mine.py").touch()
    assert talk(["", "2"], *options).code == 42
    assert calls == [["--device", "cpu", "mine.py", "-n", "1"]]
    assert "it is the plan of another machine" in talk(["", "2", "4"], *of("t4"), typed=True).said


def test_slipways_own_training_is_told_the_batch_that_was_chosen(talk: Talker) -> None:
    done = talk(["6", "30", "4", "", "3"], *of("8xh100"))
    assert "note: 30 samples on 8 processes are uneven shares" in done.said
    batch = "--batch-size 30 --batch-rule fixed --micro-batch-size 4"
    assert done.told == f"slipway launch --global-batch-size 30 --micro-batch-size 4 {TRAIN_SCRIPT} {batch}\n"


def test_what_works_badly_is_warned_of(talk: Talker) -> None:
    assert "warning: Tesla T4 has no native bf16" in talk(["5 bf16", "", "4"], *of("t4")).said
    assert (
        "warning: --mixed-precision bf16: Tesla T4" not in talk(["", "4"], "--mixed-precision", "bf16", *of("t4")).said
    )


def test_the_screens_of_the_documentation_are_the_wizards() -> None:
    assert page() == PAGE.read_text(encoding="utf-8"), "look at `python -m tests.launcher.wizard.screens`"


def test_a_machine_in_words_is_planned_for(talk: Talker) -> None:
    done = talk(["4 70B", "", "3"], "--machine", "8 x H100, 64 cores, 512 GB")
    assert "70B parameters, spread by FSDP2" in done.said
