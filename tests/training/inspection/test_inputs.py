"""Wrong and doubtful data end one start with the message of `golden_messages.txt`, and with exit code 2 where they must."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.training.data.readers.read import READERS
from slipway.training.run.cli import main
from tests.training.data.golden import assert_golden

from .inputs import INPUTS, STUDIES, Input


def started(given: Input, root: Path) -> list[str]:
    return [str(given.write(root)), *given.options.replace("PATH", str(root)).split()]


def message_of(error: str) -> str:
    return error.removeprefix("error: ").replace(", ".join(READERS), "FORMATS")


@pytest.mark.parametrize("name", INPUTS)
def test_data_are_refused_or_warned_of_in_one_start(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = INPUTS[name]
    code = cli.main(["data", "inspect", *started(given, tmp_path), "--json"])
    shown = capsys.readouterr()
    assert code == (2 if given.is_refused else 0)
    if given.is_refused:
        assert shown.out == ""
        assert_golden(f"input.{name}", message_of(shown.err), tmp_path)
    else:
        warnings = json.loads(shown.out)["warnings"]
        assert warnings
        assert_golden(f"input.{name}", "\n".join(warnings), tmp_path)


@pytest.mark.parametrize("name", [*(name for name, given in INPUTS.items() if given.is_refused), *STUDIES])
def test_a_training_is_refused_with_the_same_message_before_it_makes_a_folder(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    accelerate_state: None,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    source, *options = started((INPUTS | STUDIES)[name], tmp_path / "set")
    runs = tmp_path / "runs"
    arguments = ["--device", "cpu", "--runs-dir", str(runs), "--quick-test", "--log-level", "error"]
    assert main(["--data", source, *options, *arguments]) == 2
    assert list(runs.rglob("*")) == []
    kind = "study" if name in STUDIES else "input"
    assert_golden(f"{kind}.{name}", message_of(capsys.readouterr().err), tmp_path / "set")
