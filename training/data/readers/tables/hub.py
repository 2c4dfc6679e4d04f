"""Reads what `datasets` opens: a folder made by `save_to_disk`, Parquet, Arrow and JSON files, a name on the Hub.

These are the files of huggingface.co/docs/datasets; `slipway data convert` writes such a Parquet file.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi

from ....common.errors import UserError
from ....common.small_files import UnreadableError, parse_yaml, read_small_text
from ...landmarks import LAYOUT_KEY, LandmarkLayout
from ...specs import Reading
from ...text import LANDMARK_COLUMNS, TEXT_COLUMNS, files_with, find_column, plain_label, split_name
from ..arrays.body_parts import names_of_parts, parts_among
from ..raw import Faults, RawClips
from ..refusals import lines
from .columns import columns_of
from .nested import NestedFrames, check_files, count_numbers

NAME = "hub"
PREFIX = f"{NAME}:"
"""Of a name on the Hugging Face Hub: `hub:user/data`."""
LOOKS_FOR = "a folder made by save_to_disk, Parquet, Arrow, JSON"
USES: tuple[str, ...] = ("label", "signer")

_LEAST_NUMBERS = 8
"""Columns of numbers in a table of landmarks without lists."""

_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json"}
_SAVED = ("dataset_dict.json", "state.json")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_ELSEWHERE = re.compile(r"""[^\s'"\[\],]*(?:://|::)[^\s'"\[\],]*""")
_HUB_TIMEOUT_SECONDS = 10.0
_COCO = (
    'import json, pandas as pd; d = json.load(open({file})); n = {{c["id"]: c["name"] for c in d["categories"]}}; '
    'pd.DataFrame([{{"label": n[a["category_id"]], "image_id": a["image_id"], **{{f"{{x}}{{i}}": k[3 * i + j] if k[3 * i + 2] '
    'else None for i in range(len(k) // 3) for j, x in enumerate("xy")}}}} for a in d["annotations"] '
    'for k in [a["keypoints"]]]).to_csv({out}, index=False)'
)
_ROWS = 256
"""Rows that are in memory at once beside the numbers."""


def detect(path: Path) -> bool:
    """Return whether `path` is a Parquet, Arrow or JSON file, or a folder with such files or made by `save_to_disk`."""
    if not path.is_dir():
        return path.suffix.lower() in _BUILDERS
    # Hub repositories keep their files in `data/`.
    return any(files_with(folder, *_BUILDERS) for folder in (path, path / "data") if folder.is_dir())


def read(path: Path, reading: Reading) -> RawClips:
    """Return a local data set; `landmarks` is nested [frames][landmarks][coords] or [frames][numbers]."""
    name = path.resolve().name if path.is_dir() else path.stem
    try:
        files = [path] if path.is_file() else files_with(path, *_BUILDERS)
        if len(files) == 1 and files[0].suffix.lower() == ".parquet":
            return replace(
                _clips_of([_part_of_parquet(files[0])], name, str(files[0]), reading), files=(files[0].name,)
            )
        check_files(path)
        # The data are copied in memory, so `load_dataset`'s copy on the disk need not stay.
        with _quiet(), tempfile.TemporaryDirectory() as cache:
            if any((path / file).is_file() for file in _SAVED):
                loaded = datasets.load_from_disk(str(path))
            elif path.is_dir():
                _check_cards(path)
                loaded = datasets.load_dataset(str(path), cache_dir=cache)
            else:
                builder = _BUILDERS.get(path.suffix.lower(), "parquet")
                loaded = datasets.load_dataset(builder, data_files=str(path), cache_dir=cache)
            return _clips_of(_parts_of(loaded, str(path)), name, str(path), reading)
    except UserError:
        raise
    except Exception as error:  # `datasets` passes on anything that its readers raise
        raise UserError(f"{path}: cannot be loaded as a data set ({_first_line(error)})") from error


def is_name(source: str) -> bool:
    """Return whether a text could be the name of a data set on the Hub."""
    return _HUB_NAME.fullmatch(source) is not None


