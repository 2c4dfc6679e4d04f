"""Gradients reduced bucket by bucket during the backward pass are those reduced at once, whatever a rank has to give."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from slipway.training.devices.ranks import Ranks
from slipway.training.step.flat import FlatParameters
from slipway.training.step.placement import settle_bucket_bytes
from slipway.training.step.reduction import GradientReduction, split_buckets
from tests.limits import HANG_SECONDS
from tests.training.helpers import PLAN
from tests.training.processes import run_group


class Branches(nn.Module):
    """A trunk, a branch that only some samples take, and a parameter that has no gradient without it, and none with it."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(4, 4))
        self.trunk = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh())
        self.branch = nn.Linear(20, 20)
        self.head = nn.Linear(20, 3)

    def forward(self, inputs: torch.Tensor, branches: bool) -> torch.Tensor:
        hidden = self.trunk(inputs)
        return self.head(self.branch(hidden) + 0.0 * self.unused.sum() if branches else hidden)


def make_flat() -> FlatParameters:
    torch.manual_seed(4)
    return FlatParameters(Branches().double(), ledger_size=2)


def compare(folder: Path, size: int) -> None:
    """On each rank: compare overlapped reductions with the flat one and with the whole batch in one process."""
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=HANG_SECONDS))
    ranks = Ranks(rank=rank, size=size, local_rank=rank, device=torch.device("cpu"))
    rows: list[dict[str, Any]] = []
    for bucket_bytes in (1, 2000, 10**6):
        torch.manual_seed(4)
        model = Branches().double()
        flat = FlatParameters(model, ledger_size=2)
        reduction = GradientReduction(flat, ranks, bucket_bytes)
        for case in ("even", "empty", "branch", "branches", "broken"):
            inputs = torch.randn(size * 6, 6, generator=torch.Generator().manual_seed(7)).double()
            shares = [inputs[one::size] for one in range(size)]
            if case == "empty":
                shares = [inputs[:0], *(inputs[one :: size - 1] for one in range(size - 1))]
            results = []
            for overlapped in (False, True, True):
                flat.all_gradients.zero_()
                parts = [part for part in shares[rank].split(4) if len(part)]
                for number, part in enumerate(parts):
                    losses = model(part, case == "branches" or (case == "branch" and rank == 0)).square().sum(dim=1)
                    flat.ledger[0] += len(part)
                    flat.ledger[1] += losses.sum().detach()
                    if overlapped and number + 1 == len(parts):
                        reduction.overlap()
                    if case == "broken" and overlapped and rank == 1 and number + 1 == len(parts):
                        break  # this rank ran out of memory before its last backward pass
                    losses.sum().backward()
                flat.ledger[1] += rank + 1.0  # what a rank has to say after its passes, such as that memory ran out
                reduction.finish(overlapped=overlapped)
                results.append(flat.all_gradients.clone())
            rows.append(
                {
                    "case": case,
                    "buckets": len(reduction.buckets),
                    "difference": float((results[0] - results[2]).abs().max() / results[0].abs().max()),
                    "repeated": torch.equal(results[1], results[2]),
                    "unused": float(flat.tensors[0].grad.abs().max()),  # type: ignore[union-attr]
                    "weight": float(results[2][-2]),
                    "sum": float(results[2].sum()),
                }
            )
    (folder / f"{rank}.json").write_text(json.dumps(rows))
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, 3])
def test_buckets_sum_what_one_reduction_sums(tmp_path: Path, size: int) -> None:
    assert run_group(size, tmp_path / "output", compare, tmp_path, size) == [0] * size
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(size)]
    assert len(ranks[0]) == 15
    assert len({row["buckets"] for row in ranks[0]}) == 3
    for rows in zip(*ranks, strict=True):
        assert len({row["sum"] for row in rows}) == 1, rows  # all ranks hold the same
        for row in rows:
            assert row["repeated"], row
            assert row["unused"] == 0.0
            assert row["weight"] == size * 6, row
            if row["case"] != "broken":
                assert row["difference"] < 1e-14, row
            else:
                assert row["difference"] > 1e-3, row


@pytest.mark.parametrize("bucket_bytes", [1, 700, 2000, 10**6])
def test_buckets_cover_the_buffer_once_from_its_end_and_hold_whole_parameters(bucket_bytes: int) -> None:
    flat = make_flat()
    buckets, owners = split_buckets(flat, bucket_bytes)
    *matrices, last = buckets
    assert [bucket.stop for bucket in matrices[1:]] == [bucket.start for bucket in matrices[:-1]]
    assert (matrices[0].stop, matrices[-1].start) == (last.start, 0)
    assert last.stop == flat.all_gradients.numel()
    for parameter, start, owner in zip(flat.tensors, flat.starts, owners, strict=True):
        assert buckets[owner].start <= start
        assert start + parameter.numel() <= buckets[owner].stop
        assert (owner == len(matrices)) == (parameter.ndim < 2)
    if bucket_bytes > 1:
        assert all(8 * (bucket.stop - bucket.start) >= bucket_bytes for bucket in matrices[:-1])


@pytest.mark.parametrize(("width", "expected"), [(10, 1 << 20), (2048, 2048 * 2048 * 4 // 8), (8192, 25 << 20)])
def test_a_bucket_is_an_eighth_of_the_gradients_within_bounds(width: int, expected: int) -> None:
    with torch.device("meta"):
        model = nn.Linear(width, width, bias=False)
    plan = settle_bucket_bytes(replace(PLAN, reduction="overlap"), model)
    assert plan.bucket_bytes == expected
    assert f"of {width * width * 4} bytes of gradients" in dict(plan.reasons)["bucket_bytes"]
    assert settle_bucket_bytes(PLAN, model) is PLAN
    given = replace(PLAN, reduction="overlap", bucket_bytes=7)
    assert settle_bucket_bytes(given, model) is given


def test_alone_nothing_is_reduced() -> None:
    flat = make_flat()
    reduction = GradientReduction(flat, Ranks.alone(), 1)
    flat.all_gradients.fill_(3.0)
    reduction.overlap()
    flat.tensors[0].sum().backward()
    reduction.finish(overlapped=True)
    assert float(flat.ledger[0]) == 3.0
