"""What is installed: one name, `slipway`, from a wheel, an sdist, an editable install, and a clone that is not installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_type_hints

import pytest

from slipway import TrainingConfig
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

pytestmark = pytest.mark.slow

SOURCES = (
    *("LICENSE", "README.md", "accelerate_configs", "bin", "launcher", "pyproject.toml", "results", "slipway"),
    "training",
)
PUBLIC = {
    *("train", "TrainingConfig", "AdvancedTrainingConfig", "Task", "Batch", "TensorTask", "ClassificationTask"),
    *("SignPredictor", "Observer", "Recipe", "Stage", "Augmentation", "read_journal", "DeviceManager"),
    *("UserError", "TrainingFailed", "Interrupted", "__version__"),
}
OWN_MODULES = ("training.py", "training/__init__.py", "launcher/__init__.py", "tests/__init__.py", "bin/train.py")
SHORT = ("--quick-test", "--max-steps", "2", "--save-every", "never")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what is packaged: a build leaves files beside its source."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pip_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment that has the wheel."""
    return new_environment(tmp_path_factory.mktemp("installed"), wheel)


@pytest.fixture(scope="module")
def editable(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment that has an editable install."""
    return new_environment(tmp_path_factory.mktemp("editable"), build("editable", source, tmp_path_factory))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose own modules have the names of Slipway's folders; each fails when it is imported."""
    for name in OWN_MODULES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"raise AssertionError('the {name} of the user was imported')\n", encoding="utf-8")
    return tmp_path


def test_a_wheel_and_a_wheel_of_the_sdist_hold_the_same(
    wheel: Path, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sdist = build("sdist", source, tmp_path_factory)
    assert set(zipfile.ZipFile(pip_wheel(sdist, tmp_path_factory.mktemp("of_sdist"))).namelist()) == names
    assert {name.split("/")[0] for name in names} == {"slipway", f"{wheel.name.split('-py3')[0]}.dist-info"}
    packaged = [*(ROOT / "launcher").rglob("*.py"), *(ROOT / "training").rglob("*.py")]
    packaged += [*(ROOT / "results").rglob("*.py")]
    packaged += [ROOT / "bin/train.py", *(ROOT / "accelerate_configs").glob("*.yaml")]
    packaged += [*(ROOT / "launcher/new/template").glob("*.in")]
    assert {"slipway/py.typed", *(f"slipway/{path.relative_to(ROOT)}" for path in packaged)} <= names


def test_an_installed_slipway_trains_beside_modules_of_the_same_names(installed: Path, folder: Path) -> None:
    assert run(installed, folder, "python", "-c", "from slipway import train, TensorTask") == ""
    run(installed, folder, "slipway", "train", *SHORT)
    assert (folder / "runs/synthetic-fingerspelling-default/best/model.safetensors").is_file()


def test_a_launched_script_imports_slipway_and_its_own_modules(installed: Path, folder: Path) -> None:
    shutil.rmtree(folder / "training")
    (folder / "training.py").write_text("MINE = 'my own module'\n", encoding="utf-8")
    script = "import training\nfrom slipway import TrainingConfig, train\nprint(training.MINE, TrainingConfig().seed)\n"
    (folder / "script.py").write_text(script, encoding="utf-8")
    assert run(installed, folder, "slipway", "launch", "script.py").splitlines()[-1] == "my own module 0"


def test_what_config_prints_trains(installed: Path, folder: Path) -> None:
    accelerate = installed / "bin/accelerate"  # as pip would make it
    accelerate.write_text(f'#!/bin/sh\nexec {installed}/bin/python -m accelerate.commands.accelerate_cli "$@"\n')
    accelerate.chmod(0o755)
    command = run(installed, folder, "slipway", "config", "--device", "cpu", "--num-processes", "1").strip()
    words = shlex.split(command)
    variables = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("-"))
    run(installed, folder, *words[len(variables) :], *SHORT, **variables)
    assert (folder / "runs/synthetic-fingerspelling-default/best/model.safetensors").is_file()


