"""Suppression in batches and painting in place are stardist's own, object for object."""

import os
import sys

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stardist.geometry import polygons_to_label, polyhedron_to_label
from stardist.matching import relabel_sequential
from stardist.nms import non_maximum_suppression_3d_sparse, non_maximum_suppression_sparse
from stardist.rays3d import Rays_GoldenSpiral

from micserve.errors import CancelledError, ServiceUnavailableError
from micserve.families.stardist import clusters, survivors
from micserve.families.stardist.candidates import Candidates
from micserve.families.stardist.clusters import batches
from micserve.families.stardist.shapes import Shapes, suppress
from micserve.objects import Position, label_dtype

RAYS = 16


def stars(shape, count, seed, *, rays=RAYS, size=(2, 9)):
    """Star-convex candidates at integer places, some with equal scores."""
    random = np.random.default_rng(seed)
    points = np.stack([random.integers(0, n, count) for n in shape], axis=1).astype(np.int32)
    scores = (random.integers(40, 90, count) / 100).astype(np.float32)
    radius = random.uniform(*size, (count, 1))
    distances = (radius * random.uniform(0.7, 1.3, (count, rays))).astype(np.float32)
    return Candidates(points, scores, distances)


def painted(shapes, shape, dtype=None):
    labels = np.full(shape, 9, dtype or label_dtype(shapes.largest_label))
    return labels, shapes.paint(labels)


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 400),
    width=st.integers(20, 400),
    seed=st.integers(0, 999),
    threshold=st.sampled_from([0.0, 0.2, 0.4, 0.7]),
    batch=st.sampled_from([1, 7, 50, 10**6]),
)
def test_batches_of_clusters_leave_what_one_run_over_all_leaves(
    count, width, seed, threshold, batch
):
    found = stars((width, 150), count, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "BATCH", batch)
        kept = suppress(found, threshold=threshold)
    points, scores, distances, _ = non_maximum_suppression_sparse(
        found.distances, found.scores, found.points, nms_thresh=threshold
    )
    assert np.array_equal(kept.points, points)
    assert np.array_equal(kept.scores, scores)
    assert np.array_equal(kept.distances, distances)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 60),
    seed=st.integers(0, 999),
    batch=st.sampled_from([1, 5, 1000]),
    reach=st.sampled_from([5, 40, 1e5]),
)
def test_boxes_that_overlap_are_in_one_batch_and_each_is_in_one(count, seed, batch, reach):
    random = np.random.default_rng(seed)
    low = random.uniform(-50, 200, (count, 2)).astype(np.float32)
    high = (low + random.uniform(0.1, reach, (count, 2))).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "BATCH", batch)
        found = list(batches(low, high))
    assert sorted(np.concatenate(found)) == list(range(count))
    number = np.empty(count, int)
    for index, rows in enumerate(found):
        assert (np.diff(rows) > 0).all()
        number[rows] = index
    overlap = (low[:, None] <= high[None]).all(axis=2) & (low[None] <= high[:, None]).all(axis=2)
    assert (number[:, None] == number[None])[overlap].all()


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(0, 80),
    seed=st.integers(0, 999),
    scale=st.sampled_from([1.0, 0.5, 1.7]),
    dtype=st.sampled_from(["uint16", ">u2", ">f4"]),
)
def test_polygons_are_painted_as_stardist_paints_them(count, seed, scale, dtype):
    shape, rescale = (70, 90), (1 / scale,) * 2
    found = suppress(stars((80, 95), count, seed, size=(2, 15)), threshold=0.5)
    labels, objects = painted(Shapes(found, rescale, Position()), shape, np.dtype(dtype))
    expected = polygons_to_label(
        found.distances, found.points * np.array(rescale), prob=found.scores,
        shape=shape, scale_dist=rescale,
    )  # fmt: skip
    assert np.array_equal(labels, expected)
    assert np.array_equal(objects.labels, np.setdiff1d(expected, 0))
    assert np.array_equal(objects.scores, found.scores[objects.labels - 1])
    assert objects.outlines is not None
    assert objects.outlines.shape == (len(objects), RAYS, 2)


def test_polyhedra_are_suppressed_and_painted_as_stardist_does_it():
    rays, shape = Rays_GoldenSpiral(32, anisotropy=(2, 1, 1)), (20, 50, 60)
    found = stars(shape, 150, 3, rays=32, size=(3, 8))
    kept = suppress(found, threshold=0.3, rays=rays)
    points, scores, distances, _ = non_maximum_suppression_3d_sparse(
        found.distances, found.scores, found.points, rays, nms_thresh=0.3
    )
    assert np.array_equal(kept.points, points)
    labels, objects = painted(Shapes(kept, (1.0,) * 3, Position(), rays), shape)
    expected = polyhedron_to_label(distances, points, rays, shape, prob=scores, verbose=False)
    assert np.array_equal(labels, relabel_sequential(expected)[0])
    assert len(objects) == labels.max()
    assert objects.outlines is None


