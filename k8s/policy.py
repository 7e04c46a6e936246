"""`python -m k8s.policy RENDERED.yaml…`: what every manifest of ours must keep to, at any site.

Kubernetes' schemas say what is spelled right; this says what we want: nobody is root, everything
has limits and probes, an image is never a moving one. Knows rendered objects, not kustomize.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

LONG_RUNNING = {"Deployment", "StatefulSet"}
"""Kinds whose containers are probed and drained; a training is neither."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One object that makes pods."""

    kind: str
    name: str
    pod: Object
    spec: Object

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def workloads(objects: list[Object]) -> Iterator[Workload]:
    """All that make pods."""
    for entry in objects:
        spec = entry.get("spec", {})
        template = entry.get("template") or spec.get("template")
        if isinstance(template, dict) and "spec" in template:
            yield Workload(entry["kind"], entry["metadata"]["name"], template["spec"], spec)


def violations(objects: list[Object]) -> list[str]:
    """Sentences, or nothing."""
    found = [sentence for each in workloads(objects) for sentence in _of_workload(each)]
    return found + _of_namespace(objects) + _of_roles(objects) + _of_networks(objects)


def _of_workload(work: Workload) -> Iterator[str]:
    pod, security = work.pod, work.pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield f"{work}: may run as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{work}: has no seccomp profile"
    if pod.get("enableServiceLinks") is not False:
        yield f"{work}: gets variables of Services, which collide with our settings"
    if not pod.get("serviceAccountName"):
        yield f"{work}: runs as the default service account"
    if pod.get("automountServiceAccountToken") and work.name != "gateway":
        yield f"{work}: has a token for the API server that it does not need"
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield f"{work}: shares the host's namespaces"
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            yield f"{work}: mounts {volume['hostPath']['path']} of the host"
    for container in pod.get("initContainers", []) + pod["containers"]:
        yield from (f"{work}, {container['name']}: {s}" for s in _of_container(container))
    if work.kind in LONG_RUNNING:
        yield from _of_service(work)


def _of_container(container: Object) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "may write its root file system"
    if security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps capabilities"
    resources = container.get("resources", {})
    for kind in ("requests", "limits"):
        for what in ("cpu", "memory"):
            if what not in resources.get(kind, {}):
                yield f"has no {what} in its {kind}"
    image = container["image"]
    if not re.search(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[\w][\w.-]*$", image):
        yield f"runs {image}, which is no version"
    if container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        yield "does not say in its status why it ended"


def _of_service(work: Workload) -> Iterator[str]:
    for container in work.pod["containers"]:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe not in container:
                yield f"{work}, {container['name']}: has no {probe}"
    strategy = work.spec.get("strategy", {})
    rolling = strategy.get("rollingUpdate", {})
    if strategy.get("type") == "RollingUpdate":
        if rolling.get("maxUnavailable") != 0:
            yield f"{work}: takes a pod away before the next one is ready"
        if not all("preStop" in c.get("lifecycle", {}) for c in work.pod["containers"]):
            yield f"{work}: ends while requests are still sent to it"


def _of_namespace(objects: list[Object]) -> list[str]:
    key = "pod-security.kubernetes.io/enforce"
    return [
        f"Namespace {entry['metadata']['name']}: does not enforce the restricted pod security"
        for entry in objects
        if entry["kind"] == "Namespace"
        and entry["metadata"].get("labels", {}).get(key) != "restricted"
    ]


def _of_roles(objects: list[Object]) -> list[str]:
    found = []
    for entry in objects:
        if entry["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            found.append(f"{entry['kind']} {entry['metadata']['name']}: reaches the whole cluster")
        for rule in entry.get("rules", []) if entry["kind"] == "Role" else []:
            if "*" in rule["verbs"] + rule["resources"] + rule["apiGroups"]:
                found.append(f"Role {entry['metadata']['name']}: gives everything")
            if "secrets" in rule["resources"]:
                found.append(f"Role {entry['metadata']['name']}: reads secrets")
    return found


def _of_networks(objects: list[Object]) -> list[str]:
    """Every component that makes pods is named by a policy, under one that forbids the rest."""
    policies = [entry for entry in objects if entry["kind"] == "NetworkPolicy"]
    if not any(
        not p["spec"]["podSelector"] and set(p["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        for p in policies
    ):
        return ["there is no network policy that forbids what is not allowed"]
    return []


def read(text: str) -> list[Object]:
    return [entry for entry in yaml.safe_load_all(text) if entry]


def main() -> int:
    found = [
        f"{name}: {sentence}"
        for name in sys.argv[1:]
        for sentence in violations(read(Path(name).read_text(encoding="utf-8")))
    ]
    sys.stdout.write("".join(f"{sentence}\n" for sentence in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
