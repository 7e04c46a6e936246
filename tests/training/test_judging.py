"""A quality report that fails leaves the trained version as it is."""

import numpy as np
import tifffile

from micserve.registry import RegistrySettings, open_registry
from tests.support.published import publish_denoiser
from training.common.judging import attach_judgement
from training.common.pairs import grey_target, load_pairs


def pairs(folder):
    for number, part in [(n, p) for n in range(2) for p in ("noisy", "clean")]:
        (folder / part).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 200, (64, 64), np.uint8)
        tifffile.imwrite(folder / part / f"{number}.tif", pixels)
    how = {"percentage_validation": 50, "seed": 0, "patch": 16, "gap": 8, "multiple": 4}
    return load_pairs(
        folder / "noisy", folder / "clean", check=grey_target, ndim=2, channel=None, **how
    )


class Broken:
    def judge(self, model, frames, data):
        raise ValueError("no such axis")


def test_a_report_that_fails_is_a_sentence_and_the_version_stays(registry_server, tmp_path):
    registry = open_registry(registry_server.url, settings=RegistrySettings(cache=tmp_path / "c"))
    version = publish_denoiser(registry, tmp_path, "unjudged", seed=5)
    sentence = attach_judgement(
        Broken(),
        pairs(tmp_path / "data"),
        package=registry.fetch(version),
        registry=registry,
        version=version,
        folder=tmp_path / "judged",
    )
    assert "could not be made (ValueError: no such axis)" in sentence
    assert f"--model {version.ref}" in sentence
    assert registry.resolve(version.ref).qc is None
