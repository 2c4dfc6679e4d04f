"""Tests on people, or on other groups, of whom nothing is in the training."""

from __future__ import annotations

import numpy as np

from ...common.errors import UserError
from .clips import DROPPED, TEST, TRAIN, VALIDATION, Clips, connected, count_clips
from .stratified import hold_out_validation

_FEWEST_FOR_VALIDATION = 4
"""Signers of all splits from which on one of them is the validation."""


def test_by_signer(
    parts: np.ndarray, clips: Clips, fraction: float, seed: int, rng: np.random.Generator, notes: list[str]
) -> None:
    """Give all clips of some signers to test, and of some others to validation; all others train.

    Over consecutive seeds each signer is tested equally often. Of two or three signers one is the test, and validation is
    a stratified part of the others. Signers who share a copy or a group of clips count as one.
    """
    rows = np.flatnonzero(parts == TRAIN)
    person = people(clips, rows, clips.signers, "--split signer")
    num_people = int(person.max()) + 1
    if num_people < 2:
        raise UserError(
            "--split signer: all clips are of one signer, or of signers who share clips; choose --split stratified"
        )
    most = 1 if num_people < _FEWEST_FOR_VALIDATION else (num_people - 1) // 2
    turn = _in_turn(np.bincount(person))
    number = min(max(1, round(fraction * num_people)), most)
    turn = np.roll(turn, -seed * number % num_people)
    parts[rows[np.isin(person, turn[:number])]] = TEST
    if num_people >= _FEWEST_FOR_VALIDATION:
        parts[rows[np.isin(person, turn[number : 2 * number])]] = VALIDATION
    else:
        hold_out_validation(parts, clips, fraction, rng, notes)
        taken = count_clips(np.count_nonzero(parts == VALIDATION))
        notes.append(f"validation: {taken} of train, {_few(num_people, 'signer')}")


def test_one_group(parts: np.ndarray, clips: Clips, names: np.ndarray, held_out: str, notes: list[str]) -> None:
    """Give the clips of one name, `names` [clips], to test; what is together with one of them does not train."""
    rows = np.flatnonzero(parts == TRAIN)
    is_test = names[rows] == held_out
    together = clips.together(rows)
    parts[rows[is_test]] = TEST
    shared = rows[np.isin(together, together[is_test]) & ~is_test]
    parts[shared] = DROPPED
    if len(shared):
        notes.append(f"{count_clips(len(shared))} of others left out, as copies or in a group of test clips")


def take_validation(
    parts: np.ndarray,
    clips: Clips,
    names: np.ndarray,
    kind: str,
    fraction: float,
    seed: int,
    rng: np.random.Generator,
    notes: list[str],
) -> str:
    """Take validation out of train and return how: by the groups of a kind, `names` [clips], if the test is of others.

    With fewer than four in all splits it is a stratified part of the training clips, as it is of any other test.
    """
    rows = np.flatnonzero(parts == TRAIN)
    tested = np.unique(names[parts > TRAIN])
    if "" in tested or (names[rows] == "").any() or np.isin(tested, names[rows]).any():
        hold_out_validation(parts, clips, fraction, rng, notes)
        return "stratified"
    person = people(clips, rows, names, "")
    left = int(person.max()) + 1
    if left < 2 or left + len(tested) < _FEWEST_FOR_VALIDATION:
        hold_out_validation(parts, clips, fraction, rng, notes)
        return _few(left + len(tested), kind)
    number = min(max(1, round(fraction * left)), left - 1)
    turn = np.roll(_in_turn(np.bincount(person)), -seed * number % left)
    parts[rows[np.isin(person, turn[:number])]] = VALIDATION
    return f"by {kind} as the test is"


def people(clips: Clips, rows: np.ndarray, names: np.ndarray, option: str) -> np.ndarray:
    """Return a number from 0 for each row; clips of one signer, and of signers who share a copy or a group, have the same.

    Raises `UserError` that names the option if a signer is unknown.
    """
    unknown = np.count_nonzero(names[rows] == "")
    if unknown:
        raise UserError(
            f"{option}: no signer is given for {unknown} of {len(rows)} clips; choose --split stratified, or name the "
            "column with --signer COLUMN"
        )
    return connected(np.unique(names[rows], return_inverse=True)[1], clips.together(rows))


def _few(number: int, kind: str) -> str:
    return f"stratified: {number} {kind}s are too few for one of its own"


def _in_turn(sizes: np.ndarray) -> np.ndarray:
    """Return the numbers of all people, large ones beside small ones, so that any few in a row are near the mean size."""
    order = np.argsort(-sizes, kind="stable")
    turn = np.empty_like(order)
    turn[::2], turn[1::2] = order[: len(order) - len(order) // 2], order[::-1][: len(order) // 2]
    return turn
