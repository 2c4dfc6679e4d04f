"""The console shows how far a run is, fits the width, and leaves the terminal as it was."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from slipway.training.config.recipe import Recipe, Stage, TaskSpec
from slipway.training.observers.events import Decision, EpochEnd, RunEnd, SectionTime
from slipway.training.observers.screen.base import ProgressCounts
from slipway.training.observers.screen.console import configure_logging, is_live_terminal, make_console_observer
from slipway.training.observers.screen.header import RunHeader
from slipway.training.observers.screen.live import ProgressView
from slipway.training.observers.screen.records import RecordsConsole, key_values
from slipway.training.observers.screen.tables import ProfileTable, ResultTable, format_duration, format_rate
from tests.training.observers import (
    events_of_a_run,
    make_plan,
    make_profile,
    make_result,
    make_run_start,
    make_stage_start,
    make_step,
    send,
)

ESCAPE = "\x1b"


@pytest.fixture(autouse=True)
def terminal_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("FORCE_COLOR", "1")


@pytest.fixture
def restored_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("slipway")
    before = (logger.level, logger.propagate, list(logger.handlers))
    yield logger
    logger.level, logger.propagate, logger.handlers = before


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def drawn(renderable: object, width: int = 100) -> str:
    console = Console(file=io.StringIO(), record=True, width=width, force_terminal=True)
    console.print(renderable)
    return console.export_text()


def make_quiet_pair() -> tuple[Console, Console]:
    return Console(file=io.StringIO(), width=100), Console(file=io.StringIO(), width=100)


def test_a_piped_run_is_lines_for_a_person_on_stderr_and_the_table_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    observer = make_console_observer(log_level="info", stream_is_terminal=False)
    for event in events_of_a_run():
        send(observer, event)
    observer.close()
    out, err = capsys.readouterr()
    assert ESCAPE not in out + err
    lines = err.splitlines()
    assert lines[:3] == ["slipway trial", "data: hands, synthetic data, 26 classes", "samples: train 150, test 40"]
    assert "epoch 1/2: train loss 1.250, validation loss 0.7500, validation accuracy 81.2 %, 2.5 s, best" in lines
    assert "warning: few samples" in lines
    assert "the batch follows" not in err, "what nobody acts on is in the journal"
    assert out.splitlines()[-1] == "run folder: runs/trial"


def test_a_run_as_json_is_an_object_a_line_with_every_decision(capsys: pytest.CaptureFixture[str]) -> None:
    observer = make_console_observer(log_level="info", log_format="json", stream_is_terminal=True)
    for event in events_of_a_run():
        send(observer, event)
    observer.close()
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert sum(record["event"] == "epoch" for record in records) == 3
    assert {"event": "small_data", "level": "warning", "message": "few samples"} in records
    assert any(record["event"] == "batch_rule" for record in records)


def test_a_run_as_logfmt_is_key_value_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    observer = make_console_observer(log_level="info", log_format="logfmt", stream_is_terminal=False)
    for event in events_of_a_run():
        send(observer, event)
    observer.close()
    out, err = capsys.readouterr()
    assert ESCAPE not in out + err
    for line in err.splitlines():
        assert re.fullmatch(r'(\w+=("[^"]*"|[^" ]+) ?)+', line), line
    lines = err.splitlines()
    assert lines[0].startswith("event=run name=trial folder=runs/trial recipe_hash=")
    assert any(line.startswith("event=data data=hands synthetic=true classes=26 train_samples=150") for line in lines)
    assert sum(line.startswith("event=epoch ") for line in lines) == 3
    assert sum(line.startswith("event=stage_end ") for line in lines) == 2
    assert sum(line.startswith("event=progress ") for line in lines) == 1
    assert 'event=small_data level=warning message="few samples"' in lines
    assert max(map(len, out.splitlines())) <= 100
    assert out.splitlines()[-1] == "run folder: runs/trial"


def test_records_of_progress_come_every_five_seconds() -> None:
    clock = Clock()
    console, results = make_quiet_pair()
    observer = RecordsConsole(console, results, logging.INFO, clock)
    observer.on_run_start(make_run_start())
    observer.on_stage_start(make_stage_start())
    for step in range(1, 13):
        clock.now += 1.0
        observer.on_step(make_step(step))
    shown = [line for line in console.file.getvalue().splitlines() if line.startswith("event=progress")]
    assert [re.search(r"elapsed_seconds=(\d+)", line).group(1) for line in shown] == ["1", "6", "11"]
    assert "samples_per_second=50 " in shown[-1]


def test_the_time_left_follows_from_the_steps_left_and_their_pace() -> None:
    clock = Clock()
    observer = _ProgressOnly(*make_quiet_pair(), logging.INFO, clock)
    observer.on_run_start(make_run_start())
    observer.on_stage_start(make_stage_start())
    for step in (1, 2, 3):
        clock.now += 6.0
        observer.on_step(make_step(step, step_in_epoch=step - 1))
    assert observer.shown[0].run_seconds_left is None, "one step tells nothing yet"
    progress = observer.shown[-1]
    assert (progress.step, progress.num_steps, progress.epoch, progress.num_epochs) == (3, 6, 1, 2)
    assert (progress.step_in_epoch, progress.steps_per_epoch) == (3, 3)
    assert progress.stage_seconds_left == pytest.approx(3 * 6.0)
    assert progress.run_seconds_left == pytest.approx(6 * 6.0)
    assert progress.samples_per_second == pytest.approx(50 / 6)


def test_samples_per_second_are_those_of_training_without_validation() -> None:
    clock = Clock()
    observer = _ProgressOnly(*make_quiet_pair(), logging.INFO, clock)
    epoch_end = next(event for event in events_of_a_run() if isinstance(event, EpochEnd))
    observer.on_run_start(make_run_start())
    observer.on_stage_start(make_stage_start())
    clock.now += 1.0
    observer.on_step(make_step(1))
    clock.now += 100.0
    observer.on_epoch_end(epoch_end)
    clock.now += 2.0
    observer.on_step(make_step(2))
    assert [progress.samples_per_second for progress in observer.shown] == pytest.approx([50.0, 25.0])


def test_the_time_left_stops_at_the_most_steps_of_the_run() -> None:
    clock = Clock()
    observer = _ProgressOnly(*make_quiet_pair(), logging.INFO, clock)
    stages = make_run_start().recipe.stages
    observer.on_run_start(
        make_run_start(Recipe(task=TaskSpec(name="trial"), stages=stages, max_steps=4).resolve(2, "no"))
    )
    observer.on_stage_start(make_stage_start())
    for step in (1, 2, 3):
        clock.now += 6.0
        observer.on_step(make_step(step, step_in_epoch=step - 1))
    assert observer.shown[-1].stage_seconds_left == observer.shown[-1].run_seconds_left == pytest.approx(1 * 6.0)


class _ProgressOnly(RecordsConsole):
    def on_run_start(self, event: object) -> None:
        self.shown: list[ProgressCounts] = []
        super().on_run_start(event)

    def report_progress(self, progress: ProgressCounts) -> None:
        self.shown.append(progress)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_log_level_warning_hides_progress_but_no_warning_and_no_result(
    capsys: pytest.CaptureFixture[str], is_terminal: bool
) -> None:
    observer = make_console_observer(log_level="warning", stream_is_terminal=is_terminal)
    for event in events_of_a_run():
        send(observer, event)
    observer.on_decision(Decision(kind="small_data", reason="few samples", warning=True, fields={"again": True}))
    observer.close()
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1
    assert err.count("few samples") == 1
    assert "92.3 %" in out
    if is_terminal:
        assert "\x1b[33m" in err


def test_log_level_error_hides_warnings_too(capsys: pytest.CaptureFixture[str]) -> None:
    observer = make_console_observer(log_level="error", stream_is_terminal=False)
    for event in events_of_a_run():
        send(observer, event)
    out, err = capsys.readouterr()
    assert err == ""
    assert "92.3 %" in out


@pytest.mark.parametrize("verbose", [False, True])
def test_a_terminal_shows_the_header_a_line_for_each_epoch_and_the_table(
    capsys: pytest.CaptureFixture[str], verbose: bool
) -> None:
    observer = make_console_observer(log_level="info", stream_is_terminal=True, verbose=verbose)
    for event in events_of_a_run():
        send(observer, event)
    observer.close()
    out, err = capsys.readouterr()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert ("64 = 32 x 2 processes (scale)" in text) == verbose
    assert ("batch rule: the batch follows" in text) == verbose
    assert text.count("train loss  validation loss  accuracy") == 2, "named once for each stage"
    assert len(re.findall(r" 1/2 +1\.250 +0\.7500 +81\.2 % +2\.5 s  best", text)) == 1
    assert "stage 2/2  second" in text
    assert "warning: few samples" in text
    assert ESCAPE not in out


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_of_a_run_is_wider_than_the_terminal_and_the_header_has_eight(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    observer = make_console_observer(log_level="info", stream_is_terminal=True)
    events = events_of_a_run()
    for event in events:
        send(observer, event)
    observer.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err).replace("\r", "\n")
    lines = text.split("\n")
    assert max(map(len, lines)) <= width
    assert lines.index("") == 8, "the header, then the first stage"
    assert len(re.findall(r" 1/2 +1\.250 .*81\.2 % +2\.5 s  best", text)) == 1


def test_a_failed_run_gives_the_terminal_back_and_leaves_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    observer = make_console_observer(log_level="info", stream_is_terminal=True)
    observer.on_run_start(make_run_start())
    observer.on_stage_start(make_stage_start())
    observer.on_step(make_step(1))
    observer.close()
    observer.close()
    err = capsys.readouterr().err
    hidden, shown = err.rindex("\x1b[?25l"), err.rindex("\x1b[?25h")
    assert shown > hidden
    last_bars = err[err.rindex("stage 1/2") :]
    assert "step 1/3" in last_bars
    assert "\x1b[2K" not in last_bars


@pytest.mark.parametrize("width", [40, 60, 100, 140])
def test_the_bars_fit_the_width_and_keep_the_loss(width: int) -> None:
    view = ProgressView(lambda: 0.0)
    view.activity = ""
    view.progress = ProgressCounts(
        stage_number=2,
        num_stages=5,
        stage_name="regularization",
        epoch=11,
        num_epochs=12,
        step=1234,
        num_steps=5678,
        step_in_epoch=120,
        steps_per_epoch=473,
        loss=0.123456,
        losses=(3.0, 2.0, 1.0, 0.5, 0.2),
        gradient_norm=0.531,
        learning_rate=1e-4,
        samples_per_second=12345.0,
        data_wait_share=0.0123,
        model_flop_utilisation=0.4567,
        peak_bytes=812_000_000,
        saved_seconds_ago=65.0,
        stage_seconds_left=754.0,
        run_seconds_left=7540.0,
    )
    lines = drawn(view, width).rstrip("\n").split("\n")
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    assert "step 120/473" in lines[1]
    assert "loss 0.1235" in lines[2]
    assert "12k samples/s" in lines[2]
    assert "2:05:40" in lines[0]
    assert ("regularization" in lines[0]) == (width >= 100)
    assert ("█▅▃▂▁" in lines[2]) == ("gradient norm 0.531" in lines[2]) == (width >= 100)
    assert ("saved 1:05 ago" in lines[2]) == (width >= 140)


def test_the_header_says_what_is_trained_on_what_and_why() -> None:
    text = drawn(RunHeader(make_run_start(), is_whole=True))
    assert "hands, synthetic data, 26 classes, samples: train 150, test 40" in text
    assert "12,345 parameters" in text
    assert "cpu (Some CPU), 2 processes" in text
    assert "0.002 -> 0.004 (x 2: linear rule, batch x 2)" in text
    assert "8 samples, gradient accumulation 4" in text
    assert "first [stage] 2, second 1 (3 epochs at most)" in text
    assert "flat (it is cheaper for a small model)" in text
    assert "runs/trial" in text


def test_the_header_of_a_fixed_batch_leaves_batch_and_rate_and_says_so() -> None:
    recipe = Recipe(task=TaskSpec(name="trial"), stages=(Stage(name="only", epochs=1),), batch_rule="fixed").resolve(
        4, "bf16"
    )
    plan = make_plan(micro_batch_size=None, gradient_accumulation=1, share_weights=(3.0, 1.0))
    text = drawn(RunHeader(make_run_start(recipe, plan=plan, description={"data": "real"}), is_whole=True))
    assert "32 (fixed: the base batch, however many processes)" in text
    assert "0.002 (the global batch is the base batch)" in text
    assert "a rank's share, gradient accumulation 1, shares 3:1" in text
    assert "float32, mixed with bf16" in text
    assert "synthetic data" not in text


@pytest.mark.parametrize("width", [60, 100])
def test_the_result_table_has_a_row_for_each_stage_and_the_test(width: int) -> None:
    text = drawn(ResultTable(RunEnd(result=make_result(), folder=make_run_start().folder), synthetic=True), width)
    first = next(line for line in text.splitlines() if "first [stage]" in line)
    assert re.split(r"\s{2,}", first.strip())[1:5] == ["2", "2", "81.2 %", "0.7500"]
    assert first.rstrip().endswith("1:01")
    assert ("at its end" in first) == (width == 100)
    test = next(line for line in text.splitlines() if line.startswith("best weights"))
    assert re.split(r"\s{2,}", test.strip()) == ["best weights", "92.3 %", "0.9111", "98.8 %", "0.3333"]
    assert "test (synthetic data)" in text


def test_a_result_without_validation_and_test_is_still_a_table() -> None:
    result = {"stages": [{"stage": "only", "epochs": 1, "validation_accuracy": None}]}
    text = drawn(ResultTable(RunEnd(result=result, folder=make_run_start().folder)))
    assert "only" in text
    assert "no test split" in text


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "CI": "true"}, False),
        ({"TERM": "xterm", "CI": ""}, True),
    ],
)
def test_bars_need_a_terminal_that_can_draw_them(environment: dict[str, str], expected: bool) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert is_live_terminal(Terminal(), environment) is expected
    assert is_live_terminal(io.StringIO(), {**environment, "FORCE_COLOR": "1"}) is False


def test_no_color_leaves_the_bars_and_takes_the_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    observer = make_console_observer(log_level="info", stream_is_terminal=True)
    for event in events_of_a_run():
        send(observer, event)
    observer.close()
    err = capsys.readouterr().err
    assert "\x1b[?25l" in err
    assert not re.search(r"\x1b\[[0-9;]*\b(3[0-7]|38|9[0-7])[0-9;]*m", err)


def test_log_messages_go_to_the_same_console(
    capsys: pytest.CaptureFixture[str], restored_logger: logging.Logger
) -> None:
    say = make_console_observer(log_level="info", stream_is_terminal=False).say
    configure_logging("info", say)
    configure_logging("warning", say)
    restored_logger.warning("a %s with [brackets]", "word")
    restored_logger.info("hidden")
    assert capsys.readouterr().err == "warning: a word with [brackets]\n"
    configure_logging("info", make_console_observer(log_level="info", stream_is_terminal=True).say)
    restored_logger.warning("seen")
    assert "\x1b[33mwarning: seen" in capsys.readouterr().err


def test_a_run_goes_on_when_the_reader_of_its_lines_has_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stream:
        monkeypatch.setattr("sys.stderr", stream)
        observer = make_console_observer(log_level="info")
        for event in events_of_a_run():
            send(observer, event)
        observer.close()
    assert "best weights" in capsys.readouterr().out


def test_values_with_spaces_quotes_and_line_breaks_stay_one_word_of_one_line() -> None:
    line = key_values(a="two words", b='say "x"', c="line\nbreak", d="", e=None, f=True, g=0.1 + 0.2, h="é")
    assert line == 'a="two words" b="say \\"x\\"" c="line\\nbreak" d="" f=true g=0.3 h=é'


def test_durations_and_rates_are_short() -> None:
    assert [format_duration(value) for value in (0.04, 59.94, 200.4, 3723.0)] == ["0.0 s", "59.9 s", "3:20", "1:02:03"]
    assert [format_rate(value) for value in (8.25, 912.4, 1234.0, 34567.0, 5.6e6)] == [
        *["8.2", "912", "1.2k", "35k", "5.6M"]
    ]


def test_a_profile_is_a_table_of_a_mean_step_and_the_full_path_of_the_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trace = Path("runs") / ("long" * 40) / "rank_0.trace.json.gz"
    for log_level in ("info", "error"):
        observer = make_console_observer(log_level=log_level, stream_is_terminal=False)
        observer.on_profile(make_profile(trace=trace))
        out, err = capsys.readouterr()
        assert err == ""
        lines = out.splitlines()
        assert lines[1] == "where the time of steps 2 to 3 went"
        cells = {line.split("  ")[0]: line.split()[-4:] for line in lines}
        assert cells["data wait"][-3:] == ["5.000", "20.0", "%"]
        assert cells["forward"][-3:] == ["15.0", "60.0", "%"]
        assert cells["save"][-2:] == ["-", "-"]
        assert "evaluate" not in out
        assert cells["all 2 steps"][-3:] == ["25.0", "100.0", "%"]
        assert "without the profiler a step took 20.0 ms (median of those before)" in lines
        assert f"trace, for https://ui.perfetto.dev: {trace}" in lines


def test_a_profile_of_a_device_has_its_own_times_beside_the_hosts() -> None:
    sections = (
        SectionTime(name="forward", times=2, seconds=0.01, device_seconds=0.03),
        SectionTime(name="reduce", times=0, seconds=0.0, device_seconds=0.008),
        SectionTime(name="save", times=0, seconds=0.0, device_seconds=0.0),
    )
    text = drawn(ProfileTable(make_profile(sections=sections, seconds_per_step_before=None)))
    rows = {line.split("  ")[0]: line.split()[1:] for line in text.splitlines()}
    assert rows["forward"] == ["5.000", "20.0", "%", "15.0"]
    assert rows["reduce"] == ["0.000", "0.0", "%", "4.000"]
    assert rows["save"] == ["-", "-", "-"]
    assert "without the profiler" not in text
