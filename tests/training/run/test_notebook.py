"""A notebook in a real kernel: train, interrupt, train on, two processes, tables in HTML."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

pytest.importorskip("ipykernel")
nbclient = pytest.importorskip("nbclient")
nbconvert = pytest.importorskip("nbconvert")
nbformat = pytest.importorskip("nbformat")

CELLS = {
    "setup": """
import os, signal, psutil, torch
from torch import nn
from slipway import DatasetTask, Observer, TrainingConfig, train

inputs = torch.randn(140, 6, generator=torch.Generator().manual_seed(0))
samples = [(one, int(one.sum() > 0)) for one in inputs]
task = DatasetTask(
    lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)),
    train=samples[:100], validation=samples[100:120], test=samples[120:],
)
kernel = os.getpid()

def config(name, **options):
    return TrainingConfig(
        experiment_name=name, epochs=4, batch_size=16, batch_rule="fixed", precision="float64", device="cpu",
        num_workers=0, **options,
    )

class Interrupt(Observer):
    \"\"\"As the button does: to all of the kernel's process group.\"\"\"
    def on_step(self, event):
        if event.step == 9:
            os.killpg(os.getpgid(kernel), signal.SIGINT)
""",
    "train": 'one = train(config("one"), task)\none',
    "mistake": 'train(config("one", monitor="r2"), task)',
    "interrupted": 'train(config("two"), task, [Interrupt()])',
    "usable": "6 * 7, signal.getsignal(signal.SIGINT) is signal.default_int_handler",
    "on": 'train(config("two", resume="auto"), task).model[0].weight.equal(one.model[0].weight)',
    "processes": 'print("mine"); two = train(config("three"), task, num_processes=2)\ntwo',
    "same": "float((two.model[0].weight - one.model[0].weight).abs().max()) < 1e-12",
    "interrupted processes": 'train(config("four"), task, [Interrupt()], num_processes=2)',
    "processes on": 'four = train(config("four", resume="auto"), task, num_processes=2)\n'
    "four.model[0].weight.equal(two.model[0].weight), psutil.Process().children()",
}

_PAGE = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
CELLS |= {f"page {number}": text for number, text in enumerate(re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL))}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The notebook after all of its cells."""
    folder = tmp_path_factory.mktemp("notebook")
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS.values()])
    before = dict(os.environ)
    own = {"JUPYTER_RUNTIME_DIR": str(folder / "jupyter"), "IPYTHONDIR": str(folder / "ipython")}
    os.environ.update(own, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    for name in [name for name in os.environ if name.startswith("SLIPWAY_")]:
        del os.environ[name]
    try:
        client = nbclient.NotebookClient(
            nb,
            timeout=HANG_SECONDS,
            allow_errors=True,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    yield nb
    assert [one for one in map(command_of, psutil.process_iter()) if str(folder) in one] == []


def command_of(process: psutil.Process) -> str:
    """Return the command line of a process; empty for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def outputs(notebook: Any, cell: str) -> list[Any]:
    return notebook.cells[list(CELLS).index(cell)].outputs


def text_of(notebook: Any, cell: str) -> str:
    (result,) = [one for one in outputs(notebook, cell) if one.output_type == "execute_result"]
    return result.data["text/plain"]


def error_of(notebook: Any, cell: str) -> tuple[str, str]:
    """Return the kind of an error and all that is shown of it."""
    (error,) = [one for one in outputs(notebook, cell) if one.output_type == "error"]
    return error.ename, "\n".join(error.traceback)


@pytest.mark.parametrize("cell", ["train", "processes"])
def test_progress_is_one_table_and_the_result_another(notebook: Any, cell: str) -> None:
    shown = outputs(notebook, cell)
    assert [one.output_type for one in shown if one.output_type != "stream"] == ["display_data", "execute_result"]
    progress, result = (one.data["text/html"] for one in shown if one.output_type != "stream")
    for word in ("4/4", "train loss", "validation\naccuracy", "best weights", "run folder: "):
        assert word in progress
    assert "bar" not in progress
    assert "best weights" in result
    printed = [one.text for one in shown if one.output_type == "stream"]
    assert printed == (["mine\n"] if cell == "processes" else [])


def test_the_cells_of_the_documentation_run(notebook: Any) -> None:
    cells = [name for name in CELLS if name.startswith("page")]
    assert len(cells) == 3
    assert [one for cell in cells for one in outputs(notebook, cell) if one.output_type in ("error", "stream")] == []


def test_a_mistake_is_one_line(notebook: Any) -> None:
    assert error_of(notebook, "mistake") == ("UserError", "error: --monitor: 'r2' is none of loss, accuracy, macro_f1")


@pytest.mark.parametrize(("cell", "name"), [("interrupted", "two"), ("interrupted processes", "four")])
def test_an_interrupt_saves_and_says_how_to_go_on_in_one_line(notebook: Any, cell: str, name: str) -> None:
    kind, shown = error_of(notebook, cell)
    assert kind == "Interrupted"
    how = f"go on with train(TrainingConfig(..., resume='runs/{name}'), ...), all else as before"
    assert shown in [f"stopped after step {step} and saved: {how}" for step in (9, 10, 11)]
    told = [one.text.strip() for one in outputs(notebook, cell) if one.output_type == "stream"]
    notice = "stopping after this step, and saving; interrupt again to quit at once"
    # What a kernel captures of its own file descriptors may come later.
    assert told in ([[notice]] if name == "four" else [[notice], []])
    (progress,) = [one.data["text/plain"] for one in outputs(notebook, cell) if one.output_type == "display_data"]
    assert progress.startswith(f"{name} stopped after step ")


def test_the_kernel_stays_usable_and_goes_on_with_the_same_weights(notebook: Any) -> None:
    assert text_of(notebook, "usable") == "(42, True)"
    assert text_of(notebook, "on") == "True"


def test_two_processes_reach_the_same_weights_are_interrupted_and_go_on_and_none_is_left(notebook: Any) -> None:
    assert text_of(notebook, "same") == "True"
    assert text_of(notebook, "processes on") == "(True, [])"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_that_is_made_of_it_has_the_last_tables(
    notebook: Any, theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(Path(nbconvert.__file__).parents[4] / "share" / "jupyter"))
    exporter = nbconvert.HTMLExporter()
    exporter.theme = theme
    page, _ = exporter.from_notebook_node(notebook)
    assert page.count("how it is computed") == 8
    assert page.count("goes on after step") >= 2
    assert "color:#" not in "".join(part.split("</details>")[0] for part in page.split("train loss")[1:])
