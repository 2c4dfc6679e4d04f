"""`slipway submit kubernetes`: make the manifests of a job, check them, and hand them in."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ....training.common.errors import UserError
from ....training.common.parser import Parser
from ....training.common.program.shown import printable, printable_json
from ....training.common.program.streams import print_to_stderr
from ....training.common.settings import format_path
from ..asked import LAUNCHER, cpus_of, launch_words, name_of, processes_of
from ..job_folder import JobRecord, create, folder_for, now, write_record
from . import cluster
from .checked import check
from .manifests import Manifest, PodJob, indexed_job, train_job

FILE = "job.yaml"
_KINDS = {"trainjob": train_job, "job": indexed_job}


def add_options(parser: Parser) -> None:
    """Add the options of a job of Kubernetes."""
    group = parser.add_argument_group("Kubernetes")
    group.add_argument("--image", metavar="IMAGE", help="image with Slipway and the script in it")
    group.add_argument(
        "--kind",
        choices=tuple(_KINDS),
        default="trainjob",
        help="TrainJob of Kubeflow, or a Job of Kubernetes itself [trainjob]",
    )
    group.add_argument("--namespace", metavar="NAME", help="where the job is made [that of the context]")
    group.add_argument(
        "--runtime", metavar="NAME", default="torch-distributed", help="runtime of a TrainJob [torch-distributed]"
    )
    group.add_argument(
        "--gpu-resource", metavar="NAME", default="nvidia.com/gpu", help="what a GPU is called [nvidia.com/gpu]"
    )
    group.add_argument(
        "--volume",
        metavar="CLAIM:PATH",
        action="append",
        default=[],
        help="a claim that all pods mount; the first has the launches",
    )
    group.add_argument("--env", metavar="NAME=VALUE", action="append", default=[], help="a variable of the pods")
    group.add_argument(
        "--shared-memory", metavar="SIZE", default="2Gi", help="size of /dev/shm, a part of the memory [2Gi]"
    )
    group.add_argument(
        "--save-seconds",
        metavar="N",
        type=int,
        default=120,
        help="time that a pod has to save itself when it is to end [120]",
    )
    group.add_argument(
        "--max-requeues",
        metavar="N",
        type=int,
        default=6,
        help="pods that may fail before a Job does; preempted ones do not count [6]",
    )


def run(options: argparse.Namespace, command: Sequence[str]) -> int:
    """Make the manifests and hand them in, or print them; return 0. Raises `UserError`."""
    import yaml

    folder = folder_for(Path(options.jobs_dir), job_name(options, command))
    job = make_job(options, command, folder.name)
    manifests = _KINDS[options.kind](job)
    for manifest in manifests:
        check(manifest)
    text = yaml.safe_dump_all(manifests, sort_keys=False, allow_unicode=True, width=1000)
    if options.dry_run:
        _show(options, folder, text, manifests)
        return 0
    if shutil.which("kubectl") is None:
        cluster.run()
    path = create(folder, FILE, text)
    try:
        cluster.submit(path, job.namespace)
    except UserError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"Kubernetes has not taken the job: {error}") from None
    record = JobRecord(
        kind="kubernetes",
        job_id=job.name,
        name=job.name,
        submitted_at=now(),
        namespace=job.namespace or "",
        resource=options.kind,
    )
    write_record(folder, record)
    print_to_stderr(printable(f"{options.kind} {job.name} is handed in: {format_path(path)}"))
    if not job.volumes:
        print_to_stderr("note: without --volume what a pod saves ends with it, and a new one starts from the beginning")
    print_to_stderr(f"slipway submit status {job.name} | logs {job.name} | cancel {job.name}")
    print(job.name)
    return 0


def job_name(options: argparse.Namespace, command: Sequence[str]) -> str:
    """Return the name of a job; that of a script as Kubernetes takes names. Raises `UserError`."""
    name = name_of(options, command)
    return name if options.name is not None else re.sub("[^a-z0-9]+", "-", name.lower())[:50].strip("-") or "slipway"


def make_job(options: argparse.Namespace, command: Sequence[str], start: str) -> PodJob:
    """Return what a job asks for; `start` names it among all there have been. Raises `UserError`."""
    if options.image is None:
        raise UserError(
            "slipway submit kubernetes: name the --image that the pods run, with Slipway and the script in it"
        )
    gpus = options.gpus_per_node or "0"
    if not (gpus.isascii() and gpus.isdecimal()) or int(gpus) > 1024:
        raise UserError(
            f"--gpus-per-node {gpus}: give a number; the kind of a GPU is --gpu-resource, or the nodes' label"
        )
    volumes = tuple(_pair("--volume", text, ":") for text in options.volume)
    words = ["python", *LAUNCHER, *launch_words(options)]
    if volumes:
        words += ["--log-dir", f"{volumes[0][1].rstrip('/')}/.launches/{start}", "--job", start]
    if options.processes_per_host is None and options.num_processes is None and int(gpus):
        words += ["--num-processes", str(int(gpus) * options.nodes)]
    return PodJob(
        name=job_name(options, command),
        namespace=options.namespace,
        image=options.image,
        nodes=options.nodes,
        processes_per_node=processes_of(options),
        cpus=cpus_of(options),
        memory=options.memory,
        gpus=int(gpus),
        gpu_resource=options.gpu_resource,
        shared_memory=options.shared_memory,
        volumes=volumes,
        environment=tuple(_pair("--env", text, "=") for text in options.env),
        save_seconds=options.save_seconds,
        max_requeues=options.max_requeues,
        runtime=options.runtime,
        launch=tuple(words),
        command=tuple(command),
    )


def _pair(flag: str, text: str, separator: str) -> tuple[str, str]:
    first, found, second = text.partition(separator)
    if not found:
        raise UserError(f"{flag} {text!r}: give two words with {separator!r} between them")
    return first, second


def _show(options: argparse.Namespace, folder: Path, text: str, manifests: Sequence[Manifest]) -> None:
    path = str(folder / FILE)
    if options.json:
        argv = ["kubectl", "create", "--validate=strict", f"--filename={path}"]
        data = {"schema_version": 1, "argv": argv, "files": {path: text}, "manifests": manifests}
        print(printable_json(json.dumps(data, indent=2, ensure_ascii=False)))
        return
    print_to_stderr(printable(f"would write {format_path(folder / FILE)} and hand it in with kubectl"))
    print(text, end="")
