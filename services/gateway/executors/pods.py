"""A task as a Kubernetes Job, and why a pod does not start, in words. Plain data; asks nobody.

The site says in its PodTemplates how a training's pod looks: image, GPU, memory, volumes, nodes.
What is added here is what belongs to one task: its command, its environment, its name.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from services.gateway.executors.base import Task

Manifest = dict[str, Any]

FAMILY_LABEL = "training.micserve/{family}"
"""Of a PodTemplate that can train this family."""

JOB_LABEL = "micserve/job"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

RETRIES = 2
"""After a pod that was killed (memory, a node that went down); it goes on from its checkpoint."""

NOT_REPEATED = [1, 2, 130]
"""Exit statuses of a trainer that said what is wrong, or was told to stop."""

KEPT_S = 7 * 24 * 3600
"""An ended Job that nobody forgot is removed after so long."""


def job_name(task: Task) -> str:
    """The same for the same attempt, so that it cannot be started twice."""
    return f"micserve-{task.id[:32].lower()}-{task.attempt}"


def job_manifest(template: Mapping[str, Any], task: Task, *, queue: str = "") -> Manifest:
    """The Job of one task.

    Parameters
    ----------
    template
        `template` of a PodTemplate: metadata and spec of a pod.
    queue
        Kueue's LocalQueue; the Job then waits there. Empty without Kueue.
    """
    pod = copy.deepcopy(dict(template))
    labels = {JOB_LABEL: task.id, "app.kubernetes.io/part-of": "micserve"}
    pod["metadata"] = {"labels": {**pod.get("metadata", {}).get("labels", {}), **labels}}
    main = pod["spec"]["containers"][0]
    main["command"] = ["python", "-m", task.module]
    main["args"] = list(task.arguments)
    own = [{"name": name, "value": value} for name, value in sorted(task.environment.items())]
    kept = [entry for entry in main.get("env", []) if entry["name"] not in task.environment]
    main["env"] = kept + own
    pod["spec"]["restartPolicy"] = "Never"
    spec: Manifest = {
        "backoffLimit": RETRIES,
        "ttlSecondsAfterFinished": KEPT_S,
        "podFailurePolicy": _failures(main["name"]),
        "template": pod,
    }
    if queue:
        labels = {**labels, QUEUE_LABEL: queue}
        spec["suspend"] = True
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(task),
            "labels": {**labels, "app.kubernetes.io/component": "training"},
        },
        "spec": spec,
    }


def _failures(container: str) -> Manifest:
    """A sentence for the user is not tried again; a drained node does not count as a failure."""
    codes = {"containerName": container, "operator": "In", "values": NOT_REPEATED}
    moved = [{"type": "DisruptionTarget", "status": "True"}]
    return {
        "rules": [
            {"action": "FailJob", "onExitCodes": codes},
            {"action": "Ignore", "onPodConditions": moved},
        ]
    }


def waiting_sentence(pod: Mapping[str, Any] | None, events: Sequence[str], queue: str) -> str:
    """Why a task has not begun; empty when there is nothing to say.

    Parameters
    ----------
    pod
        As the API server shows it; None where there is none yet.
    events
        Messages about the Job, newest last.
    queue
        Kueue's queue that the Job is suspended in, or empty.
    """
    if pod is None:
        if queue:
            return f"The training waits for its turn in the queue {queue}."
        return f"Kubernetes does not start the training's pod: {events[-1]}" if events else ""
    status = pod.get("status", {})
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _unschedulable(condition.get("message") or "")
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if sentence := _not_started(waiting, container.get("image", "")):
            return sentence
    return ""


def _unschedulable(message: str) -> str:
    said = message.strip().rstrip(".")
    if "nvidia.com/" in message:
        return (
            "The training waits for a free GPU: all that the cluster has are in use, and it "
            f"begins by itself when one is free. Kubernetes says: {said}."
        )
    if "Insufficient" in message:
        return (
            "The training waits for free memory or processors, and begins by itself when there "
            f"are enough. Kubernetes says: {said}."
        )
    if "persistentvolumeclaim" in message:
        return (
            f"The training's disk is not there. Tell the facility's staff. Kubernetes says: {said}."
        )
    return (
        "No machine of the cluster may run this training. Tell the facility's staff. Kubernetes "
        f"says: {said}."
    )


def _not_started(waiting: Mapping[str, Any], image: str) -> str:
    reason = waiting.get("reason") or ""
    if "Image" in reason or reason == "ErrImagePull":
        return (
            f"The image {image} for this training cannot be fetched ({reason}). Tell the "
            "facility's staff."
        )
    if reason.startswith("Create"):
        return (
            f"The training's container cannot be made ({waiting.get('message') or reason}). Tell "
            "the facility's staff."
        )
    return ""
