"""`slipway schema`: print the JSON schema of a record that the commands write with `--json`."""

from __future__ import annotations

import json

from ..training.common.json_records import json_schema
from ..training.common.parser import Parser, make_parser, parse
from ..training.common.plan_file import PLAN_SCHEMA_VERSION, LaunchPlan
from .doctor.check import DOCTOR_SCHEMA_VERSION, Report
from .hardware.record import SCHEMA_VERSION, Hardware

_RECORDS = {
    "hardware": (Hardware, SCHEMA_VERSION),
    "plan": (LaunchPlan, PLAN_SCHEMA_VERSION),
    "doctor": (Report, DOCTOR_SCHEMA_VERSION),
}


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser("schema", "Print the JSON schema of a record.", "RECORD")
    parser.add_argument("record", choices=tuple(_RECORDS), help="what `detect`, `plan` or `doctor` prints with --json")
    return parser


def main(arguments: list[str]) -> int:
    """Print the schema; return 0."""
    options = parse(build_parser(), arguments)
    print(json.dumps(json_schema(*_RECORDS[options.record]), indent=2))
    return 0
