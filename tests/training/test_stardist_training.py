"""The StarDist trainer: what it learns from, and, as people run it, what it publishes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from stardist.geometry import polygons_to_label, star_dist
from stardist.nms import non_maximum_suppression

from micserve.artifact.package import Package, open_package
from micserve.backends.onnx import OnnxBackend
from micserve.errors import ParameterError, TrainingDataError
from micserve.families.stardist.facts import read_facts
from micserve.normalize import fit
from micserve.registry import ModelRef, Registry, RegistrySettings, open_registry
from micserve.registry.gate import read_held_out
from tests.support.registry_server import RegistryServer
from tests.support.trainers import TrainerProgram, python_of
from training.common.config import assemble
from training.common.pairs import Pair
from training.stardist.config import PRESETS, StarDistConfig
from training.stardist.geometry import MOST_LABELS, labels_of, measure
from training.stardist.patch_plan import patch_size
from training.stardist.patches import NORMALIZATION, Labelled, PatchSource, augment
from training.stardist.thresholds import DEFAULT, optimised

TINY = {
    "preset": "quick",
    "number_of_epochs": 3,
    "number_of_steps": 3,
    "patch_size": 32,
    "patch_height": 16,
    "batch_size": 2,
    "n_rays": 8,
    "unet_n_depth": 1,
    "unet_n_first": 4,
    "net_conv_after_unet": 8,
}


def config(**values: Any) -> StarDistConfig:
    given = {"data": Path("images"), "name": "nuclei", **values}
    ndim = given.get("ndim", 2)
    return assemble(StarDistConfig, PRESETS[ndim], flags=given).config


def objects(shape: tuple[int, ...], radii: tuple[float, ...], *, spacing: int = 4) -> np.ndarray:
    """Labels (uint16): ellipsoids side by side, `spacing` pixels between them."""
    labels = np.zeros(shape, np.uint16)
    steps = [int(2 * radius + spacing) for radius in radii]
    starts = [
        np.arange(step // 2, n - step // 2 + 1, step) for n, step in zip(shape, steps, strict=True)
    ]
    places = np.indices(shape)
    for number, centre in enumerate(np.stack(np.meshgrid(*starts), -1).reshape(-1, len(shape)), 1):
        away = [(axis - c) / radius for axis, c, radius in zip(places, centre, radii, strict=True)]
        labels[np.sum(np.square(away), axis=0) <= 1] = number
    return labels


def pair(labels: np.ndarray, *, seed: int = 0) -> Pair:
    """Labels, and how a camera would show them."""
    grey = np.random.default_rng(seed).normal(100 + 100 * (labels > 0), 5)
    return Pair(grey[None].astype(np.uint16), "a.tif", labels[None])


def source(labels: np.ndarray, *, size: tuple[int, ...], **values: Any) -> PatchSource:
    settings = config(ndim=labels.ndim, n_rays=8, batch_size=2, **values)
    frames = [pair(labels)]
    geometry = measure(frames, settings)
    return PatchSource([Labelled.of(f) for f in frames], settings, geometry, size=size)


def test_grid_and_anisotropy_come_from_the_objects():
    found = measure([pair(objects((40, 80, 80), (5, 10, 10)))], config(ndim=3, n_rays=24))
    assert found.grid == (1, 2, 2)
    assert found.anisotropy == pytest.approx((21 / 11, 1, 1))
    assert len(found.rays) == 24
    assert "11 × 21 × 21" in found.sentence


def test_a_grid_that_is_asked_for_is_taken():
    labels = objects((64, 64), (10, 10))
    assert measure([pair(labels)], config(grid_parameter="4")).grid == (4, 4)
    assert measure([pair(labels)], config()).grid == (2, 2)
    assert measure([pair(labels)], config()).anisotropy is None


def test_an_image_without_objects_does_not_change_what_is_measured():
    labels = objects((64, 64), (10, 10))
    pairs = [pair(labels), pair(np.zeros_like(labels)), pair(np.zeros_like(labels))]
    assert measure(pairs, config()) == measure(pairs[:1], config())


def test_labels_without_any_object_are_refused():
    with pytest.raises(TrainingDataError, match="No object is drawn"):
        measure([pair(np.zeros((64, 64), np.uint16))], config())


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.float32])
def test_labels_of_any_type_keep_their_objects_apart(kind):
    labels = labels_of(np.array([[0, 3, 3], [7, 0, 100]], kind))
    assert labels.dtype == np.uint16
    assert (labels == 0).tolist() == [[True, False, False], [False, True, False]]
    assert labels[0, 1] == labels[0, 2]
    assert len(np.unique(labels)) == 4


def test_more_objects_than_16_bits_count_never_become_background():
    labels = labels_of(np.arange(1, MOST_LABELS + 11, dtype=np.int32)[None])
    assert labels.min() == 1
    assert labels.max() == MOST_LABELS
    # Without a background pixel, too, the first object is one.
    assert (labels_of(np.full((4, 4), 9, np.int32)) == 1).all()


def test_targets_are_stardists_own_on_the_grid():
    labels = objects((64, 64), (10, 10))
    geometry = measure([pair(labels)], config(n_rays=8))
    targets = geometry.targets(labels)
    assert targets.shape == (32, 32, 9)
    assert np.allclose(targets[..., :-1], star_dist(labels, 8, mode="cpp")[::2, ::2], atol=1e-5)
    assert ((targets[..., -1] > 0) == (labels[::2, ::2] > 0)).all()
    assert targets[..., -1].max() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("shape", [(80, 96), (24, 64, 64)])
def test_an_epoch_gives_the_same_batches_again_and_the_next_one_others(shape):
    radii = (4.0, 8.0, 8.0)[-len(shape) :]
    patches = source(objects(shape, radii), size=(16, 32, 32)[-len(shape) :])
    first, again, other = (list(patches.batches(epoch, count=2)) for epoch in (3, 3, 4))
    for one, two, three in zip(first, again, other, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
        assert not np.array_equal(one[0], three[0])
    images, targets = first[0]
    assert images.shape == (2, *(16, 32, 32)[-len(shape) :], 1)
    assert targets.dtype == np.float32
    assert targets.shape[-1] == 9


def test_patches_show_objects_where_there_are_few():
    labels = np.zeros((256, 256), np.uint16)
    labels[100:120, 100:120] = 1
    patches = source(labels, size=(64, 64), train_foreground_only=1.0)
    seen = [targets[..., -1].max(axis=(1, 2)) > 0 for _, targets in patches.batches(0, count=10)]
    # A patch without an object is taken after 32 tries, which happens to about one in ten here.
    assert np.mean(seen) > 0.6
    spread = source(labels, size=(64, 64), train_foreground_only=0.0)
    rare = [targets[..., -1].max(axis=(1, 2)) > 0 for _, targets in spread.batches(0, count=10)]
    assert np.mean(rare) < np.mean(seen)


def test_augmentation_turns_image_and_labels_alike():
    labels = np.zeros((32, 32), np.uint16)
    labels[2:9, 3:20] = 1
    image = (labels > 0).astype(np.float32)[..., None]
    seen = set()
    for seed in range(20):
        changed, turned = augment(image, labels, np.random.default_rng(seed))
        bright = changed[..., 0] > (changed.min() + changed.max()) / 2
        assert np.array_equal(bright, turned > 0)
        seen.add(turned.tobytes())
    assert len(seen) > 4


def test_patches_shrink_to_what_fits_and_say_so():
    size, notes = patch_size(config(patch_size=300), (256, 320), (2, 2))
    assert size == (256, 256)
    assert "256 instead of 300" in notes[0]
    assert patch_size(config(), (1000, 1000), (2, 2)) == ((256, 256), ())
    stacks = config(ndim=3, unet_n_depth=2)
    assert patch_size(stacks, (30, 100, 100), (1, 2, 2))[0] == (28, 64, 64)
    with pytest.raises(TrainingDataError, match="use larger images"):
        patch_size(stacks, (3, 100, 100), (1, 2, 2))


def test_colour_is_for_planes_only():
    assert config(rgb=True).channels == 3
    with pytest.raises(ParameterError, match="rgb is for 2D images only"):
        config(rgb=True, ndim=3)


class Drawing:
    """What the search for thresholds takes from stardist's model."""

    config = SimpleNamespace(grid=(2, 2))

    def _instances_from_prediction(self, shape, prob, dist, *, prob_thresh, nms_thresh):
        points, scores, distances = non_maximum_suppression(
            dist, prob, grid=(2, 2), prob_thresh=prob_thresh, nms_thresh=nms_thresh
        )
        return polygons_to_label(distances, points, prob=scores, shape=shape), {}


