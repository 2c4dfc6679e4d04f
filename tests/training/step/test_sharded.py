"""Sharded parameters learn what replicated ones do, and their checkpoints are anyone's."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from slipway.training.common.errors import UserError
from slipway.training.config.recipe import OptimizerSpec
from slipway.training.devices.ranks import Ranks
from slipway.training.devices.world import leave_group
from slipway.training.run.planning import _sharding
from slipway.training.run.training_config import TrainingConfig
from slipway.training.step.flat import FlatParameters
from slipway.training.step.optimizer import FlatOptimizer
from slipway.training.tasks.task import Batch
from tests.training.helpers import catch
from tests.training.misbehaviour import difference, events_of, record_of, run, send, weights_of
from tests.training.processes import run_group, started

SAME = ("--batch-rule", "fixed", "--precision", "float64", "--ema-decay", "0.5", "--clip-norm", "0.5")
SHARDED = ("--sharding", "fsdp")


def arguments(runs_dir: Path, *options: str) -> list[str]:
    return [*SAME, "--runs-dir", str(runs_dir), *options]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of the same training in one process."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_group(1, folder / "output", run, arguments(folder)) == [0]
    return folder


def check_same(runs_dir: Path, whole: Path) -> None:
    for kind in ("best", "last"):
        assert difference(weights_of(runs_dir, kind=kind), weights_of(whole, kind=kind)) < 1e-10


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (2, ("--micro-batch-size", "3")),  # 8 samples a rank; the last batch of an epoch has 2
        (2, ("--share-weights", "3,1", "--micro-batch-size", "4")),  # three passes and one
        (2, ("--micro-batch-size", "auto")),  # the search leaves no trace
        (3, ("--share-weights", "1,0,1",)),  # rows that do not divide, and a rank without samples
    ],
)  # fmt: skip
def test_sharded_parameters_learn_what_whole_ones_do(
    tmp_path: Path, whole: Path, size: int, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run_group(size, tmp_path / "output", run, arguments(tmp_path, *SHARDED, *options)) == [0] * size
    check_same(tmp_path, whole)
    assert record_of(tmp_path)["plan"]["sharding"] == "fsdp"
    ended, other = (record_of(folder)["result"] for folder in (tmp_path, whole))
    assert ended["test_loss"] == pytest.approx(other["test_loss"], rel=1e-9)


@pytest.mark.parametrize(
    ("before", "after"),
    [((3, *SHARDED), (1,)), ((1,), (2, *SHARDED)), ((2, *SHARDED), (3, *SHARDED)), ((2, *SHARDED), (2,))],
)
def test_a_checkpoint_goes_on_in_any_world_sharded_or_not(
    tmp_path: Path, whole: Path, before: tuple[int | str, ...], after: tuple[int | str, ...]
) -> None:
    size, *options = before
    stop = partial(send, signal.SIGTERM, 6, 0)  # in the second epoch
    codes = run_group(int(size), tmp_path / "output", run, arguments(tmp_path, *map(str, options)), stop)
    assert codes == [75] * int(size)
    size, *options = after
    again = arguments(tmp_path, *map(str, options), "--resume", "auto")
    assert run_group(int(size), tmp_path / "output", run, again) == [0] * int(size)
    check_same(tmp_path, whole)


def lose(at: int, step: int, batch: Batch, losses: torch.Tensor) -> torch.Tensor | None:
    """Act: one rank's numbers are bad in a step."""
    return losses * float("nan") if step == at and os.environ["RANK"] == "1" else None


def test_numbers_of_one_rank_that_are_bad_are_skipped_by_all(tmp_path: Path) -> None:
    found = {}
    for name, options in (("replicated", ()), ("sharded", SHARDED)):
        folder = tmp_path / name
        assert run_group(2, folder / "output", run, arguments(folder, *options), partial(lose, 5)) == [0, 0]
        assert [event["step"] for event in events_of(folder) if event["event"] == "skipped_update"] == [5]
        found[name] = weights_of(folder)
    assert difference(found["sharded"], found["replicated"]) < 1e-10


def run_out(step: int, batch: Batch, losses: torch.Tensor) -> None:
    """Act: memory runs out."""
    if step == 2:
        raise MemoryError


def run_out_on_one(runs_dir: Path) -> int:
    act = run_out if os.environ["RANK"] == "1" else None
    return run(arguments(runs_dir, *SHARDED), act)


def test_memory_that_runs_out_ends_all_ranks_with_a_line(tmp_path: Path) -> None:
    with started(2, tmp_path / "output", run_out_on_one, tmp_path) as group:
        codes = group.exit_codes()
        assert codes[1] == 1
        assert codes[0] != 0
        assert "with --sharding fsdp all ranks compute together" in group.output(1)
        assert "Traceback" not in group.output(1)


