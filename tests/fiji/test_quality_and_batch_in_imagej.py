"""Evaluation and whole folders, from ImageJ."""

import csv
import zipfile

import numpy as np
import pytest
import tifffile

from micserve.client import Client


@pytest.fixture
def folder(tmp_path):
    """Two images, a broken one, and something else, with names as people give them."""
    random = np.random.default_rng(1)
    source = tmp_path / "été 2026"
    source.mkdir()
    for name in ("a cell.tif", "b (é).tiff"):
        tifffile.imwrite(source / name, random.integers(0, 255, (40, 50)).astype(np.uint16))
    (source / "broken.tif").write_bytes(b"not an image")
    (source / "notes.txt").write_text("not an image either")
    return source


def states(macros) -> dict[str, list[str]]:
    text = macros.imagej.run(
        'got = ""; for (i = 0; i < Table.size("micserve batch"); i++) got = got + '
        'Table.getString("file", i, "micserve batch") + "\\t" + '
        'Table.getString("state", i, "micserve batch") + "\\t" + '
        'Table.getString("message", i, "micserve batch") + "\\n"; return got;'
    )
    return {line.split("\t")[0]: line.split("\t")[1:] for line in text.splitlines()}


def test_a_folder_goes_on_after_a_broken_file_and_is_not_done_twice(macros, folder, tmp_path):
    results = tmp_path / "results"
    call = f'return "" + micserve_batch("{folder}", "{results}", "same@1", "", false);'
    assert macros(call) == "1"
    seen = states(macros)
    assert {k: v[0] for k, v in seen.items()} == {
        "a cell.tif": "done",
        "b (é).tiff": "done",
        "broken.tif": "failed",
    }
    assert "image" in seen["broken.tif"][1]
    assert sorted(p.name for p in results.iterdir()) == ["a cell.tif", "b (é).tif"]
    for sent in ("a cell.tif", "b (é).tiff"):
        made = tifffile.imread(results / (sent.rpartition(".")[0] + ".tif"))
        np.testing.assert_array_equal(made, tifffile.imread(folder / sent))
    assert macros(call) == "1"
    assert [v[0] for v in states(macros).values()] == ["skipped", "skipped", "failed"]


def test_a_folder_of_nuclei_has_labels_outlines_and_tables(macros, folder, tmp_path):
    results = tmp_path / "nuclei"
    said = macros(f'return "" + micserve_batch("{folder}", "{results}", "nuclei@1", "", true);')
    assert said == "1"
    assert sorted(p.name for p in results.glob("a*")) == [
        "a cell-RoiSet.zip",
        "a cell-labels.tif",
        "a cell-table.csv",
    ]
    assert zipfile.is_zipfile(results / "a cell-RoiSet.zip")
    with (results / "a cell-table.csv").open() as file:
        assert next(csv.reader(file))[0] == "label"


def test_a_server_that_is_away_ends_the_folder_and_the_rest_is_named(macros, folder, tmp_path):
    said = macros(
        'micserve_set("server", "http://127.0.0.1:9");'
        f'return "" + micserve_batch("{folder}", "{tmp_path}/x", "same@1", "", false);'
    )
    assert said == "1"
    assert [v[0] for v in states(macros).values()] == ["failed", "not tried", "not tried"]


def test_evaluation_opens_maps_and_numbers_that_are_the_servers(macros, facility, tmp_path):
    random = np.random.default_rng(3)
    truth = random.normal(100, 30, (64, 72)).clip(0).astype(np.float32)
    made = truth + random.normal(0, 10, truth.shape).astype(np.float32)
    for name, pixels in (("truth.tif", truth), ("made.tif", made), ("noisy.tif", made + 3)):
        tifffile.imwrite(tmp_path / name, pixels, imagej=True)
    opened = "".join(f'open("{tmp_path}/{n}.tif");' for n in ("truth", "made", "noisy"))
    said = macros(
        opened + 'maps = micserve_qc("made.tif", "truth.tif", "noisy.tif");'
        'if (maps == 0) return "" + micserve_error(); titles = getList("image.titles"); '
        'Array.sort(titles); table = "QC_metrics of made.tif";'
        'return "" + maps + "|" + bitDepth() + "|" + Table.headings(table) + "|"'
        ' + Table.size(table) + "|" + String.join(titles);'
    )
    maps, bits, headings, rows, titles = said.split("|")
    assert int(maps) >= 4, said
    assert bits == "32"
    assert "ssim" in headings.lower()
    assert "psnr" in headings.lower()
    assert int(rows) >= 2
    assert "SSIM_GTvs" in titles
    assert "RSE_GTvs" in titles
    with Client(facility.gateway.url) as client:
        client.qc(
            tmp_path / "truth.tif",
            prediction=tmp_path / "made.tif",
            source=tmp_path / "noisy.tif",
            form="csv",
            to=tmp_path / "metrics.csv",
        )
    with (tmp_path / "metrics.csv").open() as file:
        expected = next(csv.DictReader(file))
    name = next(key for key in expected if key.lower().startswith("psnr"))
    value = macros.imagej.run(f'return "" + Table.get("{name}", 0, "QC_metrics of made.tif");')
    assert float(value) == pytest.approx(float(expected[name]), abs=1e-3)


def test_images_that_cannot_be_compared_are_refused_in_words(macros):
    said = macros(
        'newImage("p", "8-bit ramp", 30, 30, 1); newImage("t", "8-bit ramp", 20, 20, 1);'
        'n = micserve_qc("p", "t", ""); '
        'return "" + n + "|" + micserve_error_kind() + "|" + micserve_error();'
    )
    assert said.startswith("0|input|")
