"""Files and modules of the user's: how they are found, what they may import, and how what fails in them is told."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway import TrainingConfig, UserError, train
from slipway.training.tasks.origin.own_code import find_in, import_file, import_name


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the working folder; what a test imports from it is forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_imports_what_lies_beside_it(project: Path) -> None:
    write("code/own_helper.py", "answer = 42\n")
    assert import_file(write("code/own_task.py", "from own_helper import answer\n"), "here").answer == 42


def test_a_file_of_a_package_is_imported_under_its_full_name_with_relative_imports(project: Path) -> None:
    write("code/own_package/__init__.py", "")
    write("code/own_package/inner/__init__.py", "")
    write("code/own_package/sizes.py", "answer = 42\n")
    module = import_file(write("code/own_package/inner/task.py", "from ..sizes import answer\n"), "here")
    assert (module.answer, module.__name__) == (42, "own_package.inner.task")


def test_a_file_that_is_called_as_a_module_at_work_takes_not_its_place(project: Path) -> None:
    json = sys.modules["json"]
    assert import_file(write("json.py", "answer = 42\n"), "here").answer == 42
    assert sys.modules["json"] is json


def test_files_of_one_name_in_several_folders_are_each_their_own(project: Path) -> None:
    paths = [write(f"{folder}/own_alike.py", f"answer = {folder!r}\n") for folder in ("one", "two", "three", "four")]
    for path in [*paths, *paths]:
        assert import_file(path, "here").answer == path.parent.name


def test_a_module_may_lie_in_the_working_folder_and_a_file_is_imported_once(project: Path) -> None:
    write("own_module/part.py", "class Net:\n    class Small: pass\n")
    module = import_name("own_module.part", "here")
    assert find_in(module, "Net.Small", "here").__qualname__ == "Net.Small"
    path = write("own_once.py", "things = []\n")
    assert import_file(path, "here") is import_file(path.resolve(), "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "import torch\n\ndef f():\n    torch.zeros(3) @ torch.zeros(4)\n\nf()\n",
            "bad.py:4: RuntimeError: inconsistent",
        ),
        ("x = 1\nimport no_such_module\n", "bad.py:2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f(:\n", "bad.py:1: SyntaxError: invalid syntax"),
        ("import slipway\nslipway.TrainingConfig(epochs=0)\n", "bad.py:2: --epochs: must be at least 1, got 0"),
        ("import sys\n\nsys.exit(3)\n", "bad.py:3: it ends the program while it is imported; put what"),
        ("from beside import x\n", "beside.py:2: ZeroDivisionError: division by zero"),
    ],
)
def test_what_fails_in_a_file_is_one_line_with_its_own_place(project: Path, text: str, message: str) -> None:
    write("beside.py", "\nx = 1 / 0\n")
    path = write("bad.py", text)
    for _ in range(2):  # it is not taken for imported
        with pytest.raises(UserError, match=re.escape(message)) as raised:
            import_file(path, "here")
        assert "\n" not in str(raised.value)


def test_a_file_that_trains_while_it_is_imported_is_told_so(project: Path) -> None:
    write("run.py", "import slipway\nslipway.train(slipway.TrainingConfig())\n")
    with pytest.raises(UserError, match=re.escape("run.py:2: it trains while it is imported; put what shall run only")):
        train(TrainingConfig(task="run.py"))
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("own_tsk.py", "--task own_tsk.py: no such file (did you mean 'own_task.py'?); the working folder is "),
        (
            "own_task.py:make_tasks",
            "--task own_task.py:make_tasks: there is no 'make_tasks' in it (did you mean 'make_task'?)",
        ),
        ("own_task.py:other", "--task own_task.py:other: there is no 'other' in it; it has make_task"),
        (
            "own_task.py:answer",
            "--task own_task.py:answer: answer is a value of type int, not a function that returns a task",
        ),
        ("folder", "--task folder: it is a folder; name the file in it, such as folder/task.py:make_task"),
        ("folder/x.py", "--task folder/x.py: no such file"),
        ("image", "--task image: no such task (did you mean 'images'?); give images, text, sign, FILE.py:FUNCTION or"),
        (
            "nowhere.task:make",
            "--task nowhere.task:make: there is no module 'nowhere', here or among the installed packages",
        ),
        ("own_task:nothing", "--task own_task:nothing: there is no 'nothing' in it"),
    ],
)
def test_a_task_that_is_not_there_is_one_sentence_with_the_nearest_name(project: Path, task: str, message: str) -> None:
    write("own_task.py", "from pathlib import Path\nanswer = 42\ndef make_task(): ...\n")
    Path("folder").mkdir()
    with pytest.raises(UserError, match=re.escape(message)):
        train(TrainingConfig(task=task))
    assert not Path("runs").exists()
