"""Axes: which frames a network sees, and the sentence when it cannot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micserve.axes import plan_frames
from micserve.errors import AxesError


@st.composite
def grey_images(draw: st.DrawFn) -> tuple[str, np.ndarray]:
    axes = "".join(a for a in "TZC" if draw(st.booleans())) + "YX"
    shape = tuple(draw(st.integers(1, 3)) for _ in axes)
    return axes, np.arange(np.prod(shape)).reshape(shape)


@given(grey_images(), st.sampled_from(["YX", "ZYX"]))
def test_running_the_identity_over_all_frames_gives_the_image_back(image, spatial):
    axes, data = image
    if spatial == "ZYX" and "Z" not in axes:
        return
    plan = plan_frames(axes, data.shape, spatial=spatial, channels=1, channel="all")
    output = np.full(plan.shape, -1)
    count = 0
    for frame, place in plan.frames(data):
        assert frame.shape[0] == 1
        assert frame.ndim == 1 + len(spatial)
        output[place] = frame[0]
        count += 1
    assert count == len(plan)
    assert plan.axes == axes
    np.testing.assert_array_equal(output, data)


def test_a_chosen_channel_is_counted_from_one_and_leaves_the_axes():
    data = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    plan = plan_frames("TCYX", data.shape, spatial="YX", channels=1, channel=2)
    assert plan.axes == "TYX"
    frames = [frame[0] for frame, _ in plan.frames(data)]
    np.testing.assert_array_equal(frames, data[:, 1])


def test_all_channels_go_to_a_model_that_takes_them():
    data = np.arange(24).reshape(2, 3, 4)
    (frame, place), *rest = plan_frames("CYX", data.shape, spatial="YX", channels=2).frames(data)
    assert not rest
    assert place == (slice(None), slice(None))
    np.testing.assert_array_equal(frame, data)


def test_rgb_samples_are_channels_for_a_colour_model():
    data = np.arange(24).reshape(2, 4, 3)
    (frame, _), *_ = plan_frames("YXS", data.shape, spatial="YX", channels=3).frames(data)
    np.testing.assert_array_equal(frame, data.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("axes", "shape", "wanted", "sentence"),
    [
        ("YX", (5, 5), {"spatial": "ZYX", "channels": 1}, r"no slices \(Z\)"),
        ("TYX", (4, 5, 5), {"spatial": "ZYX", "channels": 1}, "say so with axes=ZYX"),
        (
            "CYX",
            (2, 5, 5),
            {"spatial": "YX", "channels": 1},
            "Choose one with channel=1 … channel=2",
        ),
        ("CYX", (2, 5, 5), {"spatial": "YX", "channels": 1, "channel": 3}, "has 2 channel"),
        ("CYX", (2, 5, 5), {"spatial": "YX", "channels": 3}, "needs all of its 3 channels"),
        ("YXS", (5, 5, 3), {"spatial": "YX", "channels": 1}, "Split Channels"),
        ("YX", (0, 5), {"spatial": "YX", "channels": 1}, "is empty"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(axes, shape, wanted, sentence):
    with pytest.raises(AxesError, match=sentence):
        plan_frames(axes, shape, **wanted)
