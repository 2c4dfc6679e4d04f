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
        ("8 x H100 SXM5 80GB, 2 x Xeon 8480C, 112 cores, 2 TB", ["H100"] * 8, 112, 2048),
        ("A100-SXM4-40GB x 2, 32 cores, 256 GB DDR4", ["A100 40GB"] * 2, 32, 256),
        ("4 x NVIDIA A100 80GB PCIe, 64 cores, 512 GB", ["A100"] * 4, 64, 512),
        ("dual RTX 4090 24GB GDDR6X / 32 threads / 64GB", ["RTX 4090"] * 2, 16, 64),
        ("gpu: RTX PRO 6000 Blackwell, cpu: 4 vCPUs, ram: 16384 MB", ["RTX PRO 6000"], 2, 16),
        ("2 x MI250X, 64 cores, 512 GB", ["MI250X"] * 4, 64, 512),
        ("cpu only, 16 cores, 64 GB", [], 16, 64),
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


@pytest.mark.parametrize(
    "words",
    ["dgx h100", "2 nodes of 8 x H100, 112 cores, 2 TB", "RTX 4090 Laptop, 8 cores, 32 GB", "0.5 cores, 8 GB", ""],
)
def test_what_would_be_guessed_is_refused_with_the_form(words: str) -> None:
    with pytest.raises(
        UserError, match=r"^--machine: .*write devices, cores and the memory.*--hardware FILE"
    ) as raised:
        described(words)
    assert "\n" not in str(raised.value)


def test_plan_takes_a_machine_in_words_instead_of_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--json", "--machine", "4 x L40S, 64 cores, 512 GB"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["num_processes"], plan["mixed_precision"]) == (4, "bf16")
    assert plan["threads_per_process"] + plan["num_workers"] == 16
    assert cli.main(["plan", "--machine", "T4, 4 cores, 16 GB", "--hardware", "x.json"]) == 2
    assert "--hardware" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "names", "cores", "gib"),
    [
        ("M3 Max, 64 GB", ["Apple M3 Max"], 16, 64),
        ("Apple M4 Pro with 48 GB, 12 cores", ["Apple M4 Pro"], 12, 48),
        ("2 x RTX 5090 + RTX 3060, 32 cores, 128 GB", ["RTX 5090", "RTX 5090", "RTX 3060"], 32, 128),
        ("A100 80GB x 2 and 64-core CPU, 1 TB of RAM", ["A100", "A100"], 64, 1024),
        ("4 H100, 2 sockets, 96 vCPUs, 2TB", ["H100"] * 4, 48, 2048),
        ("CPU only, 128 cores, 512 GB", [], 128, 512),
    ],
)
def test_apples_several_kinds_and_other_forms_are_read(words: str, names: list[str], cores: int, gib: int) -> None:
    found = described(words)
    assert [one.name for one in found.accelerators] == names
    assert (found.cpu.physical_cores, found.memory.total_bytes >> 30) == (cores, gib)


def test_the_chip_of_an_apple_tells_its_fast_cores_and_how_it_trains() -> None:
    plan = make_plan(described("M3 Max, 14 cores, 36 GB"))
    assert described("M3 Max, 14 cores, 36 GB").cpu.performance_cores == 10
    assert (plan.device, plan.mixed_precision, plan.num_processes) == ("mps", "bf16", 1)
    assert make_plan(described("M2, 8 GB")).mixed_precision == "no"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the cores are missing: add `, 64 cores`; the memory of the host is missing"),
        ("M3 Max", "the memory of the host is missing"),
        ("2 x M3, 8 GB", "2 x M3: a machine has one Apple chip"),
        ("M3, RTX 4090, 8 GB", "an Apple chip has no other devices beside it"),
        ("A100 800GB, 8 cores, 64 GB", "A100 800GB: A100 has 79.2 GB, not 800"),
        (
            "RTX 3060 Laptop, 8 cores, 64 GB",
            "'RTX 3060 Laptop' is no device that is known here (did you mean 'RTX 3060'?)",
        ),
        ("T4, 8 cores, 64 GB, 32 GB", "32 GB: GB are there twice"),
        ("T4, 8 cores, 64 GB, 99 sockets", "99 sockets: must be from 1 to 16"),
        ("i9-14900K, 8 cores, 64 GB", "'i9-14900K' is no device that is known here"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line_with_the_form(words: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        described(words)
    assert message in str(raised.value)
    assert '"M3 Max, 64 GB"' in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", ["detect", "doctor"])
def test_other_commands_take_words_too(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([command, "--machine", "2 x L40S, 64 cores, 512 GB", "--json"])
    assert "L40S" in capsys.readouterr().out
