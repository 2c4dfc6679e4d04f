"""`slipway config`: write a plan as an Accelerate config, once Accelerate has read it as planned."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.plan_file import LaunchPlan
from ...training.common.program.shown import printable
from ...training.common.program.streams import print_to_stderr
from ...training.common.small_files import check_replaceable, make_folders
from ..common.paths import train_script
from .options import add_intent, add_machine, hardware_of, intent_of
from .spellings import as_spelled_here


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser("config", "Write an Accelerate config for this machine and print the command to start it.")
    add_machine(parser)
    parser.add_argument("--out", metavar="FILE", help="the file to write [accelerate_configs/<name>.yaml]")
    parser.add_argument("--yes", action="store_true", help="overwrite the file without asking")
    parser.add_argument("--script", metavar="SCRIPT", help="the script of the printed command [Slipway's own training]")
    add_intent(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Write an Accelerate config, have Accelerate read it back, and print the command that starts it; return 0."""
    parser = build_parser()
    options = parse(parser, as_spelled_here(parser, arguments))

    from .accelerate.config import launch_command, training_flags
    from .make_plan import make_plan

    made = make_plan(hardware_of(options), intent_of(options))
    path = Path(options.out or Path("accelerate_configs") / f"{config_name(made)}.yaml")
    if path.exists() and not options.yes and not _agreed(path):
        raise UserError(f"{path} exists; --yes overwrites it, --out FILE writes another")
    write_checked(path, made)
    for warning in made.warnings:
        print_to_stderr(f"warning: {warning}")
    print_to_stderr(f"{path}: Accelerate reads it as planned. Start with:")
    script = [options.script] if options.script else [train_script(), *training_flags(made)]
    print(printable(str(launch_command(made, path, script))))
    return 0


def config_name(plan: LaunchPlan) -> str:
    """Return a file's name for a plan: `cpu`, `cuda_8_processes`, `cuda_16_processes_2_machines_fsdp`."""
    parts: list[str] = [plan.device]
    if plan.num_processes > 1:
        parts.append(f"{plan.num_processes}_processes")
    if plan.num_machines > 1:
        parts.append(f"{plan.num_machines}_machines")
    if plan.sharding != "replicate":
        parts.append(plan.sharding)
    return "_".join(parts)


def _agreed(path: Path) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print_to_stderr(f"{path} exists. Overwrite it? [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def write_checked(path: Path, plan: LaunchPlan) -> None:
    """Write a config once Accelerate has read it as planned; a refused one leaves no file. Raises `UserError`."""
    from .accelerate.config import check_config, to_yaml

    if path.suffix == ".json":
        raise UserError(f"{path}: Accelerate reads it as JSON and this is YAML; name it {path.with_suffix('.yaml')}")
    with drafted(path) as draft:
        draft.write_text(to_yaml(plan), encoding="utf-8")
        differences = check_config(draft, plan)
        if differences:
            raise UserError(f"{path}: not written, for Accelerate would not start the plan: {'; '.join(differences)}")


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Yield a file beside `path` that takes its place at the end; an error on the way leaves neither.

    Raises `UserError` where the file cannot be written.
    """
    # Named before it is made, so that Ctrl-C at any moment leaves no draft.
    draft = path.parent / f".{path.stem}-{secrets.token_hex(6)}.yaml"
    try:
        check_replaceable(path)
        make_folders(path.parent)
        yield draft
        draft.replace(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            draft.unlink()
