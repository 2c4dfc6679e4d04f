"""An error that says all in its message is one line in IPython; the stack is shown where it is asked for."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from slipway.training.common.errors import TrainingFailed, UserError
from slipway.training.common.program.ipython import OneLine, in_notebook
from slipway.training.devices.interruption import Interrupted, Quit


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("no data"), "error: no data"),
        (TrainingFailed("no room"), "error: no room"),
        (Interrupted("stopped after step 3 and saved"), "stopped after step 3 and saved"),
        (Quit("quit"), "quit"),
    ],
)
def test_an_error_is_one_line_unless_its_stack_is_asked_for(
    error: OneLine, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIPWAY_DEBUG", raising=False)
    with pytest.raises(type(error)) as caught:
        raise error
    assert caught.value._render_traceback_() == [line]
    monkeypatch.setenv("SLIPWAY_DEBUG", "1")
    assert any("raise error" in shown for shown in caught.value._render_traceback_())
    monkeypatch.setenv("SLIPWAY_DEBUG", "0")
    caught.value.shows_stack = True
    assert any("raise error" in shown for shown in caught.value._render_traceback_())


@pytest.mark.parametrize(
    ("shell", "answers"), [(None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=object()), True)]
)
def test_a_notebook_is_a_shell_that_has_a_kernel(monkeypatch: pytest.MonkeyPatch, shell: object, answers: bool) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert in_notebook() is answers


def test_an_interrupt_ends_a_program_but_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Interrupted("stopped", "runs/x")
    ended = stopped.for_caller()
    assert isinstance(ended, SystemExit)
    assert (ended.code, str(ended)) == (75, "stopped: go on with --resume runs/x")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=None)))
    in_cell = stopped.for_caller()
    assert not isinstance(in_cell, SystemExit)
    assert str(in_cell) == "stopped: go on with train(TrainingConfig(..., resume='runs/x'), ...), all else as before"
