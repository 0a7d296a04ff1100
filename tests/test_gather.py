"""Rows by number: what brings ragged batches into packed order and back."""

from __future__ import annotations

import numpy as np
import pytest

import fastrnn

RNG = np.random.default_rng(0)
INDICES = {
    "none": np.empty(0, np.int64),
    "one": np.array([2]),
    "no row": np.array([-1]),
    "runs": np.array([-1, -1, 3, 4, 5, 5, 4, -1, 0, 1, -1]),
    "many": RNG.permutation(np.r_[np.arange(900), np.full(900, -1)]),
    "many runs": np.sort(np.r_[RNG.integers(0, 900, 900), np.full(900, -1)]),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("width", [1, 7, 64])
@pytest.mark.parametrize("number", [1, 2, 3, 8])
def test_rows_by_number(backend, index, width, dtype, number, threads):
    fastrnn.set_num_threads(number)
    source = np.random.default_rng(1).normal(size=(900, width)).astype(dtype)
    rows = fastrnn.backend.current().gather(source, index)
    assert rows.dtype == dtype and rows.shape == (len(index), width)
    for row, k in zip(rows, index, strict=True):
        assert np.array_equal(row, np.zeros(width) if k < 0 else source[k])


def test_no_rows_at_all(backend, dtype):
    source = np.empty((0, 3), dtype)
    assert np.array_equal(fastrnn.backend.current().gather(source, np.full(4, -1)), np.zeros((4, 3)))


@pytest.mark.parametrize("index", [np.empty(0, np.int64), np.arange(900), np.array([3, 4, 5, 0, 899, 7])], ids=len)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_rows_that_are_blank(backend, index, dtype, number, threads):
    fastrnn.set_num_threads(number)
    module = fastrnn.backend.current()
    used = module.empty((900, 70), np.dtype(dtype))
    used[...] = 1
    del used  # memory that is given out again is not zero
    rows = module.blank((900, 70), np.dtype(dtype), index)
    assert rows.dtype == dtype and rows.shape == (900, 70)
    assert not rows[index].any()
