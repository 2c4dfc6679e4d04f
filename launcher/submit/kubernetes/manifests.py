"""What Kubernetes is handed: a TrainJob of Kubeflow, or an Indexed Job with a headless Service. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ....training.common.errors import UserError

Manifest = dict[str, Any]

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?", re.ASCII)  # with the number of a pod behind it, a host's name
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)
_QUANTITY = re.compile(r"\d+(\.\d+)?([kMGTP]i?|m)?", re.ASCII)
_IMAGE = re.compile(r"[\w][\w./:@+-]*", re.ASCII)
_RESOURCE = re.compile(r"[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9._-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_BAD_INPUT, _RESUMABLE = 2, 75
_SHM = "/dev/shm"
_LABELS = {"app.kubernetes.io/managed-by": "slipway"}
_CONTAINER = "node"
"""Of the pods of Kubeflow's runtimes, and the replicated job that they belong to."""


@dataclass(frozen=True, kw_only=True)
class PodJob:
    """What a job asks of Kubernetes, and what each of its pods runs."""

    name: str
    namespace: str | None = None
    image: str
    nodes: int
    processes_per_node: int
    cpus: int
    memory: str | None = None
    gpus: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    shared_memory: str = "2Gi"
    volumes: tuple[tuple[str, str], ...] = ()  # a claim and where it is mounted
    environment: tuple[tuple[str, str], ...] = ()
    save_seconds: int = 120
    max_requeues: int = 6
    runtime: str = "torch-distributed"
    launch: tuple[str, ...]  # the launcher and its options, without where the pods meet
    command: tuple[str, ...]  # the script and its arguments


def train_job(job: PodJob) -> list[Manifest]:
    """Return a TrainJob. Where a pod fails, the runtime's policy holds. Raises `UserError` for a value that is none."""
    _check(job)
    address = f"{job.name}-{_CONTAINER}-0-0.{job.name}"
    patch = {
        "terminationGracePeriodSeconds": job.save_seconds,
        "containers": [{"name": _CONTAINER, "volumeMounts": _mounts(job)}],
        "volumes": _volumes(job),
    }
    replicated = {"name": _CONTAINER, "template": {"spec": {"template": {"spec": patch}}}}
    patches = {"template": {"spec": {"replicatedJobs": [replicated]}}}
    spec = {
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": job.runtime},
        "trainer": {
            "image": job.image,
            **_command(job, address),
            "env": _environment(job),
            "numNodes": job.nodes,
            # Of its default, `auto`, the launcher would know nothing.
            "numProcPerNode": job.processes_per_node,
            "resourcesPerNode": _resources(job),
        },
        "runtimePatches": [{"manager": "slipway/submit", "trainingRuntimeSpec": patches}],
    }
    return [
        {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": _metadata(job), "spec": spec}
    ]


def indexed_job(job: PodJob) -> list[Manifest]:
    """Return a Service without an address and an Indexed Job whose pods find each other by it. Raises `UserError`."""
    _check(job)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job),
        # Pods are found before they are ready: they are once they have found each other.
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"job-name": job.name}},
    }
    container = {
        "name": _CONTAINER,
        "image": job.image,
        **_command(job, f"{job.name}-0.{job.name}"),
        "env": _environment(job),
        "resources": _resources(job),
        "volumeMounts": _mounts(job),
    }
    pod = {
        "restartPolicy": "Never",  # a new pod instead, by the policy below
        "subdomain": job.name,
        "terminationGracePeriodSeconds": job.save_seconds,
        "containers": [container],
        "volumes": _volumes(job),
    }
    spec = {
        "completionMode": "Indexed",
        "completions": job.nodes,
        "parallelism": job.nodes,
        "backoffLimit": job.max_requeues,
        "podFailurePolicy": {"rules": _failure_rules()},
        "template": {"metadata": {"labels": dict(_LABELS)}, "spec": pod},
    }
    return [service, {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(job), "spec": spec}]


