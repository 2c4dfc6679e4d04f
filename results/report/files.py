"""The files of a report: the page, the pictures beside it, and the table of the epochs."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.program.private import open_file
from ...training.common.run_names import REPORT
from .content import Content
from .curves import Chart, epoch_rows
from .drawing import HEIGHT, WIDTH, draw_chart, draw_confusion, shown
from .page import make_page, shown_name
from .style import standalone_style

_ZOOM = 2
_GAP, _HEAD = 24, 40
_MOST_CHARTS = 6
_FONT_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.fonts",
    "~/.local/share/fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute."""


def write_report(content: Content) -> tuple[Path, str]:
    """Write the page, the pictures and the table into the folder of the run; return the page's path, and a remark or "".

    Files that are there are replaced at once. Raises `UserError` if one cannot be written.
    """
    folder = content.folder
    page = folder / REPORT
    write_file(page, make_page(content).encode("utf-8", "backslashreplace"))
    write_file(folder / "results.csv", _csv(epoch_rows(content.history)).encode())
    return page, write_pictures(content, folder)


def write_pictures(content: Content, folder: Path) -> str:
    """Write the curves and the confusion matrix into a folder, or take away old ones; return a remark or "".

    Raises `UserError` if one cannot be written.
    """
    pictures = {"results": _results(content), "confusion_matrix": _confusion(content)}
    kind, remark = _kind_of_picture()
    for name, svg in pictures.items():
        for other in ("png", "svg"):
            if svg is None or other != kind:
                (folder / f"{name}.{other}").unlink(missing_ok=True)
        if svg is not None:
            write_file(folder / f"{name}.{kind}", _png(svg) if kind == "png" else svg.encode())
    return remark


def _kind_of_picture() -> tuple[str, str]:
    """Return png, or svg and why: what draws the picture is not installed, or the machine has no font for its words."""
    if importlib.util.find_spec("resvg_py") is None:
        return "svg", "results.svg in place of results.png: pip install 'slipway[report]' draws pictures"
    folders = [Path(folder).expanduser() for folder in _FONT_FOLDERS]
    if os.name == "posix" and not any(next(folder.rglob("*.[ot]t[fc]"), None) for folder in folders):
        return (
            "svg",
            "results.svg in place of results.png: no font is installed (such as the package fonts-dejavu-core)",
        )
    return "png", ""


def _results(content: Content) -> str | None:
    """Return the curves side by side as SVG."""
    charts = [*content.charts, *content.speed_charts][:_MOST_CHARTS]
    if not charts:
        return None
    columns = min(3, len(charts)) if len(charts) != 4 else 2
    parts = []
    for number, chart in enumerate(charts):
        x, y = number % columns * (WIDTH + _GAP) + _GAP, number // columns * (HEIGHT + _HEAD) + _HEAD + _GAP
        parts.append(
            f'<g transform="translate({x} {y})">{_titled(chart)}{draw_chart(chart, content.history.stages)}</g>'
        )
    rows = -(-len(charts) // columns)
    return _svg(
        columns * (WIDTH + _GAP) + _GAP, rows * (HEIGHT + _HEAD) + _HEAD + _GAP, shown_name(content), "".join(parts)
    )


def _titled(chart: Chart) -> str:
    keys, x = [], 50 + 8 * len(chart.title) + 24
    for number, one in enumerate(chart.series):
        keys.append(f'<path class="line s{number}" d="M{x} -9h22"/><text x="{x + 27}" y="-5">{shown(one.name)}</text>')
        x += 27 + 6 * len(one.name) + 16
    return f'<text class="title" x="50" y="-5">{shown(chart.title)}</text>{"".join(keys)}'


def _confusion(content: Content) -> str | None:
    if content.confusion is None:
        return None
    width, height, drawn = draw_confusion(content.confusion)
    title = f"{shown_name(content)}, {content.confusion.split} split"
    moved = f'<g transform="translate({_GAP} {_HEAD})">{drawn}</g>'
    return _svg(max(width, 8 * len(title)) + 2 * _GAP, height + _HEAD + _GAP, title, moved, "matrix")


def _svg(width: int, height: int, title: str, inside: str, kind: str = "plot") -> str:
    """Return an SVG file on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{kind}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><style>{standalone_style()}</style><rect width="{width}" height="{height}" '
        f'fill="#ffffff"/><text class="title" x="{_GAP}" y="22">{shown(title)}</text>{inside}</svg>\n'
    )


def _png(svg: str) -> bytes:
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=_ZOOM))


def _csv(rows: Iterable[Sequence[str | float | int | None]]) -> str:
    """Return rows as CSV, in which no text is a formula of a spreadsheet."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for row in rows:
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in row])
    return file.getvalue().encode("utf-8", "backslashreplace").decode()


def write_file(path: Path, content: bytes) -> None:
    """Put a file in its place at once; a link that is there is replaced, and not followed. Raises `UserError`."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(open_file(partial, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path}: {error.strerror}: it cannot be written; make room, or give another folder") from None
