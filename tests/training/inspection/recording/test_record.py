"""`slipway data record`: clips from a capture to the files that training reads."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from slipway.launcher import cli
from slipway.training.common.errors import UserError
from slipway.training.data.understanding.understand import read_landmarks
from slipway.training.inspection.recording.clip_files import ClipFolder
from slipway.training.inspection.recording.record import Wanted, record_camera, record_video
from slipway.training.inspection.recording.sources import FrameSource
from tests.launcher.helpers import assert_one_line_error

RATE = 8.0


class FakeCapture:
    """Frames as `cv2.VideoCapture` gives them, blue first; their red says what the tracker sees."""

    def __init__(self, reds: list[int]) -> None:
        self.reds = iter(reds)
        self.is_released = False

    def read(self) -> tuple[bool, np.ndarray | None]:
        red = next(self.reds, None)
        return (False, None) if red is None else (True, np.array([[[0, 0, red]]], dtype=np.uint8))

    def get(self, property_number: int) -> float:
        return RATE

    def release(self) -> None:
        self.is_released = True


class FakeTracker:
    """Sees a left hand at the place that the red of a frame says; nothing where it is 0."""

    def __init__(self) -> None:
        self.parts = {"left_hand": 21, "right_hand": 21}
        self.restarts = 0

    def track(self, frame: np.ndarray) -> np.ndarray:
        points = np.full((42, 3), np.nan, dtype=np.float32)
        if frame[0, 0, 0]:
            points[:21] = frame[0, 0, 0] + np.arange(21)[:, None]
        return points

    def restart(self) -> None:
        self.restarts += 1

    def close(self) -> None:
        pass


def wanted(**changes: object) -> Wanted:
    values = {"label": "안녕 / hi", "signer": "ann", "clips": None, "seconds": None, **changes}
    return Wanted(**values)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> ClipFolder:
    return ClipFolder(tmp_path / "new" / "clips")


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def camera(reds: list[int]) -> tuple[FrameSource, FakeCapture]:
    capture, ticks = FakeCapture(reds), iter(range(10_000))
    return FrameSource(capture, "camera", is_live=True, clock=lambda: next(ticks) / RATE), capture


def test_a_video_becomes_a_clip_that_training_reads(folder: ClipFolder, console: Console) -> None:
    capture = FakeCapture([1, 2, 0, 4])
    source = FrameSource(capture, "hello.mp4", is_live=False)
    files = list(record_video(source, FakeTracker(), wanted(), folder, console))
    assert [file.name for file in files] == ["안녕-hi_ann_0001.parquet"]
    assert capture.is_released
    assert "4 frames, 8 a second; seen: left hand 75 %, right hand 0 %" in said(console)
    data = read_landmarks(str(folder.folder))
    assert (data.class_names, list(data.signers), data.layout.title) == (("안녕 / hi",), ["ann"], "both hands")
    np.testing.assert_array_equal(data.values[:, 3, 0], [4, 5, np.nan, 7])
    assert np.isnan(data.values[:, 21:]).all()


def test_a_video_is_cut_into_pieces_of_equal_length(folder: ClipFolder, console: Console) -> None:
    source = FrameSource(FakeCapture([*range(1, 9), 9, 9]), "long.mp4", is_live=False)
    tracker = FakeTracker()
    assert len(list(record_video(source, tracker, wanted(seconds=0.5), folder, console))) == 2
    assert "long.mp4: the last 2 frames left out" in said(console)
    assert tracker.restarts == 3
    source = FrameSource(FakeCapture([1] * 10), "long.mp4", is_live=False)
    assert len(list(record_video(source, tracker, wanted(seconds=0.5, clips=1), folder, console))) == 1
    assert len(list(folder.folder.iterdir())) == 3


def test_a_camera_counts_down_and_repeats_a_clip_in_which_nothing_is_seen(folder: ClipFolder, console: Console) -> None:
    # A countdown of 4 frames and the one that ends it; 3 frames are a clip, and a fourth ends it.
    before, seen, unseen = [9] * 5, [1, 2, 3, 9], [0, 0, 0, 9]
    source, capture = camera([*before, *unseen, *before, *seen, *before, *seen])
    options = wanted(seconds=0.375, clips=2)
    files = list(record_camera(source, FakeTracker(), options, folder, console, countdown_seconds=0.5))
    assert [file.name[-12:] for file in files] == ["0001.parquet", "0002.parquet"]
    assert "nothing seen in 3 frames, not kept" in said(console)
    assert capture.is_released
    data = read_landmarks(str(folder.folder))
    np.testing.assert_array_equal(data.values[:, 0, 0], [1, 2, 3] * 2)


def test_a_camera_that_shows_nobody_ends_with_what_to_do(folder: ClipFolder, console: Console) -> None:
    source, capture = camera([0] * 200)
    with pytest.raises(UserError, match="nothing was seen in 3 clips in a row: is the signer in the picture"):
        list(
            record_camera(source, FakeTracker(), wanted(seconds=0.375, clips=2), folder, console, countdown_seconds=0.5)
        )
    assert capture.is_released


def test_an_interrupted_recording_keeps_the_clips_before(folder: ClipFolder, console: Console) -> None:
    class Interrupted(FakeTracker):
        def track(self, frame: np.ndarray) -> np.ndarray:
            if frame[0, 0, 0] == 5:
                raise KeyboardInterrupt
            return super().track(frame)

    def files() -> Iterator[Path]:
        source = FrameSource(FakeCapture([1, 2, 3, 4, 5, 6]), "a.mp4", is_live=False)
        return record_video(source, Interrupted(), wanted(seconds=0.25), folder, console)

    with pytest.raises(KeyboardInterrupt):
        list(files())
    assert sorted(file.name[-12:] for file in folder.folder.iterdir()) == ["0001.parquet", "0002.parquet"]


def test_clips_are_added_and_never_replace_another(folder: ClipFolder) -> None:
    points = np.ones((2, 42, 3), dtype=np.float32)
    first = folder.add(points, label="a/b", signer="", recording="r", about={})
    (folder.folder / "a-b_0003.parquet").write_bytes(b"kept")
    again = ClipFolder(folder.folder).add(points, label="a b", signer="", recording="r", about={})
    assert (first.name, again.name) == ("a-b_0001.parquet", "a-b_0004.parquet")
    assert (folder.folder / "a-b_0003.parquet").read_bytes() == b"kept"
    assert len(list(folder.folder.iterdir())) == 3
    (folder.folder / "notes.txt").touch()
    with pytest.raises(UserError, match=r"holds other files, such as notes\.txt"):
        ClipFolder(folder.folder)


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is not None, reason="the extra is installed")
def test_without_the_extra_the_command_says_how_to_install_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["data", "record", "--label", "hello", "--out", str(tmp_path / "out")]
    assert_one_line_error(arguments, "pip install 'slipway[record]'", capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clips", "0"], "--clips: must be at least 1, got 0"),
        (["--seconds", "-1"], "--seconds: must be above 0, got -1"),
        (["--seconds", "x"], "--seconds: expected a number, got 'x'"),
        (["--camera", "x"], "--camera: expected a whole number, got 'x'"),
        (["--camera", "0", "a.mp4"], "--camera and videos are two sources: give one of them"),
        (["--landmarks", "face"], "'face' is none of hands, holistic"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line_error(
        ["data", "record", *options, "--label", "hello", "--out", str(tmp_path / "out")], message, capsys
    )


@pytest.mark.slow
@pytest.mark.parametrize("landmarks", ["hands", "holistic"])
def test_a_video_without_a_person_is_read_by_mediapipe_and_not_kept(
    landmarks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("mediapipe")
    video = tmp_path / "blank.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), 25, (160, 120))
    for grey in range(8):
        writer.write(np.full((120, 160, 3), grey, dtype=np.uint8))
    writer.release()
    out = str(tmp_path / "out")
    code = cli.main(["data", "record", str(video), "--label", "hello", "--out", out, "--landmarks", landmarks])
    captured = capsys.readouterr()
    assert code == 2
    assert "blank.mp4: nothing seen in 8 frames, not kept" in captured.out
    assert "no landmarks were seen in any clip" in captured.err
