"""Which records this user has written: what names code to run is signed, with a key that only this user can read."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ..conversion import plain_values
from .private import not_for_all_to_write
from .redaction import without_secrets

Kind = Literal["command", "model", "task"]
"""What is signed: a signature of one kind is none of another."""

_SIGNATURE = "signature"
_KEY_BYTES = 32


def key_file() -> Path:
    """Return where the key lies: `$XDG_STATE_HOME/slipway/key`, or `~/.local/state/slipway/key`."""
    folder = os.environ.get("XDG_STATE_HOME", "")
    try:
        root = Path(folder) if os.path.isabs(folder) else Path.home() / ".local" / "state"
    except RuntimeError:  # a user without a home
        root = Path(os.devnull)
    return root / "slipway" / "key"


def signed(kind: Kind, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as they will stand in a JSON file, without secrets, and with this user's signature."""
    plain = json.loads(without_secrets(json.dumps(plain_values(facts, "", []))))
    return {**plain, _SIGNATURE: _signature(kind, plain)}


def why_foreign(kind: Kind, facts: Mapping[str, Any]) -> str | None:
    """Return why facts from a file are not taken as this user's own; None if they are."""
    found = facts.get(_SIGNATURE)
    if not isinstance(found, str):
        return "it is not signed, as by an older version or where no key could be kept"
    with suppress(RecursionError):  # nested more deeply than anything that is written
        expected = _signature(kind, {name: value for name, value in facts.items() if name != _SIGNATURE})
        if hmac.compare_digest(found.encode(errors="replace"), expected.encode()):
            return None
    if not os.path.isfile(key_file()):
        return f"no key of yours can be kept in {key_file().parent} (XDG_STATE_HOME names another folder)"
    return "it was signed by another user or on another machine, or changed since"


def _signature(kind: Kind, facts: Mapping[str, Any]) -> str:
    text = json.dumps([f"slipway {kind}", facts], sort_keys=True, separators=(",", ":"))
    return hmac.new(_key(key_file()), text.encode(), hashlib.sha256).hexdigest()


@cache
def _key(path: Path) -> bytes:
    """Return the key of a file, made at its first use; where none can be kept, one that only this process knows."""
    with suppress(OSError):
        return _read(path) or _make(path)
    return secrets.token_bytes(_KEY_BYTES)


def _read(path: Path) -> bytes | None:
    """Return a key; None where none is, or where others may have read it. Raises `OSError`, also for a key of another user."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError
        content = file.read(_KEY_BYTES + 1)
    is_secret = not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return content if is_secret and len(content) == _KEY_BYTES else None


def _make(path: Path) -> bytes:
    """Return a new key once it is kept, or that which another process has made meanwhile. Raises `OSError`."""
    with not_for_all_to_write():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)  # for its owner alone
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(handle)
        try:
            os.link(name, path)  # the first of several processes has it
        except OSError:
            if _read(path) is None:  # one that is of no use, or a file system without such links
                os.replace(name, path)
    finally:
        with suppress(OSError):
            os.unlink(name)
    made = _read(path)
    if made is None:
        raise PermissionError  # nothing is kept from others there
    return made
