"""Data, modules and optimizers of the programs: what is the same whichever library trains them."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

Arrays = tuple[torch.Tensor, torch.Tensor]


def points(split: str) -> Arrays:
    """Return points in six dimensions, [samples, 6], and which of three classes each is in."""
    generator = torch.Generator().manual_seed({"train": 1, "validation": 2}[split])
    inputs = torch.randn(90 if split == "train" else 41, 6, generator=generator)
    return inputs, inputs[:, :3].argmax(dim=1)


def points_net() -> nn.Module:
    """Return a small network for points."""
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 3))


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images.astype(np.float32)[:, None] / 16, digits.target


def digits(split: str) -> Arrays:
    """Return some of scikit-learn's digits, images of 8 x 8, [samples, 1, 8, 8], and their numbers."""
    images, numbers = _digits()
    chosen = slice(0, 197) if split == "train" else slice(500, 593)
    return torch.from_numpy(images[chosen]), torch.from_numpy(numbers[chosen])


class DigitsNet(nn.Sequential):
    """A convolutional network with batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(256, 10),
        )


def points_as_arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the points as numpy arrays, their classes as bytes."""
    inputs, classes = points(split)
    return inputs.numpy(), classes.numpy().astype(np.uint8)


class Pairs(Dataset[dict[str, Any]]):
    """Samples of three inputs and a label: whether the scaled difference of two vectors is positive in the mean."""

    def __init__(self, split: str) -> None:
        self.inputs, _ = points(split)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        left, right = self.inputs[index].split(3)
        scale = self.inputs[index, 0].abs()
        return {"left": left, "right": right, "scale": scale, "label": int((left - right * scale).mean() > 0)}


class PairNet(nn.Module):
    """A network of three inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 12)
        self.head = nn.Linear(24, 2)

    def forward(self, left: torch.Tensor, right: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Return class scores, [samples, 2]."""
        both = torch.cat([self.embed(left), self.embed(right) * scale[:, None]], dim=1)
        return self.head(torch.tanh(both))


class Flip:
    """Mirrors an image or not; draws from torch."""

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image.flip(-1) if torch.rand(1) < 0.5 else image


class Shift:
    """Moves an image by up to a pixel; draws from Python's `random`."""

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image.roll((random.randint(-1, 1), random.randint(-1, 1)), (-2, -1))


class Noise:
    """Adds noise; draws from numpy."""

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image + torch.from_numpy(np.random.normal(0, 0.1, image.shape)).to(image)


class Compose:
    """Transforms, one after the other."""

    def __init__(self, *transforms: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.transforms = transforms

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        for transform in self.transforms:
            image = transform(image)
        return image


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Digits with a transform, as torchvision's data sets have it."""

    def __init__(self, split: str, transform: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        (self.images, self.numbers), self.transform = digits(split), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.images[index]
        return image if self.transform is None else self.transform(image), int(self.numbers[index])


def pictures_net() -> nn.Module:
    """Return a small network for digits."""
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(216, 10))


def diabetes(split: str) -> Arrays:
    """Return scikit-learn's diabetes: ten features, [samples, 10], and how far the disease went, [samples, 1]."""
    from sklearn.datasets import load_diabetes

    inputs, targets = load_diabetes(return_X_y=True)
    chosen = slice(0, 301) if split == "train" else slice(301, None)
    features, progress = torch.from_numpy(inputs).float(), torch.from_numpy(targets).float()
    return features[chosen] * 20, progress[chosen, None] / 100


class Sentences(Dataset[dict[str, Any]]):
    """Sequences of tokens of different lengths, and whether the first token comes again."""

    def __init__(self, split: str) -> None:
        generator = torch.Generator().manual_seed({"train": 3, "validation": 4}[split])
        lengths = torch.randint(3, 11, (75 if split == "train" else 29,), generator=generator)
        self.sentences = [torch.randint(1, 12, (int(length),), generator=generator) for length in lengths]

    def __len__(self) -> int:
        return len(self.sentences)

    def __getitem__(self, index: int) -> dict[str, Any]:
        tokens = self.sentences[index]
        return {"tokens": tokens, "label": int((tokens[1:] == tokens[0]).any())}


def make_bert() -> nn.Module:
    """Return a small BERT that classifies sentences, with the dropout of its default."""
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return BertForSequenceClassification(BertConfig(vocab_size=12, max_position_embeddings=16, num_labels=2, **sizes))


def make_gpt2() -> nn.Module:
    """Return a small GPT-2 whose output layer is its embedding, without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    dropouts = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
    return GPT2LMHeadModel(GPT2Config(vocab_size=12, bos_token_id=0, eos_token_id=0, **sizes, **dropouts))


def make_resnet() -> nn.Module:
    """Return a small ResNet for digits."""
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(num_channels=1, num_labels=10, **sizes))


class Finetuned(nn.Module):
    """A backbone and a head, for points."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 16), nn.GELU())
        self.head = nn.Linear(16, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return class scores, [samples, 3]."""
        return self.head(self.backbone(inputs))


class Lion(torch.optim.Optimizer):
    """Chen et al., "Symbolic discovery of optimization algorithms", 2023, written by hand."""

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move each weight by the rate, whichever way the interpolated gradient points."""
        if closure is not None:  # Lightning computes the gradients in it
            with torch.enable_grad():
                closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                moment = self.state[parameter].setdefault("moment", torch.zeros_like(parameter))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(moment.lerp(parameter.grad, 1 - first).sign(), alpha=-group["lr"])
                moment.lerp_(parameter.grad, 1 - second)
