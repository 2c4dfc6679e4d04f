"""Starts as plain `python` would make them."""

from tests.training.conftest import accelerate_state, plain_start  # noqa: F401 - fixtures
