"""What the gateway lists, hands out and judges."""

import csv
import hashlib
import html
import io
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest

from micserve.client import Client
from micserve.codecs import image_to_bytes, read_image
from tests.services.conftest import Stack, spots, tiff


def test_models_are_listed_for_programs_and_for_macros(web: httpx.Client) -> None:
    listing = web.get("/v1/models").json()
    (model,) = [m for m in listing["models"] if m["name"] == "spots"]
    assert (model["family"], model["production"], model["axes"]) == ("n2v", 1, "YX")
    rows = list(csv.DictReader(io.StringIO(web.get("/v1/models.tsv").text), delimiter="\t"))
    (row,) = [r for r in rows if r["name"] == "spots"]
    assert (row["family"], row["production"]) == ("n2v", "1")


def test_a_version_says_which_parameters_it_takes(web: httpx.Client, stack: Stack) -> None:
    by_alias = web.get("/v1/models/spots/versions/production").json()
    assert by_alias == web.get("/v1/models/spots/versions/1").json() | {
        "aliases": by_alias["aliases"]
    }
    assert by_alias["digest"] == f"sha256:{stack.version.digest}"
    parameters = {p["name"]: p for p in by_alias["parameters"]}
    assert parameters["output_dtype"]["enum"] == ["float32", "uint16", "uint8", "input"]
    assert parameters["output_dtype"]["default"] == "float32"
    assert all(p["description"] for p in parameters.values())
    assert web.get("/v1/models/spots").json()["versions"][0]["version"] == 1


def test_the_package_is_the_one_that_was_published(web: httpx.Client, stack: Stack) -> None:
    for _ in range(2):
        answer = web.get("/v1/models/spots/versions/production/package")
        assert hashlib.sha256(answer.content).hexdigest() == stack.version.digest
        assert int(answer.headers["content-length"]) == len(answer.content)
    assert "spots-1.zip" in answer.headers["content-disposition"]


