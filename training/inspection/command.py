"""`slipway data`: inspect data, convert them, record new ones."""

from __future__ import annotations

from importlib import import_module

from ..common.parser import Parser, Subcommand, add_subcommands, make_parser, parse
from .options import add_data_options


def _add_inspect(parser: Parser) -> None:
    parser.add_argument("path", metavar="PATH", help="path or name of a data set, as of `slipway train --data`")
    parser.add_argument("--out", metavar="FILE", help="write a page (HTML) with a drawing of each class into this file")
    parser.add_argument("--json", action="store_true", help="print one JSON object; `slipway schema data` describes it")
    add_data_options(parser)


def _add_convert(parser: Parser) -> None:
    parser.add_argument("path", metavar="PATH", help="path or name of a data set, as of `slipway train --data`")
    parser.add_argument("out", metavar="OUT", help="a file with the ending .parquet, or a folder for it")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    add_data_options(parser, split=False)


def _add_record(parser: Parser) -> None:
    parser.add_argument("videos", metavar="PATH", nargs="*", help="videos, each of which becomes a clip")
    parser.add_argument("--label", metavar="NAME", required=True, help="the sign that is shown")
    parser.add_argument("--signer", metavar="NAME", default="", help="who signs, so that a split can tell people apart")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder of the clips; new ones are added to it")
    parser.add_argument("--camera", metavar="NUMBER", help="camera to record from, unless videos are given [0]")
    parser.add_argument(
        "--clips", metavar="COUNT", help="clips to record from the camera [1], or at most of each video"
    )
    parser.add_argument(
        "--seconds", metavar="SECONDS", help="length of a clip; from a camera [2], and a video is cut into such pieces"
    )
    parser.add_argument("--landmarks", choices=("hands", "holistic"), default="hands", help="what to track [hands]")


_COMMANDS = (
    Subcommand(
        name="inspect",
        arguments="PATH [options]",
        help="show what is understood of data, in the terminal, as JSON or as a page",
        add_options=_add_inspect,
        module="slipway.training.inspection.inspect",
    ),
    Subcommand(
        name="convert",
        arguments="PATH OUT [options]",
        help="write what is understood of data as Parquet that trains the same",
        add_options=_add_convert,
        module="slipway.training.inspection.convert",
    ),
    Subcommand(
        name="record",
        arguments="[PATH ...] --label NAME --out FOLDER [options]",
        help="write clips of a sign from a camera or from videos, tracked by MediaPipe",
        add_options=_add_record,
        module="slipway.training.inspection.recording.record",
    ),
)


def build_parser() -> Parser:
    """Return the parser of the command, with one for each of its own commands."""
    parser = make_parser("data", "Look at data, convert them, record new ones; nothing is trained.", "COMMAND ...")
    add_subcommands(parser, _COMMANDS)
    return parser


def main(arguments: list[str]) -> int:
    """Run one of the commands; return the exit code. Raises `UserError`."""
    options = parse(build_parser(), arguments)
    module = next(command.module for command in _COMMANDS if command.name == options.command)
    code: int = import_module(module).run(options)
    return code
