"""`slipway data inspect`: show what is understood of data, in the terminal, as JSON and as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.errors import UserError
from ..common.json_records import to_json
from ..common.program.shown import without_commands
from ..common.program.streams import print_to_stderr
from ..common.small_files import expanded, make_folders
from ..storage.files import describe_os_error, replaced
from .findings import inspect_data
from .options import read_data_options

_PAGE_ENDINGS = (".html", ".htm")


def run(options: argparse.Namespace) -> int:
    """Print what is found, and write the page if one is asked for; return 0. Raises `UserError`."""
    spec, seed, given = read_data_options(options.path, options)
    page = None if options.out is None else _page_path(options.out)
    findings = inspect_data(spec, seed, given)
    if page is not None:
        from .page.page import make_page

        write_text(page, without_commands(make_page(findings, options.path)))
    if options.json:
        print(to_json(findings.record))
    else:
        from ..common.program.console import AnswerConsole
        from ..observers.screen.console import make_console
        from .terminal import InspectionView

        make_console(stderr=False, kind=AnswerConsole).print(InspectionView(findings.record))
    if page is not None:
        print_to_stderr(f"page: {page}")
    return 0


def _page_path(text: str) -> Path:
    """Return the path of a page. Raises `UserError` before any work if it cannot be meant as one."""
    path = expanded(text)
    if path.is_dir():
        raise UserError(f"--out {text}: is a folder; name a file in it, such as {path / 'inspect.html'}")
    if path.suffix.lower() not in _PAGE_ENDINGS:
        raise UserError(f"--out {text}: the page is HTML; name it {path.with_suffix('.html')}")
    return path


def write_text(path: Path, text: str) -> None:
    """Write a file and the folders it needs; a reader finds the old one or the new one. Raises `UserError`."""
    try:
        make_folders(path.parent)
        with replaced(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {describe_os_error(error)}") from None
