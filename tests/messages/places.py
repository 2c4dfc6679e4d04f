"""Environments, places, and data that are no data or cannot be meant."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from slipway.training.data.labelled.labelled import Samples, split_samples
from slipway.training.data.labelled.pictures import find_pictures
from slipway.training.data.labelled.texts import find_texts
from slipway.training.storage.run_folder import create_run_folder

from .case import LONG, Case, Prepare, arrays, both, case, closed, link, pipe, small, table, text, train


def runs(folder: str, prepare: Prepare = lambda root: None, *, name: str = "run", **more: Any) -> Case:
    """Return the making of a run's folder, once the data are read."""
    return Case(
        prepare=prepare,
        act=lambda root: create_run_folder(Path(folder.replace("PATH", str(root))), name, overwrite=False),
        **more,
    )


def inspect(words: str, prepare: Prepare = lambda root: None, **more: Any) -> Case:
    """Return a look at data, which reads them as a training does."""
    return case(f"data inspect {words}", prepare, **more)


ENVIRONMENT = {
    f"environment.{words}": train("", environment=dict(word.split("=", 1) for word in words.split()))
    for words in (
        "RANK=1", "RANK=x", "RANK=-1", "WORLD_SIZE=2", "WORLD_SIZE=two",
        "WORLD_SIZE=1e9", "WORLD_SIZE=2 RANK=0", "WORLD_SIZE=2 RANK=0 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=99999",
        "WORLD_SIZE=2 RANK=0 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=http",
        "WORLD_SIZE=2 RANK=0 LOCAL_RANK=0 LOCAL_WORLD_SIZE=5 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500",
        "ACCELERATE_MIXED_PRECISION=fp99", "ACCELERATE_USE_DEEPSPEED=true",
        "ACCELERATE_TORCH_DEVICE=gpu", "ACCELERATE_DYNAMO_BACKEND=fast",
        "PMI_SIZE=4", "OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_RANK=9",
    )
}  # fmt: skip

PLACES = {
    "place.runs.long": small(f"--runs-dir PATH/{LONG}"),
    "place.experiment.above": runs("PATH/runs", name="../x"),
    "place.experiment.long": runs("PATH/runs", name=LONG),

    "place.data.closed file": inspect("PATH/hand.csv", both(table(), lambda r: (r / "hand.csv").chmod(0o600)),
        is_other_user=True),
    "place.data.closed array": inspect("PATH/data.npz", both(arrays(), lambda r: (r / "data.npz").chmod(0o600)),
        is_other_user=True),
    "place.data.closed folder": inspect("PATH/c", closed("c"), is_other_user=True),
    "place.data.below a closed folder": inspect("PATH/c/hand.csv", closed("c"), is_other_user=True),
    "place.data.pipe": inspect("PATH/p.csv", pipe("p.csv")),
    "place.data.device": inspect("/dev/urandom"),
    "place.data.socket": inspect("PATH/s.csv", lambda root: _socket(root / "s.csv")),
    "place.data.loop": inspect("PATH/l.csv", link("l.csv", "l.csv")),
    "place.data.dangling": inspect("PATH/l.csv", link("l.csv", "gone.csv")),
    "place.data.long": inspect(f"PATH/{LONG}.csv"),
    "place.data.nobody": inspect("~nobody/hand.csv"),
    "place.data.empty": train("--data="),
    "place.data.hub": inspect("user/name"),
    "place.data.address": inspect("https://example.org/hand.csv"),
    "place.runs.file": runs("PATH/r", text("r", "")),
    "place.runs.closed": runs("PATH/c", closed("c"), is_other_user=True),
    "place.runs.below a closed folder": runs("PATH/c/runs", closed("c"), is_other_user=True),
    "place.runs.device": runs("/dev/null"),
    "place.runs.loop": runs("PATH/l", link("l", "l")),
    "place.runs.proc": runs("/proc/runs"),
    "place.runs.full": small("--runs-dir PATH/runs", most_file_bytes=1000),
    "place.layout.pipe": inspect("PATH/hand.csv --layout PATH/l.yaml", both(table(), pipe("l.yaml"))),
    "place.convert.closed": case("data convert PATH/hand.csv PATH/c/out.npz", both(table(), closed("c")), is_other_user=True),
    "place.convert.full": case("data convert PATH/hand.csv PATH/out.npz", table(), most_file_bytes=1000),
}  # fmt: skip


def _socket(path: Path) -> None:
    where = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(where)


MEANINGLESS = {
    "meaning.all missing": inspect("PATH/data.npz", arrays(X=np.zeros((12, 6, 63), "f4"))),
    "meaning.labels NaN": inspect("PATH/data.npz", arrays(y=np.array([0, 1, np.nan] * 4))),
    "meaning.all labels NaN": inspect("PATH/data.npz", arrays(y=np.full(12, np.nan))),
    "meaning.labels empty": inspect("PATH/data.npz", arrays(y=np.array(["a", "", "b"] * 4))),
    "meaning.float labels": inspect("PATH/data.npz", arrays(y=np.linspace(0, 1, 12))),
    "meaning.lengths negative": inspect("PATH/data.npz", arrays(
        X=np.ones((12, 63), "f4"), lengths=np.array([1] * 10 + [-2, 4]), y=np.array(list("abc" * 4)))),
    "meaning.lengths zero": inspect("PATH/data.npz", arrays(
        X=np.ones((12, 63), "f4"), lengths=np.array([1] * 10 + [0, 2]), y=np.array(list("abc" * 4)))),
    "meaning.infinite": inspect("PATH/data.npz", arrays(X=np.full((12, 6, 63), np.inf, "f4"))),
    "meaning.csv labels empty": inspect("PATH/hand.csv", table(labels=lambda row: ["a", "b", ""][row % 3])),
}  # fmt: skip


