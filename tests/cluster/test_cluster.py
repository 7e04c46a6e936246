"""On a real Kubernetes: predict, train, wait for a GPU, survive a bad image, a kill, a roll-out."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from micserve.client import Client
from micserve.codecs import image_to_bytes, read_image
from micserve.image import Image
from tests.cluster.conftest import WITHIN_S, Cluster, until
from tests.support.clients import Clients

SMALL = image_to_bytes(Image(np.full((64, 64), 100, np.uint8), "YX"))


def test_what_the_dev_overlay_makes_is_there(cluster: Cluster, door: str) -> None:
    assert httpx.get(f"{door}/readyz", timeout=60).text == "ready\n"
    for name in ("gateway", "registry", "n2v"):
        (pod,) = cluster.pods(name)
        (main,) = pod["status"]["containerStatuses"]
        assert main["ready"], name
    script = "import os; print(os.getuid(), os.access('/app', os.W_OK))"
    said = cluster.kubectl("exec", "deployment/gateway", "--", "python", "-c", script)
    assert said.split() == ["10001", "False"]


def test_new_pods_find_the_model_in_the_shared_cache(cluster: Cluster, served: int) -> None:
    before = {pod["metadata"]["name"] for pod in cluster.pods("n2v")}
    cluster.kubectl("rollout", "restart", "deployment/n2v")
    cluster.rolled_out("n2v")
    (pod,) = [p for p in cluster.pods("n2v") if p["metadata"]["name"] not in before]
    said = cluster.kubectl("logs", pod["metadata"]["name"], "--container", "models")
    assert f"small@{served}: " in said
    assert "digest checked" in said


@pytest.mark.parametrize("name", ["n2v", "gateway"])
def test_a_rolling_update_loses_no_request(
    cluster: Cluster, door: str, served: int, name: str
) -> None:
    clients = Clients(
        f"{door}/v1/models/small/predict",
        SMALL,
        people=4,
        each=2,
        timeout_s=300,
        within_s=WITHIN_S,
        keep_connections=False,
    )
    with clients.at_work():
        cluster.kubectl("rollout", "restart", f"deployment/{name}")
        cluster.rolled_out(name)
        until(lambda: len(cluster.pods(name)) == 1)
    assert not clients.failures


def test_a_bad_image_is_held_back_and_rolled_back(cluster: Cluster, door: str, served: int) -> None:
    (good,) = cluster.pods("n2v")
    cluster.kubectl("set", "image", "deployment/n2v", "service=micserve-n2v:not-there")

    def is_held_back() -> bool:
        waiting = [
            (status.get("state", {}).get("waiting") or {}).get("reason", "")
            for pod in cluster.pods("n2v")
            for status in pod["status"].get("containerStatuses", [])
        ]
        return bool({"ErrImagePull", "ImagePullBackOff"} & set(waiting))

    until(is_held_back)
    assert good["metadata"]["name"] in {p["metadata"]["name"] for p in cluster.pods("n2v")}
    answer = httpx.post(f"{door}/v1/models/small/predict", content=SMALL, timeout=120)
    assert answer.status_code == 200
    cluster.kubectl("rollout", "undo", "deployment/n2v")
    cluster.rolled_out("n2v")
    until(lambda: len(cluster.pods("n2v")) == 1)
    assert cluster.pods("n2v")[0]["metadata"]["name"] == good["metadata"]["name"]


def test_a_killed_service_comes_back(cluster: Cluster, door: str, served: int) -> None:
    (pod,) = cluster.pods("n2v")
    (main,) = pod["status"]["containerStatuses"]
    ctr = ["ctr", "--address", os.environ["CONTAINERD_SOCKET"], "--namespace", "k8s.io"]
    container = main["containerID"].removeprefix("containerd://")
    subprocess.run([*ctr, "tasks", "kill", "--signal", "SIGKILL", container], check=True)

    def restarted() -> bool:
        (status,) = cluster.pods("n2v")[0]["status"]["containerStatuses"]
        return status["restartCount"] > main["restartCount"] and bool(status["ready"])

    until(restarted)
    answer = httpx.post(f"{door}/v1/models/small/predict", content=SMALL, timeout=120)
    assert answer.status_code == 200


@pytest.fixture
def one_gpu(cluster: Cluster) -> Iterator[None]:
    """A GPU that the node is said to have, and trainings that ask for one."""
    node = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"][0]
    name = node["metadata"]["name"]
    status = cluster.folder / "status.json"
    patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "1"}]
    status.write_text(json.dumps(patch))
    proxy = subprocess.Popen(["kubectl", "proxy", "--port=18001"], stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:18001/api/v1/nodes/{name}/status"
    head = {"Content-Type": "application/json-patch+json"}

    def patched() -> bool:
        try:
            return httpx.patch(url, content=status.read_bytes(), headers=head).status_code == 200
        except httpx.TransportError:
            return False

    until(patched)
    proxy.kill()
    proxy.wait()
    template = "/template/spec/containers/0/resources/limits/nvidia.com~1gpu"
    add = json.dumps([{"op": "add", "path": template, "value": "1"}])
    cluster.kubectl("patch", "podtemplate", "train-n2v", "--type=json", f"--patch={add}")
    yield
    remove = json.dumps([{"op": "remove", "path": template}])
    cluster.kubectl("patch", "podtemplate", "train-n2v", "--type=json", f"--patch={remove}")


def test_a_second_training_waits_for_the_gpu_and_says_so_and_both_can_be_cancelled(
    cluster: Cluster, people: Client, spots: Path, served: int, one_gpu: None
) -> None:
    long = {"number_of_epochs": 500, "number_of_steps": 400}
    place = people.upload(spots / "train" / "noisy")
    first = people.train("n2v", "first", place, preset="quick", parameters=long)
    mine = ("get", "pods", "-l", f"micserve/job={first.id}", "-o", "jsonpath={..spec.nodeName}")
    until(lambda: cluster.kubectl(*mine))
    second = people.train("n2v", "second", place, preset="quick", parameters=long)
    until(lambda: "waits for a free GPU" in second.refresh().facts["message"])
    assert second.state == "queued"
    assert "Insufficient nvidia.com/gpu" in second.facts["message"]
    for job in (second, first):
        job.cancel()
        until(lambda job=job: job.refresh().state == "cancelled")
    running = ("get", "pods", "-l", "app.kubernetes.io/component=training")
    until(lambda: "Running" not in cluster.kubectl(*running))


def test_a_training_job_of_the_gateway_ends_in_a_version_that_denoises_the_demos_image(
    cluster: Cluster, people: Client, spots: Path, trained: int
) -> None:
    jobs = cluster.get("jobs", "-l", "app.kubernetes.io/component=training")["items"]
    assert jobs[-1]["spec"]["template"]["spec"]["serviceAccountName"] == "training"
    noisy = next((spots / "test" / "noisy").glob("*.tif"))
    clean = read_image((spots / "test" / "clean" / noisy.name).read_bytes()).data.astype(float)
    answer = people.ask("POST", "/v1/models/demo-spots/predict", content=noisy.read_bytes())
    assert answer.headers["x-micserve-version"] == str(trained)
    result = read_image(answer.content).data.astype(float)
    before = np.sqrt(np.mean((read_image(noisy.read_bytes()).data - clean) ** 2))
    after = np.sqrt(np.mean((result - clean) ** 2))
    assert after < before
    (job,) = (job for job in people.jobs() if job.facts["model"] == "demo-spots")
    facts = people.ask("GET", f"/v1/jobs/{job.id}").json()
    assert facts["state"] == "finished"
    assert facts["log_tail"]
