"""Ranks of all tests here are forked from the server that has imported torch."""

from __future__ import annotations

import pytest

from tests.training.processes import start_server


@pytest.fixture(scope="session", autouse=True)
def server() -> None:
    start_server()
