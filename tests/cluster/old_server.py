"""The one place where manifests are rewritten for the Kubernetes that tests can run: 1.20.2.

Debian's source package is that old. Current API versions are checked by schema
(tests/k8s/test_manifests.py); here only what the old server cannot serve is put into its older
words, and what it lacks is left out and said so.
"""

from typing import Any

import yaml

Object = dict[str, Any]

OLDER = {
    ("policy/v1", "PodDisruptionBudget"): "policy/v1beta1",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "autoscaling/v2beta2",
}

NOT_SERVED = {"PodMonitor", "PrometheusRule", "ScaledObject", "ClusterQueue", "LocalQueue"}
"""Kinds of operators that are not installed there. Network policies are taken and not enforced;
the pod security labels of a namespace are taken and not enforced."""


def rewritten(objects: list[Object]) -> str:
    """YAML in the old server's words, without what it cannot serve."""
    served = [entry for entry in objects if entry["kind"] not in NOT_SERVED]
    text: str = yaml.safe_dump_all([_older(entry) for entry in served])
    return text


def _older(entry: Object) -> Object:
    version = OLDER.get((entry["apiVersion"], entry["kind"]), entry["apiVersion"])
    return {**entry, "apiVersion": version}
