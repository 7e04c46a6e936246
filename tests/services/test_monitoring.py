"""What an operator watches is there: rules, dashboards, and a real Prometheus on a real stack."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from micserve.serving.metrics import Metrics
from services.gateway.metrics import GatewayMetrics
from tests.services.conftest import Stack, tiff
from tests.support.stack import free_port
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "containers" / "monitoring"
RULES = MONITORING / "rules" / "micserve.yml"

NEEDS_A_GPU = "micserve_gpu_memory_bytes"
"""The one metric that has nothing to say on a machine without NVIDIA's driver."""

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="no prometheus here: apt-get install prometheus",
)


def promtool(*arguments: str, folder: Path) -> None:
    ran = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """By name; `kind` is `alert` or `record`."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


def panels() -> list[tuple[str, str]]:
    """Title and query of every panel of every dashboard."""
    boards = [json.loads(f.read_text()) for f in sorted((MONITORING / "dashboards").glob("*.json"))]
    assert boards
    return [
        (f"{board['title']}: {panel['title']}", target["expr"])
        for board in boards
        for panel in board["panels"]
        for target in panel["targets"]
    ]


def exposed() -> set[str]:
    text = (Metrics().render() + GatewayMetrics().render()).decode()
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        names.add(name)
        if kind == "histogram":
            names |= {f"{name}_{end}" for end in ("bucket", "sum", "count")}
    return names


@needs_prometheus
def test_the_rules_are_valid_and_pass_their_own_tests() -> None:
    promtool("check", "config", "prometheus.yml", folder=MONITORING)
    promtool("test", "rules", "micserve_test.yml", folder=RULES.parent)


def test_every_metric_in_rules_and_dashboards_is_one_that_the_code_exposes() -> None:
    recorded = set(rules("record"))
    queries = [rule["expr"] for kind in ("alert", "record") for rule in rules(kind).values()]
    queries += [query for _, query in panels()]
    used = {name for query in queries for name in re.findall(r"micserve[_:][a-z0-9_:]+", query)}
    assert used - recorded - exposed() == set()


def test_every_alert_has_a_unit_test_and_says_in_the_manual_what_to_do() -> None:
    tests = yaml.safe_load((RULES.parent / "micserve_test.yml").read_text())["tests"]
    tested = {a["alertname"] for t in tests for a in t["alert_rule_test"] if a.get("exp_alerts")}
    assert tested == set(rules("alert"))
    manual = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(Micserve\w+)`", manual, re.MULTILINE)) == set(rules("alert"))


class Prometheus:
    """A real one, with our rules, that looks every half second and waits for nothing."""

    def __init__(self, folder: Path, targets: dict[str, int]) -> None:
        self._folder, self._port = folder, free_port()
        config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        (job,) = config["scrape_configs"]
        known = {entry["labels"]["service"] for entry in job["static_configs"]}
        assert set(targets) <= known
        job["static_configs"] = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"service": service}}
            for service, port in targets.items()
        ]
        text = RULES.read_text()
        hurried = re.sub(r"^( +for:) \S+$", r"\1 1s", text, flags=re.MULTILINE)
        (folder / "rules").mkdir()
        (folder / "rules" / "micserve.yml").write_text(hurried)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> "Prometheus":
        command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        command += [f"--web.listen-address=127.0.0.1:{self._port}"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        until(self._is_ready)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"http://127.0.0.1:{self._port}/api/v1/query", params={"query": query})
        assert answer.status_code == 200, (query, answer.text)
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    def firing(self) -> set[tuple[str, str]]:
        """Alert and service."""
        found = self.ask('ALERTS{alertstate="firing"}')
        return {(a["metric"]["alertname"], a["metric"].get("service", "")) for a in found}


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    targets = {"gateway": stack.gateway.port, "n2v": stack.service.port}
    with Prometheus(tmp_path_factory.mktemp("prometheus"), targets) as running:
        yield running


@needs_prometheus
def test_a_real_prometheus_gets_an_answer_to_every_panel(
    stack: Stack, prometheus: Prometheus
) -> None:
    def without_answer() -> list[str]:
        url = f"{stack.gateway.url}/v1/models/spots/predict"
        assert httpx.post(url, content=tiff(48, 48), timeout=60).status_code == 200
        return [
            title
            for title, query in panels()
            if NEEDS_A_GPU not in query and not prometheus.ask(query)
        ]

    until(lambda: not without_answer())
    recorded = [name for name in rules("record") if not prometheus.ask(name)]
    assert recorded in ([], ["micserve:gateway_errors:ratio5m"])


@needs_prometheus
def test_a_service_that_is_stopped_is_reported_and_one_that_is_back_is_not(
    stack: Stack, prometheus: Prometheus
) -> None:
    until(lambda: len(prometheus.ask('up{job="micserve"} == 1')) == 2)
    assert ("MicserveDown", "n2v") not in prometheus.firing()
    stack.service.kill_parent()
    try:
        until(lambda: ("MicserveDown", "n2v") in prometheus.firing())
        assert ("MicserveDown", "gateway") not in prometheus.firing()
    finally:
        stack.service.start()
    until(lambda: ("MicserveDown", "n2v") not in prometheus.firing())


@needs_prometheus
def test_a_registry_that_is_away_is_reported(stack: Stack, prometheus: Prometheus) -> None:
    stack.server.kill()
    try:
        until(lambda: ("MicserveRegistryAway", "") in prometheus.firing())
    finally:
        stack.server.start()
    stack.gateway.wait_until_ready()


def test_one_request_can_be_followed_from_its_sender_to_the_tile(stack: Stack) -> None:
    sent = "fiji-0123456789"
    url = f"{stack.gateway.url}/v1/models/spots/predict"
    answer = httpx.post(url, content=tiff(48, 48), headers={"X-Request-Id": sent}, timeout=60)
    assert answer.headers["x-micserve-request-id"] == sent

    def lines(log: Path) -> list[dict[str, Any]]:
        texts = [t for t in log.read_text().splitlines() if sent in t and t.startswith("{")]
        return [json.loads(text) for text in texts]

    until(lambda: len(lines(stack.gateway.log)) >= 1 and len(lines(stack.service.log)) >= 2)
    messages = {line["message"]: line for line in lines(stack.service.log)}
    assert messages["predicted"]["tiles"] == 1
    assert messages["predicted"]["model"].startswith("spots@")
    assert lines(stack.gateway.log)[0]["message"] == "POST /v1/models/spots/predict"


def test_what_nvml_says_of_the_gpus_is_exposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for NVIDIA's library at its own seam: there is no GPU to ask in tests."""
    pynvml = pytest.importorskip("pynvml")
    memory = type("Memory", (), {"used": 3 << 30, "total": 8 << 30})
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda number: number)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: memory)
    text = Metrics().render().decode()
    assert 'micserve_gpu_memory_bytes{gpu="0",kind="used"} 3.221225472e+09' in text


def test_a_machine_without_nvidias_driver_says_nothing_of_gpus() -> None:
    script = "from micserve.serving.metrics import Metrics; print(Metrics().render().decode())"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = [line for line in ran.stdout.splitlines() if line.startswith("micserve_gpu")]
    if shutil.which("nvidia-smi") is None:
        assert lines == []
