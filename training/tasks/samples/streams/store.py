"""Samples in an Arrow file: written in batches of rows, then read by number, each alone, without the file in memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ....common.errors import UserError
from ....storage.entries import MANIFEST, Hold, held, seal
from .encoding import EncodedSample, Form, classes_of, decode, encode, form_of

SAMPLES = "samples.arrow"

_BATCH_BYTES, _BATCH_ROWS = 8 << 20, 1 << 16
_OVERHEAD_BYTES = 64
"""What a sample takes beside its data, about."""


class StreamWriter:
    """Writes samples into a new folder; `before_batch(writer, bytes)` is called before a write, and may raise."""

    def __init__(self, folder: Path, before_batch: Callable[[StreamWriter, int], None]) -> None:
        self._folder, self._before_batch = folder, before_batch
        self._file = (folder / SAMPLES).open("wb")
        self._writer = _arrow().ipc.new_file(self._file, _schema())
        self._forms: dict[Form, int] = {}
        self._form_texts: list[bytes] = []
        self._rows: list[tuple[int, EncodedSample]] = []
        self._waiting_bytes = 0
        self._batches: list[int] = []
        self._digest = hashlib.sha256()
        self.classes: dict[str, type] = {}
        self.count, self.num_bytes = 0, 0

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with suppress(OSError):  # what could not be written is still there, and fails once more
            self._file.close()

    def add(self, sample: Any) -> Form | None:
        """Add a sample; return its form if it is new. Raises `NotStorable`, `OSError`, what `before_batch` raises."""
        row = encode(sample, self.classes)
        number = self._forms.get(row.form)
        is_new = number is None
        if number is None:
            number = self._forms[row.form] = len(self._forms)
            self._form_texts.append(json.dumps(row.form).encode())
        for part in (self._form_texts[number], np.array(row.sizes, dtype="<i8").tobytes(), row.data):
            self._digest.update(len(part).to_bytes(8, "little"))
            self._digest.update(part)
        self._rows.append((number, row))
        self.count += 1
        self._waiting_bytes += len(row.data) + _OVERHEAD_BYTES
        if self._waiting_bytes >= _BATCH_BYTES or len(self._rows) == _BATCH_ROWS:
            self._write_batch()
        return row.form if is_new else None

    def finish(self) -> str:
        """Write what is left and the manifest, and wait until all is on the disk; return the hash of the content."""
        if self._rows:
            self._write_batch()
        self._writer.close()
        self._file.close()
        content = self._digest.hexdigest()[:32]
        seal(self._folder, content=content, batches=self._batches, forms=list(self._forms))
        return content

    def _write_batch(self) -> None:
        arrow = _arrow()
        self._before_batch(self, self._waiting_bytes)
        rows = [row for _, row in self._rows]
        data = b"".join(row.data for row in rows)
        columns = [
            arrow.array(np.array([number for number, _ in self._rows], dtype=np.int32)),
            arrow.LargeListArray.from_arrays(
                _offsets([len(row.sizes) for row in rows]),
                arrow.array(np.array([size for row in rows for size in row.sizes], dtype=np.int64)),
            ),
            arrow.LargeBinaryArray.from_buffers(
                arrow.large_binary(),
                len(rows),
                [None, arrow.py_buffer(_offsets([len(row.data) for row in rows])), arrow.py_buffer(data)],
            ),
        ]
        self._writer.write_batch(arrow.record_batch(columns, schema=_schema()))
        self.num_bytes += self._waiting_bytes
        self._batches.append(len(rows))
        self._rows, self._waiting_bytes = [], 0


class _Rows(NamedTuple):
    """A batch of rows: the index of its samples, mapped, and where their data begin in the file."""

    forms: np.ndarray
    size_offsets: np.ndarray
    sizes: np.ndarray
    data_offsets: np.ndarray
    data_start: int


class StoredStream:
    """The samples of a stream as a map-style data set. A sample is read from the file when it is asked for.

    The index is mapped; samples are read, not mapped, so the memory of a process does not grow with what it has read.
    """

    def __init__(self, folder: Path, classes: Mapping[str, type] | None = None, hold: Hold | None = None) -> None:
        """Open what `StreamWriter` has written. Raises `OSError`, and `UserError` for a class that is not there."""
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        self._folder = folder
        self._forms = [form_of(one) for one in manifest["forms"]]
        self._classes = classes_of(self._forms, classes or {})
        self.content: str = manifest["content"]
        self._ends = np.cumsum(manifest["batches"])
        if hold is None:
            with held(folder / MANIFEST) as own:
                own(self)
        else:
            hold(self)
        self._map = _arrow().memory_map(os.fspath(folder / SAMPLES))
        self._base = self._map.read_buffer(1).address
        self._reader = _arrow().ipc.open_file(self._map)
        self._batches: dict[int, _Rows] = {}
        self._file = (folder / SAMPLES).open("rb", buffering=0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Any:
        number = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= number < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        batch = int(np.searchsorted(self._ends, number, side="right"))
        rows = self._batches.get(batch)
        if rows is None:
            rows = self._batches[batch] = self._open_batch(batch)
        row = number - (int(self._ends[batch - 1]) if batch else 0)
        first, last = rows.data_offsets[row : row + 2].tolist()
        sizes = rows.sizes[rows.size_offsets[row] : rows.size_offsets[row + 1]].tolist()
        return decode(
            self._forms[rows.forms[row]], sizes, self._read(rows.data_start + first, last - first), self._classes
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredStream, (self._folder,)

    def _read(self, first: int, count: int) -> np.ndarray:
        data, done = np.empty(count, dtype=np.uint8), 0
        while done < count:
            read = os.preadv(self._file.fileno(), [data[done:].data], first + done)
            if read == 0:
                raise UserError(
                    f"{self._folder / SAMPLES}: it is shorter than it was; start again, and it is written anew"
                )
            done += read
        return data

    def _open_batch(self, number: int) -> _Rows:
        forms, sizes, data = self._reader.get_batch(number).columns
        count = len(forms)
        values = data.buffers()[2]
        return _Rows(
            np.frombuffer(forms.buffers()[1], dtype=np.int32)[:count],
            np.frombuffer(sizes.buffers()[1], dtype=np.int64)[: count + 1],
            sizes.values.to_numpy(),
            np.frombuffer(data.buffers()[1], dtype=np.int64)[: count + 1],
            0 if values is None else values.address - self._base,
        )


def _offsets(lengths: list[int]) -> np.ndarray:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _schema() -> Any:
    arrow = _arrow()
    return arrow.schema(
        [("form", arrow.int32()), ("sizes", arrow.large_list(arrow.int64())), ("data", arrow.large_binary())]
    )


def _arrow() -> Any:
    """Return pyarrow, imported where a stream is used: it takes a while, and most runs have none."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise UserError("a stream is written by pyarrow, which is not installed: pip install pyarrow") from error
    return pyarrow
