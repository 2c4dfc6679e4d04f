"""What the commands of the pages find in the folder that they are run in: data, scripts, a run, and programs of a reader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import ROOT
from tests.test_docs import blocks, make_landmarks

_TASK = """
from pathlib import Path

import torch
from torch import nn
from slipway import DatasetTask


def make_task(data: Path = Path("pictures"), width: int = 64, depth: int = 2, *, seed: int = 0) -> DatasetTask:
    inputs = torch.randn(120, 4, generator=torch.Generator().manual_seed(seed))
    samples = [(x, int(x.sum() > 0)) for x in inputs]
    hidden = [layer for _ in range(depth - 1) for layer in (nn.Linear(width, width), nn.ReLU())]
    return DatasetTask(lambda: nn.Sequential(nn.Linear(4, width), *hidden, nn.Linear(width, 2)), train=samples)
"""
_TRAIN = """
import sys

if "--fail" in sys.argv:
    raise ValueError("label 26 is none of 0..25")
if {"--lr", "--fail"} & set(sys.argv):
    print("training", sys.argv[1:])
    sys.exit()
from my_project.task import make_task
from slipway import TrainingConfig, train

train(TrainingConfig.from_command_line(epochs=2), make_task())
"""
_TRACKER = """
import json
import numpy as np

for frame in np.load("clip.npy"):
    print(json.dumps(frame.tolist()), flush=True)
"""
_NETS = """
import sys
from functools import partial

import torch
from torch import nn
from slipway import TensorTask, TrainingConfig, train


class Net(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 2))


def run():
    inputs = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    labels = (inputs[:, 0] > 0).long()
    parts = {"train": slice(0, 200), "validation": slice(200, 250), "test": slice(250, 300)}
    task = TensorTask(partial(Net, 64), {name: (inputs[part], labels[part]) for name, part in parts.items()})
    train(TrainingConfig(epochs=2, experiment_name="my-run", overwrite=True, report=False), task)
"""
BEFORE_PYTHON: Mapping[str, str] = {
    "docs/data.md": 'import numpy as np\n\nclip = np.load("clip.npy")\n',
    "docs/results.md": 'import numpy as np\n\nclip = np.load("clip.npy")\n',
    "docs/optimizers.md": """
from collections import OrderedDict

import torch
from torch import nn

inputs = torch.randn(300, 8)
labels = (inputs[:, 0] > 0).long()
parts = {"train": slice(0, 200), "validation": slice(200, 250), "test": slice(250, 300)}
splits = {name: (inputs[part], labels[part]) for name, part in parts.items()}


def make_model():
    return nn.Sequential(OrderedDict(backbone=nn.Linear(8, 16), between=nn.ReLU(), head=nn.Linear(16, 2)))
""",
    "docs/settings.md": """
import argparse

from my_project.task import make_task
from slipway import TrainingConfig, train

task = make_task()
""",
    "docs/tasks.md": "import slipway\nfrom nets import Net\n",
}
"""What the Python of a page takes from its reader."""
BEFORE_COMMANDS: Mapping[str, str] = {"docs/tasks.md": "python -c 'import nets; nets.run()'"}
"""What a reader did before the page."""


def build(folder: Path) -> None:
    """Fill a folder with what the pages name."""
    make_landmarks(folder / "my-landmarks")
    for name in ("new-clips", "other-clips", "more-clips"):
        shutil.copytree(folder / "my-landmarks", folder / name)
    random = np.random.default_rng(0)
    np.save(folder / "clip.npy", random.normal(size=(6, 21, 3)).astype(np.float32))
    for label, shade in (("dark", 60), ("bright", 200)):
        (folder / "PHOTOS" / label).mkdir(parents=True)
        for number in range(12):
            pixels = random.normal(shade, 20, size=(40, 40, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "PHOTOS" / label / f"{number}.png")
    Image.fromarray(pixels).save(folder / "new.jpg")
    words = {"good": ("lovely", "great", "fine"), "bad": ("awful", "poor", "dull")}
    rows = [
        f"a {word} day number {number},{label}" for label, of in words.items() for word in of for number in range(8)
    ]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    (folder / "corpus.txt").write_text("the ship leaves the slipway\n" * 400, encoding="utf-8")
    (folder / "pictures").mkdir()
    (folder / "my_project").mkdir()
    for name, text in (
        ("my_project/__init__.py", ""),
        ("my_project/task.py", _TASK),
        ("train.py", _TRAIN),
        ("nets.py", _NETS),
        ("first.py", blocks("README.md", "python")[0]),
        (
            "old.yaml",
            json.dumps(
                {
                    "distributed_type": "MULTI_CPU",
                    "num_processes": 2,
                    "num_machines": 1,
                    "fp16": False,
                    "machine_rank": 0,
                    "main_process_ip": None,
                    "main_process_port": None,
                    "main_training_function": "main",
                }
            ),
        ),
        (
            "fsdp2.yaml",
            json.dumps({"distributed_type": "FSDP", "num_processes": 2, "fsdp_config": {"fsdp_version": 2}}),
        ),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("tests", "bin"):
        (folder / name).symlink_to(ROOT / name)


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a reader whose home is in a folder, with the commands that the pages name."""
    commands, home = folder / "commands", folder / "home"
    commands.mkdir()
    (home / ".config" / "fish" / "completions").mkdir(parents=True)
    (folder / "tracker.py").write_text(_TRACKER, encoding="utf-8")
    for name, start in (
        ("python", ""),
        ("slipway", " -P -m slipway"),
        ("torchrun", " -P -m torch.distributed.run"),
        ("accelerate", " -P -m accelerate.commands.accelerate_cli"),
        ("my-tracker", f" {folder}/tracker.py"),
    ):
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable}{start} "$@"\n', encoding="utf-8")
        (commands / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "MAKE"))}
    return {
        **kept,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "HF_HOME": str(home / "hf"),
        "OMP_NUM_THREADS": "1",
        "SLIPWAY_QUICK_TEST": "yes",
    }


def train_a_run(folder: Path, variables: Mapping[str, str]) -> None:
    """Train `runs/my-run` in a folder."""
    words = "slipway train --data my-landmarks --quick-test --experiment-name my-run --no-report"
    subprocess.run(["bash", "-c", words], cwd=folder, env=dict(variables), check=True, capture_output=True)
