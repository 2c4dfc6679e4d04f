"""A stream is written once and then trained as a list of its samples, exactly; what cannot be is told in one sentence."""

from __future__ import annotations

import gc
import itertools
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from slipway.training.common.errors import UserError
from slipway.training.devices.interruption import Interrupted, StopRequest
from slipway.training.devices.ranks import Ranks
from slipway.training.observers.events import EpochEnd, Observer
from slipway.training.run.train import train
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.dataset_task import DatasetTask
from slipway.training.tasks.samples.streams import write
from slipway.training.tasks.samples.streams.folder import StreamFolder
from slipway.training.tasks.samples.streams.store import SAMPLES
from slipway.training.tasks.samples.streams.stream import Stream
from tests.training.disks import read_only, small_disk
from tests.training.processes import run_group

COUNT = 45


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "slipway" / "streams"


def samples(first: int = 0, step: int = 1) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    for x in torch.randn(COUNT, 4, generator=generator, dtype=torch.float64)[first::step]:
        yield x, x.sum()[None]


class ByWorker(IterableDataset[Any]):
    """Gives each worker and each process a part, as the documentation of torch does."""

    def __iter__(self) -> Iterator[Any]:
        worker, rank, size = get_worker_info(), 0, 1
        if dist.is_initialized():
            rank, size = dist.get_rank(), dist.get_world_size()
        assert (rank, size) == (int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
        return samples(rank, size) if worker is None else samples(worker.id, worker.num_workers)


class OwnPart(IterableDataset[Any]):
    """Took its part when it was made."""

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))

    def __iter__(self) -> Iterator[Any]:
        return samples(self.rank, self.size)


def changed() -> Iterator[Any]:
    return ((x + 1, y) for x, y in samples())


def drawn() -> Iterator[Any]:
    for _ in range(COUNT):
        x = torch.rand(4, dtype=torch.float64) + random.random() + np.random.rand()
        yield x, x.sum()[None]


KINDS: dict[str, Callable[[], Any]] = {
    "list": lambda: list(samples()),
    "function": lambda: samples,
    "generator": samples,
    "key": lambda: Stream(samples, key="v1"),
    "by_worker": ByWorker,
    "own_part": OwnPart,
    "changed": lambda: changed,
    "drawn": lambda: drawn,
}


def make_net() -> nn.Module:
    return nn.Linear(4, 1).double()


def make_task(data: Any, **more: Any) -> DatasetTask:
    return DatasetTask(make_net, data, loss=nn.MSELoss(), metrics={}, **more)


class Killed(Observer):
    """Kills the process after the first epoch."""

    def on_epoch_end(self, event: EpochEnd) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def run(kind: str, folder: Path, name: str, how: str = "") -> int:
    """Train, in a process of its own; save the weights in rank 0."""
    config = TrainingConfig(
        epochs=2,
        batch_size=10,
        batch_rule="fixed",
        experiment_name=name,
        runs_dir=str(folder),
        device="cpu",
        mixed_precision="no",
        save_every="1step",
        resume="auto" if how == "resume" else None,
    )
    try:
        result = train(config, make_task(KINDS[kind]()), [Killed()] if how == "kill" else [])
    except UserError as error:
        print(error)
        return 2
    if os.environ.get("RANK", "0") == "0":
        torch.save({**result.model.state_dict()}, folder / f"{name}.pt")
    return 0


def weights(folder: Path, name: str) -> torch.Tensor:
    return torch.cat([one.flatten() for one in torch.load(folder / f"{name}.pt", weights_only=True).values()])


def test_a_stream_trains_as_the_list_of_its_samples_on_any_number_of_processes_and_after_a_kill(tmp_path: Path) -> None:
    assert run_group(1, tmp_path / "logs", run, "list", tmp_path, "wanted") == [0]
    wanted = weights(tmp_path, "wanted")
    assert run_group(1, tmp_path / "logs", run, "function", tmp_path, "one") == [0]
    assert torch.equal(weights(tmp_path, "one"), wanted)
    assert run_group(1, tmp_path / "logs", run, "function", tmp_path, "killed", "kill") == [-9]
    assert run_group(1, tmp_path / "logs", run, "function", tmp_path, "killed", "resume") == [0]
    assert torch.equal(weights(tmp_path, "killed"), wanted)
    assert run_group(2, tmp_path / "logs", run, "by_worker", tmp_path, "two") == [0, 0]
    assert (weights(tmp_path, "two") - wanted).abs().max() <= 1e-10 * wanted.abs().max()
    assert run_group(2, tmp_path / "logs", run, "own_part", tmp_path, "parts") == [2, 2]
    assert "stream.rank is the rank in each process" in (tmp_path / "logs" / "rank_1.txt").read_text()


