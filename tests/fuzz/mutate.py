"""Damage of a file by a seeded generator: of its bytes, and of what it holds by its format."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from random import Random
from typing import Any

HOSTILE = (
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        10**6,
        2**31,
        2**63,
        -(2**63) - 1,
        10**30,
        1700000000000,
        0.5,
        -0.0,
        1e-320,
        1e30,
        1e308,
    ),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        " ",
        "0",
        "-1",
        "1e999",
        "nan",
        "inf",
        "None",
        "null",
        "true",
        "1:30",
    ),
    *(
        "x" * 300,
        "y" * 5000,
        "\0",
        "a\0b",
        "\x1b[2J",
        "../../etc/passwd",
        "/dev/zero",
        "~nobody",
        "<script>alert(1)</script>",
    ),
    *(
        "$(touch PWNED)",
        "; touch PWNED",
        "`touch PWNED`",
        "9" * 5000,
        "\u202e",
        "\ud800",
        "é" * 130,
        "2024-01-01",
        "1_000",
    ),
    *([], {}, [[]], [None], [{}], {"": None}, [1, "a", None], [[1, 2], [3]], {"a": {"b": {"c": []}}}, ["x"] * 1000),
)
"""Values in place of one that a file holds."""

_TOKENS = (
    *(
        b"\0",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\x7f",
        b"\0\0\0\x80",
        b"\xff" * 8,
        b"\xff" * 7 + b"\x7f",
        b"\n",
        b"\r",
        b'"',
    ),
    *(
        b",",
        b";",
        b"\t",
        b"{",
        b"}",
        b"[" * 5000,
        b"[",
        b"]",
        b":",
        b"nan",
        b"NaN",
        b"inf",
        b"-1",
        b"1e400",
        b"9" * 5000,
    ),
    *(
        b"null",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"%",
        b"&a ",
        b"*a",
        b"!!python/object/apply:os.system [true]",
    ),
    *(b"? ", b"- ", b"| ", b"2024-01-01", b"<<: ", b"\x1b[2J", b"1:30", b"0x", b"PK\x03\x04", b"\x93NUMPY", b"PAR1"),
)
_DTYPES = (
    *(
        "|O",
        "<f8",
        ">f4",
        "<f2",
        "<U10",
        "<U0",
        "|S0",
        "|V8",
        "<M8[ns]",
        "<m8",
        "<c16",
        "|b1",
        "<i8",
        "<u8",
        "<f16",
        "(2,3)<f4",
    ),
    *("f4,f4", "nonsense", "<f4" * 300, "", "|S2000000000", "<U500000000"),
)
_SIZES = (0, 1, 2, 3, 7, -1, 10**6, 10**9, 2**31, 2**40, 2**63, 10**30)
PLACES = ("gone", "folder", "pipe", "loop", "dangling", "device", "empty")
"""What may stand in the place of a file."""
_MOST_BYTES, _MOST_PACKED = 1 << 18, 1 << 14


def mutate_folder(folder: Path, generator: Random) -> list[str]:
    """Damage one to three files below a folder; return what was done."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    done = []
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        file = generator.choice(files)
        if file.is_file() and not file.is_symlink() and file.stat().st_size < 1 << 22:
            done.append(f"{file.relative_to(folder)}: {mutate_file(file, generator)}")
    return done


def mutate_file(file: Path, generator: Random) -> str:
    """Damage a file; return how."""
    if generator.random() < 0.02:
        return make_special(file, generator.choice(PLACES))
    content = file.read_bytes()
    by_format = _BY_FORMAT.get(file.suffix.lower())
    how = "bytes"
    if by_format is not None and generator.random() < 0.75:
        try:
            content = by_format(content, generator)
            how = by_format.__name__
        except Exception:
            pass  # it was damaged before
    if how == "bytes" or generator.random() < 0.1:
        content = mutate_bytes(content, generator)
    file.write_bytes(content)
    return how


def make_special(file: Path, kind: str) -> str:
    """Put what is no file, or an empty one, in the place of a file; return its kind."""
    if kind == "empty":
        file.write_bytes(b"")
        return kind
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind != "gone":
        file.symlink_to({"loop": file.name, "dangling": "nothing-there", "device": "/dev/zero"}[kind])
    return kind


