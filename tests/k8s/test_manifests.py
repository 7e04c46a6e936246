"""Every overlay renders, is valid, keeps to the policy, and says what code and images say.

Schemas of Kubernetes' own kinds are checked strictly and offline. Kinds of KEDA, Kueue and the
Prometheus Operator have no schema here: of them it is checked that what they name exists.
"""

import copy
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s import pin, rules
from k8s.policy import Object, read, violations, workloads
from micserve import __version__
from micserve.families import FAMILIES
from micserve.serving.app import create_app as inference_app
from micserve.serving.settings import ServiceSettings
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from services.registry.settings import RegistryServerSettings
from tests.services.test_monitoring import exposed

validate = pytest.importorskip("kubernetes_validate")

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ["dev", "single-node", "facility"]
VERSIONS = ["1.30", "1.37"]
IMAGES = tomllib.loads((ROOT / "containers" / "images.toml").read_text())
NOT_KUBERNETES_OWN = {
    "ScaledObject",
    "ClusterQueue",
    "LocalQueue",
    "ResourceFlavor",
    "PodMonitor",
    "PrometheusRule",
}

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")


@cache
def rendered(folder: str) -> list[Object]:
    """What `kubectl apply -k` would send."""
    command = ["kubectl", "kustomize", str(ROOT / "k8s" / folder)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr, ran.stderr
    return read(ran.stdout)


def overlay(name: str) -> list[Object]:
    return copy.deepcopy(rendered(f"overlays/{name}"))


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)
    return found


def container(objects: list[Object], name: str, kind: str = "Deployment") -> Object:
    found: Object = named(objects, kind, name)["spec"]["template"]["spec"]["containers"][0]
    return found


def invalid(objects: list[Object], version: str) -> list[str]:
    found = []
    for entry in objects:
        try:
            validate.validate(entry, version, strict=True)
        except validate.SchemaNotFoundError:
            if entry["kind"] not in NOT_KUBERNETES_OWN:
                found.append(f"{entry['apiVersion']} {entry['kind']}: no such kind")
        except validate.ValidationError as error:
            found.append(f"{entry['kind']} {entry['metadata']['name']}: {error}")
    return found


@pytest.mark.parametrize(
    ("name", "version"), [*((name, VERSIONS[0]) for name in OVERLAYS), ("facility", VERSIONS[-1])]
)
def test_every_overlay_is_valid_for_kubernetes(name: str, version: str) -> None:
    assert invalid(overlay(name), version) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_overlay_keeps_to_the_policy(name: str) -> None:
    assert violations(overlay(name)) == []


def test_components_that_no_overlay_uses_render_and_keep_to_the_policy(tmp_path: Path) -> None:
    unused = {"gpu-mig", "dedicated-model"}
    used = {
        Path(component).name
        for name in OVERLAYS
        for component in yaml.safe_load(
            (ROOT / "k8s" / "overlays" / name / "kustomization.yaml").read_text()
        )["components"]
    }
    there = {path.parent.name for path in (ROOT / "k8s" / "components").glob("*/*.yaml")}
    assert there - used == unused
    folder = ROOT / "k8s" / "overlays" / f"test-{tmp_path.name}"
    folder.mkdir()
    try:
        components = [f"../../components/{name}" for name in ("gpu", "gpu-mig", "dedicated-model")]
        content = {"resources": ["../../base"], "components": [*components, "../../images/gpu"]}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
        objects = rendered(f"overlays/{folder.name}")
    finally:
        shutil.rmtree(folder)
    assert violations(objects) == []
    assert invalid(objects, VERSIONS[0]) == []
    limits = container(objects, "n2v")["resources"]["limits"]
    assert limits["nvidia.com/mig-1g.10gb"] == 1
    assert "nvidia.com/gpu" not in limits
    assert {"name": "MICSERVE_MODELS", "value": "n2v-spots"} in container(objects, "n2v-spots")[
        "env"
    ]


Damage = Callable[[list[Object]], Any]

