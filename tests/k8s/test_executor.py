"""Trainings as Jobs: what is sent, what is said meanwhile, what a real API server does."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from micserve.errors import ExecutorUnavailableError, ParameterError
from services.gateway.executors import kubernetes_training
from services.gateway.executors.base import Task
from services.gateway.executors.pods import job_manifest, job_name, waiting_sentence
from tests.cluster.old_server import rewritten
from tests.k8s.conftest import ControlPlane
from tests.k8s.test_manifests import invalid, named, overlay
from tests.support.waiting import until


def task(folder: Path, *, number: int = 1, family: str = "n2v", attempt: int = 1) -> Task:
    return Task(
        id=f"{number:032x}",
        kind="train",
        family=family,
        module=f"training.{family}",
        arguments=("--run", f"{number:032x}", "--data", "/var/lib/micserve/data/x"),
        folder=folder,
        environment={
            "MICSERVE_HOME": "/var/lib/micserve",
            "MICSERVE_REGISTRY": "http://registry:8010",
        },
        attempt=attempt,
    )


def template(overlay_name: str, name: str = "train-n2v") -> dict[str, Any]:
    found: dict[str, Any] = named(overlay(overlay_name), "PodTemplate", name)["template"]
    return found


def test_a_job_is_the_sites_template_and_the_tasks_command(tmp_path: Path) -> None:
    job = job_manifest(template("facility"), task(tmp_path))
    assert invalid([job], "1.30") == []
    pod = job["spec"]["template"]["spec"]
    main = pod["containers"][0]
    assert main["command"] == ["python", "-m", "training.n2v"]
    assert main["args"][:2] == ["--run", f"{1:032x}"]
    assert {"name": "MICSERVE_REGISTRY", "value": "http://registry:8010"} in main["env"]
    assert main["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["restartPolicy"] == "Never"
    assert "suspend" not in job["spec"]


def test_a_training_sees_data_jobs_and_checkpoints_and_no_accounts(tmp_path: Path) -> None:
    job = job_manifest(template("dev"), task(tmp_path))
    (main,) = job["spec"]["template"]["spec"]["containers"]
    shared = [m for m in main["volumeMounts"] if m["name"] == "gateway-home"]
    assert {m["subPath"]: m.get("readOnly", False) for m in shared} == {
        "data": True,
        "jobs": False,
        "training": False,
    }


def test_kueue_gets_a_job_that_waits(tmp_path: Path) -> None:
    job = job_manifest(template("facility"), task(tmp_path), queue="training")
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert "queue training" in waiting_sentence(None, [], "training")


def unscheduled(message: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]}


def not_started(reason: str, message: str = "") -> dict[str, Any]:
    waiting = {"reason": reason, "message": message}
    return {"containerStatuses": [{"image": "m:1", "state": {"waiting": waiting}}]}


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (unscheduled("0/2 nodes: 2 Insufficient nvidia.com/gpu."), "waits for a free GPU"),
        (unscheduled("0/1 nodes: 1 Insufficient memory."), "free memory"),
        (unscheduled('persistentvolumeclaim "x" not found'), "disk is not"),
        (unscheduled("0/1 nodes: node(s) had taint"), "No machine"),
        (not_started("ImagePullBackOff"), "image m:1 for this training cannot be fetched"),
        (not_started("CreateContainerConfigError", "no secret"), "cannot be made (no secret)"),
        (not_started("ContainerCreating"), ""),
        ({"phase": "Running"}, ""),
    ],
)
def test_why_a_pod_does_not_start_is_said_in_words(status: dict[str, Any], sentence: str) -> None:
    said = waiting_sentence({"status": status}, [], "")
    assert sentence in said if sentence else said == ""


@pytest.fixture(scope="module")
def namespace(control_plane: ControlPlane) -> str:
    """What the dev overlay makes, in a real API server."""
    control_plane.kubectl("apply", "-f", "-", stdin=rewritten(overlay("dev")))
    return "micserve"


@pytest.fixture
def executor(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """With the rights of the gateway's own service account, and no others."""
    from services.gateway.executors.kubernetes import KubernetesExecutor

    config = tmp_path / "gateway.kubeconfig"
    content = yaml.safe_load(control_plane.kubeconfig.read_text())
    secret = control_plane.kubectl(
        *("-n", namespace, "get", "serviceaccount", "gateway"),
        *("-o", "jsonpath={.secrets[0].name}"),
    )
    shown = "go-template={{.data.token|base64decode}}"
    token = control_plane.kubectl("-n", namespace, "get", "secret", secret, "-o", shown)
    content["users"][0]["user"] = {"token": token}
    config.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return KubernetesExecutor(home=tmp_path, namespace=namespace)