def test_a_run_is_only_resumed_if_the_stream_gives_the_same_samples(tmp_path: Path) -> None:
    assert run_group(1, tmp_path / "logs", run, "drawn", tmp_path, "run", "kill") == [-9]
    assert run_group(1, tmp_path / "logs", run, "changed", tmp_path, "run", "resume") == [2]
    assert "the samples of the data: fingerprint" in (tmp_path / "logs" / "rank_0.txt").read_text()
    assert run_group(1, tmp_path / "logs", run, "drawn", tmp_path, "run", "resume") == [0]


def read(data: Any, **more: Any) -> list[Any]:
    """Return the samples of a task's stream, one by one."""
    task = make_task(data, collate_fn=lambda batch: batch[0], **more)
    found = [task.fetch("train", torch.tensor([number])) for number in range(task.num_samples("train"))]
    del task
    gc.collect()  # so that it no longer holds what it has read
    return found


def contents(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "contents").iterdir())


def test_streams_of_every_kind_are_read_complete() -> None:
    wanted = [x.tolist() for x, _ in samples()]
    hugging = datasets.IterableDataset.from_generator(
        lambda: ({"x": x.tolist(), "y": y.tolist()} for x, y in samples())
    )
    for data in (
        samples,
        samples(),
        ByWorker(),
        zip(*zip(*samples(), strict=True), strict=True),
        Stream(list(samples())),
    ):
        assert [one["0"].tolist() for one in read(data)] == wanted
    assert torch.allclose(torch.stack([one["x"] for one in read(hugging)]), torch.tensor(wanted, dtype=torch.float32))


def test_under_a_key_a_stream_is_read_once_and_again_under_another_or_with_other_code(cache: Path) -> None:
    reads = 0

    def make() -> Iterator[Any]:
        nonlocal reads
        reads += 1
        return samples()

    for key, count in (("v1", 1), ("v1", 1), ("v2", 2), ("v2", 2), ("v1", 2)):
        assert make_task(Stream(make, key=key)).num_samples("train") == COUNT
        assert reads == count
    for first in (1, 2):
        assert make_task(Stream(lambda first=first: samples(first), key="v1")).num_samples("train") == COUNT - first
    assert make_task(Stream(make)).num_samples("train") == COUNT
    assert reads == 3
    assert len(contents(cache)) == 3  # the same samples once, whatever their key


def test_a_damaged_content_is_read_again(cache: Path) -> None:
    wanted = read(Stream(samples, key="v1"))
    file = cache / "contents" / contents(cache)[0] / SAMPLES
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    again = read(Stream(samples, key="v1"))
    assert all(torch.equal(one["0"], other["0"]) for one, other in zip(wanted, again, strict=True))


def test_what_a_stream_wrote_before_goes_when_it_gives_other_samples(cache: Path) -> None:
    count = {"samples": 3}

    def make() -> Iterator[Any]:
        return itertools.islice(samples(), count["samples"])

    assert len(read(make)) == 3
    before = contents(cache)
    count["samples"] = 4
    assert len(read(make)) == 4
    assert len(contents(cache)) == 1
    assert contents(cache) != before


def test_random_numbers_of_a_stream_are_the_same_at_each_start() -> None:
    random.seed(1)
    first = read(drawn)
    random.seed(2)
    assert all(torch.equal(one["0"], other["0"]) for one, other in zip(first, read(drawn), strict=True))


def raising() -> Iterator[Any]:
    yield from itertools.islice(samples(), 7)
    raise ValueError("no such row")


def nothing() -> list[Any]:
    return []


def begun() -> Iterator[Any]:
    one = samples()
    list(one)
    return one