DAMAGES: dict[str, tuple[Damage, str]] = {
    "root": (
        lambda o: _pod(o, "n2v")["securityContext"].pop("runAsNonRoot"),
        "Deployment n2v: may run as root",
    ),
    "no limits": (
        lambda o: container(o, "gateway")["resources"].pop("limits"),
        "gateway: has no memory in its limits",
    ),
    "no probe": (
        lambda o: container(o, "care").pop("readinessProbe"),
        "care, service: has no readinessProbe",
    ),
    "latest": (
        lambda o: container(o, "fnet").update(image="micserve-fnet:latest"),
        "micserve-fnet:latest, which is no version",
    ),
    "no tag": (
        lambda o: container(o, "fnet").update(image="micserve-fnet"),
        "micserve-fnet, which is no version",
    ),
    "writable": (
        lambda o: container(o, "unet")["securityContext"].update(readOnlyRootFilesystem=False),
        "unet, service: may write its root file system",
    ),
    "no drain": (
        lambda o: container(o, "gateway").pop("lifecycle"),
        "gateway: ends while requests are still sent to it",
    ),
    "host path": (
        lambda o: _pod(o, "n2v")["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "mounts / of the host",
    ),
    "all verbs": (
        lambda o: named(o, "Role", "gateway")["rules"].append(
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}
        ),
        "Role gateway: gives everything",
    ),
    "open network": (
        lambda o: o.remove(named(o, "NetworkPolicy", "nothing-by-default")),
        "no network policy that forbids",
    ),
    "baseline namespace": (
        lambda o: named(o, "Namespace", "micserve")["metadata"].pop("labels"),
        "does not enforce the restricted pod security",
    ),
}


def _pod(objects: list[Object], name: str) -> Object:
    pod: Object = named(objects, "Deployment", name)["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_manifest_that_is_broken_on_purpose_breaks_the_policy(damage: str) -> None:
    objects = overlay("dev")
    spoil, sentence = DAMAGES[damage]
    spoil(objects)
    assert [found for found in violations(objects) if sentence in found]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda o: container(o, "n2v").update(imagePullPolice="Always"),
        lambda o: container(o, "n2v")["ports"][0].update(containerPort="http"),
        lambda o: named(o, "Deployment", "n2v").update(apiVersion="apps/v1beta1"),
        lambda o: _pod(o, "n2v").pop("containers"),
    ],
    ids=["misspelt field", "wrong type", "old version", "missing field"],
)
def test_a_manifest_that_is_broken_on_purpose_is_not_valid(spoil: Damage) -> None:
    objects = overlay("dev")
    spoil(objects)
    assert invalid(objects, VERSIONS[0])


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_objects_refer_to_is_there(name: str) -> None:
    objects = overlay(name)
    there = {(o["kind"], o["metadata"]["name"]) for o in objects}
    made_by_hand = {"registry-database", "registry-s3", "micserve-tls"}
    for work in workloads(objects):
        assert ("ServiceAccount", work.pod["serviceAccountName"]) in there, work
        claims = [
            v["persistentVolumeClaim"]["claimName"]
            for v in work.pod["volumes"]
            if "persistentVolumeClaim" in v
        ]
        assert {("PersistentVolumeClaim", claim) for claim in claims} <= there, work
        mounted = {m["name"] for c in work.pod["containers"] for m in c["volumeMounts"]}
        own = {t["metadata"]["name"] for t in work.spec.get("volumeClaimTemplates", [])}
        assert mounted <= {v["name"] for v in work.pod["volumes"]} | own, work
    text = yaml.safe_dump_all(objects)
    secrets = set(re.findall(r"secret(?:Key)?Ref:\s+(?:key: \S+\s+)?name: (\S+)", text))
    assert secrets <= made_by_hand
    for entry in objects:
        if entry["kind"] == "ScaledObject":
            assert ("Deployment", entry["spec"]["scaleTargetRef"]["name"]) in there
        if entry["kind"] == "Service":
            pods = [o for o in objects if _selected(entry["spec"]["selector"], o)]
            assert len(pods) == 1, entry["metadata"]["name"]


def _selected(selector: dict[str, str], entry: Object) -> bool:
    template = entry.get("spec", {}).get("template", {})
    labels = template.get("metadata", {}).get("labels", {}) if isinstance(template, dict) else {}
    return selector.items() <= labels.items()


@pytest.mark.parametrize("name", OVERLAYS)
def test_images_ports_users_and_folders_are_those_of_the_containers(name: str) -> None:
    objects, common = overlay(name), IMAGES["common"]
    for family, image in IMAGES["images"].items():
        if family.startswith("train-"):
            template = named(objects, "PodTemplate", family)
            families = {
                k.split("/")[1]
                for k in template["metadata"]["labels"]
                if "training" in k and "/" in k and k.startswith("training.micserve/")
            }
            assert families == set(image["families"])
            continue
        pod, main = _pod(objects, family), container(objects, family)
        assert main["ports"] == [{"name": "http", "containerPort": image["port"]}]
        service = named(objects, "Service", family)
        assert service["spec"]["ports"][0]["port"] == image["port"]
        assert pod["securityContext"]["runAsUser"] == common["uid"]
        assert common["home"] in [m["mountPath"] for m in main["volumeMounts"]]
        assert main["readinessProbe"]["httpGet"]["path"] in (image["ready"], "/livez")
        assert f"{common['prefix']}{family}:" in main["image"]
    for work in workloads(objects):
        for each in work.pod.get("initContainers", []) + work.pod["containers"]:
            if each["image"].startswith(common["prefix"]):
                tag = each["image"].split(":")[1]
                assert tag.removesuffix("-gpu") == __version__