def restore(folder: Path, contents: dict[Path, bytes]) -> None:
    """Make a folder what it was: files by their paths."""
    parents = {parent for path in contents for parent in path.parents}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if path not in parents:
                shutil.rmtree(path)
        elif path not in contents:
            path.unlink()
    for path, content in contents.items():
        is_file = path.is_file() and not path.is_symlink()
        if not is_file or path.stat().st_size != len(content) or path.read_bytes() != content:
            if path.is_symlink() or (path.exists() and not path.is_file()):
                path.unlink()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def mutate_bytes(content: bytes, generator: Random) -> bytes:
    """Change some bytes: one, a span, the end."""
    data = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 4))):
        at = generator.randrange(len(data) + 1)
        if generator.random() < 0.3:  # headers stand at the start and at the end
            at = (
                min(len(data), generator.randrange(64))
                if generator.random() < 0.5
                else max(0, len(data) - generator.randrange(1, 64))
            )
        span = min(len(data) - at, generator.choice((1, 2, 4, 8, 64, 1024)))
        kind = generator.randrange(8)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << generator.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = generator.randrange(256)
        elif kind == 2:
            del data[at : at + span]
        elif kind == 3:
            data[at:at] = data[at : at + span]
        elif kind == 4:
            data[at:at] = generator.choice(_TOKENS)
        elif kind == 5:
            token = generator.choice(_TOKENS)
            data[at : at + len(token)] = token
        elif kind == 6:
            del data[at:]
        else:
            data[at : at + span] = generator.randbytes(span)
    return bytes(data[: _MOST_BYTES + len(content)])


def mutate_json(content: bytes, generator: Random) -> bytes:
    """Change values and keys of JSON, each line one if it is lines."""
    lines = (
        content.splitlines() if content.count(b"\n") > 1 and content[:1] == b"{" and b"\n{" in content else [content]
    )
    at = generator.randrange(len(lines))
    value = json.loads(lines[at])
    for _ in range(generator.choice((1, 1, 2, 3))):
        value = change(value, generator)
    lines[at] = json.dumps(value, ensure_ascii=generator.random() < 0.5).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


def change(value: Any, generator: Random) -> Any:
    """Return plain values with one of them, or a key, changed."""
    parts: list[tuple[Any, Any]] = []
    _collect(value, parts)
    if not parts or generator.random() < 0.02:
        return generator.choice(HOSTILE)
    holder, key = generator.choice(parts)
    kind = generator.randrange(8)
    if kind < 5:
        holder[key] = generator.choice(HOSTILE)
    elif kind == 5:
        del holder[key]
    elif kind == 6 and isinstance(holder, list):
        holder.insert(generator.randrange(len(holder) + 1), holder[key])
    elif isinstance(holder, dict):
        holder[str(generator.choice(HOSTILE))[:400]] = holder.pop(key)
    else:
        holder[key] = [holder[key]]
    return value


def _collect(value: Any, parts: list[tuple[Any, Any]]) -> None:
    if isinstance(value, dict):
        for key in value:
            parts.append((value, key))
            _collect(value[key], parts)
    elif isinstance(value, list):
        for index in range(min(len(value), 20)):
            parts.append((value, index))
            _collect(value[index], parts)


def mutate_table(content: bytes, generator: Random) -> bytes:
    """Change cells, rows and columns of a table of text."""
    text = content.decode("utf-8", "surrogateescape")
    mark = next((one for one in ("\t", ";", ":", ",") if one in text.partition("\n")[0]), ",")
    rows = [row.split(mark) for row in text.split("\n")]
    for _ in range(generator.choice((1, 1, 2, 3))):
        row = generator.choice(rows if generator.random() < 0.7 else rows[:1])
        column = generator.randrange(len(row)) if row else 0
        kind = generator.randrange(8)
        if kind < 4 and row:
            row[column] = str(generator.choice(HOSTILE))
        elif kind == 4:
            rows.remove(row)
            rows = rows or [[""]]
        elif kind == 5:
            rows.insert(generator.randrange(len(rows)), list(row))
        elif kind == 6:
            for one in rows:
                del one[column : column + 1]
        elif row:
            row.insert(column, generator.choice(("", '"', '"a""', "1,2", "x\r", "[1, 2", "1 2 3")))
    return "\n".join(mark.join(row) for row in rows).encode("utf-8", "surrogatepass")


def mutate_npy(content: bytes, generator: Random) -> bytes:
    """Change what the header of an array says, or leave the numbers away."""
    length = int.from_bytes(content[8:10], "little")
    header = ast.literal_eval(content[10 : 10 + length].decode("latin-1"))
    kind = generator.randrange(5)
    shape = list(header["shape"])
    if kind == 0:
        header["descr"] = generator.choice(_DTYPES)
    elif kind == 1 and shape:
        shape[generator.randrange(len(shape))] = generator.choice(_SIZES)
    elif kind == 2:
        shape = [generator.choice(_SIZES) for _ in range(generator.randrange(5))]
    elif kind == 3:
        header["fortran_order"] = not header["fortran_order"]
    else:
        return content[: generator.randrange(len(content))]
    header["shape"] = tuple(shape)
    text = repr(header).encode("latin-1", "replace")
    if generator.random() < 0.05:
        text = generator.choice(
            (b"(" * 5000, b"{'descr': '<f4'}", b"'", b"{" + b"1:" * 2000, b"\\", b"lambda: 1", text[:-2])
        )
    text = text.ljust((-(10 + len(text) + 1)) % 64 + len(text)) + b"\n"
    return content[:6] + b"\x01\0" + len(text).to_bytes(2, "little") + text + content[10 + length :]


