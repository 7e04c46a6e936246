"""Tiles: every pixel once, enough around it, and the result never changes."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micserve.tiling import HARDLY_MORE, choose_tile, pad_frame, plan_tiles


@st.composite
def plans(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    ndim = draw(st.sampled_from([1, 2, 3]))
    limit = {1: 40, 2: 12, 3: 5}[ndim]
    multiple = tuple(draw(st.sampled_from([1, 2, 4])) for _ in range(ndim))
    shape = tuple(draw(st.integers(1, limit)) * m for m in multiple)
    halo = tuple(draw(st.integers(0, 4)) * m for m in multiple)
    tile = tuple(draw(st.integers(1, 60)) for _ in range(ndim))
    return shape, {"tile": tile, "halo": halo, "multiple": multiple}


@given(plans())
def test_every_pixel_is_written_exactly_once(plan):
    shape, sizes = plan
    writes = np.zeros(shape, int)
    for tile in plan_tiles(shape, **sizes):
        writes[tile.write] += 1
    assert (writes == 1).all()


@given(plans())
def test_every_tile_shows_its_halo_or_ends_where_the_image_ends(plan):
    shape, sizes = plan
    for tile in plan_tiles(shape, **sizes):
        for size, halo, read, write in zip(
            shape, sizes["halo"], tile.read, tile.write, strict=True
        ):
            assert 0 <= read.start <= read.stop <= size
            assert read.start == 0 or write.start - read.start >= halo
            assert read.stop == size or read.stop - write.stop >= halo


@given(plans())
def test_tiles_start_on_the_stride_and_have_one_size(plan):
    shape, sizes = plan
    tiles = plan_tiles(shape, **sizes)
    for tile in tiles:
        for multiple, read, write in zip(sizes["multiple"], tile.read, tile.write, strict=True):
            assert read.start % multiple == read.stop % multiple == write.start % multiple == 0
    assert len({tuple(r.stop - r.start for r in tile.read) for tile in tiles}) == 1


@given(plans(), st.integers(1, 5000))
def test_a_chosen_tile_fits_the_budget_or_is_the_least_possible(plan, budget):
    shape, sizes = plan
    halo, multiple = sizes["halo"], sizes["multiple"]
    tile = choose_tile(shape, halo=halo, multiple=multiple, max_pixels=budget)
    least = [min(2 * h + m, n) for h, m, n in zip(halo, multiple, shape, strict=True)]
    assert np.prod(tile) <= budget or list(tile) == least
    for planned in plan_tiles(shape, tile=tile, halo=halo, multiple=multiple):
        assert [r.stop - r.start for r in planned.read] == list(tile)


def test_more_budget_never_means_more_computed_pixels():
    shape, halo, multiple = (2048, 2048), (24, 24), (4, 4)
    computed = []
    for budget in (1 << 16, 1 << 18, 1 << 20, 1 << 22):
        tile = choose_tile(shape, halo=halo, multiple=multiple, max_pixels=budget)
        tiles = plan_tiles(shape, tile=tile, halo=halo, multiple=multiple)
        computed.append(len(tiles) * np.prod(tile))
    assert computed == sorted(computed, reverse=True)
    assert computed[-1] <= HARDLY_MORE * 2048 * 2048


def test_a_stack_that_is_thinner_than_its_halos_is_not_cut_along_z():
    sizes = {"halo": (24, 48, 48), "multiple": (4, 8, 8)}
    tile = choose_tile((64, 512, 512), **sizes, max_pixels=1 << 21)
    assert tile[0] == 64
    computed = len(plan_tiles((64, 512, 512), tile=tile, **sizes)) * np.prod(tile)
    assert computed < 4 * 64 * 512 * 512


@given(plans(), st.integers(1, 5000))
def test_no_other_tile_of_the_budget_computes_much_less(plan, budget):
    shape, sizes = plan
    halo, multiple = sizes["halo"], sizes["multiple"]

    def computed(tile):
        return len(plan_tiles(shape, tile=tile, halo=halo, multiple=multiple)) * np.prod(tile)

    chosen = choose_tile(shape, halo=halo, multiple=multiple, max_pixels=budget)
    possible = product(*[
        [tile for tile in range(m, n + 1, m) if tile >= min(2 * h + m, n)]
        for n, h, m in zip(shape, halo, multiple, strict=True)
    ])  # fmt: skip
    within = [tile for tile in possible if np.prod(tile) <= max(budget, np.prod(chosen))]
    assert computed(chosen) <= HARDLY_MORE * min(map(computed, within))


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from(["split", "end"]),
)
def test_a_padded_frame_reads_like_a_mirrored_copy(shape, multiple, side):
    data = np.arange(np.prod(shape)).reshape(1, *shape)
    frame = pad_frame(data, multiple=[multiple] * len(shape), side=side)
    pads = list(zip(frame.before, frame.after, strict=True))
    copy = np.pad(data, [(0, 0), *pads], mode="reflect")
    assert frame.shape == copy.shape[1:]
    assert all(n % multiple == 0 for n in frame.shape)
    tiles = plan_tiles(
        frame.shape,
        tile=[multiple] * len(shape),
        halo=[0] * len(shape),
        multiple=[multiple] * len(shape),
    )
    back = np.full(shape, -1)
    for tile in tiles:
        seen = frame.read(tile.read)
        np.testing.assert_array_equal(seen, copy[(slice(None), *tile.read)])
        target, part = frame.inside(tile.read)
        back[target] = seen[0][part]
    np.testing.assert_array_equal(back, data[0])


def test_a_plan_for_an_unpadded_image_is_a_programming_error():
    with pytest.raises(ValueError, match="multiples of 4"):
        plan_tiles((10,), tile=(8,), halo=(0,), multiple=(4,))
