"""Take passwords and tokens out of what is written for others to read: records, journals, logs, the screen."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

HIDDEN = "***"
"""Stands where a secret stood."""

_SECRET_NAME = re.compile(
    r"(^|[-_.])(token|secret|password|passwd|passphrase|pwd|credentials?|apikey|(api|access|secret|private|account)[-_]?key)$",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(
    r"(^|[-_.])(pad|bos|eos|sos|unk|cls|sep|mask|image|audio|video|start|end|stop|blank|special|per)[-_]token$"
)
_FORMS = re.compile(
    r"""(?P<before>\w://)[^\s/@'"\\]+(?=@)                                  # user and password of an address
    |(?P<named>[?&;](?:[\w.-]*(?:token|secret|password|signature|credential|key)|sig)=)[^\s&;'"\\]+   # of its query
    |\b(?:hf_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abpr]-|AKIA|ASIA|nvapi-)[A-Za-z0-9_-]{12,}
    |\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*""",
    re.VERBOSE | re.IGNORECASE,
)
_FEWEST_CHARACTERS = 8
"""Of a value of the environment that is looked for; a shorter one would be found where it is not meant."""


def is_secret(name: str) -> bool:
    """Return whether an option or a variable of this name holds what nobody else may know: `--hf-token`, `WANDB_API_KEY`."""
    plain = name.lstrip("-")
    if plain == "PWD":  # the working folder
        return False
    return _SECRET_NAME.search(plain) is not None and _NO_SECRET.search(plain.lower()) is None


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a text with `***` for tokens, for passwords in addresses, and for secret values of the environment."""
    for name, value in (os.environ if environment is None else environment).items():
        if is_secret(name) and len(value) >= _FEWEST_CHARACTERS and not value.isalpha():
            text = text.replace(value, HIDDEN)
    return _FORMS.sub(lambda found: f"{found['before'] or found['named'] or ''}{HIDDEN}", text)


def command_without_secrets(words: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the words of a command so, with `***` also for the value of each option that holds a secret."""
    shown: list[str] = []
    hides_next = False
    for word in words:
        name, has_value, _ = word.partition("=")
        if hides_next and not word.startswith("--"):
            shown.append(HIDDEN)
        elif has_value and is_secret(name):
            shown.append(f"{name}={HIDDEN}")
        else:
            shown.append(without_secrets(word, environment))
        hides_next = word.startswith("-") and not has_value and is_secret(word)
    return shown
