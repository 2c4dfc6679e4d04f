"""Pictures and texts for the models of `--task images` and `--task text`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ....training.common.conversion import convert
from ....training.common.errors import UserError
from ....training.common.program.doors import door
from ....training.common.small_files import expanded
from ....training.data.labelled.pictures import DIGITS, ENDINGS, find_pictures, read_picture
from ....training.data.labelled.texts import find_texts
from ....training.data.readers.walk import files_by_folder
from ....training.tasks.text import encode
from .samples import Predictor, Samples

_BATCH = 64
_REMEDY = "mend it, write it again, or remove it"


class PicturePredictor(Predictor):
    """A model of `--task images`."""

    def __init__(self, model: nn.Module, class_names: Sequence[str], options: Mapping[str, Any], where: str) -> None:
        self.model, self.class_names = model, tuple(class_names)
        height, width = convert(options.get("size"), tuple[int, int], where, "options.size")
        self.size, self.channels = (height, width), convert(options.get("channels"), int, where, "options.channels")
        self._resize = convert(options.get("resize"), str, where, "options.resize")

    def read(self, source: str) -> Samples:
        """Return the pictures of a folder of class folders, of any folder, of a file, or of `digits`."""
        path = expanded(source)
        if source == DIGITS and not path.exists():
            found = find_pictures(source).samples
            names = [f"{source}, picture {number}" for number in range(len(found.items))]
            return Samples(items=found.items, names=names, labels=found.labels)
        if not path.exists():
            raise UserError(f"{source}: no such file or folder")
        if path.is_file():
            return Samples(items=[path], names=[str(path)])
        with door(source, _REMEDY):
            below = files_by_folder(path, *ENDINGS)
        files = [path / folder / name for folder, names in below.items() for name in names]
        if not files:
            raise UserError(f"{source}: no picture in it ({', '.join(ENDINGS)})")
        folders = [file.parent.name for file in files]
        is_labelled = set(folders) <= set(self.class_names)
        return Samples(items=files, names=[str(file) for file in files], labels=folders if is_labelled else None)

    def read_one(self, item: Any) -> np.ndarray:
        """Return a picture as the network takes it, float32 [channels, height, width] from 0 to 1."""
        return read_picture(item, size=self.size, channels=self.channels, resize=self._resize)

    def take(self, values: Sequence[Any]) -> Samples:
        """Return pictures by their files, or of grey arrays [1, height, width] from 0 to 1."""
        items = [value if isinstance(value, np.ndarray) else Path(value) for value in values]
        return Samples(items=items, names=[f"picture {number}" for number in range(len(items))])

    def probabilities(self, items: Sequence[Any]) -> np.ndarray:
        """Return class probabilities, float [pictures, classes]."""
        dtype = next(self.model.parameters()).dtype
        found = []
        for start in range(0, len(items), _BATCH):
            read = [self.read_one(one) for one in items[start : start + _BATCH]]
            found.append(self.probabilities_of(torch.from_numpy(np.stack(read)).to(dtype)))
        return np.concatenate(found) if found else np.empty((0, len(self.class_names)))

    def probabilities_of(self, pictures: torch.Tensor) -> np.ndarray:
        """Return class probabilities of pictures [pictures, channels, height, width] from 0 to 1."""
        with torch.no_grad():
            found: np.ndarray = self.model(pictures).softmax(dim=1).double().numpy()
        return found


class TextPredictor(Predictor):
    """A model of `--task text` that tells classes."""

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        options: Mapping[str, Any],
        columns: Mapping[str, Any],
        where: str,
    ) -> None:
        self.model, self.class_names = model, tuple(class_names)
        self.length = convert(options.get("length"), int, where, "options.length")
        self._columns = {
            name: value for name, value in columns.items() if name in ("text", "label", "encoding") and value
        }

    def read(self, source: str) -> Samples:
        """Return the texts of a table with or without labels, of `<class>/*.txt`, or of a text file."""
        try:
            found = find_texts(source, **self._columns)
        except UserError as error:
            try:
                columns = {name: value for name, value in self._columns.items() if name != "label"}
                found = find_texts(source, with_labels=False, **columns)
            except UserError:
                raise error from None
        names = [f"{source}, text {number}" for number in range(1, 1 + len(found.items))]
        is_labelled = any(found.labels)
        taken = self.take(found.items)
        notes = (*found.notes, *taken.notes)
        return Samples(items=taken.items, names=names, labels=found.labels if is_labelled else None, notes=notes)

    def take(self, values: Sequence[Any]) -> Samples:
        """Return texts as their bytes, up to the length of those that were trained on."""
        texts = [str(value).encode() for value in values]
        longer = sum(len(text) > self.length for text in texts)
        notes = (f"{longer:,} texts are cut off at {self.length} bytes, as in training",) if longer else ()
        names = [f"text {number}" for number in range(1, 1 + len(texts))]
        if empty := next((name for name, text in zip(names, texts, strict=True) if not text), None):
            raise UserError(f"{empty}: is empty; leave it out")
        return Samples(items=texts, names=names, notes=notes)

    def probabilities(self, items: Sequence[Any]) -> np.ndarray:
        """Return class probabilities, float [texts, classes]."""
        found = np.empty((len(items), len(self.class_names)))
        order = sorted(range(len(items)), key=lambda index: len(items[index]))
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            with torch.no_grad():
                scores = self.model(**encode([items[index] for index in chosen], self.length))
            found[chosen] = scores.softmax(dim=1).double().numpy()
        return found
