"""Where recorded clips are kept: a Parquet file for each, beside those that are there already."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...common.errors import UserError
from ...storage.files import describe_os_error


class ClipFolder:
    """A folder of recorded clips, which `slipway train --data` reads."""

    def __init__(self, folder: Path) -> None:
        """Make the folder. Raises `UserError` if it cannot be written to or holds files of another kind."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            others = [entry.name for entry in folder.iterdir() if entry.suffix not in (".parquet", ".partial")]
        except OSError as error:
            raise UserError(f"--out {folder}: {describe_os_error(error)}") from None
        if others:
            raise UserError(f"--out {folder}: holds other files, such as {min(others)}; name a folder of its own")

    def add(self, points: np.ndarray, *, label: str, signer: str, recording: str, about: Mapping[str, object]) -> Path:
        """Write a clip, float32 [frames, points, 3], whole or not at all and never over another; return its file.

        `about` is kept in the file for people. Raises `UserError` if it cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        frames = pa.FixedSizeListArray.from_arrays(pa.array(points.reshape(-1)), points.shape[2])
        clips = pa.FixedSizeListArray.from_arrays(frames, points.shape[1])
        columns = {
            "landmarks": pa.LargeListArray.from_arrays(pa.array([0, len(points)], pa.int64()), clips),
            "label": pa.array([label]),
            "signer": pa.array([signer]),
            "recording": pa.array([recording]),
        }
        table = pa.table(columns).replace_schema_metadata({"slipway_recording": json.dumps(dict(about))})
        stem = "_".join(_plain(text) for text in (label, signer) if text)
        partial = self.folder / f".{stem}.{os.getpid()}.partial"
        try:
            pq.write_table(table, partial, compression="zstd")
            try:
                return self._name(partial, stem)
            finally:
                partial.unlink()
        except OSError as error:
            raise UserError(f"--out {self.folder}: {describe_os_error(error)}") from None

    def _name(self, partial: Path, stem: str) -> Path:
        """Give a whole file the first free number: a link fails where a rename would replace."""
        number = sum(1 for _ in self.folder.glob(f"{stem}_*.parquet"))
        while True:
            number += 1
            path = self.folder / f"{stem}_{number:04}.parquet"
            try:
                os.link(partial, path)
            except FileExistsError:
                continue
            return path


def _plain(text: str) -> str:
    """Return a text as a part of a file's name: letters and digits of any script."""
    return re.sub(r"[^\w-]+", "-", text).strip("-_") or "x"
