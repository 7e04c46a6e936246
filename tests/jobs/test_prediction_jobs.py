"""Predictions as jobs: a folder, one image, broken files, kills; results stay until deleted."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import pytest

from micserve.client import Client
from micserve.codecs import image_to_bytes, read_image
from micserve.image import Calibration, Image
from tests.jobs.conftest import Site, noisy, noisy_bytes, noisy_images
from tests.jobs.following import WITHIN_S, ended, ordered, processes_of
from tests.support.stack import ROOT, gateway

COUNT = 24


def prediction(model: str, source: str) -> dict[str, object]:
    return {"kind": "predict", "model": model, "source": source}


@pytest.fixture
def many(site: Site) -> str:
    """The place of a folder with so many images that a job takes a while."""
    name = f"many-{uuid4().hex[:6]}"
    noisy_images(site.roots / name, count=COUNT, side=128)
    return f"root:shared/{name}"


def results(site: Site, job: str) -> list[Path]:
    folder = site.home / "jobs" / job / "results"
    return sorted(p for p in folder.rglob("*.tif") if not p.name.startswith("."))


def test_one_broken_file_does_not_end_the_folder_and_results_stay(
    site: Site, served: str, ada: httpx.Client, ben: httpx.Client
) -> None:
    folder = site.roots / "mixed"
    noisy_images(folder / "a", count=1)
    noisy_images(folder, count=2)
    (folder / "broken.tif").write_bytes(b"no image")
    (folder / "notes.txt").write_text("left out")
    job = ordered(ada, prediction(served, "root:shared/mixed"))
    done = ended(ada, job)
    assert done["state"] == "finished", done
    assert "1 of 4 images could not be predicted" in done["message"]
    files = {r["name"]: r["address"] for r in done["results"]}
    tables = {"failures.tsv", "predictions.tsv"}
    assert set(files) == {"a/field-0.tif", "field-0.tif", "field-1.tif"} | tables
    assert "broken.tif\t" in ada.get(files["failures.tsv"]).text
    assert len(ada.get(files["predictions.tsv"]).text.splitlines()) == 4
    name, _, version = served.partition("@")
    source = (folder / "field-1.tif").read_bytes()
    one = ada.post(f"/v1/models/{name}/predict?version={version}", content=source)
    asked = ada.get(files["field-1.tif"])
    assert (read_image(asked.content).data == read_image(one.content).data).all()
    assert ben.get(files["field-1.tif"]).status_code == 404

    site.gateway.kill_parent()
    site.gateway.start()
    assert ada.get(files["field-1.tif"]).content == asked.content
    assert ada.delete(f"/v1/jobs/{job}").status_code == 204
    assert ada.get(files["field-1.tif"]).status_code == 404
    assert not (site.home / "jobs" / job).exists()


def test_a_macro_sends_one_image_and_fetches_its_result_later(
    served: str, ada: httpx.Client
) -> None:
    name, _, version = served.partition("@")
    image = noisy_bytes(64)
    answer = ada.post(
        f"/v1/models/{name}/jobs",
        params={"version": version, "output_dtype": "uint16"},
        content=image,
        headers={"Accept": "text/tab-separated-values"},
    )
    assert answer.status_code == 202, answer.text
    job, address = answer.text.rstrip("\n").split("\t")
    assert address == f"/v1/jobs/{job}"
    ended(ada, job)
    state, fraction, message, left = ada.get(f"{address}.tsv").text.rstrip("\n").split("\t")
    assert (state, float(fraction), left) == ("finished", 1.0, ""), message
    same = ada.post(
        f"/v1/models/{name}/predict",
        params={"version": version, "output_dtype": "uint16"},
        content=image,
    )
    later = ada.get(f"{address}/result.tif")
    assert later.headers["content-type"] == "image/tiff"
    assert (read_image(later.content).data == read_image(same.content).data).all()


def test_an_image_that_cannot_be_predicted_fails_its_job_in_the_services_words(
    served: str, ada: httpx.Client
) -> None:
    name = served.partition("@")[0]
    answer = ada.post(f"/v1/models/{name}/jobs", content=b"no image")
    job = ended(ada, answer.json()["id"])
    direct = ada.post(f"/v1/models/{name}/predict", content=b"no image")
    assert (job["state"], job["error"]) == ("failed", direct.json()["detail"])
    assert ada.get(f"/v1/jobs/{job['id']}/result.tif").status_code == 404


def stopped_in_the_middle(site: Site, client: httpx.Client, order: dict[str, object]) -> str:
    """A job whose program was halted (not ended) after its first results."""
    job = ordered(client, order)
    deadline = time.monotonic() + WITHIN_S
    while len(results(site, job)) < 2:
        assert time.monotonic() < deadline, client.get(f"/v1/jobs/{job}").text
        time.sleep(0.005)
    for process in processes_of(site, job):
        os.kill(process.pid, signal.SIGSTOP)
    assert len(results(site, job)) < COUNT
    return job


def test_a_gateway_that_was_killed_finds_its_prediction_again(
    site: Site, served: str, ada: httpx.Client, many: str
) -> None:
    job = stopped_in_the_middle(site, ada, prediction(served, many))
    before = {p.pid for p in processes_of(site, job)}
    site.gateway.kill_parent()
    site.gateway.start()
    assert ada.get(f"/v1/jobs/{job}").json()["state"] == "running"
    assert {p.pid for p in processes_of(site, job)} == before
    for pid in before:
        os.kill(pid, signal.SIGCONT)
    done = ended(ada, job)
    assert done["state"] == "finished", done
    assert len(results(site, job)) == COUNT


def test_a_prediction_whose_machine_went_down_leaves_out_what_is_done(
    site: Site, served: str, ada: httpx.Client, many: str
) -> None:
    job = stopped_in_the_middle(site, ada, prediction(served, many))
    site.gateway.kill_parent()
    for process in processes_of(site, job):
        os.kill(process.pid, signal.SIGKILL)
    done_before = {path: path.stat().st_ino for path in results(site, job)}
    site.gateway.start()
    done = ended(ada, job)
    assert done["state"] == "finished", done
    assert len(results(site, job)) == COUNT
    assert all(path.stat().st_ino == inode for path, inode in done_before.items())


def test_a_cancel_ends_a_prediction_and_keeps_only_whole_results(
    site: Site, served: str, ada: httpx.Client, many: str
) -> None:
    job = stopped_in_the_middle(site, ada, prediction(served, many))
    for process in processes_of(site, job):
        os.kill(process.pid, signal.SIGCONT)
    cancelled = ada.delete(f"/v1/jobs/{job}").json()
    assert cancelled["state"] == "cancelled"
    assert processes_of(site, job) == []
    for path in results(site, job):
        assert read_image(path).data.shape == (128, 128)
    assert not list((site.home / "jobs" / job / "results").glob(".*"))


def test_the_python_client_uploads_orders_waits_and_saves(
    site: Site, served: str, tmp_path: Path
) -> None:
    noisy_images(tmp_path / "in" / "below", count=2)
    told: list[float] = []
    with Client(site.gateway.url, token=site.tokens["ben"]) as client:
        job = client.predict_folder(served, tmp_path / "in")
        job.wait(lambda facts: told.append(facts["fraction"]), every=0.2)
        job.save(tmp_path / "out")
        assert job.id in [known.id for known in client.jobs()]
        job.delete()
    assert told[-1] == 1.0
    for name in ("field-0.tif", "field-1.tif"):
        assert read_image(tmp_path / "out" / "below" / name).data.shape == (48, 48)


def ome_zarr(folder: Path, frames: np.ndarray) -> Path:
    """(T, Z, Y, X) as OME-Zarr 0.5, a chunk per plane."""
    zarr = pytest.importorskip("zarr", reason="the package zarr is not installed")
    group = zarr.open_group(str(folder), mode="w", zarr_format=3)
    chunks = (1, 1, *frames.shape[2:])
    array = group.create_array("0", shape=frames.shape, chunks=chunks, dtype=frames.dtype)
    array[:] = frames
    axes = [{"name": "t", "type": "time"}]
    axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    scale = {"type": "scale", "scale": [1.0, 0.3, 0.1, 0.1]}
    dataset = {"path": "0", "coordinateTransformations": [scale]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [dataset]}]}
    return folder


def test_an_ome_zarr_is_read_one_time_point_at_a_time(
    site: Site, served: str, ada: httpx.Client
) -> None:
    """A point with a damaged chunk fails alone: the others were read without it."""
    frames = np.stack([noisy(48, seed=n).data for n in range(6)]).reshape(3, 2, 48, 48)
    folder = ome_zarr(site.roots / "zarrs" / "cells.ome.zarr", frames)
    (folder / "0/c/1/0/0/0").write_bytes(b"damaged")
    (site.roots / "zarrs" / "empty.zarr").mkdir()
    (site.roots / "zarrs" / "empty.zarr" / "zarr.json").write_text("{}")
    job = ordered(ada, prediction(served, "root:shared/zarrs"))
    done = ended(ada, job)
    assert done["state"] == "finished", done
    files = {r["name"]: r["address"] for r in done["results"]}
    tables = {"failures.tsv", "predictions.tsv"}
    assert set(files) == {"cells/t0000.tif", "cells/t0002.tif"} | tables
    said = ada.get(files["failures.tsv"]).text
    assert "cells/t0001.tif\tTime point 1 of cells.ome.zarr cannot be read" in said
    assert "empty.tif\tempty.zarr is no OME-Zarr image" in said
    name, _, version = served.partition("@")
    calibration = Calibration(0.1, 0.1, 0.3, "um")
    sent = image_to_bytes(Image(frames[2], "ZYX", calibration=calibration))
    one = ada.post(f"/v1/models/{name}/predict?version={version}", content=sent)
    later = read_image(ada.get(files["cells/t0002.tif"]).content)
    assert (later.data == read_image(one.content).data).all()
    assert later.calibration.pixel_width == pytest.approx(0.1)


def test_a_full_disk_ends_a_prediction_in_words_and_keeps_whole_results(
    site: Site, served: str, small_disk: Path, tmp_path: Path
) -> None:
    noisy_images(tmp_path / "images", count=4, side=512)
    door = gateway(
        tmp_path,
        site.server.url,
        n2v=site.service.url,
        MICSERVE_JOBS=str(small_disk / "jobs"),
        MICSERVE_DATA_ROOTS=f"here={tmp_path / 'images'}",
    )
    door.start()
    try:
        with httpx.Client(base_url=door.url, timeout=60) as web:
            done = ended(web, ordered(web, prediction(served, "root:here/")))
            assert (done["state"], "disk is full" in done["error"]) == ("failed", True), done
            kept = [r["address"] for r in done["results"] if r["name"].endswith(".tif")]
            assert 0 < len(kept) < 4
            for address in kept:
                assert read_image(web.get(address).content).data.shape == (512, 512)
            before = [j["id"] for j in web.get("/v1/jobs").json()["jobs"]]
            (small_disk / "filler").write_bytes(bytes(small_disk_left(small_disk)))
            name = served.partition("@")[0]
            refused = web.post(f"/v1/models/{name}/jobs", content=noisy_bytes(512))
            assert refused.status_code == 507, refused.text
            assert done["id"] in before
            assert [j["id"] for j in web.get("/v1/jobs").json()["jobs"]] == before
    finally:
        door.stop()


def small_disk_left(disk: Path) -> int:
    return max(shutil.disk_usage(disk).free - 8192, 0)


def command(site: Site, *words: str) -> str:
    """`micserve …` as ben types it; what it prints on both streams."""
    done = subprocess.run(
        [sys.executable, "-c", "from micserve.cli import main; main()", *words],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MICSERVE_URL": site.gateway.url,
            "MICSERVE_TOKEN": site.tokens["ben"],
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_command_line_predicts_a_folder_lists_and_deletes(
    site: Site, served: str, tmp_path: Path
) -> None:
    noisy_images(tmp_path / "in", count=1)
    into = str(tmp_path / "out")
    said = command(site, "jobs", "predict", served, str(tmp_path / "in"), "--into", into)
    assert (tmp_path / "out" / "field-0.tif").is_file(), said
    job = said.split()[1]
    assert any(job[:8] in line and "finished" in line for line in command(site, "jobs").split("\n"))
    assert "predicted" in command(site, "jobs", "log", job[:8])
    command(site, "jobs", "delete", job[:8])
    assert job[:8] not in command(site, "jobs")