@pytest.mark.parametrize("name", OVERLAYS)
def test_settings_addresses_and_routes_are_those_of_the_code(name: str) -> None:
    objects = overlay(name)
    known = {
        f"MICSERVE_{field.upper()}"
        for kind in (ServiceSettings, GatewaySettings, RegistryServerSettings)
        for field in kind.model_fields
    }
    ports = {
        o["metadata"]["name"]: o["spec"]["ports"][0]["port"]
        for o in objects
        if o["kind"] == "Service"
    }
    settings = dict(named(objects, "ConfigMap", "settings")["data"])
    for work in workloads(objects):
        for each in work.pod.get("initContainers", []) + work.pod["containers"]:
            for entry in each.get("env", []):
                if entry["name"].startswith("MICSERVE_"):
                    assert entry["name"] in known, (work, entry)
                settings[entry["name"]] = entry.get("value", "")
    assert {name for name in settings if name.startswith("MICSERVE_")} <= known
    for setting, address in settings.items():
        if (
            setting.endswith("_URL") and setting.startswith("MICSERVE_")
        ) or setting == "MICSERVE_REGISTRY":
            host, port = address.removeprefix("http://").split(":")
            assert ports[host] == int(port), setting
    assert GatewaySettings(**{f"{f}_url": "http://x" for f in FAMILIES})
    assert {f"MICSERVE_{family.upper()}_URL" for family in FAMILIES} <= set(settings)
    paths = {route.path for app in (create_app(), inference_app("n2v")) for route in app.routes}
    for work in workloads(objects):
        for each in work.pod["containers"]:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = each.get(probe, {}).get("httpGet", {}).get("path")
                assert asked is None or asked in paths | {"/health"}


def test_a_job_may_do_what_the_gateway_asks_of_it() -> None:
    """The verbs of the role are those of the calls in the executor; a test of its own runs them."""
    rules_of_role = named(overlay("dev"), "Role", "gateway")["rules"]
    allowed = {
        (r, verb) for rule in rules_of_role for r in rule["resources"] for verb in rule["verbs"]
    }
    assert ("jobs", "create") in allowed
    assert not {verb for _, verb in allowed} - {"create", "get", "list", "delete"}


def test_the_operators_rules_are_the_ones_that_promtool_tests() -> None:
    assert rules.TARGET.read_text(encoding="utf-8") == rules.envelope()


def test_scaling_asks_for_metrics_that_exist() -> None:
    scaled = [o for o in overlay("facility") if o["kind"] == "ScaledObject"]
    assert {o["metadata"]["name"] for o in scaled} == set(FAMILIES)
    to_zero = {o["metadata"]["name"] for o in scaled if o["spec"]["minReplicaCount"] == 0}
    assert to_zero == {"unet", "fnet"}
    queries = [t["metadata"]["query"] for o in scaled for t in o["spec"]["triggers"]]
    used = {name for query in queries for name in re.findall(r"micserve_[a-z_]+", query)}
    assert used <= exposed()
    replicas = [named(overlay("facility"), "Deployment", f)["spec"] for f in FAMILIES]
    assert not [spec for spec in replicas if "replicas" in spec]


def test_dashboards_arrive_whole_in_the_cluster() -> None:
    data = named(overlay("facility"), "ConfigMap", "dashboards")["data"]
    folder = ROOT / "containers" / "monitoring" / "dashboards"
    assert data == {file.name: file.read_text() for file in folder.glob("*.json")}


def test_images_are_pinned_to_digests_by_one_command(tmp_path: Path) -> None:
    asked = []

    def resolve(address: str) -> str:
        asked.append(address)
        return f"sha256:{len(asked):064x}"

    source = (pin.IMAGES / "gpu" / "kustomization.yaml").read_text()
    if "newTag" not in source:
        pytest.skip("the images are pinned in this checkout")
    content = yaml.safe_load(pin.pinned(source, prefix="registry.example/m/", resolve=resolve))
    names = {image["name"] for image in content["images"]}
    assert names == {f"micserve-{name}" for name in IMAGES["images"]} | {"postgres"}
    assert f"registry.example/m/micserve-n2v:{__version__}-gpu" in asked
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", image["digest"]) for image in content["images"])


def test_the_policy_is_a_command_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    objects = overlay("dev")
    container(objects, "n2v").pop("livenessProbe")
    file.write_text(yaml.safe_dump_all(objects))
    command = [sys.executable, "-m", "k8s.policy", str(file)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "Deployment n2v, service: has no livenessProbe" in ran.stdout
