"""What Tab completes, in the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from slipway.launcher import cli
from tests.conftest import ROOT
from tests.launcher.helpers import assert_one_line_error
from tests.limits import HANG_SECONDS

# What Tab is pressed after, and what must and must not be offered.
LINES = [
    ("slipway ", ["train", "plan", "launch", "completion"], ["bash", "--help"]),
    ("slipway pl", ["plan"], ["train"]),
    ("slipway plan --dev", ["--device"], ["--json"]),
    ("slipway plan ", ["--device", "--json"], ["README.md"]),
    ("slipway plan --device ", ["auto", "cuda", "cpu"], ["--device"]),
    ("slipway plan --compile --mixed-precision b", ["bf16"], ["fp16"]),
    ("slipway plan --num-processes ", [], ["--json", "README.md"]),
    ("slipway schema ", ["hardware", "plan"], ["--help"]),
    ("slipway train --optimizer ", ["adamw", "sgd"], []),
    ("slipway train --no-mul", ["--no-multi-gpu"], ["--multi-gpu"]),
    ("slipway detect --hardware not", ["notes.txt"], []),
    ("slipway resume ", ["cpu-run", "gpu-run"], ["half-made", "--help"]),
    ("slipway resume --runs-dir elsewhere ", ["old-run"], ["cpu-run"]),
    ("slipway data ", ["inspect", "convert"], ["train"]),
    ("slipway data inspect not", ["notes.txt"], []),
    ("slipway data inspect notes.txt --landmarks h", ["hand", "hands", "holistic"], ["pose", "notes.txt"]),
    ("slipway data inspect notes.txt --dup", ["--duplicates"], ["--landmarks"]),
    ("slipway launch --device cpu --num-w", ["--num-workers"], []),
    ("slipway launch --device cpu not", ["notes.txt"], []),
    ("slipway launch --device cpu notes.txt --dev", [], ["--device"]),
]
FEW = [LINES[at] for at in (1, 4, 8, 11)]
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs, and `bin/slipway` to be found by a shell."""
    folder = tmp_path_factory.mktemp("completion")
    for name in ("bin/slipway", "notes.txt", "runs/cpu-run/run.json", "runs/gpu-run/run.json", "runs/half-made/lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "elsewhere" / "old-run").mkdir(parents=True)
    (folder / "elsewhere" / "old-run" / "run.json").touch()
    program = folder / "bin" / "slipway"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        "if 'ECHO' in os.environ and '_ARGCOMPLETE' not in os.environ: sys.exit(print('got:', *sys.argv[1:]))\n"
        "from slipway.launcher.cli import main; sys.exit(main())\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return folder


def environment(folder: Path) -> dict[str, str]:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(folder)}


def run(folder: Path, shell: str, *arguments: str) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    done = subprocess.run(
        [shell, *arguments], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_offered(found: set[str], offered: list[str], not_offered: list[str]) -> None:
    assert set(offered) <= found
    assert not set(not_offered) & found


@pytest.mark.parametrize(("line", "offered", "not_offered"), LINES)
def test_bash_completes(folder: Path, line: str, offered: list[str], not_offered: list[str]) -> None:
    code = (
        'eval "$(slipway completion bash)"; COMP_LINE=$1; COMP_POINT=${#1}; COMP_TYPE=9\n'
        '_python_argcomplete slipway; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    found = {word.strip() for word in run(folder, "bash", "--norc", "-c", code, "bash", line).splitlines()}
    assert_offered(found, offered, not_offered)


@pytest.mark.parametrize(("line", "offered", "not_offered"), FEW)
def test_fish_completes(folder: Path, line: str, offered: list[str], not_offered: list[str]) -> None:
    code = "slipway completion fish | source; complete -C $argv[1]"
    found = {row.split("\t")[0] for row in run(folder, "fish", "--no-config", "-c", code, line).splitlines()}
    assert_offered(found, offered, not_offered)


def test_zsh_completes_also_after_another_command(folder: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("no zsh here")
    import pexpect

    shell = pexpect.spawn(
        "zsh",
        ["-f"],
        cwd=str(folder),
        env=environment(folder),
        encoding="utf-8",
        timeout=HANG_SECONDS,
        dimensions=(40, 200),
    )
    try:
        shell.sendline(
            "autoload -U compinit; compinit -u -D; eval \"$(slipway completion zsh)\"; export ECHO=1; echo rea''dy"
        )
        shell.expect("ready\r\n")
        for typed, completed in (
            ("slipway pl\t", "plan"),
            ("slipway plan --dev\tcu\t", "plan --device cuda"),
            ("slipway schema h\t", "schema hardware"),
            ("cd . && slipway resume gp\t", "resume gpu-run"),
            ("slipway train --optimizer sg\t", "train --optimizer sgd"),
        ):
            shell.sendline(typed)
            shell.expect_exact(f"got: {completed}")
    finally:
        shell.close(force=True)


def test_every_command_has_a_parser_and_a_line_of_help() -> None:
    for command in cli.COMMANDS:
        parser = import_module(command.module).build_parser()
        assert parser.description, command.name
        assert command.help
        assert all(action.help for action in parser._actions), command.name


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_printed_names_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    assert "slipway" in capsys.readouterr().out


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_line_error(["completion", "zhs"], "'zhs' is none of bash, zsh, fish (did you mean 'zsh'?)", capsys)
