"""Quality reports that take long: begun, watched, fetched in every form, cancelled; by HTTP."""

import io
import time
import zipfile
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
from pypdf import PdfReader

from micserve.codecs import image_to_bytes, read_image
from micserve.image import Calibration, Image
from micserve.qc import RestorationDocument
from services.gateway.reports_begun import ReportState
from tests.services.conftest import Stack, tiff

BEGIN = {"Prefer": "respond-async"}
WITHIN_S = 240

Form = dict[str, tuple[str, bytes]]


def stack_form(planes: int, side: int) -> Form:
    """Three stacks of blocks, (Z, Y, X): clean, noisy, and something in between."""
    random = np.random.default_rng(4)
    coarse = random.uniform(50, 200, (planes, side // 8, side // 8))
    clean = np.kron(coarse, np.ones((1, 8, 8)))
    noise = random.normal(0, 30, clean.shape)
    size = Calibration(0.1, 0.1, 0.3, "um")

    def file(pixels: np.ndarray) -> bytes:
        grey = pixels.clip(0, 255).astype(np.uint8)
        return image_to_bytes(Image(grey, "ZYX", calibration=size))

    return {
        "prediction": ("cells.tif", file(clean + 0.2 * noise)),
        "target": ("clean.tif", file(clean)),
        "source": ("cells.tif", file(clean + noise)),
    }


def watch(
    web: httpx.Client, address: str, until: Callable[[ReportState], bool]
) -> list[ReportState]:
    """Ask for the state until it is as wanted; all that was said."""
    deadline, said = time.monotonic() + WITHIN_S, []
    while time.monotonic() < deadline:
        answer = web.get(address)
        assert answer.status_code == 200, answer.text
        said.append(ReportState.model_validate_json(answer.content))
        if until(said[-1]):
            return said
        time.sleep(0.1)
    raise AssertionError(f"still {said[-1]} after {WITHIN_S} s")


def begin(web: httpx.Client, form: Form, **data: str) -> str:
    """Its address."""
    answer = web.post("/v1/qc", files=form, data=data, headers=BEGIN)
    assert answer.status_code == 202, answer.text
    state = ReportState.model_validate_json(answer.content)
    assert answer.headers["location"] == state.address == f"/v1/qc/{state.id}"
    assert answer.headers["preference-applied"] == "respond-async"
    assert state.state in ("queued", "running")
    return state.address


@pytest.fixture(scope="module")
def finished(stack: Stack) -> Iterator[tuple[httpx.Client, str]]:
    """(client, address) of the report of a stack of three slices."""
    with httpx.Client(base_url=stack.gateway.url, timeout=120) as web:
        address = begin(web, stack_form(3, 96))
        said = watch(web, address, lambda s: s.state in ("finished", "failed"))
        assert said[-1].state == "finished", said[-1]
        fractions = [one.fraction for one in said]
        assert fractions == sorted(fractions)
        assert said[-1].report == f"{address}/report"
        yield web, address


def fetched(finished: tuple[httpx.Client, str], accept: str) -> httpx.Response:
    web, address = finished
    answer = web.get(f"{address}/report", headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def test_the_json_follows_the_schema_that_the_openapi_document_has(
    finished: tuple[httpx.Client, str],
) -> None:
    found = RestorationDocument.model_validate_json(fetched(finished, "application/json").content)
    assert len(found.images[0].scores[0].slices) == 3
    schema = finished[0].get("/openapi.json").json()
    answer = schema["paths"]["/v1/qc"]["post"]["responses"]["200"]["content"]
    kinds = [
        one["$ref"].rpartition("/")[2] for one in answer["application/json"]["schema"]["anyOf"]
    ]
    assert kinds == ["RestorationDocument", "SegmentationDocument"]
    described = schema["components"]["schemas"]["RestorationDocument"]
    assert set(described["properties"]) == set(RestorationDocument.model_fields)


def test_the_pdf_opens_and_holds_the_words_and_figures_of_the_report(
    finished: tuple[httpx.Client, str],
) -> None:
    pages = PdfReader(io.BytesIO(fetched(finished, "application/pdf").content)).pages
    assert len(pages) >= 2
    text = " ".join(" ".join(page.extract_text() for page in pages).split())
    for words in (
        "Restoration quality control",
        "cells.tif",
        "SSIM",
        "PSNR, normalised (dB)",
        "Gaussian σ",
        "0.1 µm per pixel",
        "Slice by slice",
        "What the measures mean",
        "page 2",
    ):
        assert words in text, words
    figures = fetched(finished, "text/html").text.count("<figure")
    assert sum(len(page.images) for page in pages) == figures >= 4
    for page in pages:
        assert (round(page.mediabox.width), round(page.mediabox.height)) == (595, 842)


def test_the_table_has_a_row_for_the_whole_and_one_per_slice_and_method(
    finished: tuple[httpx.Client, str],
) -> None:
    rows = fetched(finished, "text/csv").text.splitlines()
    assert "SNR (dB)" in rows[0]
    slices = [row.split(",")[1] for row in rows[1:]]
    methods = {row.split(",")[2] for row in rows[1:]}
    assert slices == ["all", "1", "2", "3"] * len(methods)


def test_the_zip_holds_all_forms_and_32_bit_maps_that_imagej_reads_as_a_stack(
    finished: tuple[httpx.Client, str],
) -> None:
    archive = zipfile.ZipFile(io.BytesIO(fetched(finished, "application/zip").content))
    assert set(archive.namelist()) >= {"report.html", "report.pdf", "report.json", "metrics.csv"}
    maps = [name for name in archive.namelist() if name.startswith("maps/")]
    assert {"maps/SSIM_GTvsPrediction_cells.tif", "maps/RSE_GTvsSource_cells.tif"} <= set(maps)
    for name in maps:
        found = read_image(archive.read(name))
        assert (found.axes, found.data.shape) == ("ZYX", (3, 96, 96))
        assert found.dtype.newbyteorder("=") == np.float32
        assert found.calibration.in_um() == {"X": 0.1, "Y": 0.1, "Z": 0.3}
        assert b"ImageJ=" in archive.read(name)


def test_macros_read_the_state_as_one_line_and_the_files_as_a_list(
    finished: tuple[httpx.Client, str],
) -> None:
    web, address = finished
    assert web.get(f"{address}.tsv").text == "finished\t1.0000\tdone\t0\n"
    listed = fetched(finished, "text/tab-separated-values").text.splitlines()
    assert listed[0] == "name\tbytes\taddress"
    [page] = [row.split("\t") for row in listed if row.startswith("report.html\t")]
    assert len(web.get(page[2]).content) == int(page[1])


def test_a_report_that_is_removed_is_gone(web: httpx.Client) -> None:
    line = web.post(
        "/v1/qc",
        files=stack_form(1, 48),
        headers={**BEGIN, "Accept": "text/tab-separated-values"},
    )
    identity, address = line.text.rstrip("\n").split("\t")
    assert (line.status_code, address) == (202, f"/v1/qc/{identity}")
    watch(web, address, lambda s: s.state == "finished")
    assert web.delete(address).status_code == 204
    for gone in (address, f"{address}.tsv", f"{address}/report"):
        answer = web.get(gone)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:micserve:error:not-found")


def test_cancelling_stops_the_work_and_frees_its_place(web: httpx.Client) -> None:
    long = begin(web, stack_form(24, 512))
    said = watch(web, long, lambda s: s.state == "running" and s.fraction > 0)
    assert said[-1].message
    early = web.get(f"{long}/report")
    assert (early.status_code, "not finished" in early.json()["detail"]) == (409, True)
    waiting = [begin(web, stack_form(1, 48)) for _ in range(4)]
    full = web.post("/v1/qc", files=stack_form(1, 48), headers=BEGIN)
    assert (full.status_code, full.json()["type"]) == (503, "urn:micserve:error:busy")
    assert web.delete(long).status_code == 204
    # One process makes them all: the next ones end because the long one does not go on.
    for address in waiting:
        assert watch(web, address, lambda s: s.state == "finished")


def test_what_cannot_be_compared_fails_with_the_sentence_that_waiting_would_give(
    web: httpx.Client,
) -> None:
    form = stack_form(1, 48) | {"target": ("clean.tif", tiff(32, 32))}
    address = begin(web, form)
    state = watch(web, address, lambda s: s.state == "failed")[-1]
    assert state.error is not None
    assert "(32, 32)" in state.error.detail or "32 × 32" in state.error.detail
    answer = web.get(f"{address}/report")
    assert answer.status_code == state.error.status == 422
    assert (
        answer.json()["detail"]
        == state.error.detail
        == web.post("/v1/qc", files=form).json()["detail"]
    )


def test_a_model_that_is_not_there_fails_before_anything_is_measured(web: httpx.Client) -> None:
    form = {name: part for name, part in stack_form(1, 48).items() if name != "prediction"}
    address = begin(web, form, model="nobodys@3")
    state = watch(web, address, lambda s: s.state == "failed")[-1]
    assert state.error is not None
    assert state.error.status == 404
    assert "nobodys" in state.error.detail