def _failure_rules() -> list[Manifest]:
    """Return what becomes of a pod that failed: no new one after wrong input; after a preemption one that counts as none."""

    def exits(code: int, action: str) -> Manifest:
        return {"action": action, "onExitCodes": {"containerName": _CONTAINER, "operator": "In", "values": [code]}}

    preempted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    return [exits(_BAD_INPUT, "FailJob"), preempted, exits(_RESUMABLE, "Ignore")]


def _metadata(job: PodJob) -> Manifest:
    namespace = {} if job.namespace is None else {"namespace": job.namespace}
    return {"name": job.name, **namespace, "labels": dict(_LABELS)}


def _command(job: PodJob, address: str) -> Manifest:
    meets = ["--num-machines", str(job.nodes), "--main-process-ip", address] if job.nodes > 1 else []
    grace = ["--grace-seconds", str(max(1, job.save_seconds - 10))]
    # `$(NAME)` is a variable to Kubernetes, `$$` a dollar.
    words = [word.replace("$", "$$") for word in (*job.launch, *meets, *grace, *job.command)]
    return {"command": words[:1], "args": words[1:]}


def _environment(job: PodJob) -> list[Manifest]:
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in job.environment]


def _resources(job: PodJob) -> Manifest:
    asked = {"cpu": str(job.cpus)}
    if job.memory is not None:
        asked["memory"] = job.memory
    if job.gpus:
        asked[job.gpu_resource] = str(job.gpus)
    return {"requests": dict(asked), "limits": dict(asked)}


def _volumes(job: PodJob) -> list[Manifest]:
    # A container has 64 MiB of it, too little for data that processes share.
    memory = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": job.shared_memory}}
    claims = [
        {"name": f"volume-{at}", "persistentVolumeClaim": {"claimName": claim}}
        for at, (claim, _) in enumerate(job.volumes)
    ]
    return [memory, *claims]


def _mounts(job: PodJob) -> list[Manifest]:
    claims = [{"name": f"volume-{at}", "mountPath": path} for at, (_, path) in enumerate(job.volumes)]
    return [{"name": "shm", "mountPath": _SHM}, *claims]


def _check(job: PodJob) -> None:
    forms = (
        ("--name", job.name, _NAME, "a to z, 0 to 9 and '-', a letter first, at most 50"),
        ("--namespace", job.namespace, _DOMAIN, "a to z, 0 to 9 and '-'"),
        ("--image", job.image, _IMAGE, "an image, as registry/name:tag"),
        ("--memory", job.memory, _QUANTITY, "a quantity of Kubernetes, as 64Gi"),
        ("--shared-memory", job.shared_memory, _QUANTITY, "a quantity of Kubernetes, as 8Gi"),
        ("--gpu-resource", job.gpu_resource, _RESOURCE, "a resource of the cluster, as nvidia.com/gpu"),
        ("--runtime", job.runtime, _DOMAIN, "the name of a ClusterTrainingRuntime"),
        *(("--volume", claim, _DOMAIN, "a claim and a path, as data:/data") for claim, _ in job.volumes),
        *(("--env", name, _VARIABLE, "a variable and its value, as HF_HOME=/data") for name, _ in job.environment),
    )
    for flag, value, form, what in forms:
        if value is not None and not form.fullmatch(value):
            raise UserError(f"{flag} {value!r}: give {what}")
    for _, path in job.volumes:
        if not path.startswith("/") or ":" in path or not path.isprintable() or path == _SHM:
            raise UserError(f"--volume {path!r}: give a claim and a path of its own, as data:/data")
    if not 1 <= job.save_seconds <= 86_400 or not 0 <= job.max_requeues <= 1_000_000:
        raise UserError("--save-seconds must be from 1 to 86400, --max-requeues from 0 to 1000000")
    for word in (*job.launch, *job.command, *(value for _, value in job.environment)):
        if "\0" in word or word != word.encode(errors="replace").decode():
            raise UserError(f"{word!r}: Kubernetes takes no such text; leave it out")