def test_thresholds_leave_out_what_a_network_wrongly_finds():
    labels = objects((96, 96), (10, 10))
    frame = Labelled.of(pair(labels))
    answer = measure([pair(labels)], config()).targets(labels)
    prob, dist = 0.9 * answer[..., -1], answer[..., :-1].copy()
    # Something that is no object, less surely.
    prob[:4, :4], dist[:4, :4] = 0.6, 5.0
    heads = {"prob": prob[None, None], "dist": np.moveaxis(dist, -1, 0)[None]}
    found = optimised(Drawing(), lambda _: heads, [frame], multiple=(2, 2))
    assert 0.6 <= found["prob_thresh"] < 0.9


def test_thresholds_are_stardists_own_where_nothing_was_learnt():
    labels = objects((96, 96), (10, 10))
    empty = {
        "prob": np.zeros((1, 1, 48, 48), np.float32),
        "dist": np.zeros((1, 32, 48, 48), np.float32),
    }
    frame = Labelled.of(pair(labels))
    assert optimised(Drawing(), lambda _: empty, [frame], multiple=(2, 2)) == DEFAULT
    assert optimised(Drawing(), lambda _: empty, [], multiple=(2, 2)) == DEFAULT


def folder_of(folder: Path, labels: np.ndarray, *, rgb: bool = False, count: int = 3) -> Path:
    """Images and masks, as files."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        grey = pair(labels, seed=number).pixels[0].astype(np.uint8)
        image = np.stack([grey, 255 - grey, grey // 2], -1) if rgb else grey
        axes = "ZYX"[-labels.ndim :]
        grey_file: dict[str, Any] = {"imagej": True, "metadata": {"axes": axes}}
        settings = {"photometric": "rgb"} if rgb else grey_file
        tifffile.imwrite(folder / "images" / f"{number}.tif", image, **settings)
        tifffile.imwrite(folder / "masks" / f"{number}.tif", labels, **grey_file)
    return folder


@pytest.fixture
def trainer(tmp_path: Path, registry_server: RegistryServer) -> TrainerProgram:
    return TrainerProgram("stardist", python_of("tf"), tmp_path / "home", registry_server)


@pytest.fixture
def registry(tmp_path: Path, registry_server: RegistryServer) -> Registry:
    return open_registry(registry_server.url, settings=RegistrySettings(cache=tmp_path / "cache"))


def published(trainer: TrainerProgram, registry: Registry) -> Package:
    version = registry.resolve(ModelRef.parse(f"{trainer.name}@candidate"))
    assert version.verification.passed
    checks = {check.name for check in version.verification.checks}
    assert {"framework agreement", "tiled equals whole", "bioimage.io test"} <= checks
    return open_package(registry.fetch(version))


def answers(package: Package, image: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Shapes of the heads for a (C, …) image."""
    backend = OnnxBackend(package.onnx, provider="cpu")
    heads = backend.run(fit(image, NORMALIZATION).apply(image)[None])
    return {name: head.shape for name, head in heads.items()}


