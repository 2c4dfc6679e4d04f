"""The data of a run of sign recognition, by the options in its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...training.common.conversion import convert, field_types
from ...training.common.errors import UserError
from ...training.common.run_names import with_later_options
from ...training.common.small_files import expanded
from ...training.data.specs import SYNTHETIC, DataSpec
from ...training.tasks.sign.options import SignOptions


def own_spec(record: Mapping[str, Any]) -> tuple[DataSpec, int]:
    """Return the data of a run of sign recognition and the seed of their split; paths are made absolute. Raises `UserError`."""
    config, types = with_later_options(dict(record)).get("config") or {}, field_types(SignOptions)
    if config.get("data") is None:
        raise UserError("where its data are is not told, as of weights that somebody sent: give --data")
    named = {
        name: convert(config[name], types[name], "run.json: config", name)
        for name in types
        if config.get(name) is not None
    }
    spec = SignOptions(**named).data_spec
    folder = Path(str((record.get("command") or {}).get("folder", ".")))
    if spec.source != SYNTHETIC and not spec.source.startswith("hub:"):
        spec = replace(spec, source=str(folder / expanded(spec.source)))
    if spec.reading.layout not in (None, "islr"):
        spec = replace(spec, reading=replace(spec.reading, layout=str(folder / expanded(spec.reading.layout))))
    return spec, convert(config.get("seed", 0), int, "run.json: config", "seed")
