"""What the doors are shown whole: texts, a run that was trained, the weights of a sign recogniser."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random

import torch
from torch import nn

YAML_TEXTS = [
    "a: 1\nb: [1, 2.5, x]\nc:\n  d: {e: null, f: true}\n  g: |\n    text\n    more\n",
    "- name: first\n  epochs: 3\n- name: second\n  epochs: 4\n  'quoted: key': \"line\\n\"\n",
    "# a comment\n? complex\n: value\nlist:\n- 0x1F\n- .inf\n- .NaN\n- 1e3\n- ~\n",
]
STAGES_TEXTS = [
    "- name: first\n  epochs: 7\n  dropout: 0.1\n- name: second\n  epochs: 7\n  learning_rate_factor: 0.3\n"
    "  warmup_epochs: 0.5\n  weight_decay: 0.1\n"
    "  augmentation: {rotation_degrees: 15, scale: 0.2, shift: 0.1, noise: 0.01, resample: 0.25}\n",
    "stages:\n  - name: only\n    epochs: 2\n    patience: 3\n    label_smoothing: 0.1\n",
]
OPTIONS_TEXTS = [
    "epochs: 3\nbatch_size: 32\nlearning_rate: 0.001\nseed: 5\nshare_weights: [1, 2]\nsave_every: 1epoch\ncompile: false\n",
    "data: data.npz\nmixed_precision: auto\n"
    "weight_decay: 0.1\noptimizer: adamw\nschedule: cosine\nwarmup_epochs: 1\nema_decay: 0.9\nclip_norm: 1\n",
    "stages_config: default\nmonitor: accuracy\nmicro_batch_size: 8\nnum_workers: 0\ndevice: cpu\nleave_out: signer\n",
]
PROJECT_TEXTS = [
    "launch:\n  num_processes: 2\n  mixed_precision: no\ntrain:\n  batch_size: 64\n  stages_config: conservative\n",
]
WORDS_TEXTS = [
    '["--batch-size", "32", "--learning-rate", "1e-3", "--seed", "7", "--experiment-name", "first", "--device", "cpu"]',
    '["--share-weights", "1", "2", "--save-every", "100step", "--no-compile", "--stages-config", "default", "--keep", "2"]',
    '["--train-ratio", "0.8", "--monitor", "accuracy", "--data", "x.npz", "--micro-batch-size", "4", "--task-options", "a=1"]',
    '["--epochs", "3", "--warmup-epochs", "0.5", "--schedule", "cosine", "--weight-decay", "0.1", "--log-level", "info"]',
]
LAUNCH_TEXTS = [
    "num_processes: 2\nmixed_precision: bf16\nglobal_batch_size: 64\nmicro_batch_size: 8\nsharding: fsdp\nparameters: 7e9\n",
    "num_machines: 2\nmain_process_ip: 10.0.0.1\nmain_process_port: 29500\nmachine_rank: 0\nnum_workers: 4\n",
    "device: cuda\nthreads_per_process: 2\nnum_processes: 2\nshare_weights: [1, 2]\ncompile: true\n",
]
LAYOUT_TEXTS = [
    "title: upper body\nnames: [head, left_shoulder, right_shoulder, left_hand, left_thumb, right_hand, right_thumb]\n"
    "coords: xy\ncenter: head\nshoulders: [left_shoulder, right_shoulder]\n"
    "bones: [[left_shoulder, right_shoulder], [left_hand, left_thumb]]\n"
    "parts:\n  left: [left_hand, left_thumb]\n  right: [right_hand, right_thumb]\n",
    "names:\n- a\n- b\n- c\ncoords: xyz\ncenter: a\nsides: [[b, c]]\n",
]


@cache
def _workplace() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="slipway-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def make_net() -> nn.Module:
    """Return a small model, which `slipway.load` finds by its name."""
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


@cache
def trained_run() -> Path:
    """Return the folder of a run of two epochs, with two checkpoints."""
    from slipway import TensorTask, TrainingConfig, train
    from tests.training.misbehaviour import checkpoints_waited_for

    folders = _workplace() / "runs" / "one" / "checkpoints"
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(48, 8, generator=generator)
    labels = (inputs[:, :2] > 0).long() @ torch.tensor([1, 2])
    splits = {"train": (inputs[:32], labels[:32]), "validation": (inputs[32:], labels[32:])}
    config = TrainingConfig(
        epochs=2,
        batch_size=4,
        device="cpu",
        log_level="error",
        experiment_name="one",
        runs_dir=str(_workplace() / "runs"),
        save_every="1epoch",
        keep=2,
        ema_decay=0.5,
        compile=False,
    )
    with checkpoints_waited_for():
        train(config, TensorTask(make_net, splits))
    assert len(list(folders.iterdir())) == 2
    return folders.parent


def write_clips(path: Path) -> None:
    """Write 24 clips of 6 frames of a hand, of two classes, by 3 signers."""
    generator = Random(3)
    header = ["clip", "label", "signer", "frame", *(f"{axis}{point}" for point in range(21) for axis in "xyz")]
    rows = []
    for clip in range(24):
        for frame in range(6):
            values = [f"{generator.gauss(clip % 2, 0.3):.3f}" for _ in range(63)]
            rows.append([str(clip), "ab"[clip % 2], f"signer{clip // 2 % 3}", str(frame), *values])
    path.write_text("\n".join(map(",".join, [header, *rows])) + "\n", encoding="utf-8")


@cache
def trained_sign_run() -> Path:
    """Return the folder of a run of a sign recogniser, of two steps."""
    from slipway.training.run.cli import main

    folder = _workplace() / "signs"
    folder.mkdir()
    write_clips(folder / "data.csv")
    options = ["--data", str(folder / "data.csv"), "--stages-config", "minimal", "--max-steps", "2", "--device", "cpu"]
    options += [
        "--model-width",
        "8",
        "--model-blocks",
        "1",
        "--batch-size",
        "8",
        "--no-compile",
        "--log-level",
        "error",
    ]
    options += ["--runs-dir", str(folder), "--experiment-name", "run"]
    if main(options) != 0:
        raise RuntimeError(f"the training of what the doors are shown failed: {options}")
    return folder / "run"


def resume_from(run: Path) -> int:
    """Restore a trainer from the newest good checkpoint of a run; return the step."""
    from slipway.training.devices.ranks import Ranks
    from slipway.training.loop.state import restore_newest
    from slipway.training.storage.checkpoint import newest_checkpoint
    from tests.training.helpers import make_recipe, make_task, make_trainer

    recipe = make_recipe(epochs=2, batch_size=4, ema_decay=0.5)
    trainer, _ = make_trainer(make_task(32, 16), recipe)
    restore_newest(newest_checkpoint(run)[0], Ranks.alone(), trainer.restore, lambda problem: None)
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
    assert 0 <= trainer.progress.step <= 16
    return trainer.progress.step


def open_journal(path: Path) -> object:
    """Open a journal to write on, as a resume does, and read what is in it."""
    from slipway.training.observers.journal import Journal, lineage, read_journal

    journal = Journal(path)
    journal._file.close()
    return list(lineage(read_journal(path)))


def mend_hashes(folder: Path, generator: Random) -> None:
    """Write the hashes of what the checkpoints hold now into their manifests, mostly."""
    for manifest in (folder / "run" / "checkpoints").glob("*/manifest.json"):
        if generator.random() < 0.1 or not _is_small_file(manifest):
            continue
        with suppress(ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
            mend_all_hashes(manifest.parent)


def mend_all_hashes(checkpoint: Path) -> None:
    """Write the hashes of what a checkpoint holds now into its manifest."""
    manifest = checkpoint / "manifest.json"
    data = json.loads(manifest.read_bytes())
    for name, entry in data["files"].items():
        path = checkpoint / name
        if _is_small_file(path):
            entry.update(bytes=os.path.getsize(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    data.pop("sha256", None)
    whole = json.dumps(data, sort_keys=True, separators=(",", ":"))
    manifest.write_text(json.dumps({**data, "sha256": hashlib.sha256(whole.encode()).hexdigest()}))


def _is_small_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and os.path.getsize(path) < 1 << 20
