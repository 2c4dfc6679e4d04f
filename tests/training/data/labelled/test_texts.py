"""Texts of tables and files: columns are found or named, and every row that lacks something is told."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slipway.training.data.labelled.labelled import Samples
from slipway.training.data.labelled.texts import find_texts
from tests.training.helpers import catch

ROWS = [
    ("Good soup, crème brûlée too.", "food"),
    ("It rains, \nand snows.", "weather"),
    ("More rice", "food"),
    ("Fog", "weather"),
]


def table(path: Path, header: str = "text,label", rows: list[tuple[str, str]] = ROWS, encoding: str = "utf-8") -> Path:
    quoted = [",".join(f'"{cell}"' for cell in row) for row in rows]
    path.write_text("\n".join([header, *quoted]) + "\n", encoding=encoding)
    return path


def pairs(samples: Samples[str]) -> list[tuple[str, str]]:
    return list(zip(samples.items, samples.labels, strict=True))


def refused(path: Path, **options: Any) -> str:
    return str(catch(find_texts, str(path), **options)).replace(f"{path.parent}/", "")


@pytest.mark.parametrize("kind", ["csv", "with a mark", "utf-16", "tsv", "jsonl", "parquet", "nfd"])
def test_every_kind_of_table_gives_the_same_texts(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.jsonl" if kind == "jsonl" else "a.parquet" if kind == "parquet" else "a.csv")
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps({"id": 1, "text": text, "label": label}) for text, label in ROWS))
    elif kind == "parquet":
        pq.write_table(pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}), path)
    elif kind == "tsv":
        table(path := tmp_path / "a.tsv")
        path.write_text(path.read_text().replace('","', '"\t"').replace("text,label", "text\tlabel"))
    else:
        encoding = {"with a mark": "utf-8-sig", "utf-16": "utf-16"}.get(kind, "utf-8")
        rows = [(unicodedata.normalize("NFD", text), label) for text, label in ROWS] if kind == "nfd" else ROWS
        table(path, rows=rows, encoding=encoding)
    assert pairs(find_texts(str(path))) == ROWS


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("review,sentiment", {}),
        ("Text,anything", {}),
        ("anything,Label", {}),
        ("one,two", {"text": "one", "label": "two"}),
        ("one,two", {"text": "0", "label": "1"}),
        ("text,label", {"text": "TEXT"}),
    ],
)
def test_columns_are_found_by_usual_names_or_named(header: str, options: dict[str, str], tmp_path: Path) -> None:
    found = find_texts(str(table(tmp_path / "a.csv", header)), **options)
    assert pairs(found) == ROWS
    assert found.notes == (f"the texts are the column {header.split(',')[0]!r}, the labels {header.split(',')[1]!r}",)


def test_splits_are_a_column_or_the_names_of_files_and_a_folder_of_classes_holds_texts(tmp_path: Path) -> None:
    column = tmp_path / "a.csv"
    column.write_text("text,label,split\nx,a,train\ny,b,dev\nz,a,test\n")
    assert find_texts(str(column)).own == ["train", "validation", "test"]
    folder = tmp_path / "tables"
    folder.mkdir()
    table(folder / "train.csv")
    table(folder / "test.csv")
    assert (
        find_texts(str(folder)).own == ["train"] * 4 + ["test"] * 4
        or find_texts(str(folder)).own == ["test"] * 4 + ["train"] * 4
    )
    for name, text in (("pos/1.txt", "fine"), ("neg/2.txt", "bad")):
        file = tmp_path / "classes" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    assert pairs(find_texts(str(tmp_path / "classes"))) == [("bad", "neg"), ("fine", "pos")]


def test_a_text_longer_than_what_csv_takes_is_read(tmp_path: Path) -> None:
    long = "word " * 100_000
    assert (
        find_texts(str(table(tmp_path / "a.csv", rows=[(long, "a"), ("b", "b"), ("c", "b")]))).items[0] == long.strip()
    )


def test_every_row_that_lacks_a_text_or_a_label_is_told(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", rows=[*ROWS, ("", "food"), ("Snow", ""), (" ", "food")])
    assert refused(path).split("\n  ") == [
        "a.csv: 3 faults",
        "a.csv, line 7: no text in the column 'text'; remove the row",
        "a.csv, line 8: no label in the column 'label'; add it, or remove the row",
        "a.csv, line 9: no text in the column 'text'; remove the row",
    ]


@pytest.mark.parametrize(
    ("header", "options", "words"),
    [
        (
            "text,label,id",
            {"label": "lable"},
            "a.csv: label=lable: no such column (did you mean 'label'?); 3 columns: 'text'",
        ),
        (
            "text,one,two",
            {},
            "a.csv: no column that is known as the label; name it with label=COLUMN: it has 3 columns",
        ),
        ("one,label,two", {}, "a.csv: no column that is known as the text; name it with text=COLUMN"),
        ("text,label,id", {"text": "label"}, "a.csv: the column 'label' cannot be both text and label"),
        ("one,two,text", {"label": "one"}, "a.csv: 4 different labels in 4 rows, so the column 'one' says no classes"),
        ("text,label,id", {"encoding": "utf-9"}, "encoding=utf-9: unknown"),
    ],
)
def test_a_wrong_column_or_option_is_one_line(header: str, options: dict[str, str], words: str, tmp_path: Path) -> None:
    rows = [(*row, str(number)) for number, row in enumerate(ROWS)]
    message = refused(table(tmp_path / "a.csv", header, rows), **options)  # type: ignore[arg-type]
    assert message.startswith(words)
    assert "\n" not in message


def test_a_text_of_another_encoding_is_told_with_the_option_of_the_task(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", rows=[("좋은 날", "a"), ("비", "b"), ("눈", "b")], encoding="cp949")
    assert "add encoding=cp949" in refused(path)
    assert find_texts(str(path), encoding="cp949").items == ["좋은 날", "비", "눈"]


def test_a_text_without_labels_is_for_a_language_model_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("All of it.\n")
    assert refused(path).endswith("or learn the language with objective=language-model")
    assert find_texts(str(path), with_labels=False).items == ["All of it.\n"]
    assert find_texts(str(tmp_path), with_labels=False).items == ["All of it."]
    assert "no such file or folder" in refused(tmp_path / "b.csv")