def read_name(name: str, reading: Reading) -> RawClips:
    """Return a data set of the Hugging Face Hub by its name."""
    message = f"{PREFIX}{name} is no data set of the Hub that could be loaded"
    if not is_name(name):
        raise UserError(f"{message}: a name is NAME or USER/NAME")
    try:
        # First, since `load_dataset` retries for half a minute before it fails for a name that does not exist.
        if not datasets.config.HF_HUB_OFFLINE:
            HfApi().dataset_info(name, timeout=_HUB_TIMEOUT_SECONDS)
        loaded = datasets.load_dataset(name)
    except Exception as error:  # no network, no such name, no access, a format that `datasets` cannot read
        raise UserError(f"{message} ({_first_line(error)})") from error
    return _clips_of(_parts_of(loaded, name), name.rsplit("/", maxsplit=1)[-1], name, reading)


def _check_cards(folder: Path) -> None:
    """Raise `UserError` if the card of a local data set names files on the network, which nobody asked for."""
    for card in (folder / "README.md", folder / ".huggingface.yaml"):
        with suppress(OSError, UnreadableError):
            text = read_small_text(card)
            head = re.match(r"\s*---\s*\n(.*?)\n---", text, re.DOTALL) if card.suffix == ".md" else None
            content = parse_yaml(head[1] if head else text)
            configs = content.get("configs") if isinstance(content, dict) else None
            if found := _ELSEWHERE.search(json.dumps(configs, default=str)):
                raise UserError(
                    f"{card}: its data_files name {found[0][:200]}, which is not in this folder, and local data never open the "
                    "network: fetch the file into the folder, and name it there"
                )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The rows of one split."""

    place: str
    split: str
    """Of all its rows; empty if a column says it."""
    features: datasets.Features
    layout: LandmarkLayout | None
    """As the metadata of a file of our own says."""
    batches: Callable[[Sequence[str]], Iterator[pa.Table | pa.RecordBatch]]
    """Yields some columns, a part of the rows at a time."""
    most_numbers: Callable[[str], int]
    """Returns how many numbers a nested column holds at most."""

    def column(self, names: tuple[str, ...]) -> str | None:
        index = find_column(list(self.features), names)
        return None if index is None else list(self.features)[index]


def _parts_of(loaded: Any, origin: str) -> list[_Part]:
    """Return the splits of a `Dataset` or a `DatasetDict`, whose keys are the data's own split if there are several."""
    parts = loaded if isinstance(loaded, dict) else {"": loaded}
    found = []
    for key, part in parts.items():
        split = split_name(key, origin) if len(parts) > 1 else ""

        def batches(columns: Sequence[str], part: Any = part) -> Iterator[pa.Table]:
            return part.select_columns(list(columns)).with_format("arrow").iter(_ROWS)

        def most_numbers(column: str, batches: Callable[[Sequence[str]], Iterator[pa.Table]] = batches) -> int:
            return sum(count_numbers(batch[column]) for batch in batches([column]))

        place = f"{origin}, split {key}" if split else origin
        found.append(
            _Part(
                place=place,
                split=split,
                features=part.features,
                layout=None,
                batches=batches,
                most_numbers=most_numbers,
            )
        )
    return found


def _part_of_parquet(path: Path) -> _Part:
    """Return the rows of one Parquet file, which are read as they are needed."""
    file = pq.ParquetFile(path, memory_map=True)
    schema = file.schema_arrow
    text = (schema.metadata or {}).get(LAYOUT_KEY.encode())
    try:
        layout = None if text is None else LandmarkLayout.from_json(text.decode())
    except ValueError as error:
        raise UserError(f"{path}: {LAYOUT_KEY} in its metadata is {error}; convert the data again") from None
    features = datasets.Features.from_arrow_schema(schema)

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return pq.ParquetFile(path, memory_map=True).iter_batches(_ROWS, columns=list(columns))

    def most_numbers(column: str) -> int:
        metadata = file.metadata
        chunks = (
            metadata.row_group(group).column(place)
            for group in range(metadata.num_row_groups)
            for place in range(metadata.num_columns)
        )
        return sum(chunk.num_values for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)

    return _Part(
        place=str(path), split="", features=features, layout=layout, batches=batches, most_numbers=most_numbers
    )


