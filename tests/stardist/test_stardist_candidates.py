"""Candidates taken from tiles are those that stardist takes from the whole output, in its order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stardist.nms import _ind_prob_thresh

from micserve.errors import ParameterError
from micserve.families.stardist import candidates as module
from micserve.families.stardist.candidates import LEAST_DISTANCE, CandidateCollector
from micserve.tiling import pad_frame
from tests.stardist.driving import a_contract, feed

RAYS = 4


@st.composite
def outputs(draw):
    """Size of an image, grid, stride of the network, tile and an output of the padded size."""
    ndim = draw(st.sampled_from([2, 3]))
    grid = tuple(draw(st.sampled_from([1, 2, 4])) for _ in range(ndim))
    multiple = tuple(g * draw(st.sampled_from([1, 2])) for g in grid)
    shape = tuple(draw(st.integers(1, 40 if ndim == 2 else 20)) for _ in range(ndim))
    tile = draw(st.one_of(st.none(), st.integers(1, 24)))
    padded = [-(-n // m) * m for n, m in zip(shape, multiple, strict=True)]
    steps = [n // g for n, g in zip(padded, grid, strict=True)]
    random = np.random.default_rng(draw(st.integers(0, 99)))
    # Few different values, so that equal scores are common: then only the order tells them apart.
    prob = random.integers(0, 8, steps).astype(np.float32) / 8
    dist = random.uniform(-1, 5, (RAYS, *steps)).astype(np.float32)
    return shape, grid, multiple, tile, prob, dist


def as_stardist(prob, dist, threshold, grid, shape):
    """What `_predict_sparse_generator` of stardist 0.9.2 collects without tiles."""
    dist = np.maximum(1e-3, np.moveaxis(dist, 0, -1))
    taken = _ind_prob_thresh(prob, threshold, b=2)
    points = np.stack(np.where(taken), axis=1) * np.array(grid)
    inside = np.all(points < np.array(shape), axis=1)
    return points[inside], prob[taken][inside], dist[taken][inside]


def collect(shape, grid, multiple, tile, prob, dist, threshold):
    contract = a_contract(grid=grid, n_rays=RAYS, multiple=multiple, halo=multiple)
    frame = pad_frame(np.zeros((1, *shape), np.float32), multiple=multiple, side="end")
    collector = CandidateCollector(frame, grid=grid, n_rays=RAYS, threshold=threshold)
    output = _Output(prob, dist, grid)
    feed(collector, _Located(frame.shape), output.run, contract, tile)
    return collector.close()


class _Output:
    """A network that looks its answer up, told where by a frame that holds coordinates."""

    def __init__(self, prob, dist, grid):
        self.prob, self.dist, self.grid = prob, dist, grid

    def run(self, batch):
        every = tuple(slice(None, None, g) for g in self.grid)
        at = tuple(c[every].astype(int) // g for c, g in zip(batch[0], self.grid, strict=True))
        return {"prob": self.prob[at][None, None], "dist": self.dist[(slice(None), *at)][None]}


class _Located:
    """A padded frame whose grey values say where they are."""

    def __init__(self, shape):
        self.shape = shape

    def read(self, window):
        return np.indices(self.shape)[(slice(None), *window)]


@settings(deadline=None, max_examples=80)
@given(outputs(), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_tiles_give_the_candidates_of_the_whole_image_in_its_order(output, threshold):
    shape, grid, multiple, tile, prob, dist = output
    found = collect(shape, grid, multiple, tile, prob, dist, threshold)
    points, scores, distances = as_stardist(prob, dist, threshold, grid, shape)
    assert np.array_equal(found.points, points)
    assert np.array_equal(found.scores, scores)
    assert np.array_equal(found.distances, distances)


def test_no_ray_is_shorter_than_stardist_allows():
    prob, dist = np.ones((9, 9), np.float32), np.full((RAYS, 9, 9), -3, np.float32)
    found = collect((9, 9), (1, 1), (1, 1), None, prob, dist, 0.5)
    assert (found.distances == np.float32(LEAST_DISTANCE)).all()


def test_an_image_without_a_sure_pixel_has_no_candidates():
    prob, dist = np.zeros((9, 9), np.float32), np.ones((RAYS, 9, 9), np.float32)
    found = collect((9, 9), (1, 1), (1, 1), None, prob, dist, 0.5)
    assert (found.points.shape, found.scores.shape) == ((0, 2), (0,))
    assert found.distances.shape == (0, RAYS)


def test_too_many_candidates_are_refused_before_memory_is_gone(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    prob, dist = np.ones((32, 32), np.float32), np.ones((RAYS, 32, 32), np.float32)
    with pytest.raises(ParameterError, match=r"prob_thresh=0\.5 .* Raise prob_thresh"):
        collect((32, 32), (1, 1), (1, 1), None, prob, dist, 0.5)
