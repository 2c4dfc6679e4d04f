"""Small files that people and programs write: regular files of bounded size, as text, JSON or YAML of plain values."""

from __future__ import annotations

import errno
import json
import os
import stat
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import UserError

if TYPE_CHECKING:
    import yaml

MOST_BYTES = 64 << 20
MOST_YAML_BYTES = 256 << 10
"""Reading more takes seconds; what people write by hand is shorter."""
_MOST_MESSAGE = 200
_MOST_DEEP = 100
_TAG = "tag:yaml.org,2002:"
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


_REMEDIES = {
    errno.EACCES: "let this user into it: chmod a+rX {name}",
    errno.ELOOP: "its links lead back to themselves: remove them, or give another place",
    errno.ENAMETOOLONG: "give a shorter name, of at most 255 bytes",
}


class UnreadableError(ValueError):
    """A file or text that cannot be read as what it should be. The message says why, without the file's name."""


def reason_of(error: OSError | UnreadableError) -> str:
    """Return why a file cannot be read, and what to do where the system's words do not tell."""
    if not isinstance(error, OSError):
        return str(error)
    return "; ".join(filter(None, [error.strerror or str(error), remedy_of(error)]))


def remedy_of(error: OSError) -> str:
    """Return what to do where a file cannot be opened; nothing where the system's words say it."""
    is_named = isinstance(error.filename, (str, os.PathLike))
    return _REMEDIES.get(error.errno or 0, "").format(name=error.filename) if is_named else ""


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` and `~user` as their folders. Raises `UserError` for a user whom this machine does not know."""
    found = os.path.expanduser(path)
    if found.startswith("~") and not os.path.lexists(found):
        raise UserError(f"{found}: this machine has no such user; write ./{found} for a folder of this name")
    return Path(found)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading, and never wait for one: a pipe, a device or a folder is `UnreadableError`. Raises `OSError`."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:  # a NUL in the name
        raise UnreadableError("no name that a file can have") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise UnreadableError(f"is {_kind_of(mode)}, not a file")
    return os.fdopen(handle, "rb")


def check_replaceable(path: Path) -> None:
    """Raise `OSError` for a device, a pipe or a socket: a file in its place would take it from every program."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FileExistsError(errno.EEXIST, "is a device, a pipe or a socket; name a file", str(path))


def make_folders(path: Path) -> None:
    """Make a folder and those that it lies in, where they are not there. Raises `OSError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except RecursionError:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path)) from None


def what_is_at(path: str | os.PathLike[str]) -> str:
    """Return what is in the place of a file or folder, such as `is a pipe, not a file`; nothing for either, and for no link."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        if not os.path.islink(path):
            return ""
        return f"is a link to {os.readlink(path)}, which leads to no file; name the file itself"
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else f"is {_kind_of(mode)}, not a file"


def _kind_of(mode: int) -> str:
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "a device")


def read_small(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file of at most `most_bytes`. Raises `UnreadableError` and `OSError`."""
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            size = max(os.fstat(file.fileno()).st_size, len(content))
            raise UnreadableError(f"holds {size:,} bytes, more than the {most_bytes:,} that such a file may have")
    return content


def read_small_text(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> str:
    """Return the text of a small file in UTF-8, without a mark of it. Raises `UnreadableError` and `OSError`."""
    try:
        return read_small(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the values of a small JSON file. Raises `UnreadableError` and `OSError`."""
    return parse_json(read_small_text(path))


def parse_json(text: str | bytes) -> Any:
    """Return the values of JSON text. Raises `UnreadableError` for other text, too deep a nest or too long a number."""
    try:
        values = json.loads(text)
    except RecursionError:
        raise UnreadableError("is nested too deeply") from None
    except ValueError as error:
        if not text.strip():
            raise UnreadableError("is empty") from None
        raise UnreadableError(f"is not JSON ({_reason(error)})") from None
    level = [values]
    for _ in range(_MOST_DEEP + 1):  # what walks through the values calls itself once a level
        level = [
            item
            for one in level
            if isinstance(one, (dict, list))
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return values
    raise UnreadableError("is nested too deeply")


def read_yaml(path: str | os.PathLike[str], *, has_old_booleans: bool = False) -> Any:
    """Return the values of a small YAML file; see `parse_yaml`. Raises `UnreadableError` and `OSError`."""
    return parse_yaml(read_small_text(path, MOST_YAML_BYTES), has_old_booleans=has_old_booleans)


def parse_yaml(text: str, *, has_old_booleans: bool = False) -> Any:
    """Return the plain values of YAML text, None for no text.

    Numbers, true, false and null are those of the core schema of YAML 1.2; all else is text: YAML 1.1 makes of `1:30` the
    number 90, of `010` 8, and of `no` false (the last also here with `has_old_booleans`, as other programs read a file).
    Raises `UnreadableError`, with the line, for text that is not YAML and for what may mislead or exhaust: tags of classes,
    a key that stands twice, aliases.
    """
    import yaml  # only where there is a file: a plan is made in less time than this import takes

    try:
        loader = _loader_class(has_old_booleans)(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except RecursionError:
        raise UnreadableError("is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise UnreadableError(f"is not readable YAML ({line}{_short(error.problem or error.context or '')})") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise UnreadableError(f"is not readable YAML ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return "a number of more than 4300 digits" if "integer string conversion" in str(error) else _short(error)


def _short(text: object) -> str:
    words = " ".join(str(text).split())
    return words if len(words) <= _MOST_MESSAGE else f"{words[: _MOST_MESSAGE - 3]}..."


@cache
def _loader_class(has_old_booleans: bool) -> type[yaml.SafeLoader]:
    """Return the loader of plain values."""
    import re

    import yaml

    class PlainLoader(yaml.SafeLoader):
        """A safe loader without aliases and keys that stand twice."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                problem = f"the alias *{event.anchor} is not followed; write its value out"
                raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        problem = f"the key {key.value[:40]!r} stands twice; keep one"
                        raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    PlainLoader.yaml_implicit_resolvers = {}
    booleans, of_booleans = r"true|True|TRUE|false|False|FALSE", list("tTfF")
    if has_old_booleans:
        booleans, of_booleans = f"{booleans}|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", list("tTfFyYnNoO")
    for kind, pattern, starts in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", booleans, of_booleans),
        ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", list("-+0123456789")),
        ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
        ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
    ):
        whole = re.compile(rf"(?:{pattern})\Z")
        PlainLoader.add_implicit_resolver(f"{_TAG}{kind}", whole, starts)
    plain = ("null", "bool", "int", "float", "str", "seq", "map")
    of_safe = yaml.SafeLoader.yaml_constructors
    PlainLoader.yaml_constructors = {
        None: _refuse_tag,
        **{f"{_TAG}{kind}": of_safe[f"{_TAG}{kind}"] for kind in plain},
    }
    PlainLoader.add_constructor(f"{_TAG}int", lambda _, node: int(node.value, 16 if "x" in node.value else 10))
    PlainLoader.add_constructor(
        f"{_TAG}float", lambda _, node: float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))
    )
    return PlainLoader


def _refuse_tag(loader: yaml.SafeLoader, node: yaml.Node) -> None:
    import yaml

    name = node.tag.replace(_TAG, "!!")
    raise yaml.constructor.ConstructorError(
        None, None, f"the tag {name[:60]} is not read; write plain values", node.start_mark
    )
