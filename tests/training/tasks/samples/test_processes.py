"""Processes that read samples hand over any batch as it is, and end with the training, whatever ends it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from slipway.training.common.errors import TrainingFailed, UserError
from slipway.training.tasks.samples.processes import SampleProcesses
from slipway.training.tasks.samples.sources import ItemSource
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS, wait_until
from tests.training.processes import is_running

BATCHES: list[Any] = [
    {"small": torch.arange(6).reshape(2, 3)[:, ::2], "text": ["a", "b"], "none": torch.empty(0, 3)},
    (torch.rand(300, 300), torch.tensor(True), torch.rand(4).to(torch.bfloat16)[::2], torch.rand(1).expand(3)),
    [torch.complex(torch.rand(3), torch.rand(3)).conj()],
]


class RefusedError(Exception):
    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


class Given:
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        if index == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 9:
            raise RefusedError("nine", "it")
        return BATCHES[index]


@pytest.fixture
def processes() -> Iterator[SampleProcesses]:
    made = SampleProcesses({"train": ItemSource(Given(), lambda samples: samples[0], "train")}, 1)
    yield made
    made.close()


def test_a_batch_comes_as_it_was_made_small_or_large(processes: SampleProcesses) -> None:
    _check_batches(processes)


@pytest.mark.parametrize("kind", ["FSIZE", "NOFILE"])
def test_a_batch_comes_as_a_copy_where_shared_memory_is_full_or_no_file_can_be_opened(
    kind: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    limit = getattr(resource, f"RLIMIT_{kind}")
    before = resource.getrlimit(limit)
    taken: list[int] = []
    try:
        if kind == "FSIZE":
            resource.setrlimit(limit, (1 << 16, before[1]))
            processes = request.getfixturevalue("processes")
        else:  # the process that reads has room for files, the one that trains has not
            processes = request.getfixturevalue("processes")
            resource.setrlimit(limit, (max(map(int, os.listdir("/dev/fd"))) + 1, before[1]))
            with suppress(OSError):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
        _check_batches(processes)
    finally:
        resource.setrlimit(limit, before)
        for handle in taken:
            os.close(handle)
    assert [record.message[:46] for record in caplog.records] == ["batches cannot be handed over in shared memory"]


def _check_batches(processes: SampleProcesses) -> None:
    for index, expected in enumerate(BATCHES):
        found = processes.fetch("train", [index], [0])
        assert type(found) is type(expected)
        pairs = [
            (found[key], expected[key]) for key in (expected if isinstance(expected, dict) else range(len(expected)))
        ]
        for one, other in pairs:
            assert type(one) is type(other)
            if isinstance(one, torch.Tensor):
                torch.testing.assert_close(one, other, rtol=0, atol=0)
            else:
                assert one == other


def test_what_a_sample_raises_comes_too_and_a_process_that_is_ended_from_outside_is_told(
    processes: SampleProcesses,
) -> None:
    with pytest.raises(UserError, match="train: sample 9 fails: RefusedError: nine in it"):
        processes.fetch("train", [9], [0])
    for _ in range(2):
        with pytest.raises(TrainingFailed, match="was ended from outside"):
            processes.fetch("train", [8], [0])


SCRIPT = """
import os, signal, sys
from pathlib import Path
from slipway.training.tasks.samples.processes import SampleProcesses
from slipway.training.tasks.samples.sources import ItemSource

class Names:
    def __len__(self):
        return 1
    def __getitem__(self, index):
        return os.getpid()

if __name__ == "__main__":
    made = SampleProcesses({"train": ItemSource(Names(), None, "train")}, 2)
    found = [int(made.fetch("train", [0], [0])) for _ in range(2)]
    print(*found, flush=True)
    if sys.argv[1] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
@pytest.mark.parametrize("end", ["kill", "without close"])
def test_none_is_left_when_the_training_process_is_killed_or_forgets_them(end: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, str(script), end], cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert ended.returncode == (-signal.SIGKILL if end == "kill" else 0), ended.stderr
    names = ended.stdout.split()
    assert len(set(names)) == 2
    wait_until(lambda: not any(map(is_running, names)))