def test_a_training_publishes_colour_models_with_grid_and_thresholds(trainer, registry, tmp_path):
    data = folder_of(tmp_path / "data", objects((64, 72), (10, 10)), rgb=True)
    status, output = trainer.run(data=data, name=trainer.name, rgb=True, **TINY)
    assert status == 0, output
    assert "The objects have 21 × 21 pixels" in output
    package = published(trainer, registry)
    contract = package.contract
    facts = read_facts(contract)
    assert (facts.n_rays, facts.grid, facts.rays) == (8, (2, 2), None)
    assert 0 < facts.prob_thresh < 1
    tiling = contract.network.tiling
    assert (contract.network.channels, tiling.multiple, tiling.pad) == (3, (4, 4), "end")
    assert answers(package, np.zeros((3, 40, 44), np.uint8)) == {
        "prob": (1, 1, 20, 22),
        "dist": (1, 8, 20, 22),
    }
    held = read_held_out(registry, registry.resolve(ModelRef(name=trainer.name, version=1)))
    assert held is not None, output
    assert held.measures[0].key == "mean_ap"
    stored = {path.name for path in package.folder.iterdir()}
    assert {
        "stardist_config.json",
        "stardist_thresholds.json",
        "stardist_weights_best.h5",
    } <= stored


def test_a_killed_3d_run_is_resumed_and_its_weights_start_another(trainer, registry, tmp_path):
    data = folder_of(tmp_path / "data", objects((24, 48, 48), (4, 8, 8)))
    # A grid of 2 along Z, too: what is shown of a stack is then half as deep as the image.
    asked = {"data": data, "name": trainer.name, "ndim": 3, **TINY, "grid_parameter": 2}
    run_id = trainer.killed_after_an_epoch(**asked)
    trainer.shorten(run_id, 4)
    status, output = trainer.run("--resume", run_id)
    assert status == 0, output
    assert "Going on after epoch" in output
    package = published(trainer, registry)
    facts = read_facts(package.contract)
    assert facts.grid == (2, 2, 2)
    assert facts.anisotropy == pytest.approx((17 / 9, 1, 1))
    assert facts.rays is not None
    assert facts.rays.name == "Rays_GoldenSpiral"
    assert answers(package, np.zeros((1, 8, 20, 24), np.uint8)) == {
        "prob": (1, 1, 4, 10, 12),
        "dist": (1, 8, 4, 10, 12),
    }
    first = f"{trainer.name}@1"
    status, output = trainer.run(**{**asked, "number_of_epochs": 1}, from_model=first)
    assert status == 0, output
    assert len(registry.list_versions(trainer.name)) == 2


def test_mistakes_are_one_sentence_and_status_2(trainer, tmp_path):
    mask = (objects((64, 64), (10, 10)) > 0).astype(np.uint8) * 255
    data = folder_of(tmp_path / "data", mask)
    status, output = trainer.run(data=data, name=trainer.name, **TINY)
    assert status == 2, output
    assert "every object needs a number of its own" in " ".join(output.split())
    assert "Traceback" not in output
