"""Malicious content in place of each file that is read: it is refused, or is plain values, and nothing of it runs."""

from __future__ import annotations

import json
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

import slipway
from slipway import SignPredictor, UserError
from slipway.training.data.understanding.understand import read_landmarks
from tests.fuzz import doors, makers
from tests.hostile.payloads import PAYLOADS
from tests.hostile.proof import nothing_runs

MOST_BYTES = 400 << 20
"""Of memory that a file of at most a megabyte may cost."""

NAMES = (
    "clips.npz", "X.npy", "clips.pt", "clips.pth", "clips.pkl", "clips.h5", "clips.mat", "clips.csv", "clips.json",
    "clips.jsonl", "clips.parquet", "classes.txt", "label_map.json", "a/0.npy",
)  # fmt: skip


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which all of it happens: there the marker would be."""
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(autouse=True)
def place(below: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for one test, some folders down, which is the working folder."""
    folder = Path(tempfile.mkdtemp(dir=below)) / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def takes_little_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < MOST_BYTES


@pytest.fixture(scope="module", params=PAYLOADS)
def payload(request: pytest.FixtureRequest, below: Path) -> bytes:
    return PAYLOADS[request.param](below)


def test_small_files_of_every_kind_run_nothing(place: Path, below: Path, payload: bytes) -> None:
    cases = {
        case.name.rpartition(" ")[0]: case
        for door in doors.DOORS
        if door.name in ("yaml", "stages", "settings", "plans")
        for case in door.cases()
    }
    assert len(cases) >= 9
    for name, case in cases.items():
        folder = place / name
        folder.mkdir()
        case.write(folder)
        (file,) = folder.iterdir()
        file.write_bytes(payload)
        with nothing_runs(below), suppress(*case.allowed):
            case.open(folder)


def test_data_run_nothing(place: Path, below: Path, payload: bytes) -> None:
    for name in NAMES:
        data = place / name / "data"
        (data / name).parent.mkdir(parents=True)
        (data / name).write_bytes(payload)
        if name == "X.npy":
            (data / "y.npy").write_bytes(payload)
        with nothing_runs(below):
            for source in (data, data / name):
                with suppress(UserError):
                    read_landmarks(str(source))
        assert sorted(path.name for path in (place / name).iterdir()) == ["data"]
    assert sorted(path.name for path in place.iterdir()) == sorted(Path(name).parts[0] for name in NAMES)


def test_checkpoints_run_nothing_though_their_hashes_are_right(place: Path, below: Path, payload: bytes) -> None:
    run = makers.trained_run()
    shutil.copytree(run / "checkpoints", place / "run" / "checkpoints")
    newest = max((place / "run" / "checkpoints").iterdir())
    before = makers.resume_from(place / "run")
    for name in sorted(path.name for path in newest.iterdir() if path.name != "manifest.json"):
        good = (newest / name).read_bytes()
        (newest / name).write_bytes(payload)
        makers.mend_hashes(place, Random(1))
        with nothing_runs(below):
            assert makers.resume_from(place / "run") < before
        (newest / name).write_bytes(good)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "..", ".", "a/../../../secret", "model.safetensors/"])
def test_a_manifest_names_no_file_elsewhere(place: Path, below: Path, name: str) -> None:
    from slipway.training.storage.checkpoint import DamagedCheckpoint, _hash_of, read_manifest, verify

    run = makers.trained_run()
    shutil.copytree(run / "checkpoints", place / "run" / "checkpoints")
    (place / "run" / "secret").write_text("mine")
    newest = max((place / "run" / "checkpoints").iterdir())
    manifest = json.loads((newest / "manifest.json").read_bytes())
    manifest.pop("sha256")
    manifest["files"][name] = {"bytes": 4, "sha256": "0" * 64}
    (newest / "manifest.json").write_text(json.dumps({**manifest, "sha256": _hash_of(manifest)}))
    with nothing_runs(below), pytest.raises(DamagedCheckpoint):
        verify(read_manifest(newest))


def test_weights_run_nothing(place: Path, below: Path, payload: bytes) -> None:
    sign = makers.trained_sign_run() / "best"
    for name in ("model.safetensors", "spec.json"):
        best = place / name / "best"
        shutil.copytree(sign, best)
        (best / name).write_bytes(payload)
        with nothing_runs(below):
            for load in (SignPredictor.load, slipway.load):
                with pytest.raises(UserError):
                    load(best)
