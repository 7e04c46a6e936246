"""The images, built here and run as a facility runs them: not root, read-only, without rights."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from micserve.codecs import image_to_bytes, read_image, write_tiff
from micserve.image import Image
from micserve.registry import RegistrySettings, open_registry
from micserve.synthetic import SpotsRecipe, create_spots
from tests.support.containers import IMAGES, ROOT, Engine, asked_for, missing, reference
from tests.support.published import publish_denoiser
from tests.support.stack import free_port

ASKED = asked_for()
SERVICES = [name for name in ASKED if "service" in IMAGES.get(name, {})]
SMALL = SpotsRecipe(width=160, height=160, small_count=10, large_count=10)
TRAINERS = {family: name for name in ASKED for family in IMAGES[name].get("families", ())}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600 * max(3, len(ASKED))),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine.prepare()
    engine.build(ASKED)
    yield engine
    engine.close()


@dataclass(frozen=True)
class Stack:
    """Registry, the services and the gateway as containers on free ports."""

    engine: Engine
    names: dict[str, str]
    urls: dict[str, str]


@pytest.fixture(scope="module")
def registry_url(engine: Engine, request: pytest.FixtureRequest) -> Iterator[str]:
    """The registry as a container where its image is asked for, else as a process."""
    if "registry" not in ASKED:
        yield request.getfixturevalue("registry_server").url
        return
    port = free_port()
    name = engine.start(
        "registry", MICSERVE_REGISTRY_HOST="127.0.0.1", MICSERVE_REGISTRY_PORT=str(port)
    )
    url = f"http://127.0.0.1:{port}"
    engine.wait(name, f"{url}/health", lambda answer: answer.status_code == 200)
    yield url
    assert engine.inside(name, "python", "/app/containers/healthcheck.py") == ""
    engine.stop(name)


@pytest.fixture(scope="module")
def stack(engine: Engine, registry_url: str, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    if "n2v" not in ASKED or "gateway" not in ASKED:
        pytest.skip("needs the images n2v and gateway")
    folder = tmp_path_factory.mktemp("containers")
    settings = RegistrySettings(cache=folder / "cache")
    registry = open_registry(registry_url, settings=settings)
    publish_denoiser(registry, folder, "contained-spots", seed=1)
    names, urls = {}, {}
    settings = {"MICSERVE_REGISTRY": registry_url, "MICSERVE_SERVICE_HOST": "127.0.0.1"}
    for family in SERVICES:
        port = free_port()
        urls[family] = f"http://127.0.0.1:{port}"
        names[family] = engine.start(
            family,
            **settings,
            **{f"MICSERVE_{family.upper()}_PORT": str(port)},
            MICSERVE_PROVIDER="cpu",
            MICSERVE_POLL_S="0.5",
            **({"MICSERVE_MODELS": "contained-spots"} if family == "n2v" else {}),
        )
    port = free_port()
    urls["gateway"] = f"http://127.0.0.1:{port}"
    # The image listens on all addresses of its container, so that accounts are on.
    names["gateway"] = engine.start(
        "gateway",
        MICSERVE_REGISTRY=registry_url,
        MICSERVE_GATEWAY_PORT=str(port),
        MICSERVE_GATEWAY_HOST="127.0.0.1",
        MICSERVE_ACCOUNTS="on",
        **{f"MICSERVE_{family.upper()}_URL": urls[family] for family in SERVICES},
    )
    for part, name in names.items():
        engine.wait(name, f"{urls[part]}/readyz", lambda answer: answer.status_code == 200)
    return Stack(engine, names, urls)


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    """Made as the operations guide says it: inside the gateway's container."""
    words = ("python", "-m", "micserve", "token", "create", "ada@example.org")
    printed = stack.engine.inside(stack.names["gateway"], *words)
    return next(word for word in printed.split() if word.startswith("mic_"))


@pytest.mark.parametrize("image", ASKED)
def test_an_image_is_not_root_and_holds_no_compiler(engine: Engine, image: str) -> None:
    script = "id -u; id -g; touch /app/x; touch /var/lib/micserve/x && echo writes-home; "
    script += "for tool in gcc cc g++ make strip git; do command -v $tool; done; true"
    printed = engine.once(image, "sh", "-c", script)
    assert printed.split()[:2] == ["10001", "10001"]
    assert "cannot touch '/app/x'" in printed
    assert "writes-home" in printed
    assert "bin/" not in printed


