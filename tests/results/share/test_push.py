"""`slipway push`: what arrives is the folder, byte for byte, and what does not arrive is told in one line."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.results.share import push as push_module
from tests.conftest import ROOT
from tests.results.conftest import CLASSES, Made
from tests.results.share.hub_server import TOKENS, Hub, Repo, serve_hub
from tests.results.share.runs import private_run


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", next(iter(TOKENS)))
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # of the processes that are started; here it is read already
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield hub


@pytest.fixture
def run(sign_run: Made, tmp_path: Path) -> Path:
    return private_run(sign_run, tmp_path / "runs" / "signs")


def push(*words: object) -> int:
    return cli.main(["push", *map(str, words)])


def test_nothing_leaves_the_machine_without_yes(hub: Hub, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert push(run, "--to", "annika/signs") == 0
    said = capsys.readouterr().out
    assert f"would go to {hub.url}/annika/signs, private if it is made new\nnothing was uploaded: add --yes" in said
    assert "model.safetensors" in said
    assert hub.asked == []


def test_what_arrives_is_the_folder_byte_for_byte_and_a_second_push_replaces_it(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(run, "--to", "annika/signs", "--yes") == 0
    assert capsys.readouterr().out.endswith(f"MB, private: {hub.url}/annika/signs\n")
    repo = hub.repos["annika/signs"]
    assert repo.private
    assert repo.files == {path.name: path.read_bytes() for path in (run / "hub").iterdir()}
    repo.files |= {"results.svg": b"of a push before", "NOTES.md": b"of a person"}
    (run / "hub" / "README.md").write_text("mine")
    assert push(run / "hub", "--to", "annika/signs", "--yes") == 0
    assert repo.files["README.md"] == b"mine"
    assert "results.svg" not in repo.files
    assert repo.files["NOTES.md"] == b"of a person"
    assert [one for one in hub.asked if "repos/create" in one] == ["POST /api/repos/create"]


def test_the_code_of_the_card_loads_what_came_back_from_the_hub(hub: Hub, run: Path, tmp_path: Path) -> None:
    assert cli.main(["card", str(run)]) == 0  # whose card does not know the repository yet
    assert push(run, "--to", "annika/signs", "--yes", "--public") == 0
    assert not hub.repos["annika/signs"].private
    block = hub.repos["annika/signs"].files["README.md"].decode().split("```python\n")[1].split("```")[0]
    assert 'snapshot_download("annika/signs")' in block
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", f"{block}\nprint(model.labels)"],
        cwd=tmp_path / "elsewhere",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{tuple(sorted(CLASSES))}\n", done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "signs"), "--to signs: give USER/NAME, as in ann/my-signs"),
        (("--to", "a/b/c"), "no name on the Hub"),
        (("--to", "annika/über"), "no name on the Hub"),
        (("--to", "USER/NAME"), "give USER/NAME"),
        (("--to", "nobody/signs", "--yes"), "the token may not write there (403)"),
        (("--to", "ben/signs", "--yes"), "is there already, for everybody to see: add --public if it is yours"),
        (("--to", "ben/signs", "--yes", "--public"), "the token may not write there (403) and says: you are not in"),
        (("--to", "ben/hidden", "--yes"), "the token may not write there (403)"),
    ],
)
def test_a_repository_that_cannot_be_written_is_refused_in_one_line(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    hub.repos |= {"ben/signs": Repo(private=False), "ben/hidden": Repo(private=True)}
    assert push(run, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not any(repo.files for repo in hub.repos.values())


def test_without_a_token_or_with_one_that_nobody_knows_a_person_is_told_how_to_get_one(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for token, message in (
        ("", "no token of the Hub: `hf auth login` keeps one"),
        ("hf_old", "does not know the token"),
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        assert push(run, "--to", "annika/signs", "--yes") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert hub.repos == {}


def test_a_hub_that_fails_hangs_or_is_not_there_is_told_in_one_line(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (run, "--to", "annika/signs", "--yes")
    hub.status = 503
    assert push(*words) == 2
    assert f"{hub.url} has a fault of its own (503)" in only_line(capsys)
    hub.status = 0
    hub.hangs = threading.Event()
    monkeypatch.setattr(push_module, "ANSWER_SECONDS", 0.3)
    assert push(*words) == 2
    assert f"{hub.url} does not answer: try again later" in only_line(capsys)
    hub.hangs.set()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert push(*words) == 2
    assert "http://127.0.0.1:9 cannot be asked" in only_line(capsys)


def test_a_folder_that_is_not_of_the_run_any_more_a_link_and_a_token_are_not_uploaded(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (run, "--to", "annika/signs", "--yes")
    assert cli.main(["card", str(run)]) == 0
    capsys.readouterr()
    readme = run / "hub" / "README.md"
    readme.write_text(f"{readme.read_text()}\n{next(iter(TOKENS))}")
    assert push(*words) == 2
    assert "README.md: holds your token of the Hub" in only_line(capsys)
    assert cli.main(["card", str(run), "--force"]) == 0
    (run / "hub" / "passwords").symlink_to("/etc/passwd")
    assert push(*words) == 2
    assert "passwords: a link" in only_line(capsys)
    (run / "hub" / "passwords").unlink()
    (run / "best" / "model.safetensors").write_bytes((run / "best" / "model.safetensors").read_bytes() + b" ")
    assert push(*words) == 2
    assert "of other weights than the run has by now; slipway card" in only_line(capsys)
    assert hub.asked == []


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line
