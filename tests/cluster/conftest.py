"""The dev overlay with our own images on a real Kubernetes of one node, by `make test-cluster`.

Skipped everywhere else. Of the five families n2v alone runs here, so that it fits a small
machine: the other four are the same manifest and the same program.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml

from micserve.client import Client
from micserve.codecs import image_to_bytes
from micserve.image import Image
from micserve.registry import RegistrySettings, open_registry
from tests.cluster.old_server import rewritten
from tests.support import waiting
from tests.support.published import publish_denoiser

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "micserve"
WITHIN_S = 900
ASLEEP = ("care", "stardist", "unet", "fnet")
DISKS = {"gateway-home": "5Gi", "registry-files": "5Gi", "model-cache": "5Gi"}


class Cluster:
    """kubectl, and what of the cluster tests ask again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        command = ["kubectl", "--namespace", NAMESPACE, *words]
        ran = subprocess.run(command, input=stdin, capture_output=True, text=True)
        assert ran.returncode == 0 or not check, f"{words}\n{ran.stderr}"
        return ran.stdout

    def apply(self, objects: list[dict]) -> None:
        self.kubectl("apply", "-f", "-", stdin=rewritten(objects))

    def get(self, *words: str) -> dict:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def address(self, service: str) -> str:
        spec = self.get("service", service)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def pods(self, name: str) -> list[dict]:
        return self.get("pods", "-l", f"app.kubernetes.io/name={name}")["items"]

    def rolled_out(self, *names: str) -> None:
        for name in names:
            what = f"deployment/{name}"
            try:
                self.kubectl("rollout", "status", what, f"--timeout={WITHIN_S}s")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.story(name)}") from None

    def story(self, name: str) -> str:
        """What a person would look at."""
        selector = f"app.kubernetes.io/name={name}"
        told = self.kubectl("describe", "pods", "-l", selector, check=False)
        logs = ("logs", "-l", selector, "--all-containers", "--tail=30", "--prefix")
        return told[-6000:] + self.kubectl(*logs, check=False)[-6000:]

    def service_names(self) -> None:
        """Tell the pods' name server which services there are."""
        found = json.loads(self.kubectl("get", "services", "--all-namespaces", "-o", "json"))
        lines = [
            f"{s['spec']['clusterIP']} {s['metadata']['name']}.{s['metadata']['namespace']}"
            ".svc.cluster.local\n"
            for s in found["items"]
        ]
        Path(os.environ["DNS_HOSTS"]).write_text("".join(lines))
        os.kill(int(Path(os.environ["DNS_PID"]).read_text()), 1)


until = partial(waiting.until, within_s=WITHIN_S, every_s=1)
"""The cluster's machine is slow, so patience is long."""


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    folder = os.environ.get("MICSERVE_TEST_CLUSTER", "")
    if not folder or "DNS_HOSTS" not in os.environ:
        pytest.skip("no cluster here: make test-cluster starts one")
    made = Cluster(Path(folder))
    if not made.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found"):
        disks = _disks(Path(folder) / "disks")
        made.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(disks))
    command = ["kubectl", "kustomize", str(ROOT / "k8s" / "overlays" / "dev")]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    objects = [entry for entry in yaml.safe_load_all(rendered) if entry]
    for entry in objects:
        if entry["kind"] == "Deployment" and entry["metadata"]["name"] in ASLEEP:
            entry["spec"]["replicas"] = 0
    made.apply(objects)
    made.service_names()
    made.rolled_out("registry", "gateway", "n2v")
    return made


def _disks(folder: Path) -> list[dict]:
    """Volumes of this node for the claims, as an administrator without a provisioner makes them."""
    volumes = []
    for name, size in DISKS.items():
        path = folder / name
        subprocess.run(["rm", "-rf", str(path)], check=True)
        path.mkdir(parents=True)
        os.chown(path, 10001, 10001)
        volumes.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": {"storage": size},
                    "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": str(path)},
                    "claimRef": {"namespace": NAMESPACE, "name": name},
                },
            }
        )
    return volumes


@pytest.fixture(scope="session")
def door(cluster: Cluster) -> str:
    """The gateway's address."""
    return cluster.address("gateway")


@pytest.fixture(scope="session")
def people(cluster: Cluster, door: str) -> Iterator[Client]:
    with Client(door) as client:
        yield client


@pytest.fixture(scope="session")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo` makes."""
    folder = tmp_path_factory.mktemp("spots") / "spots"
    command = [str(Path(sys.executable).with_name("micserve")), "synthetic", str(folder)]
    subprocess.run([*command, "--count", "3"], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def served(cluster: Cluster, people: Client, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Version of a small denoiser called `small`, published from outside and in production."""
    # MLflow takes requests for the names it was told only; localhost:8010 is one.
    forward = subprocess.Popen(
        ["kubectl", "-n", NAMESPACE, "port-forward", "service/registry", "8010:8010"],
        stdout=subprocess.DEVNULL,
    )
    folder = tmp_path_factory.mktemp("published")
    url = "http://localhost:8010"
    try:
        until(lambda: _answers(f"{url}/health"))
        registry = open_registry(url, settings=RegistrySettings(cache=folder / "cache"))
        version = publish_denoiser(registry, folder, "small")
    finally:
        forward.kill()
        forward.wait()
    image = image_to_bytes(Image(np.full((64, 64), 100, np.uint8), "YX"))
    predict = f"{people.url}/v1/models/small/predict"
    until(lambda: httpx.post(predict, content=image, timeout=120).status_code == 200)
    return version.version


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def trained(people: Client, spots: Path) -> int:
    """The version that a training Job made by the gateway published; it is in production."""
    job = people.train(
        "n2v",
        "demo-spots",
        spots / "train" / "noisy",
        preset="quick",
        parameters={"number_of_epochs": 4, "number_of_steps": 20},
    )
    job.wait(lambda facts: None)
    assert job.version is not None
    order = {"version": str(job.version), "alias": "production", "reason": "test", "force": True}
    people.ask("POST", "/v1/models/demo-spots/promote", json=order)
    url = f"{people.url}/v1/models/demo-spots/predict"
    body = next((spots / "test" / "noisy").glob("*.tif")).read_bytes()
    until(lambda: httpx.post(url, content=body, timeout=120).status_code == 200)
    return job.version