@pytest.mark.parametrize("image", ASKED)
def test_an_image_says_what_it_is(engine: Engine, image: str) -> None:
    labels = engine.podman("inspect", "--format", "{{json .Labels}}", reference(image)).stdout
    assert f'"org.opencontainers.image.title":"micserve-{image}"' in labels
    assert '"org.opencontainers.image.version"' in labels
    assert '"org.opencontainers.image.source"' in labels


@pytest.mark.parametrize("image", [name for name in ASKED if "limit_mb" in IMAGES[name]])
def test_an_image_is_as_small_as_was_promised(engine: Engine, image: str) -> None:
    size = int(engine.podman("inspect", "--format", "{{.Size}}", reference(image)).stdout)
    assert size / 1e6 < IMAGES[image]["limit_mb"]


def test_the_demo_image_is_predicted_through_the_containers(stack: Stack, token: str) -> None:
    noisy = Image(create_spots(SpotsRecipe.slides(), seed=2026).noisy, "YX")
    url = f"{stack.urls['gateway']}/v1/models/contained-spots/predict"
    refused = httpx.post(url, content=image_to_bytes(noisy), timeout=120)
    assert refused.status_code == 403
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(url, content=image_to_bytes(noisy), headers=headers, timeout=300)
    assert answer.status_code == 200, answer.text
    result = read_image(answer.content)
    assert result.data.shape == noisy.data.shape
    assert "micserve.model = contained-spots" in result.info


def test_health_checks_agree_with_the_services(stack: Stack) -> None:
    for name in stack.names.values():
        done = stack.engine.podman("healthcheck", "run", name, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_health_check_says_why_a_service_is_not_ready(engine: Engine) -> None:
    if not SERVICES:
        pytest.skip("needs the image of a service")
    family, port = SERVICES[0], str(free_port())
    away = f"http://127.0.0.1:{free_port()}"
    name = engine.start(
        family,
        **{f"MICSERVE_{family.upper()}_PORT": port},
        MICSERVE_REGISTRY=away,
        MICSERVE_SERVICE_HOST="127.0.0.1",
    )
    engine.wait(name, f"http://127.0.0.1:{port}/readyz", lambda answer: away in answer.text)
    printed = engine.inside(name, "python", "/app/containers/healthcheck.py", check=False)
    assert away in printed
    assert engine.stop(name) == 0


def test_what_the_containers_wrote_is_in_the_volume_and_nowhere_else(
    stack: Stack, token: str
) -> None:
    gateway = stack.names["gateway"]
    changed = stack.engine.podman("diff", gateway).stdout.split()
    assert not [path for path in changed if path.startswith(("/app", "/opt", "/usr/lib"))]
    assert "accounts" in stack.engine.inside(gateway, "ls", "/var/lib/micserve")


@pytest.mark.parametrize("family", TRAINERS)
def test_a_training_in_a_container_publishes_a_version(
    engine: Engine, registry_url: str, family: str, tmp_path: Path
) -> None:
    if family not in {"n2v", "fnet", "care"}:
        pytest.skip(f"{TRAINERS[family]} is tried with another family")
    data = tmp_path / "images"
    for seed in (1, 2):
        spots = create_spots(SMALL, seed=seed)
        for kind, pixels in (("noisy", spots.noisy), ("clean", spots.clean)):
            (data / kind).mkdir(parents=True, exist_ok=True)
            write_tiff(Image(pixels, "YX"), data / kind / f"{seed}.tif")
    home = tmp_path / "home"
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "containers/train.py", family, "--engine", "podman", "--"),
            *("--name", f"contained-{family}", "--data", data / "noisy"),
            *_small(family, data),
        ],
        env={**engine.environment, "MICSERVE_HOME": str(home), "MICSERVE_REGISTRY": registry_url},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    settings = RegistrySettings(cache=tmp_path / "cache")
    registry = open_registry(registry_url, settings=settings)
    [version] = registry.list_versions(f"contained-{family}")
    assert version.verification is not None
    assert version.verification.passed
    owners = {path.stat().st_uid for path in home.rglob("*")}
    assert owners == {os.getuid()}


def _small(family: str, data: Path) -> list[str]:
    """A training of seconds: what is tried is the container, not the network."""
    small = ["--number_of_epochs", "1", "--number_of_steps", "2", "--batch_size", "2"]
    return small if family == "n2v" else [*small, "--target", str(data / "clean")]


def test_services_end_cleanly_when_they_are_told_to(stack: Stack) -> None:
    for family in SERVICES:
        assert stack.engine.stop(stack.names[family]) == 0
    # uvicorn ends by the signal that it was sent, when its last answer is out.
    assert stack.engine.stop(stack.names["gateway"]) in (0, 143)
