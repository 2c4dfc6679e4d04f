"""The cluster, by `kubectl`: handing in manifests, and what became of a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ....training.common.errors import UserError
from .. import programs


def run(*arguments: str) -> str:
    """Return the output of kubectl. Raises `UserError` where it, or the cluster, or what it is asked for is missing."""
    done = programs.run(
        "kubectl",
        *arguments,
        absent="install it, with the kubeconfig of a cluster; --dry-run prints the manifests anywhere",
        silent="is the cluster up? `kubectl cluster-info`",
    )
    if done.returncode == 0:
        return done.stdout
    said = programs.last_words(done)
    if "no matches for kind" in said and "TrainJob" in said:
        raise UserError(
            "the cluster has no TrainJob: install Kubeflow Trainer there; or --kind job, which needs nothing of it"
        )
    if "connection to the server" in said or "current-context" in said or "refused" in said:
        raise UserError(f"no cluster is reached: {said}; `kubectl config get-contexts` lists those that are known here")
    raise UserError(f"kubectl: {said}")


def submit(path: Path, namespace: str | None) -> None:
    """Hand in the manifests of a file, of which an unknown key is refused by the cluster too. Raises `UserError`."""
    run("create", "--validate=strict", f"--filename={path}", *_in(namespace))


def state_of(resource: str, name: str, namespace: str | None) -> str | None:
    """Return the last condition of a job in words; None where the cluster does not know it. Raises `UserError`."""
    try:
        found: dict[str, Any] = json.loads(run("get", resource, name, "--output=json", *_in(namespace)))
    except UserError as error:
        if "NotFound" in str(error) or "not found" in str(error):
            return None
        raise
    status = found.get("status") or {}
    held = [one for one in status.get("conditions") or [] if one.get("status") == "True"]
    if held:
        return ", ".join(filter(None, (str(held[-1].get("type")), held[-1].get("message") or held[-1].get("reason"))))
    return f"Active, {status['active']} pods" if status.get("active") else "Created"


def cancel(resource: str, name: str, namespace: str | None) -> None:
    """Delete a job, whose processes get SIGTERM first, and its Service. Raises `UserError`."""
    run("delete", resource, name, "--wait=false", *_in(namespace))
    if resource == "job":
        run("delete", "service", name, "--ignore-not-found", "--wait=false", *_in(namespace))


def logs(resource: str, name: str, namespace: str | None) -> str:
    """Return what the pods of a job have printed, each line with its pod. Raises `UserError`."""
    label = "jobset.sigs.k8s.io/jobset-name" if resource == "trainjob" else "job-name"
    return run("logs", f"--selector={label}={name}", "--prefix", "--tail=-1", "--ignore-errors", *_in(namespace))


def _in(namespace: str | None) -> tuple[str, ...]:
    return (f"--namespace={namespace}",) if namespace else ()
