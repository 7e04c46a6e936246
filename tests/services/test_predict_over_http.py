"""An image goes out over HTTP and comes back as the same image, denoised."""

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile

from micserve.backends.onnx import OnnxBackend
from micserve.client import Client
from micserve.codecs import image_to_bytes, read_image
from micserve.image import Image
from micserve.predict import LoadedModel, predict
from micserve.serving.loading import PackageLoader
from tests.services.conftest import Stack, spots, tiff

PREDICT = "/v1/models/spots/predict"


@pytest.fixture(scope="session")
def here(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The same model in this process."""
    load = PackageLoader(
        stack.registry, folder=tmp_path_factory.mktemp("networks"), provider="cpu", threads=1
    )
    model = load(stack.version).model
    assert isinstance(model.backend, OnnxBackend)
    return model


def in_process(image: Image, model: LoadedModel, **asked: object) -> Image:
    return predict(image, model, model.family.parameters(**asked)).image


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels_are_those_of_a_prediction_in_process(
    web: httpx.Client, here: LoadedModel, dtype: str
) -> None:
    image = spots(70, 90, dtype=dtype)
    answer = web.post(PREDICT, content=image_to_bytes(image))
    assert answer.status_code == 200, answer.text
    got = read_image(answer.content)
    assert got.dtype.newbyteorder("=") == np.float32
    # Rounding only: the service may run another number of threads.
    np.testing.assert_allclose(got.data, in_process(image, here).data, rtol=1e-4, atol=1e-3)


def test_a_hyperstack_comes_back_with_its_axes_calibration_and_frame_interval(
    web: httpx.Client, here: LoadedModel
) -> None:
    image = spots(2, 3, 2, 40, 50)
    answer = web.post(
        PREDICT,
        content=image_to_bytes(image),
        params={"channel": "all", "output_dtype": "input"},
    )
    assert answer.status_code == 200, answer.text
    got = read_image(answer.content)
    assert (got.axes, got.data.shape) == ("TZCYX", (2, 3, 2, 40, 50))
    assert got.dtype.newbyteorder("=") == np.uint16
    assert got.calibration == image.calibration
    expected = in_process(image, here, channel="all", output_dtype="input").data
    # Rounded to integers after float rounding, so that one grey value may differ.
    assert np.abs(got.data.astype(int) - expected.astype(int)).max() <= 1


def test_one_channel_of_several_is_chosen_by_its_number(web: httpx.Client) -> None:
    image = spots(3, 32, 32, axes="CYX")
    answer = web.post(PREDICT, content=image_to_bytes(image), params={"channel": 2})
    assert read_image(answer.content).axes == "YX"


def test_png_and_big_endian_and_little_endian_tiff_give_the_same_result(web: httpx.Client) -> None:
    image = spots(40, 44)
    little, big = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(little, image.data, byteorder="<")
    tifffile.imwrite(big, image.data, byteorder=">")
    png = image_to_bytes(image, format="png")
    results = [
        read_image(web.post(PREDICT, content=body).content).data
        for body in (little.getvalue(), big.getvalue(), png)
    ]
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()


def test_a_form_with_one_file_is_as_good_as_a_raw_body(web: httpx.Client) -> None:
    body = tiff(32, 32)
    raw = web.post(PREDICT, content=body)
    form = web.post(PREDICT, files={"image": ("in.tif", body)})
    assert raw.content == form.content


def test_an_upload_of_unknown_length_is_accepted(web: httpx.Client) -> None:
    body = tiff(32, 32)
    pieces = (body[at : at + 500] for at in range(0, len(body), 500))
    assert web.post(PREDICT, content=pieces).status_code == 200


def test_the_answer_says_what_made_it(web: httpx.Client, stack: Stack) -> None:
    answer = web.post(PREDICT, content=tiff(32, 32), headers={"X-Request-Id": "from-a-test"})
    headers = answer.headers
    assert headers["x-micserve-model"] == "spots"
    assert headers["x-micserve-version"] == str(stack.version.version)
    assert headers["x-micserve-digest"] == f"sha256:{stack.version.digest}"
    assert headers["x-micserve-request-id"] == "from-a-test"
    assert int(headers["content-length"]) == len(answer.content)
    assert {"decode", "infer", "encode", "queue"} <= {
        part.split(";")[0].strip() for part in headers["server-timing"].split(",")
    }
    info = read_image(answer.content).info
    assert f"micserve.digest = sha256:{stack.version.digest}" in info
    assert "micserve.version = 1" in info


def test_an_image_unlike_the_training_images_gets_a_warning(web: httpx.Client) -> None:
    image = spots(32, 32)
    coarse = image.with_data(
        image.data + np.uint16(5000), calibration=type(image.calibration)(1.0, 1.0, 1.0, "um")
    )
    answer = web.post(PREDICT, content=image_to_bytes(coarse))
    warnings = answer.headers["x-micserve-warnings"]
    assert "1 um per pixel" in warnings
    assert "middle grey value is 50" in warnings
    assert "x-micserve-warnings" not in web.post(PREDICT, content=tiff(32, 32)).headers


def test_the_python_client_gives_an_image_or_a_file(stack: Stack, tmp_path: Path) -> None:
    image = spots(48, 40)
    source, target = tmp_path / "in.tif", tmp_path / "new folder" / "out.tif"
    source.write_bytes(image_to_bytes(image))
    sent: list[tuple[int, int]] = []
    with Client(stack.gateway.url) as client:
        as_image = client.predict("spots", image)
        client.predict(
            "spots@1", source, to=target, progress=lambda done, total: sent.append((done, total))
        )
        assert {"spots", "spots-other"} <= {model["name"] for model in client.models()}
        assert client.model("spots")["versions"][-1]["version"] == 1
    assert (read_image(target).data == as_image.data).all()
    assert sent[-1] == (source.stat().st_size,) * 2
    assert [path.name for path in target.parent.iterdir()] == ["out.tif"]
