"""Losses against scipy and difference quotients."""

from __future__ import annotations

import numpy as np
import pytest
from cases import TOLERANCES
from differences import gradient, relative_error
from scipy.special import log_softmax

from fastrnn.losses import SoftmaxCrossEntropy

pytestmark = pytest.mark.usefixtures("backend")

LENGTHS = np.array([4, 0, 2])


def problem(outer=(3, 4), V=5, dtype="float64"):
    rng = np.random.default_rng(3)
    return (3 * rng.normal(size=(*outer, V))).astype(dtype), rng.integers(0, V, outer)


def expected_loss(logits, targets, valid):
    log_p = log_softmax(logits.astype("float64"), axis=-1)
    return -np.take_along_axis(log_p, targets[..., None], -1)[..., 0][valid].mean()


@pytest.mark.parametrize("outer", [(), (6,), (3, 4), (2, 3, 4)], ids=str)
def test_softmax_cross_entropy(outer, dtype):
    logits, targets = problem(outer, dtype=dtype)
    loss, dlogits = SoftmaxCrossEntropy()(logits, targets)
    assert isinstance(loss, float)
    assert dlogits.shape == logits.shape
    assert dlogits.dtype == dtype
    valid = np.ones(outer, bool)
    assert loss == pytest.approx(expected_loss(logits, targets, valid), rel=1e-13 if dtype == "float64" else 1e-6)
    if dtype == "float64":
        expected = gradient(lambda: SoftmaxCrossEntropy()(logits, targets)[0], logits)
        assert relative_error(dlogits, expected) <= TOLERANCES["gradient", dtype]


def test_lengths_leave_the_padding_out(dtype):
    logits, targets = problem(dtype=dtype)
    valid = np.arange(4) < LENGTHS[:, None]
    logits[~valid], targets[~valid] = np.nan, -1
    loss, dlogits = SoftmaxCrossEntropy()(logits, targets, LENGTHS)
    assert loss == pytest.approx(expected_loss(logits, targets.clip(0), valid), rel=1e-6)
    flat_loss, flat = SoftmaxCrossEntropy()(logits[valid], targets[valid])
    assert loss == flat_loss
    assert np.array_equal(dlogits[valid], flat)
    assert not np.any(dlogits[~valid])


def test_time_major_is_the_transpose():
    logits, targets = problem()
    loss, dlogits = SoftmaxCrossEntropy()(logits, targets, LENGTHS)
    turned_loss, turned = SoftmaxCrossEntropy()(logits.swapaxes(0, 1), targets.T, LENGTHS, time_major=True)
    assert turned_loss == pytest.approx(loss, rel=1e-14)
    assert np.allclose(turned.swapaxes(0, 1), dlogits, rtol=1e-14, atol=0)


def test_the_order_of_memory_makes_no_difference():
    logits, targets = problem()
    view = np.ascontiguousarray(logits.swapaxes(0, 1)).swapaxes(0, 1)
    for lengths in (None, LENGTHS):
        loss, dlogits = SoftmaxCrossEntropy()(logits, targets, lengths)
        view_loss, view_dlogits = SoftmaxCrossEntropy()(view, targets, lengths)
        assert view_loss == pytest.approx(loss, rel=1e-14)
        assert np.allclose(view_dlogits, dlogits, rtol=1e-14, atol=0)
        assert view_dlogits.swapaxes(0, 1).flags.c_contiguous


@pytest.mark.parametrize(("shape", "lengths"), [((0, 4), None), ((3, 0), None), ((3, 4), [0, 0, 0]), ((0,), None)])
def test_nothing_valid_is_no_loss(shape, lengths):
    loss, dlogits = SoftmaxCrossEntropy()(np.ones((*shape, 5)), np.zeros(shape, int), lengths)
    assert loss == 0.0
    assert dlogits.shape == (*shape, 5)
    assert not np.any(dlogits)


def test_large_logits_do_not_overflow(dtype):
    logits = np.array([[3e4, -3e4, 0.0]], dtype)
    loss, dlogits = SoftmaxCrossEntropy()(logits, np.array([0]))
    assert loss == 0.0
    assert not np.any(dlogits)
    loss, dlogits = SoftmaxCrossEntropy()(logits, np.array([1]))
    assert loss == 6e4
    assert dlogits.tolist() == [[1.0, -1.0, 0.0]]


def test_nothing_of_the_callers_is_written_to():
    logits, targets = problem()
    before = logits.copy()
    logits.flags.writeable = targets.flags.writeable = False
    _, dlogits = SoftmaxCrossEntropy()(logits, targets)
    assert np.array_equal(logits, before)
    assert not np.may_share_memory(dlogits, logits)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((3, 4, 5)), np.zeros((3, 5), int)), ValueError, r"^targets must have shape \(3, 4\), got \(3, 5\)"),
        ((np.ones((3, 4, 5)), np.zeros((3, 4, 5), int)), ValueError, r"^targets must have shape \(3, 4\)"),
        ((np.ones((3, 4, 5)), np.zeros((3, 4))), TypeError, "^targets must hold integers, got float64"),
        ((np.ones((3, 4, 5)), np.full((3, 4), 5)), ValueError, r"^targets must lie in 0\.\.4, got 5"),
        ((np.ones((3, 4, 5)), np.full((3, 4), -1)), ValueError, r"^targets must lie in 0\.\.4, got -1"),
        ((np.ones((3, 4, 5), int), np.zeros((3, 4), int)), TypeError, "must"),
        ((np.ones((3, 4, 5)), np.zeros((3, 4), int), [1, 2]), ValueError, r"^lengths must have shape \(3,\)"),
        ((np.ones((3, 4, 5)), np.zeros((3, 4), int), [1, 5, 2]), ValueError, r"^lengths must lie in 0\.\.4, got 5"),
        ((np.ones((4, 5)), np.zeros(4, int), [1, 2, 3, 4]), ValueError, r"^logits must have shape \(N, T, V\)"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        SoftmaxCrossEntropy()(*arguments)