class Tower(nn.Module):
    """Matrices of 5 and 2 rows over 3 ranks, a parameter that is not trained, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 5), nn.Linear(5, 2)])
        self.layers[0].bias.requires_grad_(False)
        self.register_buffer("scale", torch.full((2,), 2.0))


def make_tower() -> Tower:
    torch.manual_seed(0)
    return Tower()


def check_parts(size: int) -> int:
    """On each rank: what it holds is its rows, and the parts make the whole."""
    import torch.distributed as dist

    from slipway.training.step.sharded import ShardedParameters

    dist.init_process_group("gloo")
    ranks = Ranks(rank=dist.get_rank(), size=size, local_rank=dist.get_rank(), device=torch.device("cpu"))
    model, plain = make_tower(), make_tower()
    sharded, flat = ShardedParameters(model, 4, ranks), FlatParameters(plain, 4)
    rows = [len(one.to_local()) for one in sharded.tensors]  # type: ignore[attr-defined]
    assert rows == {0: [2, 1, 1], 1: [2, 1, 1], 2: [1, 0, 0]}[ranks.rank]
    assert sharded.num_parameters == flat.num_parameters
    together = sharded.to_checkpoint(sharded.values)
    assert torch.equal(together, flat.values if ranks.is_main else torch.empty(0))
    assert torch.equal(sharded.from_checkpoint(flat.values), sharded.values)
    state = sharded.state_dict(model)
    assert state.keys() == (plain.state_dict().keys() if ranks.is_main else set())
    assert all(torch.equal(state[name], plain.state_dict()[name]) for name in state)
    changed = {name: tensor + 1.0 for name, tensor in plain.state_dict().items()}
    sharded.load_state_dict(model, changed)
    flat.load_state_dict(plain, changed)
    assert torch.equal(sharded.from_checkpoint(flat.values), sharded.values)
    assert torch.equal(dict(model.named_buffers())["scale"], changed["scale"])
    sharded.set_values(sharded.from_checkpoint(flat.values * 2.0))
    doubled = sharded.state_dict(model)
    assert not ranks.is_main or torch.equal(doubled["layers.0.weight"], changed["layers.0.weight"] * 2.0)
    for wrong in ({}, {**changed, "scale": torch.zeros(3)}):
        try:
            sharded.load_state_dict(model, wrong)
        except RuntimeError:
            continue
        return 1
    leave_group()
    return 0


def test_each_rank_holds_its_rows_and_together_they_are_the_whole(tmp_path: Path) -> None:
    assert run_group(3, tmp_path, check_parts, 3) == [0, 0, 0]


def check_few_rows(size: int) -> int:
    """On each rank: one that holds no row of any parameter updates with the others."""
    import torch.distributed as dist

    from slipway.training.step.sharded import ShardedParameters

    dist.init_process_group("gloo")
    ranks = Ranks(rank=dist.get_rank(), size=size, local_rank=dist.get_rank(), device=torch.device("cpu"))
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    torch.manual_seed(0)
    flat = FlatParameters(nn.Linear(3, 2), 4)
    sharded = ShardedParameters(model, 4, ranks)
    for one in (sharded, flat):
        optimizer = FlatOptimizer(OptimizerSpec(), one)
        one.gradients.fill_(1.0)
        optimizer.update(0.1, 0.5)
        one.sync_model()
    together = sharded.to_checkpoint(sharded.values)
    assert not ranks.is_main or torch.equal(together[:6], flat.values[:6])
    layer = nn.Linear(3, 3)
    tied = nn.ModuleDict({"layers": nn.ModuleList([layer, nn.Linear(3, 3)]), "head": nn.Linear(3, 3)})
    tied["head"].weight = layer.weight  # type: ignore[assignment]
    assert "use --sharding replicate" in (told := str(catch(ShardedParameters, tied, 4, ranks))), told
    twice = nn.Linear(3, 3)
    again = nn.Sequential(nn.ModuleList([twice, twice]))
    assert ShardedParameters(again, 4, ranks).num_parameters == 12
    leave_group()
    return 0


def test_a_rank_without_rows_and_layers_that_share_a_parameter(tmp_path: Path) -> None:
    assert run_group(3, tmp_path, check_few_rows, 3) == [0, 0, 0]


def test_how_parameters_are_held_is_the_users_or_the_launchers_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    assert _sharding("auto", 2)[0] == "replicate"
    assert _sharding("fsdp", 2) == ("fsdp", None)
    assert _sharding("fsdp", 1) == ("replicate", "one process: there is nothing to share")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert _sharding("auto", 2)[0] == "fsdp"
    assert _sharding("replicate", 2) == ("replicate", None)
    monkeypatch.setenv("FSDP_VERSION", "1")
    assert "fsdp_version: 2" in str(catch(_sharding, "auto", 2))
    with pytest.raises(UserError):
        TrainingConfig(sharding="zero3")  # type: ignore[arg-type]