def test_a_hidden_object_gives_its_label_away_in_3d_and_is_not_listed():
    rays = Rays_GoldenSpiral(32)
    found = Candidates(
        np.array([[8, 8, 8], [8, 8, 9], [8, 8, 22]], np.int32),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.repeat(np.array([[6], [2], [5]], np.float32), 32, axis=1),
    )
    labels, objects = painted(Shapes(found, (1.0,) * 3, Position(), rays), (16, 16, 30))
    assert np.array_equal(np.unique(labels), [0, 1, 2])
    assert objects.scores.tolist() == pytest.approx([0.9, 0.7])
    assert objects.centres[1].tolist() == [8, 8, 22]


def test_more_objects_than_16_bits_hold_are_labelled_in_32_bit_float():
    count = 65_600
    points = np.stack(np.unravel_index(np.arange(count), (256, 300)), axis=1).astype(np.int32) * 3
    dots = Candidates(points, np.full(count, 0.5, np.float32), np.full((count, 8), 0.8, np.float32))
    shapes = Shapes(dots, (1.0, 1.0), Position())
    assert label_dtype(shapes.largest_label) == np.float32
    labels, objects = painted(shapes, (768, 900))
    assert len(objects) == count
    assert labels.max() == count
    assert label_dtype(65_535) == np.uint16


def test_an_empty_image_has_no_objects():
    nothing = stars((9, 9), 0, 0)
    labels, objects = painted(Shapes(suppress(nothing, threshold=0.4), (1, 1), Position()), (9, 9))
    assert not labels.any()
    assert len(objects) == 0
    rays = Rays_GoldenSpiral(RAYS)
    nothing = Candidates(np.empty((0, 3), np.int32), nothing.scores, nothing.distances)
    kept = suppress(nothing, threshold=0.4, rays=rays)
    labels, objects = painted(Shapes(kept, (1.0,) * 3, Position(), rays), (4, 9, 9))
    assert (labels.any(), len(objects)) == (False, 0)


def test_what_takes_long_is_left_to_a_child_process_with_the_same_result(monkeypatch):
    rays = Rays_GoldenSpiral(32, anisotropy=(2, 1, 1))
    flat, deep = stars((90, 90), 300, 5), stars((20, 50, 60), 100, 6, rays=32, size=(3, 8))
    here = suppress(flat, threshold=0.3), suppress(deep, threshold=0.3, rays=rays)
    monkeypatch.setattr(survivors, "LONG", {2: 1, 3: 1})
    monkeypatch.setattr(survivors, "_here", None)
    there = suppress(flat, threshold=0.3), suppress(deep, threshold=0.3, rays=rays)
    for expected, got in zip(here, there, strict=True):
        assert np.array_equal(expected.points, got.points)
        assert np.array_equal(expected.scores, got.scores)


def test_a_cancelled_suppression_ends_its_child(monkeypatch):
    monkeypatch.setattr(survivors, "LONG", {2: 1, 3: 1})
    asked = iter([False, True])
    with pytest.raises(CancelledError):
        suppress(stars((90, 90), 300, 5), threshold=0.3, cancelled=lambda: next(asked))
    with pytest.raises(CancelledError):
        suppress(stars((90, 90), 300, 5), threshold=0.3, cancelled=lambda: True)


def test_a_child_that_dies_is_said_so(monkeypatch):
    monkeypatch.setattr(survivors, "LONG", {2: 1, 3: 1})
    monkeypatch.setattr(survivors.sys, "executable", "/bin/false")
    with pytest.raises(ServiceUnavailableError, match=r"300 possible objects .* Raise prob_thresh"):
        suppress(stars((20, 20), 300, 5), threshold=0.3)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal is Linux's")
def test_a_child_does_not_outlive_a_service_that_is_killed():
    program = (
        "from stardist.rays3d import Rays_GoldenSpiral\n"
        "from micserve.families.stardist.shapes import suppress\n"
        "from tests.stardist.test_stardist_shapes import stars\n"
        "many = stars((40, 40, 40), 4000, 1, rays=96, size=(3, 9))\n"
        "suppress(many, threshold=1.0, rays=Rays_GoldenSpiral(96))\n"
    )
    service = psutil.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    while not (children := service.children()):
        assert service.poll() is None, "it was done before it had a child"
    service.kill()
    service.wait()
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert (len(gone), alive) == (1, [])
