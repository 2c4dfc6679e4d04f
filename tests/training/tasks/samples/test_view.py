"""What a report shows of the samples of any task: pictures as pictures, texts as texts, numbers as curves or as words."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from slipway import DatasetTask, TensorTask, TrainingConfig, train
from slipway.training.tasks.samples.view import describe_sample


def picture_of(sample: object) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(b64decode(describe_sample((sample, 0))["picture"]))))


LEVELS = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)


@pytest.mark.parametrize(
    ("sample", "levels"),
    [
        (LEVELS, LEVELS),
        (torch.from_numpy(LEVELS).permute(2, 0, 1), LEVELS),
        (torch.from_numpy(LEVELS).permute(2, 0, 1) / 255, LEVELS),
        (Image.fromarray(LEVELS), LEVELS),
        (torch.from_numpy(LEVELS).permute(2, 0, 1).expand(5, 3, 12, 10), LEVELS),  # a video
        (LEVELS[:, :, 0], LEVELS[:, :, 0]),
        (
            torch.tensor([[-1.0, 1.0]] * 5).repeat(1, 5)[None],
            np.array([[0, 255]] * 5, np.uint8).repeat(5, 0).reshape(5, 10),
        ),
        (np.full((1, 8, 8), np.nan), np.zeros((8, 8), np.uint8)),
        (np.zeros((3, 4000, 1000), np.uint8), np.zeros((96, 24, 3), np.uint8)),
    ],
)
def test_pictures_of_any_form_are_pictures(sample: object, levels: np.ndarray) -> None:
    found = picture_of(sample)
    if levels.shape == (5, 10):
        levels = np.tile([0, 255], (5, 5)).astype(np.uint8)
    assert found.shape[0] <= 96
    np.testing.assert_array_equal(found[:, : levels.shape[1]], levels[: len(found)])


@dataclass
class Record:
    words: str
    length: int
    y: float


@pytest.mark.parametrize(
    ("sample", "shown"),
    [
        (("a text", 1), {"text": "a text"}),
        ((b"bytes", 1), {"text": "bytes"}),
        ((b"\xff\xfe", 1), {"values": [["input", "bytes"]]}),
        ((torch.tensor([1.0, 2.5]), 1), {"values": [["input", "1, 2.5"]]}),
        ((torch.arange(20), 1), {"values": [["input", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... (20)"]]}),
        ((torch.ones(13), torch.tensor(0.5)), {"curves": [["input", [1.0] * 13]], "values": [["target", "0.5"]]}),
        (({"a": 1, "b": [2.0, 3.0], "labels": 1}), {"values": [["a", "1"], ["b", "2, 3"]]}),
        (Record("w", 3, 0.25), {"text": "w", "values": [["length", "3"], ["target", "0.25"]]}),
        ((object(), [[1], [2, 3]], 1), {"values": [["input 0", "object"], ["input 1 0", "1"], ["input 1 1", "2, 3"]]}),
        ((None, 1), {}),
        (torch.tensor([1.0]).bfloat16(), {"values": [["input", "1"]]}),
        ((torch.zeros(20, 3), 1), {"curves": [[f"input {n}", [0.0] * 20] for n in range(3)]}),
    ],
)
def test_texts_and_numbers_are_shown_by_their_names(sample: object, shown: dict[str, object]) -> None:
    assert describe_sample(sample) == shown


def test_a_run_keeps_what_is_seen_of_its_worst_samples_and_what_was_said_of_them(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    samples = [(torch.randn(1, 8, 8, generator=generator), torch.randn(2, generator=generator)) for _ in range(30)]
    task = DatasetTask(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
        train=samples[:20],
        test=samples[20:],
        loss=nn.MSELoss(),
        metrics={"mae": lambda outputs, targets: (outputs - targets).abs().mean()},
    )
    run = train(TrainingConfig(runs_dir=str(tmp_path), epochs=1, save_every="never", report=False), task)
    worst = json.loads((run.folder / "answers.json").read_text())["worst"][0]
    _, target = samples[20 + worst["index"]]
    assert set(worst) >= {"picture", "values", "output"}
    np.testing.assert_allclose(worst["target"], target, atol=1e-6)


def test_what_a_data_set_draws_for_a_picture_of_a_sample_moves_no_generator(tmp_path: Path) -> None:
    class Noisy(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            if index >= len(self):
                raise IndexError(index)
            return torch.randn(3) + np.random.random(), index % 2

    task = DatasetTask(lambda: nn.Linear(3, 2), Noisy())
    torch.manual_seed(1)
    wanted = torch.randn(2)
    torch.manual_seed(1)
    first, again = task.show("train", 2), task.show("train", 2)
    assert first == again != task.show("train", 3)
    assert torch.equal(torch.randn(2), wanted)
    assert task.show("train", 99) == {}
    splits = {"train": (torch.zeros(6, 3), torch.arange(6) % 2)}
    assert TensorTask(lambda: nn.Linear(3, 2), splits).show("train", 0) == {"values": [["input", "0, 0, 0"]]}
