"""`slipway new`: write a small project with a task, its recipe and its test, which runs at once."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from string import Template

from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse

_TEMPLATES = Path(__file__).parent / "template"
_ENDING = ".in"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "new", "Write a small project that trains at once: a task, its recipe, its test, a README.", "NAME"
    )
    parser.add_argument("name", metavar="NAME", help="the folder to make, whose last part names the project")
    return parser


def main(arguments: list[str]) -> int:
    """Write the project and print what to do next; return 0."""
    folder = Path(parse(build_parser(), arguments).name)
    write_project(folder)
    print(f"wrote {', '.join(sorted(path.name for path in folder.iterdir()))} in {folder}; next:")
    print(
        f"    cd {folder}\n    slipway train --task task.py:make_task    # or `slipway train`: slipway.yaml names the task"
    )
    print("    pytest")
    return 0


def write_project(folder: Path) -> None:
    """Write a project into a new folder, all of it or nothing. Raises `UserError`."""
    name = folder.name
    if not _NAME.fullmatch(name):
        raise UserError(
            f"slipway new {str(folder)!r}: a name begins with a letter of a to z or a digit, and has these, '_', '-', '.' only"
        )
    if folder.exists() or folder.is_symlink():
        raise UserError(f"slipway new {folder}: it is there already; choose another name, or remove it")
    if not folder.parent.is_dir():
        raise UserError(f"slipway new {folder}: there is no folder {folder.parent}; make it first")
    partial = None
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        for template in sorted(_TEMPLATES.glob(f"*{_ENDING}")):
            text = Template(template.read_text(encoding="utf-8")).substitute(name=name)
            path = partial / template.name.removesuffix(_ENDING).replace("dot-", ".")
            path.write_text(text, encoding="utf-8")
        partial.chmod(0o777 & ~_umask())
        partial.rename(folder)
    except OSError as error:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"slipway new {folder}: it cannot be written: {error.strerror}") from None


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now
