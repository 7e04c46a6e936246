"""The U-Net trainer as people run it, and what it makes of masks."""

import numpy as np
import pytest
import tifffile

from micserve.artifact.package import open_package
from micserve.backends.onnx import OnnxBackend
from micserve.errors import TrainingDataError
from micserve.families.unet import UNetParameters
from micserve.image import Image
from micserve.predict import LoadedModel, predict
from micserve.registry import ModelRef, RegistrySettings, open_registry
from micserve.registry.gate import read_held_out
from tests.support.trainers import TrainerProgram, python_of
from training.common.config import assemble
from training.common.images import Manifest, Plane
from training.common.pairs import Pair, PairedDataset
from training.torch_loop.config import plan_of
from training.unet.classes import balanced_weights, classes_of
from training.unet.config import PRESETS, UNetConfig
from training.unet.threshold import best_threshold

TINY = {
    "preset": "quick",
    "number_of_epochs": 2,
    "number_of_steps": 3,
    "patch_size": 32,
    "batch_size": 2,
    "first_filters": 4,
}


def discs(seed, shape):
    """Bright balls in noise, and where they are."""
    random = np.random.default_rng(seed)
    grid = np.indices(shape)
    inside = np.zeros(shape, bool)
    for _ in range(6):
        centre = [random.integers(0, n) for n in shape]
        distance = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        inside |= distance < random.integers(25, 80)
    grey = 1000 + 600 * inside + random.normal(0, 80, shape)
    return grey.astype(np.uint16), inside


def folder_of(target, shape, masks):
    axes = "ZYX"[-len(shape) :]
    for number in range(3):
        grey, inside = discs(number, shape)
        for name, pixels in (("images", grey), ("masks", masks(inside))):
            (target / name).mkdir(exist_ok=True, parents=True)
            path = target / name / f"{number}.tif"
            tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": axes})
    return target


def black_and_white(inside):
    return inside.astype(np.uint8) * 255


@pytest.fixture
def trainer(tmp_path, registry_server):
    return TrainerProgram("unet", python_of("torch"), tmp_path / "home", registry_server)


@pytest.fixture
def registry(tmp_path, registry_server):
    return open_registry(registry_server.url, settings=RegistrySettings(cache=tmp_path / "cache"))


def published(registry, name, version=None):
    ref = f"{name}@{version or 'candidate'}"
    found = registry.resolve(ModelRef.parse(ref))
    assert found.verification.passed
    package = open_package(registry.fetch(found))
    return package, LoadedModel(package.contract, OnnxBackend(package.onnx, provider="cpu"))


def test_a_2d_network_is_trained_published_resumed_and_trained_on(trainer, registry, tmp_path):
    data = folder_of(tmp_path / "data", (64, 64), black_and_white)
    run_id = trainer.killed_after_an_epoch(data=data, name=trainer.name, **TINY)
    trainer.shorten(run_id, 4)
    status, output = trainer.run("--resume", run_id)
    assert status == 0, output
    assert "Going on after epoch" in output
    package, model = published(registry, trainer.name)
    assert 0 < package.contract.parameters["threshold"] < 1
    assert package.contract.training["effective"]["data"] == "data"
    image = Image(discs(9, (50, 70))[0], "YX")
    mask = predict(image, model, UNetParameters()).image
    assert set(np.unique(mask.data)) <= {0, 255}

    first = registry.resolve(ModelRef(name=trainer.name, version=1))
    held = read_held_out(registry, first)
    assert held is not None
    assert [measure.key for measure in held.measures] == ["iou", "dice"]
    assert list(held.methods) == ["prediction", "threshold"]
    report = registry.read_file(first, f"{first.qc.folder}/report.html").decode()
    assert "scored at the threshold" in report, "which is chosen on other images"

    further = {**TINY, "number_of_epochs": 1, "from_model": f"{trainer.name}@1"}
    status, output = trainer.run(data=data, name=trainer.name, **further)
    assert status == 0, output
    status, output = trainer.run(data=data, name=trainer.name, **{**further, "first_filters": 5})
    assert status == 2, output
    assert "another shape" in output
    assert "Traceback" not in output


def test_a_3d_network_tells_classes_apart(trainer, registry, tmp_path):
    def two_kinds(inside):
        return (inside * (1 + (np.indices(inside.shape)[2] > 24))).astype(np.uint8)

    data = folder_of(tmp_path / "data", (8, 40, 48), two_kinds)
    status, output = trainer.run(
        data=data, name=trainer.name, **TINY, ndim=3, patch_height=8, pooling_steps=2
    )
    assert status == 0, output
    package, model = published(registry, trainer.name)
    assert package.contract.network.heads[0].channels == 3
    assert package.contract.parameters["class_values"] == [0, 1, 2]
    # 8 slices leave 4 at the bottom: they are halved once, the plane twice.
    assert package.contract.network.tiling.multiple == (2, 4, 4)
    image = Image(discs(9, (7, 41, 50))[0], "ZYX")
    likely = predict(image, model, UNetParameters(result="probability")).image
    assert (likely.axes, likely.data.shape) == ("ZCYX", (7, 3, 41, 50))
    np.testing.assert_allclose(likely.data.sum(axis=1), 1, atol=1e-5)


