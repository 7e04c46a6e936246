"""Trainings as Kubernetes Jobs, by the official client, in the gateway's own namespace.

The cluster keeps the queue, the state and the retries; nothing is remembered here. Asks for no
more than the Role in k8s/base/gateway/account.yaml allows. How a Job looks is `pods`' to say.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from micserve.errors import ExecutorUnavailableError
from micserve.files import publish_file
from services.gateway.executors.base import LOG, Task, TaskState, tail_of
from services.gateway.executors.pods import (
    FAMILY_LABEL,
    QUEUE_LABEL,
    Manifest,
    job_manifest,
    job_name,
    waiting_sentence,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
CANCELLED = "cancelled"
"""File in the job's folder: the Job was deleted because somebody said so."""

ANSWER_WITHIN_S = 20
LOG_BYTES = 8 << 20
SHARED = ("data", "jobs", "training")
"""Folders of MICSERVE_HOME that a pod mounts; made here, with the gateway's own user."""


class KubernetesExecutor:
    """The `Executor` of a cluster.

    Parameters
    ----------
    namespace
        Where Jobs are made; by default the pod's own, or that of the kubeconfig.
    queue
        Kueue's LocalQueue, or empty.
    """

    name = "kubernetes"

    def __init__(self, *, home: Path, namespace: str = "", queue: str = "") -> None:
        self._home, self._queue = home.absolute(), queue
        self._namespace = namespace or _configure()
        if namespace:
            _configure()
        api = client.ApiClient()
        self._plain = api.sanitize_for_serialization
        self._core, self._batch = client.CoreV1Api(api), client.BatchV1Api(api)

    def submit(self, task: Task) -> str:
        """Make the Job; that it is there already is as good."""
        for name in SHARED:
            (self._home / name).mkdir(parents=True, exist_ok=True)
        manifest = job_manifest(self._template(task), task, queue=self._queue)
        (task.folder / CANCELLED).unlink(missing_ok=True)
        try:
            self._ask(self._batch.create_namespaced_job, self._namespace, manifest)
        except ApiException as error:
            if error.status != 409:
                raise _refused(error) from error
        return job_name(task)

    def state(self, task: Task, handle: str) -> TaskState:
        job = self._job(handle)
        if job is None:
            return "cancelled" if (task.folder / CANCELLED).exists() else "lost"
        ended = {c["type"] for c in job["status"].get("conditions") or [] if c["status"] == "True"}
        if ended & {"Complete", "Failed"}:
            self._keep_log(task, handle)
            return "succeeded" if "Complete" in ended else "failed"
        pod = self._pod(handle)
        begun = pod is not None and pod["status"].get("phase") != "Pending"
        return "running" if begun else "waiting"

    def cancel(self, task: Task, handle: str) -> None:
        """Delete the Job; its pod is told to end, and ended after its grace period."""
        job = self._job(handle)
        if job is None:
            return
        ended = {c["type"] for c in job["status"].get("conditions") or [] if c["status"] == "True"}
        if ended & {"Complete", "Failed"}:
            return
        self._keep_log(task, handle)
        (task.folder / CANCELLED).touch()
        self._delete(handle)

    def log_tail(self, task: Task, handle: str, lines: int) -> list[str]:
        kept = tail_of(task.folder / LOG, lines)
        if kept:
            return kept
        text = self._log(handle, tail_lines=lines)
        whole = [line.rpartition("\r")[2] for line in text.split("\n")]
        return [line for line in whole if line.strip()][-lines:]

    def position(self, task: Task, handle: str) -> int | None:
        """The cluster's scheduler promises no order."""
        return None

    def why_waiting(self, task: Task, handle: str) -> str:
        """A sentence while its pod stays pending; empty when it does not, or is only starting."""
        job = self._job(handle)
        if job is None:
            return ""
        queue = job["metadata"].get("labels", {}).get(QUEUE_LABEL, "")
        pod = self._pod(handle)
        events = [] if pod is not None else self._events(handle)
        return waiting_sentence(pod, events, queue if job["spec"].get("suspend") else "")

    def forget(self, task: Task, handle: str) -> None:
        self._delete(handle)

    def close(self) -> None:
        """Nothing is kept open."""

    def _template(self, task: Task) -> Manifest:
        selector = FAMILY_LABEL.format(family=task.family)
        found = self._ask(
            self._core.list_namespaced_pod_template, self._namespace, label_selector=selector
        )
        if not found.items:
            raise ExecutorUnavailableError(
                f"The cluster has no PodTemplate for {task.family} trainings in the namespace "
                f"{self._namespace}: one with the label {selector} is looked for. Apply "
                "k8s/base/training, then try again."
            )
        template: Manifest = self._plain(found.items[0].template)
        return template

    def _job(self, handle: str) -> Manifest | None:
        try:
            found = self._ask(self._batch.read_namespaced_job, handle, self._namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise _refused(error) from error
        job: Manifest = self._plain(found)
        return {**job, "status": job.get("status") or {}}

    def _pod(self, handle: str) -> Manifest | None:
        """The newest of a Job's pods."""
        found = self._ask(
            self._core.list_namespaced_pod, self._namespace, label_selector=f"job-name={handle}"
        )
        pods: list[Manifest] = [self._plain(item) for item in found.items]
        return max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)

    def _events(self, handle: str) -> list[str]:
        about = f"involvedObject.kind=Job,involvedObject.name={handle},type=Warning"
        found = self._ask(self._core.list_namespaced_event, self._namespace, field_selector=about)
        return [item.message for item in found.items if item.message]

    def _log(self, handle: str, **how: Any) -> str:
        pod = self._pod(handle)
        if pod is None:
            return ""
        name = pod["metadata"]["name"]
        try:
            # Raw: the client would take a log that looks like JSON apart.
            answer = self._ask(
                self._core.read_namespaced_pod_log,
                name,
                self._namespace,
                _preload_content=False,
                **how,
            )
        except ApiException as error:
            if error.status in (400, 404):  # has not begun, or is gone
                return ""
            raise _refused(error) from error
        return str(answer.data.decode("utf-8", "replace"))

    def _keep_log(self, task: Task, handle: str) -> None:
        """In the job's folder, before the pod goes."""
        if (task.folder / LOG).exists() or not task.folder.is_dir():
            return
        text = self._log(handle, limit_bytes=LOG_BYTES)
        with publish_file(task.folder / LOG) as part:
            part.write_text(text, encoding="utf-8")

    def _delete(self, handle: str) -> None:
        try:
            self._ask(
                self._batch.delete_namespaced_job,
                handle,
                self._namespace,
                propagation_policy="Background",
            )
        except ApiException as error:
            if error.status != 404:
                raise _refused(error) from error

    def _ask(self, what: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """One request; what is not the request's own fault becomes a sentence."""
        try:
            return what(*arguments, **named, _request_timeout=ANSWER_WITHIN_S)
        except ApiException as error:
            if error.status in (401, 403) or error.status >= 500:
                raise _refused(error) from error
            raise
        except (HTTPError, OSError) as error:
            raise ExecutorUnavailableError(
                "The Kubernetes API server does not answer. Trainings that run go on; try again "
                "in a minute, and tell the facility's staff if it stays so."
            ) from error


def _configure() -> str:
    """Find the cluster, and the namespace that is meant when none is said."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config()
        return NAMESPACE_FILE.read_text("ascii").strip()
    # Said here, for the client reads the variable when it is imported.
    file = os.environ.get("KUBECONFIG")
    try:
        config.load_kube_config(config_file=file)
    except config.ConfigException as error:
        raise ExecutorUnavailableError(
            "MICSERVE_EXECUTOR is kubernetes, but neither a service account nor a kubeconfig "
            f"says where the cluster is ({error}). Run the gateway in the cluster, or set "
            "KUBECONFIG."
        ) from error
    _, active = config.list_kube_config_contexts(config_file=file)
    return str(active["context"].get("namespace", "default"))


def _refused(error: ApiException) -> ExecutorUnavailableError:
    said = " ".join(str(error.body or error.reason).split())[:300]
    log.warning("Kubernetes answers %s: %s", error.status, said)
    if error.status in (401, 403):
        return ExecutorUnavailableError(
            "The gateway may not start trainings in this cluster. Tell the facility's staff to "
            f"apply the Role of k8s/base/gateway. Kubernetes says: {said}"
        )
    return ExecutorUnavailableError(f"Kubernetes does not take the training: {said}")
