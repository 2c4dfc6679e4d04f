"""How to say otherwise: the options that make sense for a data set, if it was misunderstood or to split it another way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..data.landmarks import SIGNER, LandmarkData
from ..data.specs import SYNTHETIC, DataSpec
from ..data.splits.blocks import BLOCKS
from ..data.splits.split import Splits

_TEXT = (".csv", ".tsv", ".txt", ".data", ".ts", ".json")


@dataclass(frozen=True, kw_only=True)
class Hint:
    """An option, and when to give it."""

    option: str
    """The option with its value, such as `--split signer`."""
    when: str
    """When it is right, as the end of a sentence that begins with the option."""


def find_hints(
    data: LandmarkData, spec: DataSpec, splits: Splits, dropped: int, given: Mapping[str, str]
) -> Iterator[Hint]:
    """Yield the options that change how these data are read or split; none for the generated ones.

    `splits` is the split that was made, without `dropped` clips, and `given` the flags that were given already.
    """
    if spec.source == SYNTHETIC:
        return
    for hint in (*_of_reading(data, spec), *_of_split(data, splits, dropped)):
        if hint.option.split()[0] not in given:
            yield hint


def _of_reading(data: LandmarkData, spec: DataSpec) -> Iterator[Hint]:
    layout = data.layout
    if not layout.spatial:
        yield Hint(option="--landmarks points --coords xy", when="if the numbers are positions: x, y of each point")
    elif layout.title in ("", "points"):
        yield Hint(option="--landmarks channels", when="if the numbers are angles, distances or sensors, not positions")
        yield Hint(option="--layout FILE.yaml", when="to say which points these are: names, sides, bones")
    else:
        yield Hint(option="--landmarks points", when=f"if the points are not {layout.title}")
    parts = list(dict.fromkeys(name.split(".")[0] for name in layout.names if "." in name))
    if len(parts) > 1:
        yield Hint(option=f"--keep-landmarks {parts[-1]}", when=f"to keep some parts only, of {', '.join(parts)}")
    if data.source_format in ("landmark_csv", "manifest", "hub"):
        yield Hint(option="--label COLUMN", when="if the classes stand in another column")
        if not any(data.signers):
            yield Hint(option="--signer COLUMN", when="to say which column names the signer: none was found")
    if str(spec.source).lower().endswith(_TEXT):
        yield Hint(option="--encoding cp949", when="or another encoding, if names look wrong")
    yield Hint(option="--data-format NAME", when=f"if this is not {data.source_format}")


def _of_split(data: LandmarkData, splits: Splits, dropped: int) -> Iterator[Hint]:
    known = len(set(data.signers) - {""})
    if splits.neighbours.share and splits.group is None:
        yield Hint(option=f"--group {BLOCKS}", when="to keep runs of clips that are nearly the same within one split")
    if splits.mode == "own":
        yield Hint(option="--split stratified", when="to ignore the data's own split")
    if splits.mode != SIGNER and known > 1:
        yield Hint(option="--split signer", when="to test on signers who are not in the training")
    for kind in data.groups:
        if kind != SIGNER:
            yield Hint(option=f"--group {kind}", when=f"to keep each {kind} within one split")
    if dropped:
        yield Hint(option="--duplicates keep", when="to keep exact copies, each in the split of its original")
