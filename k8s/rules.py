"""`python -m k8s.rules`: the rules of containers/monitoring as the Prometheus Operator takes them.

The rules live once, as promtool tests them; this only puts them into their envelope.
"""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "containers" / "monitoring" / "rules" / "micserve.yml"
TARGET = ROOT / "k8s" / "components" / "prometheus-operator" / "rules.yaml"


def envelope() -> str:
    """The PrometheusRule as text."""
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "micserve"},
        "spec": yaml.safe_load(SOURCE.read_text(encoding="utf-8")),
    }
    head = "# Written by `python -m k8s.rules` from containers/monitoring/rules/micserve.yml.\n"
    return head + yaml.safe_dump(rule, sort_keys=False, allow_unicode=True, width=100)


if __name__ == "__main__":
    TARGET.write_text(envelope(), encoding="utf-8")
