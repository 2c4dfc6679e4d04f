"""What is said of a path that no reader recognises: what is there instead, and what to do."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ...common.errors import UserError, nearest
from ...common.small_files import what_is_at
from ..text import LABEL_COLUMNS, LANDMARK_COLUMNS, TEXT_COLUMNS, files_with, find_column
from .numpy_files import describe_arrays
from .raw import cut
from .refusals import CONVERTED, IMAGES, PICKLES, VIDEOS, lines, placeholder, refusal, texts_in
from .table_conversions import cells_of_lists
from .tables.csv_rows import first_rows, header_of
from .walk import Contents, contents_of, first_files

_FIRST_BYTES = 1 << 16
_YOLO = (
    "import pandas as pd; from pathlib import Path; "
    'rows = [(f, l.split()) for f in sorted(Path({file}).rglob("labels/**/*.txt")) for l in f.read_text().splitlines()]; '
    'pd.DataFrame([{{"label": r[0], "split": f.parent.name, **{{f"{{x}}{{i}}": r[5 + 3 * i + j] if float(r[7 + 3 * i]) '
    'else None for i in range((len(r) - 5) // 3) for j, x in enumerate("xy")}}}} for f, r in rows]).to_csv({out}, index=False)'
)
_HUB_KEYS = (*LANDMARK_COLUMNS, "_data_files", "splits")
"""Keys of a data set's rows, and of what `save_to_disk` writes."""
_HAS_TEXT = re.compile(rb'"(%s)"\s*:' % "|".join(TEXT_COLUMNS).encode(), re.IGNORECASE)
_MOST_KINDS = 5
_MOST_TABLES, _SAMPLE_ROWS = 2, 20
_MOST_COLUMNS, _MOST_LETTERS = 6, 40
_PATH_WORDS = ("path", "file", "video", "clip")
_ARRAYS, _TABLES = (".npy", ".npz"), (".csv", ".tsv")
_DATA = frozenset((".npy", ".npz", ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".ts", ".data", ".pose"))
_SOURCE_CODE = frozenset(("", ".py", ".ipynb", ".md", ".yml", ".yaml", ".toml", ".html", ".js", ".sh"))

# What to do with files of a kind that no reader took: the kinds of files, and the nearest layout.
_NEAREST = (
    (
        (".npy",),
        "nearest layouts: MP_Data/<class>/<sequence>/<frame>.npy; <class>/<clip>.npy; X.npy with y.npy, one label a row; "
        "a table beside with the columns path and label",
    ),
    ((".csv", ".tsv"), "nearest layout: a row a clip or a frame with the class in a column label (or --label COLUMN)"),
    (
        (".json", ".jsonl"),
        "nearest layouts: OpenPose's <class>/<clip>/*_keypoints.json; MediaPipe's results as <class>/<clip>.json with "
        "hand_landmarks or pose_landmarks in each frame",
    ),
    ((".parquet", ".arrow"), "nearest layout: columns landmarks, nested [frames][points][coords], and label"),
    (
        (".txt",),
        "nearest layout: a CSV with the class in a column label, saved with the ending .csv; --task text learns from texts",
    ),
)


def check_source(path: Path) -> None:
    """Raise `UserError` for a file that is not what its name says, and for a folder whose files were not downloaded."""
    if path.is_file():
        if (message := refusal(path)) is not None:
            raise UserError(f"{path}: {message}")
        return
    if not path.is_dir():
        raise UserError(f"{path}: is a pipe, a socket or a device; give a file or a folder with data")
    looked_at = set()
    for file in first_files(path, *_DATA):
        if (suffix := file.suffix.lower()) not in looked_at and file.is_file():
            looked_at.add(suffix)
            if (message := placeholder(file)) is not None:
                raise UserError(f"{file}: {message}")


def may_hold_clips(path: Path) -> bool:
    """Return whether the first JSON file of a path has a key for landmarks, as the rows of a data set do, or it has none."""
    files = files_with(path, ".json", ".jsonl") if path.is_dir() else [path]
    if not files or files[0].suffix.lower() not in (".json", ".jsonl"):
        return True
    start = _start(files[0])
    return any(re.search(rb'"%s"\s*:' % name.encode(), start, re.IGNORECASE) for name in _HUB_KEYS)


def _start(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_FIRST_BYTES)


def refuse_no_data(source: str, path: Path) -> None:
    """Raise `UserError` for what is no name of local data, or the place of something that is neither a file nor a folder."""
    if not source.strip():
        raise UserError("--data: it is empty; name a file or folder of data, or leave the option out", option="data")
    if re.match(r"[a-z][a-z0-9+]+://", source, re.IGNORECASE):
        raise UserError(f"{source}: is an address; download the data and name the file or folder", option="data")
    if what := what_is_at(path):
        raise UserError(f"{source}: {what}", option="data")