def _clips_of(parts: list[_Part], name: str, origin: str, reading: Reading) -> RawClips:
    faults = Faults(origin)
    of_bodies = [_columns_of_body(part) for part in parts]
    frames = [
        _frames_of(part, faults) if not of_body else _joined(part, of_body, faults)
        for part, of_body in zip(parts, of_bodies, strict=True)
    ]
    faults.check()
    if len({(block.values.shape[1:]) for block in frames}) > 1:
        raise UserError(f"{origin}: the splits' frames are of unequal size")
    class_names: list[str] | None = None
    labels: list[str] = []
    splits: list[str] = []
    groups: dict[str, list[str]] = {}
    places: list[tuple[str, int]] = []
    for part, block in zip(parts, frames, strict=True):
        label, columns = _columns(part, reading)
        texts = _texts(part, [label, *columns.values()])
        feature = part.features[label]
        if isinstance(feature, datasets.ClassLabel):
            class_names = list(dict.fromkeys([*(class_names or []), *map(plain_label, feature.names)]))
        of_split = texts.get(columns.pop("split", ""))
        for kind in {*groups, *columns}:
            known = groups.setdefault(kind, [""] * len(labels))
            known += texts[columns[kind]] if kind in columns else [""] * len(block.lengths)
        labels += texts[label]
        splits += [part.split] * len(block.lengths) if part.split or of_split is None else of_split
        places += [(part.place, row) for row in range(len(block.lengths))]
    layouts = {part.layout for part in parts}
    layout = layouts.pop() if len(layouts) == 1 else None
    values = frames[0].values if len(frames) == 1 else np.concatenate([block.values for block in frames])
    if layout is not None and values.shape[1:] != (layout.num_landmarks, layout.num_coords):
        raise UserError(
            f"{origin}: frames of {list(values.shape[1:])}, but its layout has {layout.num_landmarks} landmarks of "
            f"{layout.num_coords} coordinates; write the file again"
        )

    def where(index: int) -> str:
        return "{}, row {}".format(*places[index])

    for text in sorted(set(splits)):
        try:
            name_of = split_name(text, where(splits.index(text)))
        except UserError as error:
            faults.add(str(error))
        else:
            splits = [name_of if split == text else split for split in splits]
    faults.check()
    return RawClips(
        name=name,
        source_format=NAME,
        values=values,
        offsets=np.concatenate([[0], np.cumsum([size for block in frames for size in block.lengths])]).astype(np.int64),
        labels=labels,
        class_names=class_names,
        groups=groups,
        splits=splits,
        layout=layout,
        parts=tuple(of_bodies[0]) or None,
        number_names=frames[0].names,
        where=where,
    )


def _columns_of_body(part: _Part) -> dict[str, str]:
    """Return the columns of the parts of a body, by part; none if another column is the whole clip."""
    nested = [name for name, feature in part.features.items() if _is_nested(feature)]
    found = parts_among(nested)
    others = [name for name in nested if name not in found.values()]
    return {} if find_column(others, LANDMARK_COLUMNS) is not None else found


def _joined(part: _Part, columns: Mapping[str, str], faults: Faults) -> NestedFrames:
    """Return the frames of columns by the part of the body that each is of."""
    found = {}
    for of_body, column in columns.items():
        arrays = (batch[column] for batch in part.batches([column]))
        found[of_body] = NestedFrames.of(arrays, part.most_numbers(column), part.place, column, faults)
    faults.check()
    lengths = next(iter(found.values())).lengths
    for column, frames in zip(columns.values(), found.values(), strict=True):
        for row in [row for row, pair in enumerate(zip(frames.lengths, lengths, strict=True)) if len(set(pair)) > 1]:
            faults.add(
                f"{part.place}, row {row}: {column} has {frames.lengths[row]} frames, and {next(iter(columns.values()))} "
                f"{lengths[row]}; write NaN where a part is not seen"
            )
    faults.check()
    count, names = names_of_parts(part.place, {of_body: frames.values.shape for of_body, frames in found.items()})
    values = np.concatenate([frames.values.reshape(count, -1) for frames in found.values()], axis=1)
    return NestedFrames(values=values, lengths=lengths, names=names)