def mutate_npz(content: bytes, generator: Random) -> bytes:
    """Change members of an archive, their names and how they are packed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = generator.randrange(len(members))
    name, data = members[at]
    kind = generator.randrange(8)
    if kind < 3:
        members[at] = name, mutate_npy(data, generator)
    elif kind == 3:
        members[at] = name, mutate_bytes(data, generator)
    elif kind == 4:
        members.append(
            (generator.choice(("../x.npy", "y.npy", "X.npy", "lengths.npy", "a" * 300, "/x.npy", "x.npy/", "x")), data)
        )
    elif kind == 5:
        del members[at]
    elif kind == 6:
        members[at] = name, bytes(generator.choice((0, 10**6, 3 * 10**7)))
    else:
        members.append(members[at])
    packed = io.BytesIO()
    ways = (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    way = generator.choice(ways)
    with zipfile.ZipFile(packed, "w", way, compresslevel=1) as archive:
        for name, data in members:
            # To pack much takes longer than all that is looked at.
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if len(data) > _MOST_PACKED else way)
    out = bytearray(packed.getvalue())
    if generator.random() < 0.15:  # an entry of the directory: how it is packed, its flags, its sizes
        entry = out.find(b"PK\x01\x02")
        at = entry + generator.choice((8, 10, 20, 24, 42))
        out[at : at + 2] = generator.choice((b"\x01\x00", b"\xff\xff", b"\x63\0", b"\x08\x08"))
    return bytes(out)


def mutate_columns(content: bytes, generator: Random) -> bytes:
    """Change the columns of a Parquet file: their values, types and names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    names = list(table.column_names)
    at = generator.randrange(len(names))
    kind = generator.randrange(7)
    values = table[names[at]].to_pylist()
    if kind == 0:
        table = table.drop_columns([names[at]])
    elif kind == 1:
        names[at] = str(generator.choice(HOSTILE))[:300].replace("\ud800", "?")
        table = table.rename_columns(names)
    elif kind == 2:
        table = table.append_column(names[at], table[at])
    elif kind == 3:
        table = table.slice(0, generator.choice((0, 1, 2)))
    else:
        if kind == 4:
            values[generator.randrange(len(values))] = generator.choice(HOSTILE)
        elif kind == 5:
            values = [generator.choice(HOSTILE)] * len(values)
        else:
            values = [change(value, generator) if isinstance(value, list) else None for value in values]
        try:
            column = pa.array(values)
        except (pa.ArrowException, ValueError, OverflowError, TypeError):
            column = pa.array([str(value).replace("\ud800", "?") for value in values])
        table = table.set_column(at, names[at], column)
    packed = io.BytesIO()
    pq.write_table(table, packed)
    return packed.getvalue()


def mutate_yaml(content: bytes, generator: Random) -> bytes:
    """Change keys, values and the depth of lines."""
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    for _ in range(generator.choice((1, 1, 2, 3))):
        at = generator.randrange(len(lines))
        key, mark, _ = lines[at].partition(":")
        kind = generator.randrange(8)
        if kind < 4:
            hostile = generator.choice(HOSTILE)
            plain = json.dumps(hostile) if generator.random() < 0.5 else str(hostile)
            lines[at] = f"{key}{mark or ':'} {plain}"
        elif kind == 4:
            extra = (
                "&a [*a, *a]",
                "*a",
                "!!python/name:os.system",
                "!!binary aaa",
                "{a: 1, a: 2}",
                "!!set {a}",
                "[" * 200,
                "? :",
            )
            lines[at] = f"{key}{mark} {generator.choice(extra)}"
        elif kind == 5:
            lines.insert(at, lines[at])
        elif kind == 6:
            lines[at] = " " * generator.randrange(1, 5) + lines[at]
        else:
            del lines[at]
            lines = lines or [""]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def mutate_safetensors(content: bytes, generator: Random) -> bytes:
    """Change what the header of a file of tensors says."""
    length = int.from_bytes(content[:8], "little")
    header = mutate_json(content[8 : 8 + length], generator)
    told = len(header) if generator.random() < 0.9 else generator.choice((0, 1, 2**31, 2**63, 10**8))
    return told.to_bytes(8, "little") + header + content[8 + length :]


_BY_FORMAT = {
    ".json": mutate_json,
    ".jsonl": mutate_json,
    ".ndjson": mutate_json,
    ".csv": mutate_table,
    ".tsv": mutate_table,
    ".txt": mutate_table,
    ".ts": mutate_table,
    ".data": mutate_table,
    ".npy": mutate_npy,
    ".npz": mutate_npz,
    ".parquet": mutate_columns,
    ".yaml": mutate_yaml,
    ".yml": mutate_yaml,
    ".safetensors": mutate_safetensors,
}
