"""A copy of a run on the host, into the memory of the copy before."""

from __future__ import annotations

import pytest
import torch

from slipway.training.storage.checkpoint import Content
from slipway.training.storage.host_copy import HostCopy


def content(**groups: torch.Tensor) -> Content:
    return Content(
        step=1,
        tensors={name: {"a": tensor} for name, tensor in groups.items()},
        unchanging=frozenset({"best"}),
        state={"é": 1},
    )


def test_a_copy_stays_as_it_was_taken() -> None:
    values = torch.arange(6.0)
    taken = HostCopy().take(content(model=values))
    values.add_(1)
    assert torch.equal(taken.tensors["model"]["a"], torch.arange(6.0))
    assert (taken.step, taken.state) == (1, {"é": 1})


def test_the_next_copy_lies_in_the_same_memory() -> None:
    host, values = HostCopy(), torch.zeros(6)
    first = host.take(content(model=values)).tensors["model"]["a"]
    second = host.take(content(model=values + 1)).tensors["model"]["a"]
    assert second.data_ptr() == first.data_ptr()
    assert torch.equal(second, torch.ones(6))


@pytest.mark.parametrize("other", [torch.ones(7), torch.ones(2, 3), torch.ones(6, dtype=torch.float64)])
def test_a_tensor_of_another_shape_or_type_gets_memory_of_its_own(other: torch.Tensor) -> None:
    host = HostCopy()
    host.take(content(model=torch.zeros(6)))
    taken = host.take(content(model=other)).tensors["model"]["a"]
    assert torch.equal(taken, other)
    assert taken.dtype == other.dtype


def test_what_never_changes_is_not_copied_where_it_is_on_the_host_already() -> None:
    best = torch.zeros(6)
    taken = HostCopy().take(content(model=torch.zeros(6), best=best))
    assert taken.tensors["best"]["a"] is best
    assert taken.tensors.keys() == {"model", "best"}


def test_views_that_overlap_or_lie_scattered_come_out_as_they_are() -> None:
    flat = torch.arange(12.0)
    taken = HostCopy().take(
        Content(step=1, tensors={"model": {"a": flat[:6].view(2, 3).t(), "b": flat[3:9:2]}}, state={})
    )
    assert taken.tensors["model"]["a"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert taken.tensors["model"]["b"].tolist() == [3.0, 5.0, 7.0]
    assert all(tensor.is_contiguous() for tensor in taken.tensors["model"].values())


def test_a_parameter_that_wants_gradients_is_copied_without_them() -> None:
    taken = HostCopy().take(content(model=torch.nn.Parameter(torch.ones(3)))).tensors["model"]["a"]
    assert not taken.requires_grad


def test_memory_of_what_is_no_longer_there_is_given_back() -> None:
    host = HostCopy()
    host.take(content(model=torch.zeros(6), average=torch.zeros(6)))
    host.take(content(model=torch.zeros(6)))
    assert set(host._kept) == {("model", "a")}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_device_is_copied_into_pinned_memory_and_what_never_changes_once() -> None:
    host = HostCopy()
    values, best = torch.arange(1 << 20, device="cuda"), torch.ones(5, device="cuda")
    first = host.take(content(model=values, best=best))
    values.add_(1)
    assert torch.equal(first.tensors["model"]["a"], torch.arange(1 << 20))
    assert first.tensors["model"]["a"].is_pinned()
    first.tensors["best"]["a"].fill_(3.0)
    second = host.take(content(model=values, best=best))
    assert torch.equal(second.tensors["model"]["a"], torch.arange(1 << 20) + 1)
    assert second.tensors["best"]["a"].tolist() == [3.0] * 5
