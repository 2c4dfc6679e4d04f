"""Pictures and sentences with a class each, made by rules."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("circle", "cross", "stripes")
_WEATHER = ("rain", "snow", "sunshine", "fog", "a storm")
_FOOD = ("soup", "bread", "rice", "an apple", "crème brûlée")
_SENTENCES = {
    "weather": ("There will be {0} in the {1} tomorrow.", "After {0} comes more {0}, they say in the {1}."),
    "food": ("We had {0} for lunch in the {1}.", "Would you bring {0} from the {1}, please?"),
}
_PLACES = ("north", "village", "old town", "valley", "harbour")


def draw_picture(kind: str, generator: np.random.Generator, size: int = 12) -> np.ndarray:
    """Return a picture of a kind, uint8 [size, size, 3], with noise."""
    rows, columns = np.mgrid[:size, :size] - size / 2 + generator.uniform(-1, 1)
    shapes = {
        "circle": np.hypot(rows, columns) < size / 3,
        "cross": np.minimum(abs(rows), abs(columns)) < 1.5,
        "stripes": rows % 4 < 2,
    }
    picture = shapes[kind][..., None] * generator.uniform(80, 160, 3) + generator.uniform(0, 90, (size, size, 3))
    return picture.astype(np.uint8)


def write_pictures(folder: Path, count: int = 12, size: int = 12) -> Path:
    """Write so many pictures of each class as `<class>/<number>.png`; return the folder."""
    generator = np.random.default_rng(0)
    for kind in CLASSES:
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(draw_picture(kind, generator, size)).save(folder / kind / f"{number}.png")
    return folder


def sentences(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return different sentences with their class, in turn."""
    generator = np.random.default_rng(seed)
    found: list[tuple[str, str]] = []
    for number in range(count):
        label = ("weather", "food")[number % 2]
        form = _SENTENCES[label][generator.integers(2)]
        word = generator.choice(_WEATHER if label == "weather" else _FOOD)
        found.append((f"{number}. {form.format(word, generator.choice(_PLACES))}", label))
    return found


def write_sentences(path: Path, count: int, header: tuple[str, str] = ("text", "label")) -> Path:
    """Write sentences and their classes as a CSV; return its path."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *sentences(count)])
    return path
