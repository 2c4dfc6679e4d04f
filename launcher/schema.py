"""`slipway schema`: print the JSON schema of a record that the commands write with `--json`."""

from __future__ import annotations

import json
from importlib import import_module

from ..training.common.json_records import json_schema
from ..training.common.parser import Parser, make_parser, parse

_RECORDS = {
    "hardware": ("slipway.launcher.hardware.record", "Hardware", "SCHEMA_VERSION"),
    "plan": ("slipway.training.common.plan_file", "LaunchPlan", "PLAN_SCHEMA_VERSION"),
    "doctor": ("slipway.launcher.doctor.check", "Report", "DOCTOR_SCHEMA_VERSION"),
    "data": ("slipway.training.inspection.findings", "Inspection", "INSPECTION_SCHEMA_VERSION"),
}
"""The module, the class and the version of each record. A module is imported when its schema is asked for."""


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser("schema", "Print the JSON schema of a record.", "RECORD")
    parser.add_argument(
        "record", choices=tuple(_RECORDS), help="of what a command prints with --json; data: `data inspect`"
    )
    return parser


def main(arguments: list[str]) -> int:
    """Print the schema; return 0."""
    options = parse(build_parser(), arguments)
    module, record, version = _RECORDS[options.record]
    home = import_module(module)
    print(json.dumps(json_schema(getattr(home, record), getattr(home, version)), indent=2))
    return 0
