"""The data of a run: reported, found in the cache by the next run, mapped by all ranks."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from slipway.training.observers.journal import read_journal
from slipway.training.run.announce import describe_preparation
from slipway.training.run.train import make_task, train
from slipway.training.run.training_config import TrainingConfig
from tests.training.clip_sources import write_folder
from tests.training.processes import run_group

SMALL: dict[str, Any] = {
    "device": "cpu", "stages_config": "minimal", "epochs": 1, "batch_size": 8, "model_width": 16, "model_blocks": 1,
    "log_level": "error", "max_steps": 1, "experiment_name": "run",
}  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "clips")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return tmp_path / "user" / "slipway" / "data"


@pytest.fixture
def quiet() -> Iterator[None]:
    logger = logging.getLogger("slipway")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def train_once(source: Path, runs_dir: Path, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a run's result, and what it told of its data."""
    config = TrainingConfig(**{**SMALL, "data": str(source), "runs_dir": str(runs_dir), **options})
    result = train(config)
    events = read_journal(runs_dir / "run" / "events.jsonl")
    return result, [event for event in events if event["event"] in ("data_prepared", "damaged_data_cache")]


def test_a_run_reports_whether_its_data_came_from_the_cache(
    source: Path, own_cache: Path, tmp_path: Path, training_in_this_process: None, quiet: None
) -> None:
    first, told_first = train_once(source, tmp_path / "first")
    second, told_second = train_once(source, tmp_path / "second")
    _, told_none = train_once(source, tmp_path / "none", data_cache=False)
    for told, begin, end in (
        (told_first, "12 clips read, split and normalised in ", " s and cached"),
        (told_second, "12 clips taken from the cache (same content), ", " s"),
        (told_none, "12 clips read, split and normalised in ", " s"),
    ):
        (event,) = told
        assert event["reason"].startswith(begin)
        assert event["reason"].endswith(end)
        assert (event["clips"], event["warning"]) == (12, False)
        assert event["seconds"] > 0
    assert [event["from_cache"] for event in (*told_first, *told_second, *told_none)] == [False, True, False]
    assert first["test_loss"] == second["test_loss"]
    (folder,) = (path for path in own_cache.iterdir() if len(path.name) == 32)
    with (folder / "values.npy").open("r+b") as file:
        file.truncate(1000)
    third, told_third = train_once(source, tmp_path / "third")
    assert [event["event"] for event in told_third] == ["damaged_data_cache", "data_prepared"]
    assert told_third[0]["warning"]
    assert str(folder) in told_third[0]["reason"]
    assert third["test_loss"] == first["test_loss"]


def test_without_the_cache_nothing_is_written_there(source: Path, own_cache: Path) -> None:
    config = TrainingConfig(data=str(source), data_cache=False)
    make_task(config)
    assert not own_cache.exists()
    make_task(replace(config, data_cache=True))
    assert own_cache.exists()
    assert "data_cache" not in json.dumps(asdict(config.make_recipe()))


def share(source: Path, output: Path, use_cache: bool) -> int:
    """Train a step in this rank, and write what the rank has mapped."""
    import slipway.training.run.one_run
    import slipway.training.run.train

    own = slipway.training.run.one_run.prepare_data_once

    def recorded(*arguments: Any, **options: Any) -> Any:
        data, preparation = own(*arguments, **options)
        told = () if preparation is None else describe_preparation(preparation, str(source))
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        mapped = {line.split()[-1] for line in maps.splitlines() if "values.npy" in line}
        values = data.store.values.nan_to_num().sum().item()
        text = json.dumps({"mapped": sorted(mapped), "sum": values, "told": [one.reason for one in told]})
        (output / f"{os.environ['RANK']}.json").write_text(text, encoding="utf-8")
        return data, preparation

    slipway.training.run.one_run.prepare_data_once = recorded
    options = {**SMALL, "data": str(source), "runs_dir": str(output / "runs"), "data_cache": use_cache}
    slipway.training.run.train.train(TrainingConfig(**options))
    return 0


def test_two_ranks_map_one_entry(
    source: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    reports = []
    for name, use_cache in (("first", True), ("second", True), ("without", False)):
        output = tmp_path / name
        output.mkdir()
        assert run_group(2, output / "ranks", share, source, output, use_cache) == [0, 0]
        reports.append([json.loads((output / f"{rank}.json").read_text()) for rank in range(2)])
        left = [path.name for path in (tmp_path / "temporary").iterdir() if path.name.startswith("slipway-")]
        assert left == []
    (folder,) = (path for path in own_cache.iterdir() if len(path.name) == 32)
    for first_rank, second_rank in reports[:2]:
        assert first_rank["mapped"] == second_rank["mapped"] == [str(folder / "values.npy")]
    assert not any(str(own_cache) in path for rank in reports[2] for path in rank["mapped"])
    assert len({rank["sum"] for report in reports for rank in report}) == 1
    assert "and cached" in reports[0][0]["told"][0]
    assert "taken from the cache" in reports[1][0]["told"][0]
    assert reports[1][1]["told"] == []


def share_on_hosts(source: Path, output: Path, hosts: tuple[str, ...]) -> int:
    """Train a step in this rank, on a host of some name with a cache of its own; the temporary folder is everyone's."""
    rank = int(os.environ["RANK"])
    host = hosts[rank]
    os.environ["LOCAL_RANK"] = str(hosts[:rank].count(host))
    os.environ["LOCAL_WORLD_SIZE"] = str(hosts.count(host))
    os.environ["XDG_CACHE_HOME"] = str(output / host)
    socket.gethostname = lambda: host
    return share(source, output, use_cache=True)


# As torchrun deals out ranks, host by host, and as `mpirun --map-by node` does, in turn.
@pytest.mark.parametrize("hosts", [("a", "b", "b"), ("a", "b", "a", "b")])
def test_hosts_that_share_a_temporary_folder_map_their_own_entries(
    hosts: tuple[str, ...], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    for _ in range(2):
        assert run_group(len(hosts), tmp_path / "ranks", share_on_hosts, source, tmp_path, hosts) == [0] * len(hosts)
        for rank, host in enumerate(hosts):
            (mapped,) = json.loads((tmp_path / f"{rank}.json").read_text())["mapped"]
            assert mapped.startswith(str(tmp_path / host))
    assert [path.name for path in (tmp_path / "temporary").iterdir() if path.name.startswith("slipway-")] == []
