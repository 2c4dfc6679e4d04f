"""The launcher's errors a user can cause and mend: one line each, exit code 2, no traceback."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The message is one line: what is wrong, where (file, key, row), what to do."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known word nearest to `word`, or an empty string."""
    import difflib  # only an error needs it

    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