def test_a_folder_of_mistakes_is_refused_at_once(trainer, tmp_path):
    data = folder_of(tmp_path / "data", (64, 64), black_and_white)
    (data / "masks" / "0.tif").unlink()
    tifffile.imwrite(data / "masks" / "1.tif", np.zeros((63, 64), np.uint8))
    status, output = trainer.run(data=data, name=trainer.name, **TINY)
    assert status == 2
    assert "images/0.tif: there is no target" in output
    assert "masks/1.tif: it has 63 × 64 pixels" in output
    assert "Traceback" not in output


def pair(target):
    target = np.asarray(target)[None]
    return Pair(np.zeros(target.shape, np.uint16), "a.tif", target)


def test_black_and_white_masks_are_binary_whatever_their_white_is():
    for white in (1, 255, 65535):
        classes = classes_of([pair([[0, white]]), pair([[0, 0]])], "auto")
        assert classes.binary
        assert classes.index(np.array([0, white])).tolist() == [0, 1]


def test_numbers_of_objects_are_binary_only_when_asked():
    labels = pair([list(range(40))])
    with pytest.raises(TrainingDataError, match="mask_type binary"):
        classes_of([labels], "auto")
    assert classes_of([labels], "binary").index(labels.target).max() == 1


def test_any_values_can_be_classes_the_lowest_is_the_background():
    classes = classes_of([pair([[0, 128]]), pair([[255, 0]])], "auto")
    assert classes.values == (0, 128, 255)
    assert classes.index(np.array([255, 0, 128])).tolist() == [2, 0, 1]


def test_masks_with_nothing_in_them_are_refused():
    with pytest.raises(TrainingDataError, match="nothing to tell apart"):
        classes_of([pair([[0, 0]])], "auto")


def test_rare_classes_weigh_more():
    pairs = [pair([[0, 0, 0, 1]])]
    weights = balanced_weights(pairs, classes_of(pairs, "auto"))
    assert weights == pytest.approx((4 / (2 * 3), 4 / (2 * 1)))


def test_the_threshold_is_where_the_overlap_is_best():
    truth = np.array([[0, 0, 0, 1, 1, 1]], np.float32)
    sure = np.array([[0.1, 0.2, 0.3, 0.8, 0.9, 0.9]], np.float32)
    assert best_threshold([(sure, truth)]) == pytest.approx(0.55, abs=0.02)
    shifted = np.array([[0.1, 0.6, 0.7, 0.8, 0.9, 0.9]], np.float32)
    assert 0.7 <= best_threshold([(shifted, truth)]) < 0.8
    random = np.random.default_rng(0)
    probability, true = random.random((1, 99, 99)), random.random((1, 99, 99)) > 0.5
    chosen = best_threshold([(probability, true)])
    overlaps = {
        t: ((probability > t) & true).sum() / ((probability > t) | true).sum()
        for t in np.arange(0.05, 0.96, 0.01)
    }
    found = ((probability > chosen) & true).sum() / ((probability > chosen) | true).sum()
    assert found == pytest.approx(max(overlaps.values()))


def test_a_threshold_without_objects_to_measure_is_a_half():
    assert best_threshold([(np.zeros((1, 4, 4)), np.zeros((1, 4, 4)))]) == 0.5


def plane(*size):
    return Plane(np.zeros((1, *size), np.uint16), "a.tif")


def data_of(*size):
    manifest = Manifest.model_construct(files=(), split="by file", sentence="")
    return PairedDataset((plane(*size),), (plane(*size),), manifest, None)


def plan(ndim, size, **flags):
    flags = {"data": ".", "name": "a", **flags}
    return plan_of(
        assemble(UNetConfig, PRESETS[ndim], flags=flags).config, data_of(*size), ndim=ndim
    )


@pytest.mark.parametrize(
    ("slices", "height"), [(3, 3), (5, 5), (8, 8), (17, 16), (33, 32), (200, 32)]
)
def test_stacks_of_any_depth_find_a_patch(slices, height):
    assert plan(3, (slices, 100, 120)).patch_size == (height, 64, 64)


def test_what_could_not_be_as_asked_is_said():
    asked = plan(2, (100, 200), patch_size=128)
    assert asked.patch_size == (96, 96)
    assert "96 instead of 128" in asked.notes[0]


def test_images_too_small_for_the_network_are_refused():
    with pytest.raises(TrainingDataError, match="pooling_steps"):
        plan(2, (40, 40), pooling_steps=6)
