"""The gate over HTTP: what a version gains, who may move an alias, and what is kept of it."""

from pathlib import Path

import httpx
import numpy as np
import pytest

from micserve.qc import RestorationCase, evaluate_restoration
from micserve.qc.held_out import FILE, held_out
from micserve.registry import ModelVersion
from micserve.registry.gate import Gate
from tests.services.conftest import Stack
from tests.support.published import publish_denoiser


def judged(stack: Stack, version: ModelVersion, folder: Path, *, noise: float) -> None:
    """Attach the numbers of a real report of four images, whose prediction is off by `noise`."""
    random = np.random.default_rng(8)
    cases = []
    for name in ("a.tif", "b.tif", "c.tif", "d.tif"):
        truth = np.kron(random.uniform(0, 200, (8, 8)), np.ones((8, 8)))
        source = truth + random.normal(0, 40, truth.shape)
        prediction = truth + random.normal(0, noise, truth.shape)
        cases.append(RestorationCase(name, prediction, truth, source))
    folder.mkdir()
    (folder / FILE).write_text(held_out(evaluate_restoration(cases)).model_dump_json())
    stack.registry.attach_qc(version, {}, folder)


@pytest.fixture(scope="module")
def gated(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose version 1 is in use, 2 is better, and 3 was never verified."""
    folder = tmp_path_factory.mktemp("gated")
    name = "spots-gated"
    for noise in (10.0, 5.0):
        version = publish_denoiser(stack.registry, folder, name, seed=int(noise))
        judged(stack, version, folder / f"qc-{noise}", noise=noise)
    publish_denoiser(stack.registry, folder, name, seed=3, verified=False)
    stack.registry.promote(
        stack.registry.list_versions(name)[-1].ref, "production", by="t", reason=""
    )
    return name


def test_the_gate_compares_with_the_version_in_use_on_the_same_images(
    web: httpx.Client, gated: str
) -> None:
    answer = web.get(f"/v1/models/{gated}/versions/2/gate")
    assert answer.status_code == 200, answer.text
    found = Gate.model_validate_json(answer.content)
    assert (found.current, found.candidate, found.images, found.verified) == (1, 2, 4, True)
    psnr = found.against_current[0]
    assert (psnr.outcome, psnr.interval, psnr.unit) == ("better", "bootstrap", "dB")
    assert psnr.low is not None
    assert 3 < psnr.low < 20 * np.log10(2) + 1
    assert {one.method for one in found.against_methods} >= {"input", "gaussian", "median"}
    assert any("is better than version 1 on the 4 images" in said for said in found.sentences)


def test_a_promotion_is_kept_with_who_when_from_to_and_why(web: httpx.Client, gated: str) -> None:
    order = {"version": 2, "alias": "trial", "reason": "half the noise"}
    answer = web.post(f"/v1/models/{gated}/promote", json=order)
    assert answer.status_code == 200, answer.text
    made = answer.json()["promotion"]
    assert (made["by"], made["from_version"], made["to_version"]) == ("local", None, 2)
    back = web.post(
        f"/v1/models/{gated}/promote", json={"version": "production", "alias": "trial"}
    ).json()["promotion"]
    assert (back["from_version"], back["to_version"], back["reason"]) == (2, 1, "")
    listed = web.get(f"/v1/models/{gated}/promotions").json()
    assert listed[:2] == [back, made]
    assert all(one["at"].endswith("Z") for one in listed)
    assert web.get(f"/v1/models/{gated}/versions/trial").json()["version"] == 1


def test_what_was_never_verified_is_refused_and_force_needs_a_reason_that_is_kept(
    web: httpx.Client, gated: str
) -> None:
    path = f"/v1/models/{gated}/promote"
    assert web.get(f"/v1/models/{gated}/versions/3/gate").json()["objection"]
    refused = web.post(path, json={"version": 3, "alias": "risky"})
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:micserve:error:promotion-refused"
    assert "never verified" in refused.json()["detail"]
    unsaid = web.post(path, json={"version": 3, "alias": "risky", "force": True})
    assert (unsaid.status_code, "needs a reason" in unsaid.json()["detail"]) == (422, True)
    assert web.get(f"/v1/models/{gated}/versions/risky").status_code == 404
    forced = {"version": 3, "alias": "risky", "force": True, "reason": "a demonstration"}
    assert web.post(path, json=forced).status_code == 200
    kept = web.get(f"/v1/models/{gated}/promotions").json()[0]
    assert (kept["forced"], kept["reason"]) == (True, "a demonstration")
    assert "by force" in kept["warnings"][0]


@pytest.mark.parametrize(
    ("path", "order", "status"),
    [
        ("spots-nowhere", {"version": 1}, 404),
        ("spots-gated", {"version": 99}, 404),
        ("spots-gated", {"version": 1, "alias": "v1"}, 422),
        ("spots-gated", {"alias": "production"}, 422),
        ("spots-gated", {"version": 1, "because": "typing"}, 422),
    ],
)
def test_an_order_that_makes_no_sense_is_answered_with_a_sentence(
    web: httpx.Client, gated: str, path: str, order: dict[str, object], status: int
) -> None:
    answer = web.post(f"/v1/models/{path}/promote", json=order)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].strip()