def test_commands_take_no_module_from_the_working_folder(installed: Path, folder: Path) -> None:
    for name in ("slipway.py", "torch.py", "accelerate.py", "rich.py", "yaml.py", "psutil.py", "datasets.py"):
        (folder / name).write_text(f"raise AssertionError('the {name} of the user was imported')\n", encoding="utf-8")
    assert "seed" in run(installed, folder, "slipway", "train", "--explain")
    for command in (("detect",), ("plan", "--explain"), ("config", "--device", "cpu"), ("doctor", "--device", "cpu")):
        run(installed, folder, "slipway", *command)


def test_an_editable_install_puts_only_slipway_on_the_path(editable: Path, folder: Path) -> None:
    for name in OWN_MODULES:
        (folder / name).unlink()
    code = (
        "import importlib.util as util, slipway; slipway.train; slipway.TensorTask\n"
        "print([name for name in ('training', 'launcher', 'tests', 'bin') if util.find_spec(name)"
        " and util.find_spec(name).origin])"
    )
    assert run(editable, folder, "python", "-c", code) == "[]\n"


def test_a_clone_that_is_not_installed_runs_its_own_code_though_another_slipway_is_installed(
    installed: Path, folder: Path, source: Path
) -> None:
    (folder / "other/slipway").mkdir(parents=True)
    (folder / "other/slipway/__init__.py").write_text("raise AssertionError('another one was imported')\n")
    train = str(source / "bin/train.py")
    assert "seed" in run(installed, folder, "python", train, "--explain", PYTHONPATH=str(folder / "other"))
    code = "import slipway; from slipway import train, TensorTask; print(slipway.__file__)"
    said = run(installed, folder, "python", "-c", code, PYTHONPATH=str(source))
    assert said == f"{source / 'slipway/__init__.py'}\n"


def test_every_public_name_is_listed_before_it_is_used() -> None:
    code = "import slipway, sys; print(*dir(slipway)); assert 'torch' not in sys.modules"
    listed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(listed.split()) >= PUBLIC


def test_tools_can_read_the_type_of_each_option_from_the_signature_of_the_config() -> None:
    hints = get_type_hints(TrainingConfig.__init__)
    assert hints.pop("return") is type(None)
    assert hints == {field.name: hints[field.name] for field in dataclasses.fields(TrainingConfig)}
    assert hints["split"] == Literal["auto", "stratified", "signer", "own"]


def run(environment: Path, folder: Path, command: str, *arguments: str, **variables: str) -> str:
    """Return what a command of an environment printed in a folder; its exit code must be 0."""
    done = subprocess.run(
        [str(environment / "bin" / command), *arguments],
        cwd=folder,
        env={**variables_of(environment), **variables},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of the user" not in done.stdout + done.stderr
    return done.stdout


def variables_of(environment: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "WORLD_SIZE", "RANK")}
    return {**kept, "PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def pip_wheel(source: Path, out: Path) -> Path:
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source))
    return next(out.glob("*.whl"))


def build(what: str, source: Path, made: pytest.TempPathFactory) -> Path:
    """Return what setuptools builds of a source: its `sdist`, or the wheel of an `editable` install."""
    out = made.mktemp(what)
    code = f"import sys; from setuptools import build_meta; build_meta.build_{what}(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, check=True, timeout=HANG_SECONDS
    )
    return next(out.iterdir())


def new_environment(folder: Path, wheel: Path) -> Path:
    """Return a new environment that has a wheel, and its dependencies from the one that runs the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=HANG_SECONDS)
    pip("--python", str(folder / "bin/python"), "install", "--no-deps", "--no-index", str(wheel))
    torch = importlib.util.find_spec("torch")
    assert torch
    assert torch.origin
    site = next((folder / "lib").glob("python*/site-packages"))
    # A path in such a file is looked at last, and the files of this kind that lie there are not read.
    (site / "dependencies.pth").write_text(f"{Path(torch.origin).parents[1]}\n", encoding="utf-8")
    return folder


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
