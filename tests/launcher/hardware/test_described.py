"""A machine in words is planned for, and all that is wrong with the words is told at once."""

from __future__ import annotations

import json

import pytest

from slipway.launcher import cli
from slipway.launcher.hardware.described import described
from slipway.launcher.hardware.record import Hardware
from slipway.launcher.plan.make_plan import Intent, make_plan
from slipway.training.common.errors import UserError


@pytest.mark.parametrize(
    ("words", "names", "cores", "gib"),
    [
        ("4 x L40S, 64 cores, 512 GB", ["L40S"] * 4, 64, 512),
        ("2xrtx 4090, 1 TB RAM, 16 cores", ["RTX 4090"] * 2, 16, 1024),
        ("NVIDIA GeForce RTX 3060, 8 cores, 32GiB", ["RTX 3060"], 8, 32),
        ("2 x 5090, 1 x 3060, 24 cores, 128 GB of memory", ["RTX 5090", "RTX 5090", "RTX 3060"], 24, 128),
        ("8 \u00d7 MI300X, 96 cores, 2 TB", ["MI300X"] * 8, 96, 2048),
        ("1 core, 2 GB", [], 1, 2),
    ],
)
def test_words_are_read_as_people_write_them(words: str, names: list[str], cores: int, gib: int) -> None:
    found = described(words)
    assert [one.name for one in found.accelerators] == names
    assert [one.index for one in found.accelerators] == list(range(len(names)))
    assert (found.cpu.physical_cores, found.memory.total_bytes >> 30) == (cores, gib)
    assert Hardware.from_json(found.to_json()) == found
    assert make_plan(found, Intent(num_processes=max(1, len(names)))).num_processes == max(1, len(names))


def test_a_memory_that_is_said_takes_the_place_of_the_usual_one() -> None:
    assert described("A100 40GB, 8 cores, 64 GB").accelerators[0].memory_total_bytes == 40 << 30
    seven = Intent(parameters=7_000_000_000)
    assert make_plan(described("4 x L40S, 64 cores, 512 GB"), seven).sharding == "fsdp"


@pytest.mark.parametrize("name", ["V100", "P100", "GTX 1080 Ti"])
def test_a_torch_is_taken_that_serves_the_devices(name: str) -> None:
    assert make_plan(described(f"2 x {name}, 8 cores, 64 GB")).device == "cuda"


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UserError) as raised:
        described("4 x L40SS, 0 cores, 2 x T4, 99 x H100")
    told = str(raised.value)
    assert "'4 x L40SS' is no device that is known here (did you mean 'L40S'?)" in told
    assert "0 cores: must be from 1" in told
    assert "99 x H100: must be from 1 to 64 devices" in told
    assert "the memory of the host" in told
    assert '"4 x L40S, 64 cores, 512 GB"' in told
    assert "\n" not in told


def test_plan_takes_a_machine_in_words_instead_of_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--json", "--machine", "4 x L40S, 64 cores, 512 GB"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["num_processes"], plan["mixed_precision"]) == (4, "bf16")
    assert plan["threads_per_process"] + plan["num_workers"] == 16
    assert cli.main(["plan", "--machine", "T4, 4 cores, 16 GB", "--hardware", "x.json"]) == 2
    assert "--hardware" in capsys.readouterr().err
