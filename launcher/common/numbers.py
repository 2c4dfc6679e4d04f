"""Numbers of parameters as people write them: `70B`, `1.5e9`, `350M`."""

from __future__ import annotations

import re
from decimal import Decimal

from ...training.common.errors import UserError

_SCALES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_FORM = re.compile(
    r"((?:[0-9]{1,20}|[0-9]{1,3}(?:[,_][0-9]{3})+)(?:\.[0-9]{1,20})?)(?:e\+?([0-9]{1,2}))?\s*([kmbgt]?)", re.ASCII
)
_MOST = 10**15  # a typing error such as 7e99 is no model


def parse_parameters(text: str) -> int:
    """Return the number of parameters of text such as `300000`, `1.5e9`, `350M` or `70B`. Raises `UserError`."""
    found = _FORM.fullmatch(text.strip().lower())
    if not found:
        raise UserError(f"{text.strip()!r} is no number of parameters; write it like 70B, 350M, 1.5e9 or 300000")
    value = Decimal(re.sub("[,_]", "", found[1])).scaleb(int(found[2] or 0)) * _SCALES[found[3]]
    if value != int(value) or not 1 <= value <= _MOST:
        raise UserError(f"{text.strip()!r}: a model has 1 to 1000T parameters, as a whole number, such as 70B or 350M")
    return int(value)


def short_count(value: int) -> str:
    """Return a number of parameters for a person: `7B`, `1.54B`, `350M`, `8,962`."""
    for letter, scale in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if value >= scale:
            return f"{value / scale:.3g}{letter}" if value < 1000 * scale else f"{value / scale:,.0f}{letter}"
    return f"{value:,}"
