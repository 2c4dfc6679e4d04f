"""`slipway export`: the model of a run as one file that other programs run, compared with the model on inputs of any length."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from ... import __version__
from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.places import words_of
from ...training.common.program.shown import printable
from ...training.common.small_files import expanded
from ...training.storage.files import describe_os_error, replaced, sha256_of
from ..use.predict import add_run_options, find_trained
from ..use.trained import Trained
from .examples import Examples, examples_of

FORMS = {"onnx": ".onnx", "torch-export": ".pt2", "torchscript": ".pt"}
TOLERANCE = 1e-4
LABELS = "labels.json"
"""The name of the file in an exported program of torch that holds the metadata."""


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "export",
        "Write the model of a run as one file that predicts without Slipway: normalisation and features are inside, the "
        "length of a clip is free, and the names of the classes stand in the file. It is checked against the model.",
        "RUN --to FORM [options]",
    )
    add_run_options(parser)
    parser.add_argument(
        "--to", required=True, choices=tuple(FORMS), help="onnx, torch-export (.pt2) or torchscript (.pt)"
    )
    parser.add_argument("--out", metavar="FILE", help="the file [model.onnx, .pt2 or .pt in the folder of the run]")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    return parser


def main(arguments: list[str]) -> int:
    """Export, check and say what was written; return 0. Raises `UserError`."""
    options = parse(build_parser(), arguments)
    trained = find_trained(options)
    ending = FORMS[options.to]
    out = expanded(options.out) if options.out is not None else trained.home / f"model{ending}"
    if out.suffix.lower() != ending or out.is_dir():
        raise UserError(f"--out {out}: {options.to} is written into a file with the ending {ending}")
    if out.exists() and not options.force:
        raise UserError(f"{out}: is there already; give --force to replace it, or --out FILE")
    if options.to == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            _need(package)
    done = export(trained, options.to, out)
    print(printable(f"written: {out}, {out.stat().st_size / 1e6:,.1f} MB"))
    print(printable(f"takes: {done.takes}"))
    print(f"checked: {done.checked}; the largest difference from the model is {done.difference:.1g}")
    return 0


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how far it is from the model."""

    takes: str
    checked: str
    difference: float


def export(trained: Trained, form: str, out: Path) -> Exported:
    """Write the model in a form and compare the file with the model. Raises `UserError` where it is not the same to 1e-4."""
    examples = examples_of(trained, "slipway export")
    examples.graph.requires_grad_(False)
    metadata = {
        "labels": json.dumps(list(examples.class_names)),
        "input": examples.takes,
        "output": "probabilities" if examples.class_names else "outputs",
        "run": str(trained.record.get("name", trained.name)),
        "slipway": __version__,
        "weights": sha256_of(trained.folder / "model.safetensors"),
        **examples.metadata,
    }
    worst = 0.0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replaced(out) as partial:
            with _quietly(trained, form):
                _WRITERS[form](examples, metadata, partial)
                run = _READERS[form](partial)
                found = [run(inputs) for inputs in examples.inputs]
            for have, want in zip(found, examples.wanted, strict=True):
                worst = max(worst, _difference(have, want))
            if not worst <= TOLERANCE:
                raise UserError(
                    f"{trained.name}: the exported file differs from the model by {worst:.1g}, more than {TOLERANCE:g}, so it "
                    "was not kept; try another form (--to), and report this"
                )
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {describe_os_error(error)}") from None
    return Exported(takes=examples.takes, checked=examples.checked, difference=worst)


def _difference(have: np.ndarray, want: np.ndarray) -> float:
    """Return the largest difference of two results; without end where their shapes or what is not finite differ."""
    if have.shape != want.shape or (np.isfinite(have) != np.isfinite(want)).any():
        return float("inf")
    return float(np.abs(np.nan_to_num(have) - np.nan_to_num(want)).max(initial=0.0))


def _to_onnx(examples: Examples, metadata: Mapping[str, str], path: Path) -> None:
    program = torch.onnx.export(
        _program(examples),
        dynamo=True,
        verbose=False,
        input_names=list(examples.names),
        output_names=[metadata["output"]],
    )
    assert program is not None
    for node in program.model.graph:  # where in whose code it was traced: places of this machine
        node.metadata_props.clear()
    program.model.metadata_props.update(metadata)
    program.save(str(path), external_data=False)


def _to_torch_export(examples: Examples, metadata: Mapping[str, str], path: Path) -> None:
    with path.open("wb") as file:  # the ending of its name is not the usual one yet
        torch.export.save(_program(examples), file, extra_files={LABELS: json.dumps(dict(metadata))})


def _to_torchscript(examples: Examples, metadata: Mapping[str, str], path: Path) -> None:
    with torch.no_grad():
        traced = torch.jit.trace(examples.graph, examples.example, check_trace=False)
    torch.jit.save(traced, str(path), _extra_files={LABELS: json.dumps(dict(metadata))})


def _program(examples: Examples) -> torch.export.ExportedProgram:
    with torch.no_grad():
        program = torch.export.export(examples.graph, examples.example, dynamic_shapes=examples.dynamic_shapes())
    for node in program.graph.nodes:  # where in whose code it was traced: places of this machine
        node.meta.pop("stack_trace", None)
    return program


def _of_onnx(path: Path) -> Callable[[Sequence[torch.Tensor]], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(inputs: Sequence[torch.Tensor]) -> np.ndarray:
        given = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        found: np.ndarray = session.run(None, given)[0]
        return found

    return run


def _of_module(module: Callable[..., torch.Tensor]) -> Callable[[Sequence[torch.Tensor]], np.ndarray]:
    def run(inputs: Sequence[torch.Tensor]) -> np.ndarray:
        with torch.no_grad():
            return module(*inputs).numpy()

    return run


def _of_torch_export(path: Path) -> Callable[[Sequence[torch.Tensor]], np.ndarray]:
    with path.open("rb") as file:
        return _of_module(torch.export.load(file).module())


def _of_torchscript(path: Path) -> Callable[[Sequence[torch.Tensor]], np.ndarray]:
    return _of_module(torch.jit.load(str(path)))


_WRITERS: dict[str, Callable[[Examples, Mapping[str, str], Path], None]] = {
    "onnx": _to_onnx,
    "torch-export": _to_torch_export,
    "torchscript": _to_torchscript,
}
_READERS: dict[str, Callable[[Path], Callable[[Sequence[torch.Tensor]], np.ndarray]]] = {
    "onnx": _of_onnx,
    "torch-export": _of_torch_export,
    "torchscript": _of_torchscript,
}


@contextmanager
def _quietly(trained: Trained, form: str) -> Iterator[None]:
    """Leave out what exporters say to their makers, and turn what they raise into one line."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UserError, OSError):
        raise
    except Exception as error:  # whatever the code of a model makes an exporter raise
        raise UserError(
            f"{trained.name}: its model cannot be exported to {form}: {words_of(error)[:300]}; try another form (--to), or "
            "write the model without what depends on the values of its inputs"
        ) from error
    finally:
        logging.disable(before)


def _need(package: str) -> None:
    try:
        import_module(package)
    except ModuleNotFoundError:
        raise UserError(f"--to onnx needs {package}: pip install 'slipway[export]'") from None