def _frames_of(part: _Part, faults: Faults) -> NestedFrames:
    column = part.column(LANDMARK_COLUMNS)
    if (column is None or not _is_nested(part.features[column])) and (error := _a_number_a_column(part)):
        raise error
    if column is None:
        raise _not_there(part)
    arrays = (batch[column] for batch in part.batches([column]))
    return NestedFrames.of(arrays, part.most_numbers(column), part.place, column, faults)


def _is_nested(feature: Any) -> bool:
    return not isinstance(feature, datasets.Value | datasets.ClassLabel)


def _a_number_a_column(part: _Part) -> UserError | None:
    """Return the error for a Parquet file with a column for each number, which is to be a CSV; `None` for another one."""
    numbers = [
        name for name, of in part.features.items() if not _is_nested(of) and of.dtype.startswith(("float", "int"))
    ]
    file = Path(part.place)
    if len(numbers) < _LEAST_NUMBERS or file.suffix != ".parquet":
        return None
    program = "import pandas; pandas.read_parquet({file}).to_csv({out}, index=False)"
    return UserError(
        f"{file}: has a column for each of {len(numbers)} numbers; convert it:{lines(program, file, file.with_suffix('.csv'))}"
    )


def _columns(part: _Part, reading: Reading) -> tuple[str, dict[str, str]]:
    """Return the column of the class, and kind of group or `split` -> column."""
    names = list(part.features)
    if part.layout is not None and reading.label is None and reading.signer is None:
        return "label", {name: name for name in names if name not in ("landmarks", "label")}
    landmarks = (part.column(LANDMARK_COLUMNS), *_columns_of_body(part).values())
    header = ["" if name in landmarks else name for name in names]
    columns = columns_of(header, reading, Path(part.place))
    if columns.label < 0:
        raise _not_there(part)
    found = {kind: names[index] for kind, index in columns.groups.items()}
    for kind, index in (("signer", columns.signer), ("split", columns.split)):
        if index >= 0:
            found[kind] = names[index]
    for index, name in enumerate(header):
        if name and index not in columns.named and _is_text(part.features[name]):
            found[name] = name
    return names[columns.label], found


def _is_text(feature: Any) -> bool:
    return isinstance(feature, datasets.ClassLabel) or (
        isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string")
    )


def _not_there(part: _Part) -> UserError:
    if {"annotations", "categories"} <= set(part.features):
        place = Path(part.place)
        file = next(iter(files_with(place, ".json")), place) if place.is_dir() else place
        return UserError(
            f"{file}: holds annotations of COCO, a frame each; convert it, each of the class of its category:"
            f"{lines(_COCO, file, file.with_suffix('.csv'))}"
        )
    names = list(part.features)
    texts = "; --task text learns from texts" if find_column(names, TEXT_COLUMNS) is not None else ""
    return UserError(f"{part.place}: needs the columns landmarks and label; it has {', '.join(names)}{texts}")


def _texts(part: _Part, columns: Sequence[str]) -> dict[str, list[str]]:
    """Return columns as labels, missing cells as empty ones; numbers of classes by their names."""
    found: dict[str, list[str]] = {column: [] for column in columns}
    for batch in part.batches(list(found)):
        for column, texts in found.items():
            feature = part.features[column]
            for value in batch[column].to_pylist():
                if value is None or (isinstance(feature, datasets.ClassLabel) and value < 0):
                    texts.append("")
                else:
                    texts.append(
                        plain_label(feature.names[value] if isinstance(feature, datasets.ClassLabel) else value)
                    )
    return found


def _first_line(error: BaseException) -> str:
    if isinstance(error, datasets.exceptions.DatasetGenerationError) and error.__cause__:
        error = error.__cause__  # its own message is only that there was an error
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep `datasets` to local files: no network, no progress bars, and no log of errors that it raises anyway."""
    was_offline = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    hidden, verbosity = datasets.utils.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if not hidden:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = was_offline
        datasets.logging.set_verbosity(verbosity)
        if not hidden:
            datasets.enable_progress_bars()
