"""The same prediction twice: TIFF bytes to TIFF bytes in this process, and over HTTP."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from micserve.artifact.package import open_package
from micserve.backends.onnx import OnnxBackend
from micserve.codecs import image_to_bytes, read_image
from micserve.families.base import RestorationParameters
from micserve.image import Image
from micserve.predict import LoadedModel, predict
from micserve.registry import Registry, RegistrySettings, open_registry
from tests.bench.parts import seconds
from tests.support.packages import small_package
from tests.support.published import VERIFIED
from tests.support.registry_server import RegistryServer
from tests.support.stack import Program, gateway, n2v_service


def http_seconds(
    grey: NDArray[np.uint16], network: Path, *, repeats: int
) -> tuple[list[float], list[float]]:
    """(seconds over HTTP, seconds in this process) of one prediction, gateway and service warm."""
    body = image_to_bytes(Image(grey, "YX"))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        package = small_package(home / "bench.zip", name="bench", onnx=network, heads=HEADS)
        opened = open_package(package, into=home / "opened")

        def publish(registry: Registry) -> None:
            version = registry.publish(
                package, name="bench", run_id=None, contract=opened.contract, verification=VERIFIED
            )
            registry.promote(version.ref, "production", by="bench", reason="bench")

        with running(home, publish) as (service, door):
            with httpx.Client(base_url=door.url, timeout=600) as client:
                over_http = seconds(lambda: _post(client, body), repeats=repeats)
            service.stop()
            model = LoadedModel(opened.contract, OnnxBackend(opened.onnx), 1, opened.digest)
            return over_http, seconds(lambda: _convert(body, model), repeats=repeats)


@contextmanager
def running(home: Path, publish: Callable[[Registry], object]) -> Iterator[tuple[Program, Program]]:
    """A service and a gateway, both ready, with what `publish` puts into their registry."""
    server = RegistryServer(home)
    server.start()
    service = n2v_service(home, server.url)
    door = gateway(home, server.url, n2v=service.url)
    try:
        publish(open_registry(server.url, settings=RegistrySettings(cache=home / "cache")))
        service.start()
        door.start()
        yield service, door
    finally:
        door.stop()
        service.stop()
        server.kill()


HEADS = {"activation": 1}
"""As tf2onnx calls the output of the n2v package's network."""


def _post(client: httpx.Client, body: bytes) -> bytes:
    answer = client.post("/v1/models/bench/predict", content=body)
    answer.raise_for_status()
    return answer.content


def _convert(body: bytes, model: LoadedModel) -> bytes:
    return image_to_bytes(predict(read_image(body), model, RestorationParameters()).image)
