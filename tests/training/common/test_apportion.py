"""The plan of the launcher and the run of the training cut a batch the same way."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.launcher.plan.make_plan import Intent
from slipway.launcher.plan.model import choose_batches
from slipway.training.batches.order import Order
from slipway.training.batches.sampler import EpochSampler
from slipway.training.batches.share import rank_positions
from slipway.training.common.apportion import apportion, plan_micro_batches
from slipway.training.common.errors import UserError
from tests.training.helpers import catch

WEIGHTS = st.lists(st.sampled_from([0.0, 0.46, 0.5, 1.0, 3.0, 5.0]), min_size=1, max_size=9).filter(any).map(tuple)


def test_the_largest_share_is_the_one_that_is_trained() -> None:
    assert apportion(10, (5, 3, 3)) == [4, 3, 3]
    asked = Intent(global_batch_size=10, share_weights=(5.0, 3.0, 3.0), gradient_accumulation=5)
    message = "--gradient-accumulation 5: a process has 4 samples a step at most; give at most 4"
    assert str(catch(choose_batches, asked, (5.0, 3.0, 3.0))) == message
    assert str(catch(plan_micro_batches, 10, (5.0, 3.0, 3.0), None, 5)) == message


@settings(max_examples=200, deadline=None)
@given(
    batch=st.integers(1, 500),
    weights=WEIGHTS,
    micro=st.one_of(st.none(), st.integers(1, 60)),
    accumulation=st.one_of(st.none(), st.integers(1, 60)),
)
def test_the_plan_and_the_sampler_of_a_run_agree_on_micro_batches(
    batch: int, weights: tuple[float, ...], micro: int | None, accumulation: int | None
) -> None:
    if micro is not None:
        accumulation = None
    intent = Intent(global_batch_size=batch, micro_batch_size=micro, gradient_accumulation=accumulation)
    shares = [len(rank_positions(batch, rank, weights)) for rank in range(len(weights))]
    try:
        planned, passes = (decision.value for decision in choose_batches(intent, weights))
    except UserError:
        assert accumulation is not None
        assert accumulation > max(shares)
        return
    heaviest = shares.index(max(shares))
    sampler = EpochSampler(
        order=Order(seed=0, num_samples=batch),
        costs=None,
        global_batch_size=batch,
        rank=heaviest,
        share_weights=weights,
        micro_batch_size=lambda: planned or max(shares),
    )
    (step,) = sampler.epoch(0)
    assert step.samples_per_rank == shares
    # Micro-batches of one size may be fewer than were asked for, and never more.
    assert len(step.micro_batches) == passes if accumulation is None else len(step.micro_batches) <= passes


def test_numbers_of_many_ranks_sum_to_the_batch_with_the_rest_on_the_lower_ones() -> None:
    assert apportion(10, [1.0] * 4) == [3, 3, 2, 2]
    assert apportion(1000, [0.1] * 997) == [2] * 3 + [1] * 994
    assert apportion(0, [1.0, 2.0]) == [0, 0]
