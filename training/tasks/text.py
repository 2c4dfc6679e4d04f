"""Classes of texts, or the language itself: tables and files of text as bytes, and a small transformer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ..common.keyed_dropout import Dropout
from ..config.recipe import check
from ..data.labelled.labelled import split_samples, split_stretches
from ..data.labelled.texts import find_texts
from .dataset_task import DatasetTask

OBJECTIVES = ("classify", "language-model")
BYTES, BEGIN, IGNORED = 256, 257, -100
"""A byte b is the token b + 1, 0 is padding, and a sample of a language model begins with BEGIN."""
_FEW_TEXTS = 30


def make_task(
    data: str | Path,
    *,
    objective: Literal["classify", "language-model"] = "classify",
    text: str | None = None,
    label: str | None = None,
    encoding: str | None = None,
    length: int = 256,
    width: int = 64,
    layers: int = 2,
    dropout: float = 0.1,
    train_ratio: float = 0.8,
    split_seed: int = 0,
) -> DatasetTask:
    """Return the task to tell the classes of texts, or, with `objective="language-model"`, to predict each next byte.

    `data`: a CSV, TSV, JSON lines or Parquet with the columns `text` and `label` (None: those with usual names), a folder of
    such tables named after splits, or of `<class>/*.txt`; for a language model also a .txt. `length`: the most bytes of a
    sample. To be classified a longer text is cut off, of which the run tells; for a language model it is several samples.
    """
    check(objective in OBJECTIVES, "text", "objective", objective, f"one of {', '.join(OBJECTIVES)}")
    check(length >= 8, "text", "length", length, "8 or more")
    check(width >= 16 and width % 16 == 0, "text", "width", width, "a multiple of 16")
    check(layers >= 1, "text", "layers", layers, "1 or more")
    check(0 <= dropout < 1, "text", "dropout", dropout, "from 0 to below 1")
    is_model = objective == "language-model"
    samples = find_texts(str(data), text=text, label=label, encoding=encoding, with_labels=not is_model)
    if is_model and len(samples.items) < _FEW_TEXTS:
        found = split_stretches(samples, train_ratio=train_ratio)
    else:
        found = split_samples(samples, samples.items, train_ratio=train_ratio, seed=split_seed)
    rows, sizes = {split: list[tuple[bytes, int]]() for split in found.splits}, list[int]()
    for split, (texts, numbers) in found.splits.items():
        for content, number in zip((one.encode() for one in texts), numbers.tolist(), strict=True):
            sizes.append(len(content))
            starts = range(0, len(content) if is_model else 1, length)
            rows[split] += [(content[start : start + length], number) for start in starts]
    about = f"{len(sizes):,} texts of {min(sizes):,} to {max(sizes):,} bytes"
    notes, names = found.notes, None if is_model else found.class_names
    if is_model:
        about = f"{sum(sizes):,} bytes of text in {sum(map(len, rows.values())):,} samples of up to {length}"
    elif longer := [size for size in sizes if size > length]:
        share = 1 - sum(min(size, length) for size in sizes) / sum(sizes)
        notes += (f"{len(longer):,} texts are cut off at {length} bytes, {share:.1%} of all; the option is length",)
    return DatasetTask(
        partial(Network, BYTES if names is None else len(names), length, width, layers, dropout, is_model),
        rows["train"],
        rows["validation"],
        rows["test"],
        collate_fn=_collate_windows if is_model else _collate,
        metrics={} if is_model else None,
        lengths={split: [len(content) for content, _ in of] for split, of in rows.items()},
        name="text",
        class_names=names,
        about=f"{about}, {found.about}",
        notes=notes,
        options={"objective": objective, "length": length, "width": width, "layers": layers, "dropout": dropout},
    )


def encode(texts: Sequence[str | bytes], length: int) -> dict[str, torch.Tensor]:
    """Return what the network takes of texts: their `tokens`, int64 [texts, longest], and where they are, the `mask`."""
    raw = [one.encode() if isinstance(one, str) else one for one in texts]
    rows = [torch.frombuffer(bytearray(one[:length]), dtype=torch.uint8).long() + 1 for one in raw]
    tokens = pad_sequence(rows, batch_first=True)
    return {"tokens": tokens, "mask": tokens > 0}


def _collate(rows: list[tuple[bytes, int]]) -> dict[str, torch.Tensor]:
    labels = torch.tensor([label for _, label in rows])
    return {**encode([row for row, _ in rows], max(len(row) for row, _ in rows)), "labels": labels}


def _collate_windows(rows: list[tuple[bytes, int]]) -> dict[str, torch.Tensor]:
    """Return tokens whose targets are the bytes: before each byte are those before it, and first BEGIN."""
    after = encode([row for row, _ in rows], max(len(row) for row, _ in rows))
    tokens = F.pad(after["tokens"], (1, 0), value=BEGIN)[:, :-1]
    labels = torch.where(after["mask"], after["tokens"] - 1, IGNORED)
    return {"tokens": tokens, "mask": after["mask"], "labels": labels}


class Block(nn.Module):
    """Attention and two layers, each beside a shortcut; keys have no bias, which no gradient would reach."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.project, self.merge = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), Dropout(dropout)
        )

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return [samples, length, width]; each place sees those of `mask`, or without one those before it."""
        parts = self.project(self.norms[0](inputs)).unflatten(2, (3, -1, 16)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask, is_causal=mask is None)
        inputs = inputs + self.merge(seen.transpose(1, 2).flatten(2))
        return inputs + self.layers(self.norms[1](inputs))


class Network(nn.Module):
    """A transformer (Vaswani et al., 2017) behind a convolution of the last bytes, which finds parts of words."""

    def __init__(self, outputs: int, length: int, width: int, layers: int, dropout: float, is_causal: bool) -> None:
        super().__init__()
        self.is_causal = is_causal
        self.embedding = nn.Embedding(BEGIN + 1, width)
        self.places = nn.Parameter(torch.zeros(length, width))
        self.last = nn.Conv1d(width, width, 5)
        self.blocks = nn.ModuleList(Block(width, dropout) for _ in range(layers))
        self.norm, self.dropout, self.head = nn.LayerNorm(width), Dropout(dropout), nn.Linear(width, outputs)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return scores of classes, [samples, classes], or of each next byte, [samples, 256, length]."""
        values = self.embedding(tokens) + self.places[: tokens.shape[1]]
        values = values + F.gelu(self.last(F.pad(values.transpose(1, 2), (4, 0)))).transpose(1, 2)
        for block in self.blocks:
            values = block(values, None if self.is_causal else mask[:, None, None])
        values = self.norm(values)
        if self.is_causal:
            return self.head(self.dropout(values)).transpose(1, 2)
        real = mask[:, :, None].to(values.dtype)
        return self.head(self.dropout((values * real).sum(dim=1) / real.sum(dim=1)))
