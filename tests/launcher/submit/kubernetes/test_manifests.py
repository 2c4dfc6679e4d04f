"""Manifests: as in the golden files, valid by the published models, and strict about keys. `UPDATE_GOLDEN=1` writes them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.launcher import cli
from slipway.launcher.submit.kubernetes.checked import check
from slipway.launcher.submit.kubernetes.manifests import Manifest, PodJob, indexed_job, train_job
from slipway.training.common.errors import UserError

GOLDEN = Path(__file__).parent
KINDS: dict[str, Callable[[PodJob], list[Manifest]]] = {"trainjob": train_job, "job": indexed_job}
JOB = PodJob(
    name="words",
    namespace="research",
    image="registry.example.org/slipway:1.0",
    nodes=2,
    processes_per_node=4,
    cpus=16,
    memory="64Gi",
    gpus=4,
    volumes=(("data", "/data"),),
    environment=(("HF_HOME", "/data/hf"),),
    launch=("python", "-P", "-m", "slipway", "launch", "--num-processes", "8"),
    command=("train.py", "--lr", "1e-3"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_manifests_are_those_of_the_golden_files_and_valid_by_the_published_models(kind: str) -> None:
    manifests = KINDS[kind](JOB)
    path = GOLDEN / f"{kind}.yaml"
    text = yaml.safe_dump_all(manifests, sort_keys=False)
    if "UPDATE_GOLDEN" in os.environ:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    for manifest in yaml.safe_load_all(text):
        check(manifest)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where all mappings of a manifest are that a model describes: their keys are those of a schema, not names."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    free = path and path[-1] in ("labels", "requests", "limits", "selector")
    own = [path] if isinstance(value, dict) and not free else []
    return [*own, *(found for key, one in inner for found in paths(one, (*path, key)))]


def at(manifest: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        manifest = manifest[key]
    return manifest


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_key_is_caught_wherever_it_is(kind: str) -> None:
    for manifest in KINDS[kind](JOB):
        for path in paths(manifest):
            wrong = copy.deepcopy(manifest)
            at(wrong, path)["restartPolice"] = "Never"
            with pytest.raises(UserError, match="restartPolice") as error:
                check(wrong)
            assert "misspelt" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("trainjob", ("spec", "trainer", "numProcPerNode"), "auto"),
        ("trainjob", ("spec", "trainer", "numNodes"), "2"),
        ("trainjob", ("spec", "trainer", "args"), ["--lr", 1e-3]),
        ("job", ("spec", "completions"), "2"),
        ("job", ("spec", "template", "spec", "containers", 0, "env", 0, "value"), 5),
        ("job", ("spec", "podFailurePolicy", "rules", 0, "onExitCodes", "values"), "2"),
    ],
)
def test_a_value_of_another_type_is_caught(kind: str, path: tuple[Any, ...], value: object) -> None:
    manifest = KINDS[kind](JOB)[-1]
    at(manifest, path[:-1])[path[-1]] = value
    with pytest.raises(UserError, match="Input should be a valid"):
        check(manifest)


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_and_variables_reach_the_pods_as_they_are(kind: str) -> None:
    words = ("$(HOME)", "$$(HOME)", "`id`", "a b", "x\ny: z", "{{ .Values }}", "- yes", "é")
    job = replace(JOB, command=("train.py", *words), environment=(("A", "$(B) $C"),))
    (*_, manifest) = yaml.safe_load_all(yaml.safe_dump_all(KINDS[kind](job), allow_unicode=True))
    container = (
        manifest["spec"]["trainer"]
        if kind == "trainjob"
        else at(manifest, ("spec", "template", "spec", "containers", 0))
    )
    # As Kubernetes reads them: `$$` is `$`, and no variable is left to be put in.
    assert tuple(word.replace("$$", "$") for word in container["args"][-len(words) :]) == words
    assert all("$(" not in word.replace("$$", "") for word in container["args"])
    assert container["env"] == [{"name": "A", "value": "$$(B) $$C"}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", name) for name in ("Words", "a b", "a\nb", "-a", "a" * 51, "$(x)", "é", "9a")),
        ("namespace", "a/b"), ("image", "a b"), ("image", "$(x)"), ("memory", "much"), ("shared_memory", "2 GB"),
        ("gpu_resource", "gpu"), ("runtime", "a\nb"), ("volumes", (("a b", "/data"),)), ("volumes", (("data", "data"),)),
        ("volumes", (("data", "/dev/shm"),)), ("environment", (("A B", "1"),)), ("environment", (("A", "a\0b"),)),
        ("command", ("a\0b",)), ("command", ("\udcff",)), ("save_seconds", 0), ("max_requeues", -1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_what_kubernetes_would_refuse_is_refused_here(kind: str, field: str, value: object) -> None:
    with pytest.raises(UserError):
        KINDS[kind](replace(JOB, **{field: value}))  # type: ignore[arg-type]


def submitted(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    code = cli.main(["submit", "kubernetes", *options])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_dry_run_prints_the_manifests_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--image", "i:1", "--nodes", "2", "--gpus-per-node", "4", "--dry-run", "/app/My_Train.py")
    code, out, _ = submitted(capsys, *options)
    (manifest,) = yaml.safe_load_all(out)
    assert (code, manifest["metadata"]["name"], manifest["spec"]["trainer"]["numProcPerNode"]) == (0, "my-train", 4)
    assert "--num-processes" in manifest["spec"]["trainer"]["args"]
    code, out, _ = submitted(capsys, "--kind", "job", *options)
    assert [one["kind"] for one in yaml.safe_load_all(out)] == ["Service", "Job"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kubectl", "said"),
    [
        (None, "kubectl is not installed here"),
        ("The connection to the server localhost:8080 was refused", "no cluster is reached"),
        (
            'no matches for kind "TrainJob" in version "trainer.kubeflow.org/v1alpha1"',
            "install Kubeflow Trainer there; or --kind job",
        ),
        ('Error from server (Forbidden): cannot create resource "trainjobs"', "Forbidden"),
    ],
)
def test_what_is_missing_is_said_and_no_folder_is_left(
    kubectl: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    if kubectl is not None:
        (tmp_path / "bin" / "kubectl").write_text(f"#!/bin/sh\necho '{kubectl}' >&2\nexit 1\n")
        (tmp_path / "bin" / "kubectl").chmod(0o755)
    code, _, err = submitted(capsys, "--image", "i:1", "train.py")
    assert (code, len(err.splitlines())) == (2, 1)
    assert said in err
    assert not list(tmp_path.glob("runs/.jobs/*"))


def test_a_job_is_handed_in_strictly_and_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    status = '{"status": {"conditions": [{"type": "Complete", "status": "True", "message": "Job completed"}]}}'
    (tmp_path / "kubectl").write_text(
        f"#!/bin/sh\necho \"$@\" >> {tmp_path}/asked\n[ $1 = get ] && echo '{status}' || true\n"
    )
    (tmp_path / "kubectl").chmod(0o755)
    code, out, err = submitted(capsys, "--image", "i:1", "--kind", "job", "--namespace", "research", "train.py")
    assert (code, out) == (0, "train\n")
    assert "without --volume what a pod saves ends with it" in err
    assert cli.main(["submit", "status", "train"]) == 0
    assert "Complete, Job completed" in capsys.readouterr().out
    assert cli.main(["submit", "logs", "train"]) == 0
    assert cli.main(["submit", "cancel", "train"]) == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    (file,) = tmp_path.glob("runs/.jobs/*/job.yaml")
    assert asked[0] == f"create --validate=strict --filename={file} --namespace=research"
    assert "get job train --output=json --namespace=research" in asked
    assert "delete job train --wait=false --namespace=research" in asked
    assert "delete service train --ignore-not-found --wait=false --namespace=research" in asked
