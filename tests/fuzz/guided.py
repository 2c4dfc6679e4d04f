"""Damage that follows what the readers' code does with it: `python -m tests.fuzz.guided [SECONDS]`, where atheris is installed.

libFuzzer ends the process at the first input that is answered by anything but a value or the error of the door, and keeps
the input in the file that it names.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path

_SECONDS = 30
_SUFFIXES = (".yaml", ".json", ".npz", ".npy", ".csv")


def main() -> None:
    """Feed the readers of small files and of landmarks with bytes; the first byte chooses the format."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else _SECONDS
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["slipway.training.common.small_files", "slipway.training.data.readers"]):
        from slipway.training.common.small_files import UnreadableError, read_json, read_yaml
        from slipway.training.data.understanding.understand import read_landmarks
    from slipway.training.common.errors import UserError
    from slipway.training.data.specs import Reading

    warnings.simplefilter("ignore")
    logging.disable()
    folder = Path(tempfile.mkdtemp(prefix="slipway-fuzz-"))
    os.chdir(folder)

    def attempt(data: bytes) -> None:
        suffix = _SUFFIXES[data[0] % len(_SUFFIXES)] if data else ".csv"
        file = folder / f"data{suffix}"
        file.write_bytes(data[1:])
        with contextlib.suppress(UserError, UnreadableError, OSError):
            {".yaml": read_yaml, ".json": read_json}.get(suffix, lambda path: read_landmarks(str(path), Reading()))(
                file
            )

    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096"], attempt
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
