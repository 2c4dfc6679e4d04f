"""What is read from the pipes of a rank: messages, and the text that it prints."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

_CHUNK_BYTES = 1 << 16


class _PipeReader:
    """Reads what stands in a pipe, without waiting."""

    def __init__(self, file: int) -> None:
        self.file = file

    def read(self) -> bool:
        """Pass on what is there; return whether more may come."""
        with suppress(BlockingIOError):
            while chunk := os.read(self.file, _CHUNK_BYTES):
                self._take(chunk)
            return False
        return True

    def _take(self, chunk: bytes) -> None:
        raise NotImplementedError


class LineReader(_PipeReader):
    """Passes on each line of a pipe as a record of JSON."""

    def __init__(self, file: int, receive: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(file)
        self._receive = receive
        self._rest = b""

    def _take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._receive(json.loads(line))


class TextReader(_PipeReader):
    """Writes what comes through a pipe to a stream."""

    def __init__(self, file: int, stream: TextIO) -> None:
        super().__init__(file)
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def _take(self, chunk: bytes) -> None:
        self._stream.write(self._decoder.decode(chunk))
        self._stream.flush()
