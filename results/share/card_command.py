"""`slipway card`: make a folder of a run that is ready for the Hugging Face Hub, with a model card."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.shown import printable
from ...training.common.program.streams import print_to_stderr
from ...training.common.small_files import expanded
from ...training.observers.screen.tables import plural
from ..use.trained import Trained
from .hub_folder import CARD, check_is_run, own_folder, write_hub_folder

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "card",
        "Make a folder that is ready for the Hugging Face Hub: the best weights of a run, what makes the model again, the "
        "classes, pictures, what was exported, and a model card. Nothing in it names a folder or a user of this machine.",
        "RUN [options]",
    )
    add_card_options(parser)
    parser.add_argument("--out", metavar="FOLDER", help="the folder [hub/ in that of the run]")
    parser.add_argument("--force", action="store_true", help="make a folder anew that is there, with its card")
    return parser


def add_card_options(parser: Parser) -> None:
    """Add what a card is made of."""
    parser.add_argument("run", metavar="RUN", help="the folder of the run, or its name in the folder of the runs")
    parser.add_argument(
        "--license", metavar="NAME", help="the license of the weights, as the Hub names it: apache-2.0, cc-by-4.0"
    )
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of the runs [runs]")


def license_of(options: argparse.Namespace) -> str | None:
    """Return the license that is asked for. Raises `UserError` for what is no name of one."""
    given: str | None = options.license
    if given is not None and not _LICENSE.fullmatch(given):
        raise UserError(
            f"--license {given}: give the name that the Hub has for it, such as apache-2.0, mit, cc-by-4.0, other"
        )
    return given


def main(arguments: list[str]) -> int:
    """Make the folder and say what is in it; return 0. Raises `UserError`."""
    options = parse(build_parser(), arguments)
    license_name = license_of(options)
    trained = Trained.find(options.run, "best", Path(options.runs_dir), trust=False)
    check_is_run(trained)
    out = expanded(options.out) if options.out is not None else own_folder(trained)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not options.force)):
        raise UserError(f"{out}: is there already; give --force to make it anew, or --out FOLDER")
    make(trained, out, repo=None, license_name=license_name)
    if license_name is None:
        print("the card names no license: --force --license NAME adds one")
    print(printable(f"next: read {out / CARD}, then slipway push {options.run} --to USER/NAME"))
    return 0


def make(trained: Trained, out: Path, *, repo: str | None, license_name: str | None) -> None:
    """Make the folder and tell what is in it. Raises `UserError`."""
    done = write_hub_folder(trained, out, repo=repo, license_name=license_name)
    for note in done.notes:
        print_to_stderr(printable(f"note: {note}"))
    print(printable(f"written: {out}, {plural(len(done.files), 'file')}, {done.size_bytes / 1e6:,.1f} MB"))
