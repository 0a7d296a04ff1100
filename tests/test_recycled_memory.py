"""The compiled backend's arrays: in memory of earlier ones, and aligned."""

from __future__ import annotations

import numpy as np
import pytest

kernels = pytest.importorskip("fastrnn.kernels")


@pytest.mark.parametrize("rows", [70, 255, 257, 300, 1000])  # of 4 KB: 280 KB to 4 MB
def test_an_array_takes_the_place_of_one_that_is_gone(rows):
    others = [kernels.empty((rows, 1024), np.float32) for _ in range(20)]  # so that older blocks can't serve
    place = others.pop().ctypes.data
    again = kernels.empty((rows - 1, 1024), np.float32)
    assert again.ctypes.data == place
    again[...] = 1  # all of it is there


@pytest.mark.parametrize(("rows", "boundary"), [(1, 64), (3, 64), (300, 64), (1024, 2 << 20), (1500, 2 << 20)])
def test_alignment(rows, boundary, dtype):
    array = kernels.empty((rows, 1024 // np.dtype(dtype).itemsize), dtype)  # rows of 1 KB
    assert array.ctypes.data % 64 == 0 and array.ctypes.data % boundary < 4096  # at its place of a page
    array[...] = 1


def test_large_arrays_begin_at_different_places_of_their_pages():
    arrays = [kernels.empty((300, 1024), np.float32) for _ in range(24)]  # at least 8 of them are not recycled
    assert len({array.ctypes.data % 4096 for array in arrays}) >= 8


def test_arrays_that_live_do_not_share_memory():
    arrays = [kernels.empty((rows, 1024), np.float32) for rows in (300, 300, 257, 30, 30, 1) * 3]
    for k, array in enumerate(arrays):
        array[...] = k
    for k, array in enumerate(arrays):
        assert (array == k).all()


def test_blocks_of_less_than_a_megabyte_share_areas():
    """Their pages can then be huge ones; an area begins at a boundary of those."""
    arrays = [kernels.empty((200, 1024), np.float32) for _ in range(60)]  # at least 44 of them are not recycled
    places = sorted(array.ctypes.data for array in arrays)
    steps = np.diff(places)
    assert (steps >= arrays[0].nbytes).all()
    assert (steps == arrays[0].nbytes + 5 * 64).sum() >= 30


def test_what_is_left_of_an_area_serves():
    """Blocks outlive their neighbours, and the pool."""
    arrays = [kernels.empty((200, 1024), np.float32) for _ in range(400)]  # more than is kept
    last = arrays[-1]
    last[...] = 7
    del arrays
    others = [kernels.empty((200, 1024), np.float32) for _ in range(40)]
    for other in others:
        other[...] = 1
    assert (last == 7).all() and not any(np.shares_memory(last, other) for other in others)
