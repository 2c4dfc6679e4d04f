"""What is known of accelerators by their names: memory, peaks and bandwidth, as of November 2026.

From the makers' data sheets and architecture papers: nvidia.com (Volta, Turing, Ampere GA100 and GA102, Ada, Hopper, Blackwell
and RTX Blackwell), amd.com (Instinct and Radeon), intel.com (Data Center GPU Max, Arc), habana.ai (Gaudi). Peaks are dense, in
TFLOP/s: `full` is float32 without TF32, `half` is fp16, and bf16 where there is any, by matrix units that sum in float32, as
PyTorch uses them (GeForce cards have half the rate of those that sum in fp16, which their sheets show). Of a card of two
devices the figures are one device's for AMD, the card's for Intel, as its probe counts them. AMD's `full` is that of the matrix
units, which compute float32 exactly. A P100 has no faster `half`: PyTorch sums in float32 there.

Compared with published figures in November 2026: peaks of V100, V100S, T4, A100, A10, H100 (SXM and PCIe) and Quadro RTX
5000 (Lightning Fabric's table, which has the A10's 125 for the A10G; AWS's own part has 70), of B200, B300, GB300, RTX PRO
5000, MI100, MI250, MI250X, Arc A750 and A770, and Gaudi 2 and 3 (articles that show the makers' tables). The others were not
compared with any.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, NamedTuple

Capability = tuple[int, int]


class KnownDevice(NamedTuple):
    """A device of the table; `memory` is what the driver leaves of it, in GiB."""

    name: str
    kind: Literal["cuda", "rocm", "xpu", "hpu"]
    architecture: Capability | str | None
    """The compute capability of NVIDIA's, the `gfx` name of AMD's."""
    memory: float
    full: float
    half: float | None
    """None: half precision is no faster, or there is none."""
    bandwidth: float
    """Of the memory, in GB/s."""


def _cuda(architecture: Capability, *rows: tuple[str, float, float, float | None, float]) -> tuple[KnownDevice, ...]:
    return tuple(KnownDevice(row[0], "cuda", architecture, *row[1:]) for row in rows)


KNOWN_DEVICES: tuple[KnownDevice, ...] = (
    *_cuda((10, 3), ("B300", 268, 75, 2250, 8000), ("GB300", 277, 80, 2500, 8000)),
    *_cuda((10, 0), ("B200", 179, 75, 2250, 8000), ("GB200", 185, 80, 2500, 8000)),
    *_cuda(
        (12, 0),
        ("RTX PRO 6000", 95.0, 126, 503.8, 1792),
        ("RTX PRO 5000", 47.4, 65, 258, 1344),
        ("RTX 5090", 31.8, 104.8, 209.5, 1792),
        ("RTX 5080", 15.9, 56.3, 112.6, 960),
        ("RTX 5070 Ti", 15.9, 43.9, 87.9, 896),
        ("RTX 5070", 11.9, 30.9, 61.7, 672),
        ("RTX 5060 Ti", 15.9, 23.7, 47.4, 448),
        ("RTX 5060", 7.9, 19.2, 38.4, 448),
    ),
    *_cuda(
        (9, 0),
        ("H200 NVL", 139.8, 60, 835, 4800),
        ("H200", 139.8, 67, 989, 4800),
        ("GH200", 94.5, 67, 989, 4000),
        ("H100 PCIe", 79.6, 51, 756, 2039),
        ("H100 NVL", 93.6, 60, 835, 3938),
        ("H100", 79.6, 67, 989, 3352),
        ("H800", 79.6, 67, 989, 3352),
        ("H20", 95.6, 44, 148, 4000),
    ),
    *_cuda(
        (8, 9),
        ("L40S", 44.4, 91.6, 362, 864),
        ("L40", 44.4, 90.5, 181, 864),
        ("L20", 44.4, 59.8, 119.5, 864),
        ("L4", 22.5, 30.3, 121, 300),
        ("RTX 6000 Ada", 47.5, 91.1, 364.2, 960),
        ("RTX 5000 Ada", 31.5, 65.3, 261.1, 576),
        ("RTX 4000 Ada", 19.5, 26.7, 106.9, 360),
        ("RTX 4090 D", 24, 73.5, 147, 1008),
        ("RTX 4090", 24, 82.6, 165.2, 1008),
        ("RTX 4080 Super", 16, 52.2, 104.4, 736),
        ("RTX 4080", 16, 48.7, 97.5, 717),
        ("RTX 4070 Ti Super", 16, 44.1, 88.2, 672),
        ("RTX 4070 Ti", 12, 40.1, 80.2, 504),
        ("RTX 4070 Super", 12, 35.5, 70.9, 504),
        ("RTX 4070", 12, 29.1, 58.3, 504),
        ("RTX 4060 Ti", 8, 22.1, 44.1, 288),
        ("RTX 4060", 8, 15.1, 30.2, 272),
    ),
    *_cuda(
        (8, 0),
        ("A100 40GB", 39.4, 19.5, 312, 1555),
        ("A100", 79.2, 19.5, 312, 2039),
        ("A800", 79.2, 19.5, 312, 2039),
        ("A30", 23.6, 10.3, 165, 933),
    ),
    *_cuda(
        (8, 6),
        ("A40", 44.4, 37.4, 149.7, 696),
        ("A10G", 22.5, 35, 70, 600),
        ("A10", 22.5, 31.2, 125, 600),
        ("A16", 14.8, 4.5, 17.9, 200),
        ("A2", 14.8, 4.5, 18, 200),
        ("RTX A6000", 47.5, 38.7, 154.8, 768),
        ("RTX A5000", 23.7, 27.8, 111.1, 768),
        ("RTX A4000", 15.7, 19.2, 76.7, 448),
        ("RTX A2000", 11.7, 8, 31.9, 288),
        ("RTX 3090 Ti", 24, 40, 80, 1008),
        ("RTX 3090", 24, 35.6, 71, 936),
        ("RTX 3080 Ti", 12, 34.1, 68.2, 912),
        ("RTX 3080", 10, 29.8, 59.5, 760),
        ("RTX 3070 Ti", 8, 21.7, 43.5, 608),
        ("RTX 3070", 8, 20.3, 40.6, 448),
        ("RTX 3060 Ti", 8, 16.2, 32.4, 448),
        ("RTX 3060", 12, 12.7, 25.5, 360),
        ("RTX 3050", 8, 9.1, 18.2, 224),
    ),
    *_cuda(
        (7, 5),
        ("T4", 14.6, 8.1, 65, 320),
        ("TITAN RTX", 23.6, 16.3, 130.5, 672),
        ("Quadro RTX 8000", 47.5, 16.3, 130.5, 672),
        ("Quadro RTX 6000", 23.6, 16.3, 130.5, 672),
        ("Quadro RTX 5000", 15.7, 11.2, 89.2, 448),
        ("RTX 2080 Ti", 11, 13.4, 53.8, 616),
        ("RTX 2080 Super", 8, 11.2, 44.6, 496),
        ("RTX 2080", 8, 10.1, 40.3, 448),
        ("RTX 2070 Super", 8, 9.1, 36.3, 448),
        ("RTX 2070", 8, 7.5, 29.9, 448),
        ("RTX 2060 Super", 8, 7.2, 28.7, 448),
        ("RTX 2060", 6, 6.5, 25.8, 336),
        ("GTX 1660 Ti", 6, 5.4, None, 288),
        ("GTX 1660 Super", 6, 5, None, 336),
        ("GTX 1660", 6, 5, None, 192),
        ("GTX 1650", 4, 3, None, 128),
    ),
    *_cuda(
        (7, 0),
        ("V100 PCIe", 15.8, 14, 112, 900),
        ("V100S", 31.7, 16.4, 130, 1134),
        ("V100", 15.8, 15.7, 125, 900),
        ("TITAN V", 11.8, 13.8, 110, 653),
    ),
    *_cuda((6, 0), ("P100", 15.9, 9.3, None, 732)),
    *_cuda(
        (6, 1),
        ("P40", 22.4, 12, None, 346),
        ("P4", 7.4, 5.5, None, 192),
        ("TITAN Xp", 11.9, 12.1, None, 548),
        ("GTX 1080 Ti", 11, 11.3, None, 484),
        ("GTX 1080", 8, 8.9, None, 320),
        ("GTX 1070 Ti", 8, 8.2, None, 256),
        ("GTX 1070", 8, 6.5, None, 256),
        ("GTX 1060", 6, 4.4, None, 192),
        ("GTX 1050 Ti", 4, 2.1, None, 112),
    ),
    *_cuda(
        (5, 2),
        ("M40", 11.2, 6.8, None, 288),
        ("GTX 980 Ti", 6, 5.6, None, 336),
        ("GTX 980", 4, 4.6, None, 224),
        ("GTX 970", 4, 3.5, None, 224),
    ),
    KnownDevice("MI355X", "rocm", "gfx950", 287.9, 157.3, 2516.6, 8000),
    KnownDevice("MI325X", "rocm", "gfx942", 256, 163.4, 1307.4, 6000),
    KnownDevice("MI300X", "rocm", "gfx942", 192, 163.4, 1307.4, 5300),
    KnownDevice("MI300A", "rocm", "gfx942", 128, 122.6, 980.6, 5300),
    KnownDevice("MI250X", "rocm", "gfx90a", 64, 47.9, 191.5, 1638),
    KnownDevice("MI250", "rocm", "gfx90a", 64, 45.3, 181, 1638),
    KnownDevice("MI210", "rocm", "gfx90a", 64, 45.3, 181, 1638),
    KnownDevice("MI100", "rocm", "gfx908", 32, 46.1, 184.6, 1229),
    KnownDevice("RX 9070 XT", "rocm", "gfx1201", 16, 48.7, 195, 640),
    KnownDevice("RX 9070", "rocm", "gfx1201", 16, 36.1, 145, 640),
    KnownDevice("RX 7900 XTX", "rocm", "gfx1100", 24, 61.4, 122.8, 960),
    KnownDevice("RX 7900 XT", "rocm", "gfx1100", 20, 51.5, 103, 800),
    KnownDevice("RX 7800 XT", "rocm", "gfx1101", 16, 37.3, 74.7, 624),
    KnownDevice("RX 6900 XT", "rocm", "gfx1030", 16, 23, 46.1, 512),
    KnownDevice("RX 6800 XT", "rocm", "gfx1030", 16, 20.7, 41.5, 512),
    KnownDevice("Max 1550", "xpu", None, 128, 52.4, 839, 3277),
    KnownDevice("Max 1100", "xpu", None, 48, 22.2, 352, 1229),
    KnownDevice("Arc A770", "xpu", None, 16, 17.2, 137.6, 560),
    KnownDevice("Arc A750", "xpu", None, 8, 14.7, 117.6, 512),
    KnownDevice("Arc B580", "xpu", None, 12, 13.7, 116.5, 456),
    KnownDevice("Arc B570", "xpu", None, 10, 11.5, 100, 380),
    KnownDevice("Gaudi 3", "hpu", None, 128, 229, 1835, 3700),
    KnownDevice("Gaudi 2", "hpu", None, 96, 54, 432, 2450),
)

_OTHER_DEVICES = frozenset(
    (
        "TI",
        "SUPER",
        "D",
        "LAPTOP",
        "MOBILE",
        "MAX",
        "Q",
        "VGPU",
        "MIG",
        "ADA",
        "PRO",
        "XT",
        "XTX",
        "GRE",
        "QUADRO",
        "TITAN",
    )
)
"""Words of a name that make it that of another device, or of a part of one."""


def words_of(name: str) -> frozenset[str]:
    """Return the words of a device's name: `NVIDIA A100-SXM4-40GB` has `A100`, `SXM4` and `40GB` beside the maker's."""
    return frozenset(re.findall(r"[A-Z0-9]+", name.upper().replace("(R)", " ").replace("(TM)", " ")))


@cache
def known_device(name: str) -> KnownDevice | None:
    """Return what is known of the device that calls itself so; None for others, partitions and laptops' versions.

    >>> known_device("NVIDIA GeForce RTX 3060").bandwidth
    360
    """
    words = words_of(name)
    rows = [row for row in KNOWN_DEVICES if (own := words_of(row.name)) <= words and not (words - own) & _OTHER_DEVICES]
    return max(rows, key=lambda row: len(words_of(row.name)), default=None)
