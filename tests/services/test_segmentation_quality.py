"""Segmentation quality over HTTP, as a script asks for it."""

import io
import zipfile

import httpx
import numpy as np
import pytest

from micserve.codecs import image_to_bytes, read_image
from micserve.image import Image


def _form(prediction: np.ndarray, target: np.ndarray, source: np.ndarray | None = None):
    images = {"prediction": prediction, "target": target, "source": source}
    return {
        name: (f"{name}.tif", image_to_bytes(Image(pixels, "YX")))
        for name, pixels in images.items()
        if pixels is not None
    }


TRUTH = np.zeros((64, 80), np.uint16)
TRUTH[4:20, 4:20], TRUTH[30:50, 8:24], TRUTH[30:50, 40:60] = 1, 2, 3
FOUND = np.where(TRUTH == 2, 0, TRUTH)
SOURCE = (100 + 50 * (TRUTH > 0)).astype(np.uint16)


def test_labels_are_compared_object_by_object(web: httpx.Client) -> None:
    answer = web.post(
        "/v1/qc",
        files=_form(FOUND, TRUTH, SOURCE),
        data={"kind": "segmentation"},
        headers={"Accept": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["kind"], found["reading"]) == ("segmentation", "objects")
    assert found["summary"]["values"]["prediction"]["missed"] == 1
    assert [method["key"] for method in found["methods"]][1:] == ["threshold", "watershed"]


def test_the_zip_holds_every_form_and_a_map_that_opens(web: httpx.Client) -> None:
    answer = web.post(
        "/v1/qc",
        files=_form(FOUND, TRUTH),
        data={"kind": "segmentation"},
        headers={"Accept": "application/zip"},
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = set(archive.namelist())
        errors = read_image(archive.read("maps/Errors_prediction.tif")).data
    assert {"report.html", "report.pdf", "report.json", "metrics.csv", "held_out.json"} <= names
    assert set(np.unique(errors)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "magic"}, "restoration or segmentation"),
        ({"kind": "segmentation", "numbers": "cells"}, "objects or classes"),
        ({"kind": "segmentation", "dimensions": "3"}, "single plane"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    web: httpx.Client, data: dict[str, str], words: str
) -> None:
    answer = web.post("/v1/qc", files=_form(FOUND, TRUTH), data=data)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_a_grey_image_is_no_segmentation(web: httpx.Client) -> None:
    files = _form((FOUND * 0.5).astype(np.float32), TRUTH)
    answer = web.post("/v1/qc", files=files, data={"kind": "segmentation"})
    assert answer.status_code == 422
    assert "fractions" in answer.json()["detail"]
