"""What a shell completes, in the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.launcher.completion.command import Command, commands
from slipway.launcher.completion.scripts import bash, fish, zsh
from tests.conftest import ROOT
from tests.launcher.helpers import assert_one_line_error

SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}
# What Tab is pressed after, and what must and must not be offered.
LINES = [
    ("slipway ", ["train", "plan", "launch", "completion"], ["bash"]),
    ("slipway pl", ["plan"], ["train"]),
    ("slipway plan --dev", ["--device"], ["--json"]),
    ("slipway plan --device ", ["auto", "cuda", "cpu"], ["--device"]),
    ("slipway plan --device c", ["cpu", "cuda"], ["auto"]),
    ("slipway plan --compile --mixed-precision b", ["bf16"], ["fp16"]),
    ("slipway schema ", ["hardware", "plan"], []),
    ("slipway completion z", ["zsh"], ["bash"]),
    ("slipway train --optimizer ", ["adamw", "sgd"], []),
    ("slipway train --no-mul", ["--no-multi-gpu"], ["--multi-gpu"]),
    ("slipway plan --num-processes ", [], ["--json", "README.md"]),
    ("slipway detect --hardware READ", ["README.md"], []),
    ("slipway launch --device cpu --num-w", ["--num-workers"], []),
    ("slipway launch --device cpu bin/tr", ["bin/train.py"], []),
]


@pytest.fixture(scope="module")
def known() -> list[Command]:
    return commands()


@pytest.fixture(scope="module")
def folder(known: list[Command], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the three scripts."""
    folder = tmp_path_factory.mktemp("completion")
    for shell, script in SCRIPTS.items():
        (folder / shell).write_text(script(known), encoding="utf-8")
    return folder


def run(shell: str, *arguments: str) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    done = subprocess.run([shell, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_and_option_is_in_every_script(known: list[Command], folder: Path) -> None:
    assert [one.name for one in known] == list(cli._COMMANDS)
    assert {"--device", "--hardware", "--config"} <= {
        name for one in known if one.name == "plan" for option in one.options for name in option.names
    }
    for shell in SCRIPTS:
        words = set((folder / shell).read_text(encoding="utf-8").translate(str.maketrans("'=[:)", "     ")).split())
        for command in known:
            assert command.name in words
            for name in (name for option in command.options for name in option.names):
                assert (name.lstrip("-") if shell == "fish" else name) in words, f"{shell}: {command.name} {name}"


@pytest.mark.parametrize(("line", "offered", "not_offered"), LINES)
def test_bash_completes(folder: Path, line: str, offered: list[str], not_offered: list[str]) -> None:
    # `compgen` stands in for readline, which completes files where the function has no answer.
    code = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); kept=yes\n'
        'compopt() { kept=; }; _slipway; printf "%s\\n" "${COMPREPLY[@]}"\n'
        'if [[ $kept ]]; then compgen -f -- "${COMP_WORDS[COMP_CWORD]}"; fi; true'
    )
    found = run("bash", "--norc", "-c", code, "bash", str(folder / "bash"), *line.split(" ")).split()
    assert set(offered) <= set(found)
    assert not set(not_offered) & set(found)


@pytest.mark.parametrize(
    ("word", "offered"), [(["--device", "=", "cu"], ["cuda"]), (["--device", "="], ["cpu", "cuda"])]
)
def test_bash_completes_after_an_equals_sign(folder: Path, word: list[str], offered: list[str]) -> None:
    code = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _slipway; printf "%s\\n" "${COMPREPLY[@]}"'
    found = run("bash", "--norc", "-c", code, "bash", str(folder / "bash"), "slipway", "plan", *word).split()
    assert set(offered) <= set(found)


def test_what_follows_the_script_of_a_launch_is_left_to_it(folder: Path) -> None:
    code = 'source "$1"; COMP_WORDS=(slipway launch --device = cpu x.py --dev); COMP_CWORD=6; _slipway; echo "${COMPREPLY[@]}"'
    assert run("bash", "--norc", "-c", code, "bash", str(folder / "bash")).split() == []


@pytest.mark.parametrize(("line", "offered", "not_offered"), LINES)
def test_fish_completes(folder: Path, line: str, offered: list[str], not_offered: list[str]) -> None:
    code = "set -x XDG_CONFIG_HOME /nowhere; source $argv[1]; complete -C $argv[2]"
    found = [
        row.split("\t")[0] for row in run("fish", "--no-config", "-c", code, str(folder / "fish"), line).splitlines()
    ]
    assert set(offered) <= set(found)
    assert not set(not_offered) & set(found)


def test_zsh_completes(folder: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("no zsh here")
    import pexpect

    shell = pexpect.spawn("zsh", ["-f"], cwd=str(ROOT), encoding="utf-8", timeout=20, dimensions=(40, 200))
    try:
        shell.sendline("autoload -U compinit; compinit -u -D; slipway() { echo got: $* }")
        shell.sendline(f"source {folder / 'zsh'}; echo rea''dy")
        shell.expect("ready")
        for typed, completed in (
            ("slipway plan --dev\tcu\t", "plan --device=cuda"),
            ("slipway schema h\t", "schema hardware"),
            ("slipway comp\tf\t", "completion fish"),
            ("slipway launch --device cpu bin/tr\t", "launch --device cpu bin/train.py"),
            ("slipway train --opt\tsg\t", "train --optimizer=sgd"),
        ):
            shell.sendline(typed)
            shell.expect_exact(f"got: {completed}")
    finally:
        shell.close(force=True)


def test_the_script_is_printed_and_another_shell_refused(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert cli.main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == (folder / "bash").read_text(encoding="utf-8")
    assert_one_line_error(["completion", "zhs"], "unknown shell 'zhs' (did you mean 'zsh'?)", capsys)
