"""What damaged files once did, kept: each is answered by a value or by one line, and takes no memory that it does not need."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from slipway.results.runs.command import main as show_runs
from slipway.training.common.errors import UserError
from slipway.training.common.program.doors import door, error_of_place
from slipway.training.data.readers.tables import hub, nested
from slipway.training.data.specs import Augmentation, Reading
from slipway.training.data.text import natural_key
from slipway.training.data.understanding.understand import read_landmarks
from slipway.training.observers.journal import lineage, read_journal
from slipway.training.run.load import load_weights
from slipway.training.storage.checkpoint import newest_checkpoint
from tests.fuzz import makers

ROW = '{"label": "a", "landmarks": [[[0.1, 0.2], [0.3, null]]]}'


def error_of(source: Path) -> str:
    with pytest.raises(UserError) as raised:
        read_landmarks(str(source))
    return str(raised.value)


def write_npy(path: Path, shape: str, dtype: str = "<f4") -> None:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + bytes(64))


@pytest.mark.parametrize("shape", ["(1000000000000, 63)", "(3, -1)", f"({10**30},)"])
def test_an_array_that_promises_more_than_its_file_holds_is_refused_with_both_figures(
    tmp_path: Path, shape: str
) -> None:
    write_npy(tmp_path / "X.npy", shape)
    np.save(tmp_path / "y.npy", np.arange(3))
    assert "take" in (message := error_of(tmp_path)), message
    assert "it has 192" in message


def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("unused.npy", "w") as file,
    ):
        for _ in range(300):
            file.write(bytes(1 << 20))
    assert "unpack to 314,572,800" in error_of(tmp_path / "bomb.npz")


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.zeros((6, 4, 63)))
    os.mkfifo(tmp_path / "y.npy")
    assert "is a pipe" in error_of(tmp_path)


def test_what_a_library_raises_is_one_line_with_the_file_and_what_it_was_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "clips.json"
    path.write_text("{}")

    def read(file: Path) -> None:
        raise ZeroDivisionError(f"in {file.name}")

    with pytest.raises(UserError, match="report what --debug shows at https://") as raised, door("data", "mend it"):
        read(path)
    assert str(raised.value).startswith(f"{path}: cannot be read (ZeroDivisionError: in clips.json); mend it; ")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("value", [None, "x", -1, 10**30, True, float("nan")])
def test_an_older_checkpoint_is_used_where_the_newest_holds_what_no_run_writes(tmp_path: Path, value: object) -> None:
    run = tmp_path / "run"
    shutil.copytree(makers.trained_run() / "checkpoints", run / "checkpoints")
    newest, _ = newest_checkpoint(run)
    assert newest is not None
    before = makers.resume_from(run)
    state = json.loads((newest.folder / "state.json").read_bytes())
    state["progress"]["step"] = value
    (newest.folder / "state.json").write_text(json.dumps(state))
    generator = random.Random(1)
    makers.mend_hashes(tmp_path, generator)
    assert makers.resume_from(run) < before


@pytest.mark.parametrize(
    ("name", "text", "row"),
    [
        ("rows.jsonl", "null\n", "line 1"),
        ("rows.jsonl", "\ufeffnull", "line 1"),
        ("rows.jsonl", f"{ROW}\n\n \tnull\n{ROW}\n", "line 3"),
        ("rows.json", f"[null, {ROW}]", "item 0"),
        ("rows.json", f"[{ROW},\n\n null]", "item 1"),
    ],
)
@pytest.mark.parametrize("is_in_folder", [False, True])
def test_null_in_place_of_a_row_ends_no_process(
    tmp_path: Path, name: str, text: str, row: str, is_in_folder: bool
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / name).write_text(text, encoding="utf-8")
    source = folder if is_in_folder else folder / name
    assert end_of_reading(source, f"{folder / name}, {row}: is null") == 0


@pytest.mark.parametrize("is_file", [False, True])
def test_columns_that_point_outside_of_their_file_end_no_process(tmp_path: Path, is_file: bool) -> None:
    table = pa.table({"label": ["a", "b", "c"], "landmarks": [[[[0.1, 0.2]]]] * 3})
    path, written = tmp_path / "rows.arrow", io.BytesIO()
    with (pa.ipc.new_file if is_file else pa.ipc.new_stream)(written, table.schema) as writer:
        writer.write_table(table)
    offsets = struct.pack("<4i", 0, 1, 2, 3)
    path.write_bytes(written.getvalue().replace(offsets, struct.pack("<4i", 0, 1, 1 << 30, 1 << 30)))
    assert end_of_reading(path, f"{path}: is damaged") == 0


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "../../other", "..", "x" * 5000])
def test_a_checkpoint_that_names_no_file_is_passed_over(tmp_path: Path, name: str) -> None:
    shutil.copytree(makers.trained_run() / "checkpoints", tmp_path / "run" / "checkpoints")
    newest, _ = newest_checkpoint(tmp_path / "run")
    assert newest is not None
    data = json.loads((newest.folder / "manifest.json").read_bytes())
    data["files"][name] = data["files"]["state.json"]
    (newest.folder / "manifest.json").write_text(json.dumps(data))
    makers.mend_hashes(tmp_path, random.Random(1))
    assert newest_checkpoint(tmp_path / "run")[0].folder != newest.folder


def test_weights_that_are_a_pipe_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    shutil.copytree(makers.trained_run() / "best", tmp_path / "best")
    (tmp_path / "best" / "model.safetensors").unlink()
    os.mkfifo(tmp_path / "best" / "model.safetensors")
    with pytest.raises(UserError, match="is a pipe"):
        load_weights(makers.make_net(), tmp_path / "best")


def test_numbers_of_thousands_of_digits_are_sorted_as_words() -> None:
    assert sorted(["9" * 5000, "10", "9"], key=natural_key)[:2] == ["9", "10"]


@pytest.mark.parametrize("event", ['{"step": 1}', '{"event": 3}', "[1]", "null"])
def test_a_line_of_a_journal_that_is_no_event_is_named(tmp_path: Path, event: str) -> None:
    (tmp_path / "events.jsonl").write_text(f'{{"event": "step", "step": 1}}\n{event}\n{{"event": "run_end"}}\n')
    with pytest.raises(UserError, match="line 2 is no event"):
        read_journal(tmp_path / "events.jsonl")


def test_events_that_no_run_writes_are_one_line() -> None:
    with pytest.raises(UserError, match="the journal: cannot be read"):
        lineage([{"event": "step", "step": "x"}, {"event": "resume", "step": 3}])


@pytest.mark.parametrize("name", ["events.jsonl", "lock"])
def test_a_pipe_in_a_run_folder_does_not_hold_up_the_list_of_runs(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "run.json").write_text('{"state": "running"}')
    os.mkfifo(tmp_path / "one" / name)
    assert show_runs(["--runs-dir", str(tmp_path)]) == 0
    assert "dead" in capsys.readouterr().out


@pytest.mark.parametrize("step", ["many", [1], {"a": 1}, 1e300])
def test_a_hostile_record_does_not_take_the_list_of_runs_down(
    tmp_path: Path, step: object, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("good", 3), ("bad", step)):
        (tmp_path / name).mkdir()
        record = {"state": "finished", "result": {"steps": value}}
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    assert show_runs(["--runs-dir", str(tmp_path)]) == 0
    assert "good" in capsys.readouterr().out


def test_a_name_of_thousands_of_letters_is_one_short_line() -> None:
    with pytest.raises(OSError, match="too long") as raised:
        Path("9" * 5000).is_file()
    message = str(error_of_place(raised.value))
    assert message.endswith("(5,000 letters): File name too long; give a shorter name, of at most 255 bytes")
    assert len(message) < 300


def test_augmentation_of_a_thousand_million_is_refused() -> None:
    with pytest.raises(UserError, match=r"augmentation\.resample must be from 0 to 10, got"):
        Augmentation(resample=1e9)


def end_of_reading(source: Path, message: str) -> int:
    """Return the exit code of a process that reads data and is refused: 0 if the error begins so."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            hub.read(source, Reading())
        except UserError as error:
            os._exit(0 if str(error).startswith(message) else 2)
        finally:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_null_within_a_row_is_no_null_row(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{ROW}\n{{"landmarks": null}}\n')
    (tmp_path / "rows.json").write_text(f'[{ROW},\n{{"landmarks": [null,\nnull]}}]')
    nested.check_files(tmp_path)