def nearest_path(path: Path) -> str:
    """Return `` (did you mean ...?)`` with the nearest name that exists, or an empty string."""
    for folder in path.parents:
        if folder.is_dir():
            wrong = path.relative_to(folder).parts[0]
            names = [entry.name for entry in folder.iterdir()]
            is_whole = len(path.relative_to(folder).parts) == 1
            hint = nearest(wrong, names)
            if not hint and not is_whole:
                return f": {folder} has no {wrong!r}"
            return hint
    return ""


def not_known(path: Path, formats: str) -> UserError:
    """Return the error for a path that no reader recognises; `formats` are the names of those there are."""
    what = f"{path}: no known data format ({formats}; docs/data.md shows each)"
    if path.is_file():
        return UserError(f"{what}; {_advice({path.suffix.lower(): (path, 1)})}")
    found = contents_of(path)
    if not found.names:
        return UserError(f"{path}: is an empty folder; name one with landmarks in it")
    kinds = {suffix: (path / names[0], len(names)) for suffix, names in found.names.items()}
    for file in found.files(".yaml", ".yml"):
        if re.search(r"^kpt_shape\s*:", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
            return UserError(
                f"{path}: is a set of YOLO's poses, a frame each; convert it:{lines(_YOLO, path, path / 'poses.csv')}"
            )
    conversion = next((text for file in found.files(*_TABLES)[:_MOST_TABLES] if (text := cells_of_lists(file))), "")
    return UserError(f"{what}; it holds {_shown(found)}{conversion or f'; {_advice(kinds)}'}")


def _shown(found: Contents) -> str:
    """Return what is in a folder: arrays with their shapes, tables with their columns, all else by count."""
    parts = []
    if arrays := found.files(*_ARRAYS):
        parts.append(describe_arrays(arrays))
    tables = found.files(*_TABLES)
    parts += [_table(found.root, file) for file in tables[:_MOST_TABLES]]
    if (rest := len(tables) - _MOST_TABLES) > 0:
        parts.append(f"{rest:,} more tables")
    counts = Counter(
        {suffix: len(names) for suffix, names in found.names.items() if suffix not in (*_ARRAYS, *_TABLES)}
    )
    kinds = [f"{count:,} {suffix or 'files without an ending'}" for suffix, count in counts.most_common(_MOST_KINDS)]
    if others := len(counts) - len(kinds):
        kinds.append(f"files of {others} other kinds")
    return ("" if found.is_all else "at least ") + "; ".join([*parts, *([", ".join(kinds)] if kinds else [])])


def _table(root: Path, file: Path) -> str:
    header = header_of(file)
    name = file.relative_to(root).as_posix()
    if not header:
        return f"{name}, a table that cannot be read as text"
    paths = [column for word in _PATH_WORDS for column in header if word in column.lower()]
    if paths:
        known = "" if find_column(header, LABEL_COLUMNS) is not None else " and none of classes"
        return f"{name}, a table of clips with the column {paths[0][:_MOST_LETTERS]}{known}"
    shown = ", ".join(column[:_MOST_LETTERS] for column in header[:_MOST_COLUMNS]) + (
        ", ..." if len(header) > _MOST_COLUMNS else ""
    )
    return f"{name}, a table of {len(header)} columns ({shown})"


def _advice(kinds: Mapping[str, tuple[Path, int]]) -> str:
    """Return what to do with files, the first one and the count of each ending.

    Those that hold landmarks decide, then the commonest kind of the others.
    """
    for kind in sorted(kinds, key=lambda kind: (_rank(kind), -kinds[kind][1])):
        first, count = kinds[kind]
        if (advice := next((what for endings, what in _NEAREST if kind in endings), None)) is not None:
            if kind in _TABLES and (rows := first_rows(first, _SAMPLE_ROWS)):
                if (texts := texts_in(rows[0], rows[1:])) is not None:
                    return f"in {first.name} {texts}"
            elif kind == ".jsonl" and _HAS_TEXT.search(_start(first)):
                return f"{advice}; --task text learns from texts"
            return advice + (_keys(first) if kind == ".json" else "")
        if (message := refusal(first)) is None:
            continue
        of_all = message.replace("is a video", "are videos").replace("is an image", "are images")
        if count > 1 and kind in VIDEOS | IMAGES and of_all != message:
            return f"the {kind} {of_all}"
        return f"{first.name} {message}"
    return "name a folder or a file of landmarks"


def _rank(kind: str) -> int:
    """Return how likely files with an ending hold landmarks, the likeliest as 0."""
    if kind in (".npy", ".npz"):
        return 0
    if kind in PICKLES:
        return 1
    if kind in CONVERTED:
        return 2
    return 4 if kind in _SOURCE_CODE else 3


def _keys(file: Path) -> str:
    """Return what the first JSON file holds, for the advice."""
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, OSError, RecursionError):
        return f"; {file.name} is not complete JSON"
    entry = content[0] if isinstance(content, list) and content else content
    if isinstance(entry, dict):
        return f"; {file.name} has the keys {', '.join(cut(key) for key in list(entry)[:_MOST_COLUMNS])}"
    return f"; {file.name} holds a {type(content).__name__}"
