"""`slipway export`: one file that says what the model says, at every length, with the names of the classes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from slipway.launcher import cli
from slipway.results.share.graphs import SignGraph
from slipway.training.data.landmarks import LandmarkLayout
from slipway.training.tasks.origin.factory import find_factory
from slipway.training.tasks.origin.spec import model_spec
from slipway.training.tasks.sign.encoder import SignEncoder
from slipway.training.tasks.sign.options import ModelSpec
from slipway.training.tasks.sign.predict import SignPredictor
from tests.results.conftest import Made

ALONE = """
import json, sys
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
found = {n: session.run(None, {"landmarks": clip})[0].tolist() for n, clip in np.load(sys.argv[2]).items()}
assert not [name for name in sys.modules if name.split(".")[0] in ("torch", "slipway", "onnx")]
print(json.dumps([labels, found]))
"""


def export(*words: object) -> int:
    return cli.main(["export", *map(str, words)])


def clips_of_five_lengths(made: Made) -> list[np.ndarray]:
    rng, clips = np.random.default_rng(1), [made.clips[0], made.clips[7], made.clips[0][:1]]
    for length in (2, 60):
        clip = rng.normal(size=(length, 21, 2)).astype(np.float32)
        clip[rng.random((length, 21)) < 0.3] = np.nan
        clips.append(clip)
    return clips


@pytest.mark.slow
def test_an_onnx_file_alone_predicts_without_torch_what_the_model_says(sign_run: Made, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    assert export(sign_run.folder, "--to", "onnx", "--out", tmp_path / "m.onnx") == 0
    clips, predictor = clips_of_five_lengths(sign_run), SignPredictor.load(sign_run.folder / "best")
    np.savez(tmp_path / "clips.npz", **{str(n): clip for n, clip in enumerate(clips)})
    words = [sys.executable, "-I", "-c", ALONE, str(tmp_path / "m.onnx"), str(tmp_path / "clips.npz")]
    labels, found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert tuple(labels) == predictor.class_names
    np.testing.assert_allclose(list(found.values()), predictor.probabilities(clips), atol=1e-4)


def test_torchscript_says_the_same_and_holds_the_labels(
    sign_run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(sign_run.folder, "--to", "torchscript", "--out", tmp_path / "m.pt") == 0
    assert "5 real samples of 3, " in (shown := capsys.readouterr().out)
    assert "takes: landmarks, float32 [frames, 21, 2]" in shown
    extra = {"labels.json": ""}
    program = torch.jit.load(str(tmp_path / "m.pt"), _extra_files=extra)
    clips, predictor = clips_of_five_lengths(sign_run), SignPredictor.load(sign_run.folder / "best")
    assert json.loads(json.loads(extra["labels.json"])["labels"]) == list(predictor.class_names)
    for clip, wanted in zip(clips, predictor.probabilities(clips), strict=True):
        np.testing.assert_allclose(program(torch.from_numpy(clip)).numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize(
    "layout",
    [
        LandmarkLayout(num_landmarks=4, num_coords=3, center=(1, 2), scale=((0, 3), (1, 2)), parts=((1, 3, 0),)),
        LandmarkLayout(num_landmarks=5, num_coords=1, spatial=False),
        LandmarkLayout(num_landmarks=3, num_coords=2, center=(2,)),
        LandmarkLayout(num_landmarks=3, num_coords=2, center=(2,), unit=4.0),
        LandmarkLayout(num_landmarks=2, num_coords=3, origin=(1.0, -2.0, 0.5), unit=2.5),
    ],
)
def test_the_graph_normalises_as_the_predictor_does_whatever_is_missing(layout: LandmarkLayout) -> None:
    torch.manual_seed(1)
    predictor = SignPredictor(
        SignEncoder(layout, 4, ModelSpec(width=8, blocks=1, convolutions=1, heads=2)), ["a", "b", "c", "d"]
    )
    graph, rng = SignGraph(predictor.model), np.random.default_rng(2)
    for frames, lost in ((1, 0.0), (5, 0.4), (3, 1.0), (20, 0.9), (4, "center"), (6, "one place")):
        clip = rng.normal(size=(frames, layout.num_landmarks, layout.num_coords)).astype(np.float32)
        if lost == "center":
            clip[:, list(layout.center)] = np.nan
        elif lost == "one place":
            clip[:] = 3.0
        else:
            clip[rng.random(clip.shape[:2]) < lost] = np.nan
            clip[0, 0, :1] = np.nan if lost else clip[0, 0, :1]
        with torch.no_grad():
            np.testing.assert_allclose(
                graph(torch.from_numpy(clip)).numpy(), predictor.probabilities([clip])[0], atol=1e-6
            )


OWN = """
import torch
from slipway import DatasetTask

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, values, shift):
        return {"logits": self.layer(values) + shift[:, None]}

def make_task():
    data = [{"values": torch.randn(4), "shift": torch.randn(()), "labels": n % 3} for n in range(12)]
    return DatasetTask(Net, data, name="mine", class_names=["a", "b", "c"])
"""


def test_the_model_of_an_own_task_is_exported_as_the_task_calls_it(tmp_path: Path) -> None:
    (tmp_path / "exported_task.py").write_text(OWN)
    factory = find_factory(f"{tmp_path / 'exported_task.py'}:make_task")
    task = factory.make({})
    model, weights = task.build_model(), tmp_path / "own" / "best"
    weights.mkdir(parents=True)
    save_file(dict(model.state_dict()), weights / "model.safetensors")
    (weights / "spec.json").write_text(json.dumps(model_spec(task)))
    assert export(tmp_path / "own", "--to", "torchscript") == 0
    program = torch.jit.load(str(tmp_path / "own" / "model.pt"))
    values, shift = torch.randn(7, 4), torch.randn(7)
    wanted = model(shift=shift, values=values)["logits"].softmax(dim=1)
    assert torch.allclose(program(*((values, shift))), wanted, atol=1e-6)


def test_what_cannot_be_exported_is_refused_in_one_line_and_leaves_no_file(
    sign_run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there.pt").write_text("")
    script = tmp_path / "script" / "best"
    script.mkdir(parents=True)
    save_file({"weight": torch.ones(1)}, script / "model.safetensors")
    (script / "spec.json").write_text("{}")
    for words, message in (
        ((sign_run.folder, "--to", "onnx", "--out", "m.pt"), "onnx is written into a file with the ending .onnx"),
        ((sign_run.folder, "--to", "torchscript", "--out", tmp_path / "there.pt"), "is there already; give --force"),
        ((sign_run.folder, "--to", "tflite"), "'tflite' is none of onnx, torch-export, torchscript"),
        ((tmp_path / "script", "--to", "torchscript"), "its task was made by a script, which is not run for this"),
    ):
        assert export(*words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not list(tmp_path.glob("**/*.partial"))
