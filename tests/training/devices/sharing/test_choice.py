"""Threads that share the cores wait for each other in the way in which steps are faster."""

from __future__ import annotations

import itertools

from slipway.training.devices.sharing.choice import Trials, WayChoice

STEP = 0.1


def held(paces: dict[str, float], steps: int = 100) -> list[str]:
    """Return the way of each step, whose seconds depend on it."""
    trials = Trials()
    found = []
    for _ in range(steps):
        found.append(trials.way)
        trials.note(paces[trials.way])
    return found


def test_the_faster_way_is_held_and_the_other_one_tried_again_more_and_more_seldom() -> None:
    found = held({"together": 2 * STEP, "asleep": STEP}, steps=200)
    tries = [at for at in range(1, 200) if found[at] == "together" != found[at - 1]]
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert found.count("asleep") > 170
    assert gaps == sorted(gaps)
    assert gaps[0] < gaps[-1]


def test_of_two_ways_that_are_as_fast_the_present_one_is_held() -> None:
    found = held({"together": STEP, "asleep": 0.97 * STEP})
    assert found.count("together") > 80


def test_where_the_neighbours_change_the_held_way_changes_too() -> None:
    trials = Trials()
    for paces in ({"together": STEP, "asleep": 2 * STEP}, {"together": 2 * STEP, "asleep": STEP}):
        for _ in range(150):
            trials.note(paces[trials.way])
        assert trials.settled == min(paces, key=lambda way: paces[way])


def test_threads_spin_before_they_are_tried_together_and_again_once_others_use_no_core() -> None:
    choice = WayChoice(can_gather=True)
    assert choice.way == "spinning"
    choice.note(0.5, 0.2)
    assert choice.way == choice.settled == "together"
    for _ in range(10):
        choice.note(0.9, 0.2, others=1.0)  # on one core they wait for each other
    assert choice.way == "together"
    for _ in range(5):
        choice.note(0.9, 0.2, others=0.05)
    assert choice.way == "spinning"


def test_a_step_in_which_the_way_changed_is_no_measure_of_either() -> None:
    choice = WayChoice(can_gather=True)
    choice.note(0.5, 0.2)
    for _ in range(20):
        choice.note_step("spinning", 1.0)
    assert choice.settled == choice.way == "together"


def test_threads_that_cannot_be_gathered_wait_asleep() -> None:
    choice = WayChoice()
    choice.note(0.5, 0.2)
    choice.note_step("asleep", 1.0)
    assert choice.way == choice.settled == "asleep"
