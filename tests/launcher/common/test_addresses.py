"""Only what can be the address of a machine is taken as one."""

from __future__ import annotations

import pytest

from slipway.launcher.common.addresses import parse_address
from slipway.training.common.errors import UserError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("node01", "node01", None),
        ("node01.cluster.example:29501", "node01.cluster.example", 29501),
        (" 10.0.0.5 ", "10.0.0.5", None),
        ("10.0.0.5:1234", "10.0.0.5", 1234),
        ("fd00::5", "fd00::5", None),
        ("[fd00::5]:29500", "fd00::5", 29500),
    ],
)
def test_a_name_or_an_address_may_bring_its_port(text: str, host: str, port: int | None) -> None:
    found = parse_address(text)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "70B", "7e9", "2", "10.0.0.256", "10.0.0", "10.0.0.1.2", "node 01", "-node", "node..a", "a/b", "x" * 300),
        *("node01:0", "node01:99999", "node01:http", "http://node01", "[node01]", "fd00:::5", "n\u00f6de", "node01:"),
    ],
)
def test_what_can_be_no_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_address(text)
    assert "\n" not in str(raised.value)