def test_the_report_kept_with_a_version_is_handed_out(
    web: httpx.Client, stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text("<p>better</p>")
    version = stack.registry.resolve(stack.version.ref.model_copy(update={"name": "spots-other"}))
    stack.registry.attach_qc(version, {"beats_gaussian": True}, tmp_path)
    path = "/v1/models/spots-other/versions/1/qc"
    assert web.get(path).json()["summary"] == {"beats_gaussian": True}
    page = web.get(path, headers={"Accept": "text/html"})
    assert (page.text, page.headers["content-type"]) == (
        "<p>better</p>",
        "text/html; charset=utf-8",
    )
    assert web.get(path, headers={"Accept": "application/pdf"}).status_code == 406


def test_a_models_page_has_a_curl_line_that_works_as_printed(
    web: httpx.Client, tmp_path: Path
) -> None:
    page = web.get("/models/spots").text
    (line,) = re.findall(r">(curl [^<]*)</pre>", page)
    assert "version=1" in line
    (tmp_path / "image.tif").write_bytes(tiff(32, 32))
    subprocess.run(shlex.split(html.unescape(line)), cwd=tmp_path, check=True)
    assert read_image(tmp_path / "result.tif").data.shape == (32, 32)


def test_a_models_page_has_python_lines_that_work_as_printed(
    web: httpx.Client, tmp_path: Path
) -> None:
    page = web.get("/models/spots").text
    (lines,) = re.findall(r">(from pathlib import Path\n[^<]*)</pre>", page)
    (tmp_path / "image.tif").write_bytes(tiff(32, 32))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    subprocess.run(
        [sys.executable, "-c", html.unescape(lines)], cwd=tmp_path, env=environment, check=True
    )
    assert read_image(tmp_path / "result.tif").data.shape == (32, 32)


def test_who_looks_at_a_page_that_is_not_there_gets_a_page(web: httpx.Client) -> None:
    for path in ("/models/no-such-model", "/no/such/path"):
        answer = web.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "Back to the models" in answer.text


def test_pages_forbid_scripts_of_others(web: httpx.Client) -> None:
    policy = web.get("/predict").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy
    assert "unsafe-eval" not in policy


@pytest.mark.parametrize(
    ("image", "dtype", "sizes"),
    [
        (tiff(5, 7, dtype=np.uint16), "uint16", {"Y": 5, "X": 7}),
        (tiff(3, 4, 1, 2, dtype=np.uint8, axes="TZYX"), "uint8", {"T": 3, "Z": 4, "Y": 1, "X": 2}),
        (tiff(2, 6, 8, dtype=np.float32, axes="CYX"), "float32", {"C": 2, "Y": 6, "X": 8}),
        (tiff(1, 1, dtype=np.uint8), "uint8", {"Y": 1, "X": 1}),
        (tiff(4, 5, dtype=">u2"), "uint16", {"Y": 4, "X": 5}),
    ],
)
def test_a_browser_gets_the_numbers_of_an_image(
    web: httpx.Client, image: bytes, dtype: str, sizes: dict[str, int]
) -> None:
    answer = web.post("/v1/pixels", content=image)
    facts = json.loads(answer.headers["x-micserve-image"])
    assert facts["dtype"] == dtype
    assert facts["sizes"] == dict.fromkeys("TZCYXS", 1) | sizes
    numbers = np.frombuffer(answer.content, np.dtype(dtype).newbyteorder("<"))
    assert np.array_equal(numbers, read_image(image).data.ravel())


def test_what_is_no_image_is_refused_in_words_by_the_page_too(web: httpx.Client) -> None:
    for path in ("/v1/pixels", "/v1/crop?x=0&y=0&width=4&height=4"):
        for content in (b"", b"hello", tiff(32, 32)[:200]):
            answer = web.post(path, content=content)
            assert answer.status_code == 422, (path, content)
            assert answer.json()["detail"]


def test_a_crop_keeps_axes_and_pixel_size(web: httpx.Client) -> None:
    image = read_image(tiff(3, 20, 30, axes="ZYX"))
    query = {"x": 25, "y": 4, "width": 10, "height": 8}
    crop = read_image(web.post("/v1/crop", params=query, content=image_to_bytes(image)).content)
    assert (crop.axes, crop.calibration) == ("ZYX", image.calibration)
    assert np.array_equal(crop.data, image.data[:, 4:12, 25:30])
    outside = web.post("/v1/crop", params=query | {"x": 30}, content=image_to_bytes(image))
    assert (outside.status_code, "outside" in outside.json()["detail"]) == (422, True)


def test_the_api_pages_need_no_other_server(web: httpx.Client) -> None:
    page = web.get("/docs").text
    links = re.findall(r"""(?:src|href)="([^"]+)""", page)
    assert links
    assert all(link.startswith("/") and web.get(link).status_code == 200 for link in links)
    routes = web.get("/openapi.json").json()["paths"]
    assert {"/v1/models", "/v1/models/{name}/predict", "/v1/qc", "/readyz"} <= set(routes)
    names = {p["name"] for p in routes["/v1/models/{name}/predict"]["post"]["parameters"]}
    assert {"version", "output", "axes", "channel", "output_dtype", "clip"} <= names


def test_head_answers_as_get_does_without_a_body(web: httpx.Client) -> None:
    head, get = web.head("/v1/models.tsv"), web.get("/v1/models.tsv")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_metrics_name_routes_and_no_paths(web: httpx.Client) -> None:
    web.get("/v1/models/spots")
    web.get("/no/such/path")
    text = web.get("/metrics").text
    assert 'route="/v1/models/{name}"' in text
    assert "/no/such/path" not in text


@pytest.fixture(scope="module")
def pair() -> dict[str, tuple[str, bytes]]:
    clean = spots(64, 64, seed=5)
    smooth = clean.with_data((clean.data // 2 + 50).astype(np.uint16))
    return {
        "prediction": ("spots_1.tif", image_to_bytes(smooth)),
        "target": ("clean.tif", image_to_bytes(clean)),
        "source": ("spots_1.tif", image_to_bytes(spots(64, 64, seed=6))),
    }


def test_a_result_is_judged_against_its_ground_truth(
    web: httpx.Client, pair: dict[str, tuple[str, bytes]]
) -> None:
    report = web.post("/v1/qc", files=pair).json()
    assert report["images"][0]["name"] == "spots_1.tif"
    assert [method["key"] for method in report["methods"]] == [
        "prediction",
        "input",
        "gaussian",
        "median",
        "nlm",
    ]
    assert report["summary"]["verdict"]


def test_a_report_comes_as_page_table_or_archive(
    web: httpx.Client, pair: dict[str, tuple[str, bytes]]
) -> None:
    def ask(accept: str) -> httpx.Response:
        return web.post("/v1/qc", files=pair, headers={"Accept": accept})

    assert ask("text/csv").text.startswith("image,slice,method,")
    assert "<html" in ask("text/html,*/*;q=0.5").text
    archive = zipfile.ZipFile(io.BytesIO(ask("application/zip").content))
    assert set(archive.namelist()) >= {
        "report.json",
        "report.html",
        "metrics.csv",
        "QC_metrics_zerocost.csv",
        "maps/SSIM_GTvsPrediction_spots_1.tif",
    }
    error_map = read_image(archive.read("maps/RSE_GTvsSource_spots_1.tif"))
    assert (error_map.dtype.newbyteorder("="), error_map.data.shape) == (np.float32, (64, 64))
    assert ask("image/gif").status_code == 406


def test_a_model_is_judged_by_predicting_first(
    stack: Stack, pair: dict[str, tuple[str, bytes]], tmp_path: Path
) -> None:
    for name in ("source", "target"):
        (tmp_path / f"{name}.tif").write_bytes(pair[name][1])
    with Client(stack.gateway.url) as client:
        report = client.qc(
            tmp_path / "target.tif",
            source=tmp_path / "source.tif",
            model="spots@production",
            to=tmp_path / "report.json",
        )
    assert json.loads(report.read_text())["about"]["model"] == "spots@1"


@pytest.mark.parametrize(
    ("without", "also", "words"),
    [
        ("target", {}, "no file `target`"),
        ("prediction", {}, "either a file `prediction`, or `model`"),
        ("source", {"model": "spots"}, "either a file `prediction`, or `model`"),
    ],
)
def test_an_incomplete_comparison_is_refused_in_words(
    web: httpx.Client,
    pair: dict[str, tuple[str, bytes]],
    without: str,
    also: dict[str, str],
    words: str,
) -> None:
    files = {name: part for name, part in pair.items() if name != without}
    answer = web.post("/v1/qc", files=files, data=also)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_images_of_different_size_are_not_compared(
    web: httpx.Client, pair: dict[str, tuple[str, bytes]]
) -> None:
    answer = web.post("/v1/qc", files=pair | {"target": ("clean.tif", tiff(32, 32))})
    assert (answer.status_code, answer.json()["type"]) == (
        422,
        "urn:micserve:error:quality-control",
    )


def test_a_models_own_error_is_passed_on(
    web: httpx.Client, pair: dict[str, tuple[str, bytes]]
) -> None:
    files = {"source": ("x.tif", b"no image"), "target": pair["target"]}
    answer = web.post("/v1/qc", files=files, data={"model": "spots"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:micserve:error:image-format")
