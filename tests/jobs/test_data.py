"""Data sets over HTTP: whole files, parts that resume, and nothing outside of what is opened."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micserve.errors import MicserveError, ParameterError
from services.gateway.data.places import inside, parse_place, parse_roots, relative_path
from tests.jobs.conftest import Site, new_data, noisy_bytes, noisy_images
from tests.support.registry_server import RegistryServer
from tests.support.stack import Program, gateway

MIB = 1 << 20


def put_part(
    client: httpx.Client, address: str, content: bytes, start: int, total: int
) -> httpx.Response:
    end = start + len(content) - 1
    headers = {"Content-Range": f"bytes {start}-{end}/{total}"}
    return client.put(address, content=content, headers=headers)


def test_a_file_comes_back_as_it_was_sent(ada: httpx.Client) -> None:
    data = new_data(ada)
    address = f"/v1/data/{data}/files/noisy/{quote('µ spot 1.tif')}"
    image = noisy_bytes()
    assert ada.put(address, content=image).json()["complete"]
    assert ada.get(address).content == image
    head = ada.head(address)
    assert head.headers["content-length"] == head.headers["upload-offset"] == str(len(image))
    view = ada.get(f"/v1/data/{data}").json()
    assert [f["path"] for f in view["files"]] == ["noisy/µ spot 1.tif"]
    assert (view["bytes"], view["owner"]) == (len(image), "ada")
    assert ada.get(view["files"][0]["address"]).content == image
    assert data in ada.get("/v1/data.tsv").text
    assert ada.delete(address).status_code == 204
    assert ada.get(f"/v1/data/{data}").json()["files"] == []


def test_an_upload_in_parts_goes_on_where_it_was(ada: httpx.Client) -> None:
    data = new_data(ada)
    address = f"/v1/data/{data}/files/big.tif"
    content = os.urandom(3 * MIB)
    assert ada.head(address).status_code == 404
    assert put_part(ada, address, content[:MIB], 0, len(content)).json()["complete"] is False
    head = ada.head(address)
    assert (head.status_code, head.headers["upload-offset"]) == (204, str(MIB))
    assert ada.get(address).status_code == 404
    gap = put_part(ada, address, content[2 * MIB :], 2 * MIB, len(content))
    assert (gap.status_code, str(MIB) in gap.json()["detail"]) == (409, True)
    # The answer to a part may have been lost: to send it again is no error.
    assert put_part(ada, address, content[:MIB], 0, len(content)).status_code == 200
    assert put_part(ada, address, content[MIB:], MIB, len(content)).json()["complete"]
    assert ada.get(address).content == content


def cut_off(site: Site, address: str, headers: dict[str, str], content: bytes) -> None:
    """Send a request whose body ends in the middle, as when a cable is pulled."""
    place = urlsplit(site.gateway.url)
    with socket.create_connection((place.hostname, place.port)) as line:
        head = [f"PUT {address} HTTP/1.1", f"Host: {place.netloc}"]
        head += [f"Authorization: Bearer {site.tokens['ada']}"]
        head += [f"{k}: {v}" for k, v in headers.items()]
        line.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + content)
        line.shutdown(socket.SHUT_WR)
        while line.recv(4096):
            pass


def test_an_upload_that_is_cut_off_leaves_no_file_and_goes_on(
    site: Site, ada: httpx.Client
) -> None:
    data = new_data(ada)
    address = f"/v1/data/{data}/files/cut.tif"
    content = os.urandom(MIB)
    cut_off(site, address, {"Content-Length": str(MIB)}, content[: MIB // 2])
    assert ada.head(address).status_code == 404
    stretch = f"bytes 0-{MIB - 1}/{MIB}"
    cut_off(
        site,
        address,
        {"Content-Length": str(MIB), "Content-Range": stretch},
        content[: MIB // 2],
    )
    offset = int(ada.head(address).headers["upload-offset"])
    assert 0 < offset <= MIB // 2
    assert put_part(ada, address, content[offset:], offset, MIB).json()["complete"]
    assert ada.get(address).content == content
    assert list((site.home / "data" / data / "incoming").iterdir()) == []


def test_nobody_keeps_more_than_is_allowed(ada: httpx.Client) -> None:
    data = new_data(ada)
    whole = ada.put(f"/v1/data/{data}/files/a.tif", content=bytes(9 * MIB))
    assert (whole.status_code, whole.json()["type"]) == (413, "urn:micserve:error:data-too-large")
    assert "limit of 8 MiB" in whole.json()["detail"]

    def untold() -> Iterator[bytes]:
        for _ in range(9):
            yield bytes(MIB)

    assert ada.put(f"/v1/data/{data}/files/a.tif", content=untold()).status_code == 413
    assert put_part(ada, f"/v1/data/{data}/files/a.tif", b"x", 0, 9 * MIB).status_code == 413
    assert ada.get(f"/v1/data/{data}").json()["files"] == []


def test_data_is_seen_by_its_owner_its_group_and_admins(site: Site, ada: httpx.Client) -> None:
    mine = new_data(ada)
    shared = ada.post("/v1/data", json={"name": "for all", "group": "all"}).json()["id"]
    assert ada.post("/v1/data", json={"name": "x", "group": "others"}).status_code == 403
    with site.as_("ben") as ben, site.as_("root") as root:
        assert ben.get(f"/v1/data/{mine}").status_code == 404
        assert ben.put(f"/v1/data/{mine}/files/a", content=b"x").status_code == 404
        assert ben.get(f"/v1/data/{shared}").status_code == 200
        assert ben.put(f"/v1/data/{shared}/files/a", content=b"x").status_code == 403
        assert root.get(f"/v1/data/{mine}").status_code == 200
        assert mine not in [d["id"] for d in ben.get("/v1/data").json()["data"]]
        assert root.delete(f"/v1/data/{mine}").status_code == 204
    assert ada.get(f"/v1/data/{mine}").status_code == 404


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..%2f..%2fx", "a%00b", "a%5cb", "%2e%2e/x"])
def test_a_file_cannot_be_put_elsewhere(site: Site, ada: httpx.Client, name: str) -> None:
    data = new_data(ada)
    line = f"PUT /v1/data/{data}/files/{name} HTTP/1.1"
    place = urlsplit(site.gateway.url)
    with socket.create_connection((place.hostname, place.port)) as raw:
        token = f"Authorization: Bearer {site.tokens['ada']}"
        head = (line, f"Host: {place.netloc}", token, "Content-Length: 1", "Connection: close")
        raw.sendall("\r\n".join(head).encode() + b"\r\n\r\nx")
        assert raw.recv(64).split()[1] in (b"404", b"405", b"422")
    assert ada.get(f"/v1/data/{data}").json()["files"] == []
    assert not (site.home / "data" / data / "x").exists()


@pytest.mark.parametrize(
    "place",
    ["/etc", "root:shared/../x", "root:other/", "root:shared/away", "root:shared/away/passwd",
     "root:shared/linked", "root:shared/nothing", "data:none/x", "data:../x", "root:", "x"],
)  # fmt: skip
def test_nothing_outside_the_roots_can_be_named(ada: httpx.Client, place: str) -> None:
    order = {"family": "n2v", "source": place}
    answer = ada.post("/v1/data/check", json=order)
    assert answer.status_code in (403, 404, 422), answer.text
    assert "/etc/" not in answer.json()["detail"]


@given(st.text(max_size=40))
def test_no_text_leads_out_of_a_folder(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    base = tmp_path_factory.getbasetemp()
    try:
        path = relative_path(text)
    except ParameterError:
        return
    assert (base / path).resolve().is_relative_to(base.resolve())
    with contextlib.suppress(MicserveError):
        inside(base, parse_place(f"root:a/{text}").path, "x")


def test_roots_are_checked_when_the_gateway_starts() -> None:
    assert parse_roots("a=/x, b=/y") == {"a": Path("/x"), "b": Path("/y")}
    for wrong in ("a", "a=x", "=x", "a b=/x"):
        with pytest.raises(ValueError, match="needs name="):
            parse_roots(wrong)


def test_folders_of_the_server_are_listed_without_what_leads_out(ada: httpx.Client) -> None:
    folders = ada.get("/v1/folders").json()["folders"]
    assert {"place": "root:shared/spots/noisy", "images": 3} in folders
    assert not [f for f in folders if "away" in f["place"]]
    below = ada.get("/v1/folders", params={"below": "root:shared/spots"}).json()["folders"]
    assert [f["place"] for f in below] == ["root:shared/spots/noisy"]


def test_a_check_finds_what_fits_and_shows_it(ada: httpx.Client) -> None:
    order = {"family": "n2v", "source": "root:shared/spots/noisy"}
    said = ada.post("/v1/data/check", json=order).json()
    assert (said["pairs"], said["mismatches"]) == (3, [])
    assert "held back" in said["sentence"]
    assert ada.get(said["previews"][0]["address"]).content.startswith(b"\x89PNG")


def test_a_check_says_all_that_is_wrong_with_pairs(site: Site, ada: httpx.Client) -> None:
    pairs = site.roots / "pairs"
    noisy_images(pairs / "images", count=2)
    noisy_images(pairs / "target", count=3, side=40)
    (pairs / "target" / "field-1.tif").write_bytes(b"no image")
    order = {
        "family": "care",
        "source": "root:shared/pairs/images",
        "target": "root:shared/pairs/target",
    }
    said = ada.post("/v1/data/check", json=order).json()
    text = "\n".join(said["mismatches"])
    assert len(said["mismatches"]) == 3, text
    assert "40 × 40" in text
    assert "field-2" in text
    assert str(site.roots) not in json.dumps(said)


def test_a_full_disk_is_said_in_words_and_keeps_nothing_by_halves(
    small_disk: Path, registry_server: RegistryServer, tmp_path: Path
) -> None:
    door: Program = gateway(
        tmp_path, registry_server.url, n2v="http://127.0.0.1:9", MICSERVE_DATA=str(small_disk)
    )
    door.start()
    try:
        with httpx.Client(base_url=door.url, timeout=60) as client:
            data = new_data(client)
            address = f"/v1/data/{data}/files"
            kept = os.urandom(MIB)
            assert client.put(f"{address}/kept.tif", content=kept).status_code == 200
            for stretch in ({}, {"Content-Range": f"bytes 0-{4 * MIB - 1}/{4 * MIB}"}):
                full = client.put(f"{address}/big.tif", content=bytes(4 * MIB), headers=stretch)
                assert full.status_code == 507, full.text
                assert full.json()["type"] == "urn:micserve:error:storage-full"
                assert "disk is full" in full.json()["detail"]
            assert client.get(f"{address}/kept.tif").content == kept
            files = client.get(f"/v1/data/{data}").json()["files"]
            assert [f["path"] for f in files] == ["kept.tif"]
            assert client.delete(f"/v1/data/{data}").status_code == 204
            assert client.post("/v1/data", json={"name": "again"}).status_code == 201
    finally:
        door.stop()


def test_families_are_those_of_the_trainers(ada: httpx.Client) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training.families"], capture_output=True, text=True, check=True
    )
    kept = Path("services/gateway/jobs/families.json").read_text("utf-8")
    assert kept == done.stdout, (
        "python -m training.families services/gateway/jobs/families.json writes it anew"
    )
    families = {f["name"]: f for f in ada.get("/v1/families").json()["families"]}
    assert set(families) == {"n2v", "care", "stardist", "unet", "fnet"}
    epochs = next(p for p in families["n2v"]["parameters"] if p["name"] == "number_of_epochs")
    assert (epochs["default"], epochs["type"], epochs["range"]) == (100, "integer", [1, 100000])
    assert not families["n2v"]["paired"]
