"""bioimageio.core draws from our package the objects that micserve draws."""

import numpy as np
import pytest

from micserve.artifact import rdf, star_labels, zoo
from micserve.artifact.package import open_package
from micserve.artifact.verify import verify_package
from micserve.backends.onnx import OnnxBackend
from micserve.families.stardist import StarDistParameters
from micserve.image import Image
from micserve.normalize import ScaleRange
from micserve.predict import LoadedModel, predict
from tests.support.networks import star_network
from tests.support.packages import small_package

RAYS = {2: 8, 3: 32}
PROB = {2: 0.2, 3: 0.35}
RADIUS = {2: 3.0, 3: 6.0}
MULTIPLE = {2: 8, 3: 4}
"""The test image is six times as large: larger in 2D, so that there are some objects."""
GRID = {2: (2, 2), 3: (2, 2, 2)}


def package(tmp_path, ndim, **facts):
    """A random network that draws many shapes, as a StarDist model."""
    rays = {"name": "Rays_GoldenSpiral", "kwargs": {"n": 32, "anisotropy": [2.0, 1.0, 1.0]}}
    parameters = {
        "n_rays": RAYS[ndim],
        "grid": list(GRID[ndim]),
        "prob_thresh": PROB[ndim],
        "nms_thresh": 0.3,
        "rays": rays if ndim == 3 else None,
        **facts,
    }
    return small_package(
        tmp_path / "nuclei.zip",
        onnx=star_network(
            tmp_path / "star.onnx", ndim=ndim, rays=RAYS[ndim], grid=2, radius=RADIUS[ndim]
        ),
        ndim=ndim,
        multiple=MULTIPLE[ndim],
        stride=2,
        heads={"prob": 1, "dist": RAYS[ndim]},
        normalization=ScaleRange(),
        restore_range=False,
        pad="end",
        changes={"family": "stardist", "parameters": parameters},
    )


def bioimageio_labels(path, **how):
    """Of the package's test input, by bioimageio.core."""
    from bioimageio.core import create_prediction_pipeline
    from bioimageio.core.digest_spec import get_test_input_sample
    from bioimageio.spec import load_description

    description = load_description(path, perform_io_checks=False)
    with create_prediction_pipeline(description, weight_format="onnx") as pipeline:
        sample = get_test_input_sample(description)
        found = pipeline.predict_sample_without_blocking(sample, **how)
    return found.members["labels"].data.to_numpy()[0, ..., 0]


@pytest.mark.parametrize("ndim", [2, 3])
def test_bioimageio_draws_our_labels_with_its_own_operation(tmp_path, ndim):
    path = package(tmp_path, ndim)
    opinion = zoo.test(path)
    assert opinion.accepted, opinion.reasons

    opened = open_package(path)
    # By default it mirrors a halo around the image, which changes objects at the border.
    theirs = bioimageio_labels(path, skip_input_padding=True, skip_output_cropping=True)
    assert bioimageio_labels(path).shape == theirs.shape
    model = LoadedModel(opened.contract, OnnxBackend(opened.onnx, provider="cpu"))
    image = Image(opened.test_input[0, 0], "ZYX"[-ndim:])
    ours = predict(image, model, StarDistParameters()).image.data
    assert ours.max() > 3
    np.testing.assert_array_equal(ours, theirs)


def test_the_extra_output_for_other_tools_is_none_of_ours(tmp_path):
    path = package(tmp_path, 2)
    assert OnnxBackend(open_package(path).onnx, provider="cpu").heads == ("prob", "dist")
    found = verify_package(path, network_of=lambda p: OnnxBackend(p, provider="cpu").run)
    assert found.passed, [check.sentence for check in found.checks if not check.passed]


def test_a_package_of_before_that_describes_no_labels_still_agrees(tmp_path):
    opened = open_package(package(tmp_path, 2))
    before = {**opened.rdf, "outputs": opened.rdf["outputs"][:2]}
    assert rdf.disagreements(before, opened.contract) == []


def test_a_test_image_without_objects_describes_no_labels_which_nobody_could_check(tmp_path):
    opened = open_package(package(tmp_path, 2, prob_thresh=1.0))
    assert [tensor["id"] for tensor in opened.rdf["outputs"]] == ["prob", "dist"]


def test_a_3d_model_for_which_bioimageio_fails_on_images_without_objects_describes_none(tmp_path):
    """Objects are in the test image, but not in the smaller ones that bioimageio.core tries."""
    path = package(tmp_path, 3, prob_thresh=0.5)
    opened = open_package(path)
    arguments = star_labels.operation(opened.contract)["kwargs"]
    assert star_labels.draw(opened.test_output, arguments).any()
    assert [tensor["id"] for tensor in opened.rdf["outputs"]] == ["prob", "dist"]
    assert zoo.test(path).accepted


def test_labels_with_another_threshold_than_the_models_disagree(tmp_path):
    opened = open_package(package(tmp_path, 2))
    facts = {**opened.contract.parameters, "prob_thresh": 0.6}
    other = opened.contract.model_copy(update={"parameters": facts})
    assert rdf.disagreements(opened.rdf, other) == ["postprocessing of labels"]


def test_rays_that_the_operation_does_not_know_are_not_described(tmp_path):
    rays = {"name": "Rays_Octo", "kwargs": {}}
    contract = open_package(package(tmp_path, 3)).contract
    facts = {**contract.parameters, "rays": rays}
    assert star_labels.operation(contract.model_copy(update={"parameters": facts})) is None
