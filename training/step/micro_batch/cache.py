"""Cache the best micro-batch sizes of a user, so that each is measured once for a model and device."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from ...common.small_files import read_json
from ...storage.files import user_cache_folder, write_json

_MOST_ENTRIES = 200


def key_of(**facts: Any) -> str:
    """Return the hash of the facts on which a size depends, all of JSON types."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


class SizeCache:
    """A JSON file of sizes by key. A file that cannot be read or written counts as empty: only time is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of_user(cls) -> SizeCache:
        """Return the cache in the user's cache folder; an empty one for a user without a home."""
        return cls(user_cache_folder() / "micro_batches.json")

    def get(self, key: str) -> dict[str, Any] | None:
        """Return an entry, or `None`: `size` in samples, `bytes_per_sample` or `None`, `is_limited` by memory."""
        entry = self._read().get(key)
        if not isinstance(entry, dict) or not isinstance(entry.get("size"), int) or entry["size"] < 1:
            return None
        needed = entry.get("bytes_per_sample")
        return {
            "size": entry["size"],
            "bytes_per_sample": needed if isinstance(needed, int) and needed > 0 else None,
            "is_limited": entry.get("is_limited") is True,
        }

    def put(self, key: str, entry: dict[str, Any]) -> None:
        """Add an entry; the oldest are removed if there are many."""
        entries = {other: value for other, value in self._read().items() if other != key}
        kept = dict(list(entries.items())[1 - _MOST_ENTRIES :])
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, {**kept, key: entry})

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            entries = read_json(self._path)
            if isinstance(entries, dict):
                return entries
        return {}