class Longer(ByWorker):
    def __len__(self) -> int:
        return 7


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "raises": (lambda: raising, r"raised ValueError: no such row \(test_streams.py, line \d+\) after 7 samples"),
    "empty": (lambda: iter([]), "gave no sample: it was read before, or is empty; give a function"),
    "nothing": (lambda: nothing, "gave no sample"),
    "read": (begun, r"was read to its end before; give the function that makes it: samples instead of samples\(\)"),
    "none": (lambda: lambda: None, "returned None; let it yield samples"),
    "arguments": (lambda: lambda path: samples(), "is called without arguments"),
    "number": (lambda: lambda: 3, "int cannot be read from its first sample to its last"),
    "structure": (
        lambda: iter([{"a": 1, "y": 2}, {"a": 1}]),
        "sample 1 is {a: int}, but the first is {a: int, y: int}",
    ),
    "object": (lambda: iter([(1, object())]), r"sample 0 cannot be kept: \[1\] is of type object"),
    "endless": (lambda: itertools.cycle(samples()), r"has no end and .*slipway.Stream\(..., samples=100_000\)"),
    "longer": (Longer, r"goes on after the 7 samples of its len\(\).*samples=7"),
    "loader": (lambda: Stream(DataLoader(list(samples()))), "give its dataset"),
    "class": (lambda: Stream(ByWorker), "ByWorker is a class"),
    "samples": (lambda: Stream(samples, samples=0), "a whole number from 1"),
    "key": (lambda: Stream(samples, key=""), "key is a text"),
    "twice": (lambda: Stream(Stream(samples)), "another Stream"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_read_is_one_sentence_and_nothing_is_left(kind: str, cache: Path) -> None:
    make, message = WRONG[kind]
    with pytest.raises(UserError, match=message) as caught:
        make_task(make()).num_samples("train")
    assert "\n" not in str(caught.value)
    assert not cache.exists() or contents(cache) == []


def test_a_stream_without_an_end_is_stopped_and_of_one_with_a_number_so_many_are_taken(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(write, "_MOST_SAMPLES", 100)

    def endless() -> Iterator[Any]:
        return itertools.cycle(samples())

    assert len(read(Stream(endless, samples=150))) == 150
    with pytest.raises(UserError, match=r"has not ended after 100 samples .*samples=100_000"):
        read(endless)


def large() -> Iterator[Any]:
    while True:
        yield torch.zeros(1 << 18), 1


def test_a_disk_without_room_is_told_before_it_is_full(tmp_path: Path, cache: Path) -> None:
    with small_disk(tmp_path / "cache", 64 << 20):
        with pytest.raises(UserError, match=r"takes about 104.\d MB, but .*XDG_CACHE_HOME name a folder with more"):
            read(Stream(large, samples=100))
        with pytest.raises(UserError, match=r"has not ended after \d\d samples"):
            read(large)
        assert contents(cache) == []


def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    with read_only(tmp_path / "cache"), pytest.raises(UserError, match=r"Read-only file system.*XDG_CACHE_HOME"):
        read(samples)


def test_a_signal_ends_the_writing_and_leaves_nothing(cache: Path) -> None:
    stop = StopRequest()

    def endless() -> Iterator[Any]:
        for number in itertools.count():
            stop.name = "SIGTERM" if number > 100 else None
            yield number, number

    with pytest.raises(Interrupted, match="stopped while the stream was written"):
        make_task(endless).make_ready(Ranks.alone(), stop)
    assert contents(cache) == []


def killed_while_writing() -> Iterator[Any]:
    yield from itertools.islice(samples(), 3)
    os.kill(os.getpid(), signal.SIGKILL)


def write_and_die() -> int:
    return make_task(killed_while_writing).num_samples("train")


def test_what_a_killed_process_wrote_is_never_served(tmp_path: Path, cache: Path) -> None:
    assert run_group(1, tmp_path / "logs", write_and_die) == [-9]
    assert contents(cache)[0].startswith(".partial-")
    assert len(read(samples)) == COUNT
    assert [name for name in contents(cache) if name.startswith(".")] == []


def test_a_second_run_waits_for_the_one_that_writes_under_the_key(cache: Path) -> None:
    folder = StreamFolder.of_user()
    stream = Stream(samples, key="v1")
    first = write.HostWork(stream, folder, "first", "train", False)
    second = write.HostWork(stream, folder, "second", "train", False)
    turns = first.turns()
    next(turns)
    others = second.turns()
    next(others)
    assert second.stored is None
    for _ in turns:
        pass
    for _ in others:
        pass
    assert first.stored is not None
    assert second.stored is not None
    assert first.stored.content == second.stored.content
    assert len(contents(cache)) == 1
