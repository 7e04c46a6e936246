"""The trust light: what is like the training images is green, what is not is not."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from micserve.trust import Envelope, distance_maps, envelope_of, judge, measure_envelope, sample
from micserve.trust.envelope import KEY
from micserve.trust.residual import residual_statistics
from micserve.trust.statistics import WORDS, likeness


def cells(seed: int, size: int = 192, *, noise: float = 12.0) -> np.ndarray:
    """(1, Y, X) uint16: blobs of one size on a background, with white noise."""
    random = np.random.default_rng(seed)
    points = random.random((size, size)) > 0.997
    smooth = gaussian_filter(points.astype(float), 4) * 4000
    return (100 + smooth + random.normal(0, noise, (size, size))).clip(0).astype(np.uint16)[None]


@pytest.fixture(scope="module")
def envelope() -> Envelope:
    found = measure_envelope([[cells(seed)] for seed in range(10)])
    assert found is not None
    return found


def test_another_image_of_the_same_kind_is_green(envelope: Envelope) -> None:
    for seed in range(20, 25):
        assert judge(envelope, [cells(seed)]).light == "green"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda image: gaussian_filter(image, (0, 2, 2)), "less noisy|blur|smoother"),
        (lambda image: np.minimum(image, np.percentile(image, 80)), "clipped"),
        (lambda image: image.repeat(3, 1).repeat(3, 2)[:, :192, :192], "coarse|smooth|noisy"),
        (lambda image: image + np.random.default_rng(0).normal(0, 150, (192, 192)), "nois|grain"),
        (lambda image: image.max() - image, "dark things on bright"),
    ],
    ids=["blurred", "clipped", "another pixel size", "noisier", "inverted"],
)  # fmt: skip
def test_a_wrong_input_is_not_green_and_the_reason_names_it(envelope, change, word) -> None:
    found = judge(envelope, [np.asarray(change(cells(30)))])
    assert found.light in ("amber", "red")
    assert any(one in found.reason for one in word.split("|")), found.reason


def test_gain_and_offset_matter_only_to_networks_that_see_grey_values(envelope: Envelope) -> None:
    brighter = cells(31).astype(np.float32) * 20 + 500
    assert judge(envelope, [brighter]).light == "green"
    found = judge(envelope, [brighter], gain_matters=True)
    assert found.light == "red"
    assert "bright" in found.reason or "contrast" in found.reason


def test_the_type_and_byte_order_of_pixels_change_nothing(envelope: Envelope) -> None:
    image = cells(32)
    expected = judge(envelope, [image])
    for dtype in (">u2", "float32", ">f8"):
        assert judge(envelope, [image.astype(dtype)]) == expected


def test_another_pixel_size_is_said_with_both_numbers(envelope: Envelope) -> None:
    found = judge(envelope, [cells(33)], trained_um=0.1, sent_um=0.25)
    assert found.light == "red"
    assert "0.25 µm" in found.reason
    assert "0.1 µm" in found.reason
    assert judge(envelope, [cells(33)], trained_um=0.1, sent_um=0.12).light == "green"


def test_nothing_is_said_where_nothing_is_known() -> None:
    found = judge(None, [cells(1)])
    assert (found.light, "no training statistics" in found.reason) == ("unknown", True)
    assert judge(None, [cells(1)], trained_um=0.1, sent_um=1.0).light == "red"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 400), (1, 3, 10, 10)])
def test_an_image_too_small_for_texture_is_unknown(envelope: Envelope, shape) -> None:
    assert judge(envelope, [np.zeros(shape, np.uint8)]).light == "unknown"


def test_a_constant_image_is_far_from_cells_and_breaks_nothing(envelope: Envelope) -> None:
    assert judge(envelope, [np.full((1, 100, 100), 7, np.uint8)]).light == "red"


def test_images_smaller_than_a_patch_and_odd_ones_are_judged(envelope: Envelope) -> None:
    for shape in ((33, 47), (64, 65), (25, 500)):
        image = cells(34, 512)[:, : shape[0], : shape[1]]
        assert judge(envelope, [image]).light in ("green", "amber", "red")


def test_a_stack_with_one_slice_is_judged_as_its_plane(envelope: Envelope) -> None:
    image = cells(35)
    assert judge(envelope, [image[:, None]]) == judge(envelope, [image])


def test_few_patches_of_a_large_image_are_read() -> None:
    large = np.lib.stride_tricks.as_strided(
        np.zeros(1, np.uint16), (1, 1 << 16, 1 << 16), (0, 0, 0)
    )
    patches = sample([large])
    assert patches is not None
    assert patches.pixels.size < 1 << 18


def test_an_envelope_travels_as_plain_json_and_passes_over_what_it_does_not_know(
    envelope: Envelope,
) -> None:
    text = json.dumps({KEY: {**envelope.model_dump(mode="json"), "from_the_future": 1}})
    assert envelope_of(json.loads(text)) == envelope
    assert len(text) < 20_000, "it lies in rdf.yaml"
    assert envelope_of({}) is None
    assert envelope_of({KEY: {"version": 99}}) is None
    assert set(envelope.statistics) == set(WORDS)


def test_what_a_denoiser_takes_away_is_white_when_only_noise_goes() -> None:
    random = np.random.default_rng(3)
    clean = gaussian_filter(random.normal(0, 60, (4, 64, 64)), (0, 3, 3)) * 10 + 100
    noisy = (clean + random.normal(0, 8, clean.shape)).astype(np.float32)
    good = residual_statistics(noisy, clean.astype(np.float32))
    bad = residual_statistics(noisy, gaussian_filter(noisy, (0, 6, 6)))
    assert good["residual_likeness"].max() < 0.1
    assert bad["residual_likeness"].min() > 0.5
    assert (bad["removed"] > good["removed"]).all()


def test_a_result_that_lost_structure_turns_the_light() -> None:
    random = np.random.default_rng(4)
    pairs = []
    for seed in range(4):
        noisy = cells(seed).astype(np.float32)
        pairs.append(([noisy], [noisy - random.normal(0, 12, noisy.shape).astype(np.float32)]))
    envelope = measure_envelope([[cells(seed)] for seed in range(8)], answered=pairs)
    assert envelope is not None
    noisy = cells(40).astype(np.float32)
    flat = gaussian_filter(noisy, (0, 12, 12))
    found = judge(envelope, [noisy], results=[flat])
    assert found.light != "green"
    assert "result changed more than usual" in found.reason


def test_maps_show_where_an_image_is_unlike_the_training_images(envelope: Envelope) -> None:
    image = cells(41, 256).astype(np.float32)
    image[:, :, 128:] = gaussian_filter(image, (0, 5, 5))[:, :, 128:]
    found = distance_maps(envelope, image)
    assert found.shape == (256, 256)
    assert found[:, 192:].mean() > found[:, :64].mean() + 0.3


def test_likeness_is_the_autocorrelation() -> None:
    ramp = np.tile(np.sin(np.arange(64) * np.pi / 8), (1, 64, 1))
    assert likeness(ramp, 8)[0] == pytest.approx((1 - 1) / 2, abs=0.1), "along X −1, along Y +1"
    assert likeness(np.zeros((1, 9, 9)), 1)[0] == 0
