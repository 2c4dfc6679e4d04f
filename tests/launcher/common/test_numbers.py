"""The size of a model as people write it."""

from __future__ import annotations

import pytest

from slipway.launcher import cli
from slipway.launcher.common.numbers import parse_parameters, short_count
from slipway.training.common.errors import UserError
from tests.launcher.helpers import assert_one_line_error


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("300000", 300_000),
        ("7e9", 7 * 10**9),
        ("1.5e9", 15 * 10**8),
        ("70B", 70 * 10**9),
        ("70 b", 70 * 10**9),
        ("1.1B", 11 * 10**8),
        ("350M", 350 * 10**6),
        ("12 k", 12_000),
        ("1,000", 1000),
        ("1_000_000", 10**6),
        ("1T", 10**12),
    ],
)
def test_the_size_of_a_model_may_be_written_as_people_do(text: str, count: int) -> None:
    assert parse_parameters(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B",
        "many",
        "1.5",
        "nan",
        "inf",
        "1e400",
        "7e99",
        "0x10",
        "0",
        "-7B",
        "70BB",
        "7 B B",
        "1,0,0",
        "7B!",
        "70 GB",
    ],
)
def test_what_is_no_size_of_a_model_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_parameters(text)
    assert "70B" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("count", "text"), [(7 * 10**9, "7B"), (1_540_000_000, "1.54B"), (8962, "8,962"), (10**15, "1,000T")]
)
def test_a_size_is_shown_short(count: int, text: str) -> None:
    assert short_count(count) == text


def test_every_command_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--json", "--machine", "8 x H100, 64 cores, 512 GB", "--parameters", "70B"]) == 0
    assert '"fsdp"' in capsys.readouterr().out
    assert_one_line_error(["plan", "--parameters", "many"], "--parameters: 'many' is no number of parameters", capsys)
