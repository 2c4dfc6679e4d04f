"""A device is known by the words of its name, and no other is taken for it."""

from __future__ import annotations

import pytest

from slipway.training.common.known_devices import KNOWN_DEVICES, known_device


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA GeForce RTX 3060", "RTX 3060"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX 4070 Ti Super"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA RTX 4000 Ada Generation", "RTX 4000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("AMD Radeon RX 7900 XTX", "RX 7900 XTX"),
        ("AMD Instinct MI300X", "MI300X"),
        ("Intel(R) Arc(TM) A770 Graphics", "Arc A770"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("Quadro RTX 4000", None),
        ("NVIDIA A1000", None),
        ("AMD Radeon RX 7900 GRE", None),
        ("", None),
    ],
)
def test_a_device_is_known_by_the_words_of_its_name(name: str, known: str | None) -> None:
    found = known_device(name)
    assert (found and found.name) == known


def test_every_row_is_found_by_its_own_name_and_has_figures_of_a_device() -> None:
    for row in KNOWN_DEVICES:
        assert known_device(row.name) == row
        assert row.full < (row.half or row.full + 1)
        assert row.memory > 3
        assert row.bandwidth > 100
