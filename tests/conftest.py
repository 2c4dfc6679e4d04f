"""What every test may use."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_finish() -> None:
    """What stands for all tests is not looked through each time a training frees what it held."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets for development; the test is skipped where it is absent."""
    folder = Path(os.environ.get("SLIPWAY_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder of scripts that make data as people have them; the test is skipped where it is absent."""
    folder = Path(os.environ.get("SLIPWAY_TEST_CASES", ROOT.parent / "shared" / "cases"))
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


@pytest.fixture(autouse=True)
def logger_as_it_was() -> Iterator[None]:
    """A training in a test's own process sends log messages to its console; those of the next test are seen again."""
    logger = logging.getLogger("slipway")
    before = (logger.propagate, logger.level, list(logger.handlers))
    yield
    logger.propagate, logger.handlers = before[0], before[2]
    logger.setLevel(before[1])


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_developer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither the user file nor variables of whoever runs the tests decide what a test sees, in subprocesses too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        for name in list(os.environ):
            if name.startswith("SLIPWAY_") and name not in ("SLIPWAY_TEST_DATA", "SLIPWAY_TEST_CASES"):
                patch.delenv(name)
        # A report takes a second; the tests of reports ask for theirs.
        patch.setenv("SLIPWAY_REPORT", "false")
        patch.setattr("slipway.training.observers.report.Reporter.on_run_end", lambda reporter, event: None)
        yield
