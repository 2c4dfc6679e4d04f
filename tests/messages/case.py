"""A case of what a person may meet: what is written, the command that is started, and by whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

Prepare = Callable[[Path], object]

TRAIN = "train --device cpu --quick-test --log-level error --runs-dir PATH/runs"
"""What is trained, the generated data, unless a case says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a person starts, where, and what it meets there."""

    words: str = ""
    """The words after `slipway`; PATH in them is the folder of the case, its working folder."""
    act: Callable[[Path], object] | None = None
    """Called with the folder, in place of a command."""
    prepare: Prepare = lambda root: None
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """PATH as in `words`."""
    is_other_user: bool = False
    """Whether a user who owns nothing starts it, so that closed files are closed."""
    most_file_bytes: int | None = None
    """What a file may hold, as on a full disk."""
    code: int = 2


def case(words: str, prepare: Prepare | None = None, **options: Any) -> Case:
    if prepare is not None:
        options["prepare"] = prepare
    return Case(words=words, **options)


def train(options: str, prepare: Prepare | None = None, **more: Any) -> Case:
    return case(f"{TRAIN} {options}", prepare, **more)


def text(name: str, content: str | bytes, mode: int = 0o644) -> Prepare:
    """Return what writes a file."""

    def write(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    return write


def both(*prepares: Prepare) -> Prepare:
    def prepare(root: Path) -> None:
        for one in prepares:
            one(root)

    return prepare


def pipe(name: str) -> Prepare:
    return lambda root: os.mkfifo(root / name)


def link(name: str, target: str) -> Prepare:
    return lambda root: (root / name).symlink_to(target)


def closed(name: str) -> Prepare:
    """Return what makes a folder that other users cannot enter."""
    return lambda root: (root / name).mkdir(mode=0o700)


def table(
    name: str = "hand.csv", rows: int = 36, labels: Callable[[int], object] = lambda row: "abc"[row % 3]
) -> Prepare:
    """Return what writes a table of hands."""
    header = ",".join(["label", *(f"{axis}{point}" for point in range(21) for axis in "xyz")])
    values = np.random.default_rng(0).uniform(0.1, 0.9, (rows, 63)).round(4)
    lines = [f"{labels(row)},{','.join(map(str, values[row]))}" for row in range(rows)]
    return text(name, "\n".join([header, *lines, ""]))


def arrays(name: str = "data.npz", **changes: Any) -> Prepare:
    """Return what writes an archive of 12 clips of a hand."""

    def write(root: Path) -> None:
        values = np.random.default_rng(0).uniform(0.1, 0.9, (12, 6, 63)).astype("f4")
        content = {"X": values, "y": np.array(list("abc" * 4)), **changes}
        np.savez(root / name, **{key: value for key, value in content.items() if value is not None})

    return write


LONG = "x" * 300
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
FILES: dict[str, tuple[Prepare, str]] = {
    "missing": (lambda root: None, "f.yaml"),
    "folder": (lambda root: (root / "f.yaml").mkdir(), "f.yaml"),
    "pipe": (pipe("f.yaml"), "f.yaml"),
    "device": (lambda root: None, "/dev/urandom"),
    "loop of links": (link("f.yaml", "f.yaml"), "f.yaml"),
    "long name": (lambda root: None, f"{LONG}.yaml"),
    "home of nobody": (lambda root: None, "~nobody/f.yaml"),
    "not UTF-8": (text("f.yaml", b"\xff\xfee: 1"), "f.yaml"),
    "huge": (text("f.yaml", "a" * 300_000), "f.yaml"),
    "empty": (text("f.yaml", ""), "f.yaml"),
    "list": (text("f.yaml", "- 1\n- 2\n"), "f.yaml"),
    "word": (text("f.yaml", "hello\n"), "f.yaml"),
    "cut": (text("f.yaml", "a: [1, 2\n"), "f.yaml"),
    "tab": (text("f.yaml", "a:\n\tb: 1\n"), "f.yaml"),
    "alias bomb": (text("f.yaml", BOMB), "f.yaml"),
    "tag": (text("f.yaml", "a: !!python/object/apply:os.system [ls]\n"), "f.yaml"),
    "deep": (text("f.yaml", "a: " + "[" * 1000), "f.yaml"),
}
"""Files that are no YAML of a mapping, and how they are named."""


def yaml_files(kind: str, words: str) -> dict[str, Case]:
    """Return a case for each of `FILES`; FILE in the words is its name."""
    return {f"{kind}.file.{name}": case(words.replace("FILE", file), write) for name, (write, file) in FILES.items()}


def small(options: str, prepare: Prepare = lambda root: None, **more: Any) -> Case:
    """Return a start on a small table, for what is met after the data are read."""
    return train(f"--data PATH/hand.csv {options}", both(table(), prepare), **more)
