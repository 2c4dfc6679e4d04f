"""The file of agreed messages stays in order."""

from __future__ import annotations

from tests.training.data.golden import FILE, messages


def test_the_golden_messages_are_sorted_and_each_has_a_key_of_its_own() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    assert [line.split(": ")[0] for line in lines] == sorted(messages())
