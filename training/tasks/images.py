"""Classes of pictures: a folder of class folders, or scikit-learn's digits, and a small residual network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from ..common.keyed_dropout import Dropout
from ..config.recipe import check
from ..data.labelled.labelled import split_samples
from ..data.labelled.pictures import RESIZE, find_pictures, read_picture
from .dataset_task import DatasetTask

NORMALISE = {
    "centred": ([0.5], [0.5]),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "none": ([0.0], [1.0]),
}
"""Mean and spread of each channel, which the network takes out of numbers from 0 to 1."""
_Read = Callable[[Any], np.ndarray]


def make_task(
    data: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    resize: Literal["crop", "pad", "stretch"] = "crop",
    normalise: Literal["centred", "imagenet", "none"] = "centred",
    flip: bool = False,
    shift: float = 0.1,
    norm: Literal["group", "batch"] = "group",
    width: int = 24,
    dropout: float = 0.1,
    train_ratio: float = 0.8,
    split_seed: int = 0,
) -> DatasetTask:
    """Return the task to tell the classes of pictures: of a folder `<class>/*.png`, or of `digits`, those of scikit-learn.

    `size`: height and width that all get; None: their own, if all have one of at most 96, else 64. `channels`: 1 or 3; None:
    1 if all are grey. `resize`: crop, pad or stretch. `normalise`: centred (-1 to 1), imagenet or none (0 to 1). `flip`: half
    of the training pictures are mirrored, at random in each epoch. `shift`: they are moved by up to this share of their size.
    `norm`: group, by which any plan reaches the same weights, or batch, by whose statistics the micro-batch size matters.
    Raises `UserError` for pictures that cannot be read, all at once.
    """
    check(resize in RESIZE, "images", "resize", resize, f"one of {', '.join(RESIZE)}")
    check(normalise in NORMALISE, "images", "normalise", normalise, f"one of {', '.join(NORMALISE)}")
    check(norm in NORMS, "images", "norm", norm, f"one of {', '.join(NORMS)}")
    check(size is None or size >= 8, "images", "size", size, "8 or more")
    check(width >= 8 and width % 8 == 0, "images", "width", width, "a multiple of 8")
    for option, share in (("shift", shift), ("dropout", dropout)):
        check(0 <= share < 1, "images", option, share, "from 0 to below 1")
    check(channels in (None, 1, 3), "images", "channels", channels, "1 or 3")
    check(channels != 1 or normalise != "imagenet", "images", "channels", channels, "3 with normalise=imagenet")
    found = find_pictures(str(data))
    labelled = split_samples(found.samples, found.contents, train_ratio=train_ratio, seed=split_seed)
    channels = channels or (1 if found.is_grey and normalise != "imagenet" else 3)
    box = found.size_for(size)
    read = partial(read_picture, size=box, channels=channels, resize=resize)
    train, validation, test = labelled.splits.values()
    options = {"size": list(box), "channels": channels, "resize": resize, "normalise": normalise, "flip": flip}
    return DatasetTask(
        partial(Network, len(labelled.class_names), channels, max(box), normalise, width, norm, dropout),
        Pictures(*train, read, flip, shift),
        Pictures(*validation, read),
        Pictures(*test, read),
        name="images",
        class_names=labelled.class_names,
        about=f"{len(labelled):,} images {found.describe(box, channels)}, {labelled.about}",
        notes=labelled.notes,
        options=options | {"shift": shift, "norm": norm, "width": width, "dropout": dropout},
    )


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Pictures [channels, height, width] from 0 to 1 with their classes, decoded when they are asked for."""

    def __init__(
        self, items: Sequence[Any], labels: np.ndarray, read: _Read, flip: bool = False, shift: float = 0.0
    ) -> None:
        self._items, self._labels, self._read, self._flip, self._shift = items, labels, read, flip, shift

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        picture = torch.from_numpy(self._read(self._items[index]))
        if self._flip and torch.rand(()) < 0.5:
            picture = picture.flip(-1)
        if self._shift:
            height, width = picture.shape[1:]
            edge = max(1, round(self._shift * max(height, width)))
            top, left = torch.randint(2 * edge + 1, (2,)).tolist()
            padded = F.pad(picture[None], (edge,) * 4, mode="replicate")[0]
            picture = padded[:, top : top + height, left : left + width]
        return picture, int(self._labels[index])


NORMS: dict[str, Callable[[int], nn.Module]] = {"group": lambda width: nn.GroupNorm(8, width), "batch": nn.BatchNorm2d}


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al., "Deep Residual Learning for Image Recognition", 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.change = nn.Sequential(first, norm(outputs), nn.SiLU(), second, norm(outputs))
        is_same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if is_same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return [samples, outputs, height / stride, width / stride]."""
        return F.silu(self.shortcut(images) + self.change(images))


class Network(nn.Module):
    """A residual network of three blocks, whose first convolution is the coarser the larger the pictures are."""

    def __init__(
        self, classes: int, channels: int, size: int, normalise: str, width: int, norm: str, dropout: float
    ) -> None:
        super().__init__()
        self.mean, self.spread = (nn.Buffer(torch.tensor(values)[:, None, None]) for values in NORMALISE[normalise])
        make_norm, stride = NORMS[norm], 1 if size < 48 else 2 if size < 128 else 4
        stem = nn.Conv2d(channels, width, 2 * stride + 1, stride, padding=stride, bias=False)
        blocks = [Block(width * max(1, n // 2), width * n, 1 if n == 1 else 2, make_norm) for n in (1, 2, 4)]
        self.body = nn.Sequential(stem, make_norm(width), nn.SiLU(), *blocks)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), Dropout(dropout), nn.Linear(4 * width, classes)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return class scores, [samples, classes], of images [samples, channels, height, width] from 0 to 1."""
        return self.head(self.body((images - self.mean) / self.spread))