def picture(name: str, content: bytes | None = None) -> Prepare:
    """Return what writes a picture, or a file that should be one."""

    def write(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), "uint8")).save(path)
        if content is not None:
            path.write_bytes(content)

    return write


def pictures(**changed: bytes) -> Prepare:
    """Return what writes six pictures of two classes below `p`; those that are named hold other bytes."""
    return both(*(picture(f"p/{label}/{n}.png", changed.get(f"{label}{n}")) for label in "ab" for n in range(3)))


def texts(header: str, *rows: str) -> Prepare:
    return text("t.csv", "\n".join([header, *rows, ""]))


def of_pictures(prepare: Prepare = lambda root: None, **more: Any) -> Case:
    """Return the reading of the pictures in `p`, as the task `images` does."""
    return Case(prepare=prepare, act=lambda root: _split(find_pictures(str(root / "p")).samples), **more)


def of_texts(prepare: Prepare = lambda root: None, name: str = "t.csv", **more: Any) -> Case:
    """Return the reading of a table of texts, as the task `text` does."""
    return Case(prepare=prepare, act=lambda root: _split(find_texts(str(root / name))), **more)


def _split(samples: Samples[Any]) -> object:
    return split_samples(samples, list(map(str, samples.items)), train_ratio=0.8, seed=0)


LABELLED = {
    "images.missing": of_pictures(),
    "images.file": of_pictures(text("p", "")),
    "images.empty": of_pictures(lambda root: (root / "p").mkdir()),
    "images.pipe": of_pictures(pipe("p")),
    "images.no class folders": of_pictures(both(picture("p/1.png"), picture("p/2.png"))),
    "images.one class": of_pictures(both(*(picture(f"p/a/{n}.png") for n in range(6)))),
    "images.one picture": of_pictures(picture("p/a/1.png")),
    "images.no picture": of_pictures(pictures(a1=b"hello")),
    "images.cut": of_pictures(pictures(a1=b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")),
    "images.empty file": of_pictures(pictures(b2=b"")),
    "images.closed": of_pictures(both(pictures(), lambda root: (root / "p/a/1.png").chmod(0)), is_other_user=True),
    "images.closed folder": of_pictures(both(pictures(), lambda root: (root / "p/a").chmod(0)), is_other_user=True),
    "text.missing": of_texts(),
    "text.empty": of_texts(text("t.csv", "")),
    "text.header alone": of_texts(texts("text,label")),
    "text.pipe": of_texts(pipe("t.csv")),
    "text.no label": of_texts(texts("text", "a", "b")),
    "text.no text": of_texts(texts("label", "a", "b")),
    "text.one class": of_texts(texts("text,label", *("hello,a" for _ in range(9)))),
    "text.empty label": of_texts(texts("text,label", "hello,a", "bye,", "well,b")),
    "text.empty text": of_texts(texts("text,label", "hello,a", ",a", "well,b")),
    "text.all empty": of_texts(texts("text,label", ",a", ",b", ",a", ",b")),
    "text.label NaN": of_texts(texts("text,label", *("hello,a", "bye,NaN", "well,b") * 3)),
    "text.label None": of_texts(texts("text,label", *("hello,a", "bye,None", "well,b") * 3)),
    "text.float labels": of_texts(texts("text,label", *(f"text {n},{n / 7}" for n in range(100)))),
    "text.short row": of_texts(texts("text,label", "hello,a", "bye", "well,b")),
    "text.column twice": of_texts(texts("text,label,label", "hello,a,b", "bye,b,a", "well,b,a")),
    "text.not UTF-8": of_texts(text("t.csv", "text,label\nh\xe9llo,a\nbye,b\n".encode("latin-1"))),
    "text.closed": of_texts(text("t.csv", "text,label\n", 0o600), is_other_user=True),
    "text.all test": of_texts(texts("text,label,split", *(f"hello {n},{'ab'[n % 2]},test" for n in range(9)))),
    "text.no split": of_texts(texts("text,label,split", *(f"hello {n},{'ab'[n % 2]},odd" for n in range(9)))),
    "text.jsonl": of_texts(text("t.jsonl", '{"text": "a", "label": "b"}\n{"text": 3\n'), name="t.jsonl"),
    "text.jsonl list": of_texts(text("t.jsonl", "[1, 2]\n"), name="t.jsonl"),
    "text.jsonl nested": of_texts(text("t.jsonl", '{"text": ["a"], "label": {"b": 1}}\n'), name="t.jsonl"),
    "text.parquet": of_texts(text("t.parquet", "PAR1hello"), name="t.parquet"),
}
