"""The fnet trainer as people run it: its answer has the grey values of the stain."""

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from micserve.artifact.package import open_package
from micserve.backends.onnx import OnnxBackend
from micserve.families.base import RestorationParameters
from micserve.image import Image
from micserve.predict import LoadedModel, predict
from micserve.registry import ModelRef, RegistrySettings, open_registry
from micserve.registry.gate import gate, read_held_out
from tests.support.trainers import TrainerProgram, python_of

TINY = {
    "preset": "quick",
    "number_of_epochs": 3,
    "number_of_steps": 8,
    "patch_size": 32,
    "batch_size": 4,
    "first_filters": 4,
    "pooling_steps": 2,
}
STAIN_MEAN = 30_000


def field(seed, shape):
    """A dim transmitted light image, and a bright stain that follows it."""
    random = np.random.default_rng(seed)
    structure = gaussian_filter(random.normal(size=shape), 2)
    structure /= structure.std()
    image = 500 + 20 * structure + random.normal(0, 4, shape)
    return image.astype(np.uint16), (STAIN_MEAN + 3000 * structure).astype(np.uint16)


@pytest.mark.parametrize(("ndim", "shape"), [(2, (72, 80)), (3, (6, 40, 40))])
def test_a_stain_is_predicted_in_its_own_grey_values(ndim, shape, tmp_path, registry_server):
    trainer = TrainerProgram("fnet", python_of("torch"), tmp_path / "home", registry_server)
    for number in range(3):
        for folder, pixels in zip(("images", "target"), field(number, shape), strict=True):
            (tmp_path / "data" / folder).mkdir(exist_ok=True, parents=True)
            path = tmp_path / "data" / folder / f"{number}.tif"
            tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZYX"[-ndim:]})
    status, output = trainer.run(data=tmp_path / "data", name=trainer.name, ndim=ndim, **TINY)
    assert status == 0, output

    settings = RegistrySettings(cache=tmp_path / "cache")
    registry = open_registry(registry_server.url, settings=settings)
    version = registry.resolve(ModelRef.parse(f"{trainer.name}@candidate"))
    assert version.verification.passed
    assert (version.family, version.ndim) == ("fnet", ndim)
    held = read_held_out(registry, version)
    assert held is not None, output
    assert list(held.methods) == ["prediction", "input"], "a smoothed input is no guess of a stain"
    report = registry.read_file(version, f"{version.qc.folder}/report.html").decode()
    assert "recorded in another way" in report
    package = open_package(registry.fetch(version))
    model = LoadedModel(package.contract, OnnxBackend(package.onnx, provider="cpu"))
    image, stain = field(9, shape)
    answer = predict(Image(image, "ZYX"[-ndim:]), model, RestorationParameters()).image.data
    assert answer.shape == shape
    # A few steps do not learn a stain, but the scale is the network's from the start.
    assert abs(answer.mean() - stain.mean()) < STAIN_MEAN / 3
    assert np.corrcoef(answer.ravel(), stain.ravel())[0, 1] > 0.2
    assert 'alt="Augmented patches"' in (package.folder / "training_report.html").read_text()
    if ndim == 2:
        registry.promote(version.ref, "production", by="test", reason="the first")
        further = {**TINY, "number_of_epochs": 1, "from_model": str(version.ref)}
        status, output = trainer.run(data=tmp_path / "data", name=trainer.name, **further)
        assert status == 0, output
        again = registry.resolve(ModelRef.parse(f"{trainer.name}@candidate"))
        training = open_package(registry.fetch(again)).contract.training
        assert (again.version, training["requested"]["from_model"]) == (2, str(version.ref))
        compared = gate(registry, again, "production").against_current
        assert [one.images for one in compared] == [1, 1, 1], "the same image was held back"
