"""How to use a model: code that runs with the folder as it is, and what the model takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ...common.values import is_count, items, mapping, number, text
from ...use.trained import Trained
from .markdown import code
from .sections import HOME

REPO = "USER/NAME"
"""Stands in a card for the repository until that is known."""

_DATA = {"sign": "clips/", "images": "picture.png", "text": "texts.txt"}


def usage(trained: Trained, files: Sequence[str], repo: str) -> Iterator[str]:
    """Yield the part of a card that says how to use the model."""
    yield "## How to use it"
    yield ""
    before, argument, remark = _what_makes(trained)
    yield f"With [Slipway]({HOME}), which `pip install git+{HOME}` installs:"
    yield ""
    yield "```python"
    yield "import slipway"
    yield "from huggingface_hub import snapshot_download"
    yield from before
    yield ""
    yield f'folder = snapshot_download("{repo}")'
    yield f"model = slipway.load(folder{argument})"
    yield "```"
    yield ""
    if remark:
        yield remark
        yield ""
    elif trained.class_names:
        data = _DATA[trained.kind]
        yield f'`model.labels` are its classes, and `model.predict("{data}")[0].top(3)` the three most probable of a sample.'
        yield f"On the command line: `slipway predict FOLDER {data}`."
        yield ""
    yield f"It takes {_takes(trained)}."
    if "model.onnx" in files:
        yield "`model.onnx` says the same without Slipway; its metadata hold the classes, and what it takes in words."
    yield ""


def _what_makes(trained: Trained) -> tuple[list[str], str, str]:
    """Return imports, the argument of `load`, and a sentence, for a model that only its own code makes."""
    if trained.kind != "own":
        return [], "", ""
    made, task = mapping(trained.spec, "make_model"), mapping(trained.spec, "task")
    if name := text(made, "name"):
        module = _module_of(text(made, "module"), text(made, "file"))
        call = _call(name, items(made, "arguments"), mapping(made, "options"))
        argument = name if call == f"{name}()" else f"lambda: {call}"
    elif ":" in text(task, "name"):
        place, _, name = text(task, "name").rpartition(":")
        module = _module_of(place, place if place.endswith(".py") else "")
        arguments = {key: value for key, value in mapping(task, "arguments").items() if key != "data"}
        argument = f"lambda: {_call(name, [], arguments)}.build_model()"
    else:
        return (
            [
                "",
                "",
                "def make_model():",
                '    """Return the module that the run trained, by the code of that run."""',
                "",
            ],
            ", make_model=make_model",
            "What makes the model is code of the program that trained it, and not in this folder.",
        )
    return (
        [f"from {module} import {name.split('.')[0]}  # the code that trained it"],
        f", make_model={argument}",
        f"What makes the model is code of the program that trained it, {code(name)} of {code(module)}, and not in this folder.",
    )


def _module_of(module: str, file: str) -> str:
    """Return how a module is imported: one that was a file, by the name of the file."""
    if not file:
        return module
    stem = PurePath(file.replace("\\", "/")).stem
    return module if module.rpartition(".")[2] == stem else stem


def _call(name: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> str:
    shown = [*(repr(one) for one in arguments), *(f"{key}={value!r}" for key, value in options.items())]
    return f"{name}({', '.join(shown)})"


def _takes(trained: Trained) -> str:
    spec = trained.spec
    if trained.kind == "sign":
        landmarks, coords = number(spec, "layout", "num_landmarks") or 0, number(spec, "layout", "num_coords") or 0
        names = [str(one) for one in items(spec, "layout", "names")]
        points = f" ({code(names[0])} to {code(names[-1])})" if names else ""
        return (
            f"clips of {landmarks:.0f} landmarks{points} with {coords:.0f} coordinates and any number of frames, as they were "
            "recorded, missing points as NaN"
        )
    options = mapping(spec, "options")
    if trained.kind == "images":
        size = " x ".join(str(one) for one in items(options, "size") if is_count(one))
        return f"pictures, which are brought to {size} and {number(options, 'channels') or 0:.0f} channels"
    if trained.kind == "text":
        return f"texts in UTF-8, of which the first {number(options, 'length') or 0:.0f} bytes count"
    return "what its task calls it with"
