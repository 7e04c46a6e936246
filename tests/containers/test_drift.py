"""Names, ports, settings and routes are written down in several places; here they are compared."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from micserve import __version__
from micserve.families import FAMILIES
from micserve.serving.settings import ServiceSettings
from services.gateway.settings import GatewaySettings
from services.local.__main__ import LocalSettings, parts
from services.registry.settings import RegistryServerSettings

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ROOT / "containers"
FILE = tomllib.loads((CONTAINERS / "images.toml").read_text(encoding="utf-8"))
COMMON, IMAGES = FILE["common"], FILE["images"]
DOCKERFILES = sorted(CONTAINERS.glob("*.Dockerfile"))
COMPOSE = {path.name: yaml.safe_load(path.read_text()) for path in CONTAINERS.glob("compose*.yaml")}
SERVICES: dict[str, dict[str, Any]] = COMPOSE["compose.yaml"]["services"]
OURS = {name: service for name, service in SERVICES.items() if name in IMAGES}

SETTINGS = {
    f"MICSERVE_{name.upper()}"
    for kind in (ServiceSettings, GatewaySettings, RegistryServerSettings, LocalSettings)
    for name in kind.model_fields
} | {"MICSERVE_IMAGE"}


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Instruction and its words, with continued lines joined and comments left out."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(word.upper(), " ".join(rest.split())) for word, rest in found]


def of_last_stage(dockerfile: Path) -> list[tuple[str, str]]:
    found = instructions(dockerfile)
    last = max(i for i, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


def variables(dockerfile: Path) -> dict[str, str]:
    words = " ".join(rest for word, rest in of_last_stage(dockerfile) if word == "ENV").split()
    return dict(word.partition("=")[::2] for word in words)


def test_every_dockerfile_is_an_image_and_every_image_has_one() -> None:
    assert {image["dockerfile"] for image in IMAGES.values()} == {p.name for p in DOCKERFILES}


def test_there_is_an_image_for_every_family_and_its_trainer() -> None:
    assert {i["service"] for i in IMAGES.values() if "service" in i} == set(FAMILIES)
    trained = [family for image in IMAGES.values() for family in image.get("families", ())]
    assert sorted(trained) == sorted(FAMILIES)
    for name, image in IMAGES.items():
        if "families" in image:
            stack = name.removeprefix("train-")
            makefile = (ROOT / "Makefile").read_text()
            for family in image["families"]:
                assert re.search(rf"^STACK_{family} := {stack}$", makefile, re.MULTILINE)


def test_ports_and_probes_of_the_images_are_those_of_the_code() -> None:
    written = {name: (i["port"], i["ready"]) for name, i in IMAGES.items() if "port" in i}
    assert written == {
        part.name: (part.port, part.ready_path) for part in parts(LocalSettings.model_construct())
    }


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_keeps_the_rules(dockerfile: Path) -> None:
    stages = [rest for word, rest in instructions(dockerfile) if word == "FROM"]
    assert len(stages) == 2
    assert {stage.split()[0] for stage in stages} == {COMMON["base"]}
    last = of_last_stage(dockerfile)
    words = dict(last)
    assert words["USER"] == f"{COMMON['uid']}:{COMMON['gid']}"
    assert words["WORKDIR"] == COMMON["app"]
    assert variables(dockerfile)["MICSERVE_HOME"] == COMMON["home"] == words["VOLUME"]
    assert words["STOPSIGNAL"] in {"SIGTERM", "SIGINT"}
    for label in ("version", "source", "revision", "licenses"):
        assert f"org.opencontainers.image.{label}=" in words["LABEL"]
    # What builds stays in the first stage.
    assert not any("apt-get" in rest or "pip " in rest for _, rest in last)
    assert any("--require-hashes" in rest for word, rest in instructions(dockerfile))


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_listens_where_it_says_and_has_a_health_check(name: str) -> None:
    image = IMAGES[name]
    words = dict(of_last_stage(CONTAINERS / image["dockerfile"]))
    if "port" in image:
        assert str(image["port"]) in words["EXPOSE"].split()
        assert "healthcheck.py" in words["HEALTHCHECK"]
    else:
        assert "EXPOSE" not in words


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_its_packages_pinned_with_hashes_for_each_device(name: str) -> None:
    image = IMAGES[name]
    text = (CONTAINERS / image["dockerfile"]).read_text()
    for device in ("cpu", "gpu"):
        lock = CONTAINERS / "requirements" / f"{image['requirements']}-{device}.lock"
        assert lock.exists() == (device in image["devices"])
    assert f"requirements/{image['requirements']}-${{DEVICE}}.lock" in text


@pytest.mark.parametrize(
    "lock", sorted((CONTAINERS / "requirements").glob("*.lock")), ids=lambda path: path.name
)
def test_every_package_of_a_lock_has_a_hash_and_the_version_that_is_tested(lock: Path) -> None:
    entries = re.findall(
        r"^(\S+)==(\S+)(.*(?:\n    --hash=\S+.*)*)", lock.read_text(), re.MULTILINE
    )
    assert len(entries) > 50
    tested = _tested(lock.name)
    for name, version, rest in entries:
        assert "--hash=sha256:" in rest, name
        plain = re.sub(r"[-_.]+", "-", name.lower()).partition("[")[0]
        if plain in tested and lock.stem.endswith("-cpu"):
            assert version.partition("+")[0] == tested[plain], name


def _tested(lock: str) -> dict[str, str]:
    """Normalised name to version in the requirement file that the tests are run with."""
    stack = re.match(r"train-(\w+)-", lock)
    path = CONTAINERS / "requirements" / "serve.txt"
    if stack:
        path = ROOT / "training" / f"requirements-{stack[1]}.txt"
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name.lower()): version for name, version in found}


def test_compose_runs_every_service_of_make_up() -> None:
    assert set(OURS) == {part.name for part in parts(LocalSettings.model_construct())}


@pytest.mark.parametrize("file", COMPOSE)
def test_compose_takes_the_images_that_are_built_in_the_version_that_this_is(file: str) -> None:
    for name, service in COMPOSE[file]["services"].items():
        if name in IMAGES and "image" in service:
            suffix = "-gpu" if file == "compose.gpu.yaml" else ""
            version = f"${{MICSERVE_VERSION:-{__version__}}}{suffix}"
            assert service["image"] == f"${{MICSERVE_IMAGES:-}}micserve-{name}:{version}"


@pytest.mark.parametrize("name", OURS)
def test_compose_runs_our_containers_without_rights(name: str) -> None:
    service = OURS[name]
    assert service["user"] == f"{COMMON['uid']}:{COMMON['gid']}"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [volume.partition(":")[2] for volume in service["volumes"]] == [COMMON["home"]]


@pytest.mark.parametrize("name", OURS)
def test_compose_uses_settings_and_addresses_that_exist(name: str) -> None:
    environment: dict[str, str] = OURS[name]["environment"]
    assert {key for key in environment if key.startswith("MICSERVE_")} <= SETTINGS
    for key, value in environment.items():
        address = re.fullmatch(r"http://([a-z0-9]+):(\d+)", str(value))
        if address:
            assert IMAGES[address[1]]["port"] == int(address[2]), key
    for port in OURS[name].get("ports", ()):
        assert port.endswith(f":{IMAGES[name]['port']}")


def test_the_gateway_of_compose_knows_every_family() -> None:
    environment = OURS["gateway"]["environment"]
    assert {f"MICSERVE_{family.upper()}_URL" for family in FAMILIES} <= set(environment)


def test_prometheus_asks_every_service_of_compose_that_has_metrics() -> None:
    config = yaml.safe_load((CONTAINERS / "monitoring" / "prometheus.yml").read_text())
    targets = {
        target
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    }
    assert {f"{n}:{IMAGES[n]['port']}" for n in OURS if n != "registry"} <= targets


def test_settings_that_compose_reads_are_in_its_example() -> None:
    example = (CONTAINERS / "env.example").read_text()
    for file in COMPOSE:
        text = (CONTAINERS / file).read_text()
        asked = set(re.findall(r"\$\{([A-Z0-9_]+)", text)) - {"MICSERVE_VERSION"}
        missing = {name for name in asked if f"{name}=" not in example}
        assert not missing, file


def test_no_file_names_a_registry_or_a_place_of_one_machine() -> None:
    for path in [*DOCKERFILES, *CONTAINERS.glob("*.yaml"), *CONTAINERS.glob("*.toml")]:
        text = path.read_text()
        assert not re.search(r"[a-z0-9-]+\.(io|com|org)/", text), path.name
        assert "latest" not in re.findall(r"image: \S+:(\S+)", text)


def test_what_an_image_holds_is_what_the_engine_is_given() -> None:
    given = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        word.split("/")[0]
        for path in DOCKERFILES
        for instruction, rest in instructions(path)
        if instruction == "COPY" and "--from" not in rest
        for word in rest.split()[:-1]
    }
    assert copied == given


def test_dashboards_are_json() -> None:
    for path in (CONTAINERS / "monitoring" / "dashboards").glob("*.json"):
        assert json.loads(path.read_text())["panels"]
