"""Errors that are shown in one line, without a traceback."""

from __future__ import annotations

from collections.abc import Iterable

from .program.ipython import OneLine
from .program.shown import printable

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130
EXIT_RESUMABLE = 75
"""A signal stopped the run, which saved itself: start it again. EX_TEMPFAIL of sysexits.h."""


class UserError(OneLine, Exception):
    """Bad input, exit code 2. The message is one line: what is wrong, where (file, key, row), what to do."""

    is_alone: bool | None = None
    """Whether only this rank of several has it, and has to tell it; None: the ranks have not met."""

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(printable(message))
        self.option = option
        """The option whose value is wrong, by its name with underscores, where one is: who read it knows its place."""


def flag_of(option: str) -> str:
    """Return the flag of an option: `batch_size` gives `--batch-size`."""
    return f"--{option.replace('_', '-')}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for what other tools call `word`, or the nearest known word; or an empty string."""
    import difflib  # only an error needs these

    from .synonyms import right_name

    if (variable := word.lstrip("-").replace("-", "_").upper()) in ("RANK", "LOCAL_RANK"):
        return f" (`slipway launch --num-processes 2` or torchrun tell it to each process, in the variable {variable})"
    known = list(known)
    right = right_name(word, known)
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.5) if right is None else [right]
    return f" (did you mean {matches[0]!r}?)" if matches else ""


class TrainingFailed(OneLine, Exception):  # noqa: N818 - the run failed, not the program
    """A run that cannot go on. The message is one line; the exit code is 1."""

    is_alone: bool | None = None
    """As of `UserError`."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