def test_a_real_api_server_takes_the_job_once_and_says_why_it_waits(
    executor: Any, control_plane: ControlPlane, tmp_path: Path
) -> None:
    asked = task(tmp_path, number=7)
    handle = executor.submit(asked)
    assert executor.submit(asked) == handle == job_name(asked)
    assert executor.state(asked, handle) == "waiting"
    until(lambda: executor.why_waiting(asked, handle))
    assert "No machine of the cluster" in executor.why_waiting(asked, handle)
    assert executor.log_tail(asked, handle, 10) == []
    executor.cancel(asked, handle)
    until(lambda: executor.state(asked, handle) == "cancelled")
    until(lambda: f"{7:032x}" not in control_plane.kubectl("-n", "micserve", "get", "pods"))
    executor.forget(asked, handle)


def test_a_job_that_somebody_else_deleted_is_lost_and_may_be_submitted_again(
    executor: Any, control_plane: ControlPlane, tmp_path: Path
) -> None:
    asked = task(tmp_path, number=8)
    handle = executor.submit(asked)
    control_plane.kubectl("-n", "micserve", "delete", "job", handle)
    assert executor.state(asked, handle) == "lost"
    again = task(tmp_path, number=8, attempt=2)
    assert executor.submit(again) != handle
    executor.forget(again, job_name(again))


def test_a_family_without_a_template_is_said_in_words(executor: Any, tmp_path: Path) -> None:
    with pytest.raises(ExecutorUnavailableError, match="no PodTemplate for unheard-of trainings"):
        executor.submit(task(tmp_path, family="unheard-of"))


def test_what_the_role_does_not_allow_is_said_in_words(executor: Any, tmp_path: Path) -> None:
    from services.gateway.executors.kubernetes import KubernetesExecutor

    elsewhere = KubernetesExecutor(home=tmp_path, namespace="default")
    with pytest.raises(ExecutorUnavailableError, match="may not start trainings"):
        elsewhere.submit(task(tmp_path))


def test_an_api_server_that_is_away_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.gateway.executors.kubernetes import KubernetesExecutor

    config = tmp_path / "config"
    config.write_text(
        yaml.safe_dump(
            {
                "current-context": "x",
                "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:9"}}],
                "users": [{"name": "x", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ExecutorUnavailableError, match="does not answer"):
        KubernetesExecutor(home=tmp_path).submit(task(tmp_path))


def test_the_flags_of_make_become_an_order() -> None:
    flags = ["--data", "/images", "--name", "mine", "--ndim", "3", "--number_of_epochs", "50"]
    asked = kubernetes_training.read([*flags, "--patch-size=64"])
    assert asked == {
        "data": "/images",
        "name": "mine",
        "ndim": "3",
        "number_of_epochs": 50,
        "patch_size": 64,
    }


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--data", "/images"], "Say NAME"),
        (["--data"], "does not belong to a parameter"),
        (["--data", "x", "--name", "y", "--resume", "id"], "goes on from its checkpoint by itself"),
    ],
)
def test_flags_that_a_job_cannot_take_are_refused_in_words(flags: list[str], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        kubernetes_training.read(flags)
