"""`micserve qc --held-out`: what a model learnt from is not what it is judged by."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from micserve.cli import app
from micserve.codecs import write_tiff
from micserve.errors import ParameterError, QualityControlError
from micserve.files import sha256_of
from tests.services.conftest import Stack, spots
from tests.support.published import publish_denoiser


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs, `noisy/` and `clean/`."""
    folder = tmp_path_factory.mktemp("pairs")
    for part, add in (("noisy", 0), ("clean", 50)):
        (folder / part).mkdir()
        for seed, name in enumerate("abc"):
            write_tiff(spots(48, 48, seed=seed + add), folder / part / f"{name}.tif")
    return folder


def files(images: Path, **parts: str) -> dict[str, Any]:
    """A contract's provenance: image name to the part of the split that it was in."""
    return {
        "files": [
            {
                "file": f"old-name-{name}.tif",
                "sha256": sha256_of(images / f"noisy/{name}.tif"),
                "part": part,
            }
            for name, part in parts.items()
        ]
    }


def publish(stack: Stack, folder: Path, name: str, training: dict[str, Any], **more: Any) -> str:
    changes = {"training": training, **more}
    return str(publish_denoiser(stack.registry, folder, name, seed=5, changes=changes).ref)


@pytest.fixture
def ask(stack: Stack, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command on the three pairs; returns the report's JSON."""
    monkeypatch.setenv("MICSERVE_URL", stack.gateway.url)
    monkeypatch.setenv("MICSERVE_REGISTRY", stack.server.url)
    monkeypatch.setenv("MICSERVE_HOME", str(tmp_path / "home"))

    where = (
        *("--report", str(tmp_path / "report")),
        *("--source", str(images / "noisy"), "--target", str(images / "clean")),
    )

    def asked(model: str, *flags: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["qc", "--model", model, *where, *flags])
        if done.exception is not None:
            raise done.exception
        found: dict[str, Any] = json.loads((tmp_path / "report/report.json").read_text())
        return found

    return asked


def test_what_was_learnt_from_is_left_out_whatever_it_is_called_now(
    stack: Stack, images: Path, tmp_path: Path, ask: Any
) -> None:
    model = publish(stack, tmp_path, "spots-split", files(images, a="train", b="validation"))
    found = ask(model, "--held-out", "--attach")
    assert [image["name"] for image in found["images"]] == ["b", "c"]
    said = found["about"]["details"]["Images"]
    assert said.startswith("1 new to the model; 1 held back by its training")
    kept = stack.registry.list_versions("spots-split")[0].qc
    assert kept is not None
    assert kept.summary["images"] == 2
    everything = ask(model)
    assert len(everything["images"]) == 3
    assert "1 learnt from" in everything["about"]["details"]["Images"]


def test_a_report_on_what_a_taught_model_learnt_from_is_not_kept(
    stack: Stack, images: Path, tmp_path: Path, ask: Any
) -> None:
    training = files(images, a="train", b="both", c="validation")
    model = publish(stack, tmp_path, "care-split", training, family="care")
    try:
        with pytest.raises(QualityControlError, match=r"learnt from a, b, so a report .* --held-"):
            ask(model, "--attach")
        assert stack.registry.list_versions("care-split")[0].qc is None
    finally:
        # This stack serves no CARE: other tests would find a model that nobody answers for.
        MlflowClient(stack.server.url).delete_registered_model("care-split")


def test_nothing_is_left_out_by_guessing(
    stack: Stack, images: Path, tmp_path: Path, ask: Any
) -> None:
    silent = publish(stack, tmp_path, "spots-silent", {})
    with pytest.raises(ParameterError, match="does not say which images"):
        ask(silent, "--held-out")
    all_learnt = files(images, a="train", b="train", c="train")
    greedy = publish(stack, tmp_path, "spots-greedy", all_learnt)
    with pytest.raises(QualityControlError, match="every one of these 3 images"):
        ask(greedy, "--held-out")
