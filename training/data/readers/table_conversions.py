"""Tables that are not read as they stand: what they are, and the lines that make a table of landmarks of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ...common.errors import UserError
from ..text import LABEL_COLUMNS, files_with, find_column
from .refusals import lines
from .tables.columns import Columns
from .tables.csv_rows import first_rows

_LONG_FORM = ("landmarkindex", "landmarkid", "landmark", "keypoint", "keypointid", "joint", "jointid", "point")
_TABLES = (".csv", ".tsv")
_MOST_NAMED = 12
"""Columns that a program names one by one."""


def with_thousands(file: Path, mark: str) -> UserError:
    """Return the error for a table whose numbers have separators of thousands, such as 1,234.5."""
    options = 'thousands=","' if mark == "," else 'sep=";", decimal=",", thousands="."'
    program = f"import pandas; pandas.read_csv({{file}}, {options}).to_csv({{out}}, index=False)"
    out = file.with_name(f"{file.stem}_plain.csv")
    return UserError(
        f"{file}: its numbers have separators of thousands ({mark!r}); write them plainly:{lines(program, file, out)}"
    )


def class_elsewhere(file: Path, header: list[str]) -> str:
    """Return which table beside a file has the classes by one of its columns, and the lines that join them; else nothing."""
    for other in files_with(file.parent, *_TABLES):
        names = next(iter(first_rows(other, 1)), [])
        shared = [name for name in header if name in names]
        if other == file or not shared or find_column(names, LABEL_COLUMNS) is None:
            continue
        out, table = file.with_name(f"{file.stem}_labelled.csv"), json.dumps(str(other), ensure_ascii=False)
        table = table.replace("{", "{{").replace("}", "}}")
        program = (
            f"import pandas as pd; pd.read_csv({{file}}).merge(pd.read_csv({table}), on={as_list(shared)})"
            ".to_csv({out}, index=False)"
        )
        by = ", ".join(map(repr, shared))
        return f"but {other.name} has the class by {by}; join them:{lines(program, file, out)}"
    return ""


def cells_of_lists(file: Path) -> str:
    """Return the lines that convert a table with a class whose cells are lists of numbers; an empty text for another table."""
    header, *samples = first_rows(file, 2) or [[]]
    return of_lists(file, header, samples) if samples and len(samples[0]) == len(header) else ""


def of_lists(file: Path, header: list[str], samples: list[list[str]]) -> str:
    """Return the lines that convert a table whose cells are lists of numbers; an empty text for another table."""
    lists = [
        name for place, name in enumerate(header) if re.fullmatch(r"\s*[\[(].*[\])]\s*", samples[0][place], re.DOTALL)
    ]
    if not lists:
        return ""
    cells = "r[0]" if len(lists) == 1 else "[n for c in r for n in c]"
    is_literal = "," in samples[0][header.index(lists[0])]
    parse = "ast.literal_eval" if is_literal else 'lambda s: [float(n) for n in s.strip("[]() \\n").split()]'
    chosen = as_list(lists)
    if len(lists) > _MOST_NAMED:
        chosen = '[n for n in d if str(d[n][0]).strip()[:1] in ("[", "(")]'
    program = (
        f"import ast, pandas as pd; d = pd.read_csv({{file}}); c = {chosen}; "
        f'd["landmarks"] = [{cells} for r in d[c].map({parse}).values.tolist()]; '
        'd.drop(columns=[n for n in c if n != "landmarks"]).to_parquet({out})'
    )
    return f"; its cells are lists; convert it:{lines(program, file, file.with_suffix('.parquet'))}"


def refuse_long_form(header: list[str], columns: Columns, file: Path) -> None:
    """Raise `UserError` for a table in which a row is one landmark of a frame."""
    index = find_column(header, _LONG_FORM)
    axes = [name.lower() for place, name in enumerate(header) if place not in columns.named]
    if index is not None and {"x", "y"} <= set(axes):
        names = {axis: name for name in header if (axis := name.lower()) in ("x", "y", "z")}
        others = [name for name in header if name and name not in names.values() and name != header[index]]
        program = (
            f"import pandas as pd; d = pd.read_csv({{file}}); w = d.pivot(index={as_list(others)}, "
            f'columns="{header[index]}", values={as_list(list(names.values()))}); '
            "w.columns = [a.lower() + str(p) for a, p in w.columns]; w.reset_index().to_csv({out}, index=False)"
        )
        raise UserError(
            f"{file}: a row is one landmark of a frame (columns {header[index]!r}, x, y); write a row a frame:"
            f"{lines(program, file, file.with_name(f'{file.stem}_frames.csv'))}"
        )


def as_list(names: list[str]) -> str:
    """Return names as a list in a program that is still to be filled in."""
    return json.dumps(names, ensure_ascii=False).replace("{", "{{").replace("}", "}}")
