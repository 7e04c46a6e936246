"""Every prediction says how far its image is from the training images; maps are there to ask."""

import httpx
import numpy as np
import pytest

from micserve.client import Client
from micserve.codecs import image_to_bytes, read_image
from micserve.image import Image
from micserve.registry import ModelVersion
from micserve.trust import measure_envelope
from micserve.trust.envelope import KEY
from tests.services.conftest import Stack
from tests.support.published import publish_denoiser


def _noise(seed: int, size: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, (size, size)).clip(0).astype(np.uint16)


@pytest.fixture(scope="module")
def trusted(stack: Stack) -> ModelVersion:
    envelope = measure_envelope([[_noise(seed)[None]] for seed in range(8)])
    assert envelope is not None
    return publish_denoiser(
        stack.registry,
        stack.home,
        "spots-trusted",
        seed=5,
        training={KEY: envelope.model_dump(mode="json")},
    )


def _sent(pixels: np.ndarray) -> bytes:
    return image_to_bytes(Image(pixels, "YX"))


def test_the_light_is_in_the_header_and_in_the_files_info(
    web: httpx.Client, trusted: ModelVersion
) -> None:
    answer = web.post(f"/v1/models/{trusted.name}/predict", content=_sent(_noise(20)))
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Micserve-Trust"].startswith("green; ")
    assert "trust = green; " in read_image(answer.content).info


def test_a_flat_image_is_red_with_a_reason_in_words(
    web: httpx.Client, trusted: ModelVersion
) -> None:
    smooth = np.linspace(90, 110, 128 * 128).reshape(128, 128).astype(np.float32)
    answer = web.post(f"/v1/models/{trusted.name}/predict", content=_sent(smooth))
    light, _, reason = answer.headers["X-Micserve-Trust"].partition("; ")
    assert light == "red"
    assert "than the training images" in reason


def test_a_package_without_statistics_says_that_nothing_is_known(web: httpx.Client) -> None:
    answer = web.post("/v1/models/spots/predict", content=_sent(_noise(21)))
    assert answer.headers["X-Micserve-Trust"].startswith("unknown; no training statistics")
    refused = web.post("/v1/models/spots/predict?trust=maps", content=_sent(_noise(21)))
    assert refused.status_code == 422
    assert "no training statistics" in refused.json()["detail"]


def test_the_maps_come_as_named_channels(web: httpx.Client, trusted: ModelVersion) -> None:
    answer = web.post(f"/v1/models/{trusted.name}/predict?trust=maps", content=_sent(_noise(22)))
    assert answer.status_code == 200, answer.text
    maps = read_image(answer.content)
    assert (maps.axes, maps.data.shape) == ("CYX", (3, 128, 128))
    assert maps.labels == ("distance from the training images", "inconsistency", "residual")
    assert np.isfinite(maps.data).all()
    assert "spots-trusted-trust.tif" in answer.headers["Content-Disposition"]


def test_an_unknown_wish_is_refused_in_words(web: httpx.Client, trusted: ModelVersion) -> None:
    answer = web.post(f"/v1/models/{trusted.name}/predict?trust=please", content=_sent(_noise(1)))
    assert answer.status_code == 422
    assert "trust=please is not known" in answer.json()["detail"]


def test_the_client_remembers_the_light_of_the_last_prediction(
    stack: Stack, trusted: ModelVersion
) -> None:
    with Client(stack.gateway.url) as client:
        client.predict(trusted.name, Image(_noise(23), "YX"))
        assert client.trust.startswith("green")
        client.predict("spots", Image(_noise(23), "YX"))
        assert client.trust.startswith("unknown")
