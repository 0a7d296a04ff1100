"""Losses against scipy and difference quotients."""

from __future__ import annotations

import numpy as np
import pytest
from cases import TOLERANCES
from differences import gradient, relative_error
from scipy.special import log_softmax

from fastrnn.losses import Accuracy, BinaryCrossEntropy, MeanSquaredError, Quantile, SoftmaxCrossEntropy

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


def outputs_and_targets(name: str, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """For a loss of `ELEMENTWISE`: outputs (3, 4, K) and targets."""
    rng = np.random.default_rng(1)
    outputs = rng.normal(size=(3, 4, 6)).astype(dtype)
    if name == "binary, of probabilities":
        return 3 * outputs, rng.random((3, 4, 6)).astype(dtype)
    if name.startswith("binary"):
        return 3 * outputs, rng.integers(0, 2, (3, 4, 6))
    return outputs, rng.normal(size=(3, 4, 2 if name == "quantile" else 6)).astype(dtype)


def pinball(outputs, targets):
    total, Q = 0.0, (0.1, 0.5, 0.8)
    for index in np.ndindex(targets.shape):
        for k, q in enumerate(Q):
            error = targets[index] - outputs[(*index[:-1], index[-1] * 3 + k)]
            total += q * error if error > 0 else (q - 1) * error
    return total / outputs.size


def binary(outputs, targets, weights=(1, 1)):
    p = 1 / (1 + np.exp(-outputs.astype("float64")))
    each = -(weights[1] * targets * np.log(p) + weights[0] * (1 - targets) * np.log(1 - p))
    return each.sum() / (weights[1] * targets + weights[0] * (1 - targets)).sum()


ELEMENTWISE = {
    "squares": (MeanSquaredError(), lambda o, t: np.mean((o - t) ** 2)),
    "binary": (BinaryCrossEntropy(), binary),
    "binary, of probabilities": (BinaryCrossEntropy(), binary),
    "binary, weighted": (BinaryCrossEntropy((0.5, 3)), lambda o, t: binary(o, t, (0.5, 3))),
    "quantile": (Quantile((0.1, 0.5, 0.8)), pinball),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_losses_are_their_definitions(name, dtype):
    loss, definition = ELEMENTWISE[name]
    outputs, targets = outputs_and_targets(name, dtype)
    value, slopes = loss(outputs, targets)
    assert value == pytest.approx(definition(outputs, targets), rel=1e-12 if dtype == "float64" else 1e-5)
    assert slopes.shape == outputs.shape
    assert slopes.dtype == dtype
    if dtype == "float64":
        expected = gradient(lambda: loss(outputs, targets)[0], outputs)
        assert relative_error(slopes, expected) <= TOLERANCES["gradient", dtype]


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("by", ["lengths", "mask", "both"])
def test_padding_reaches_nothing_in_elementwise_losses(name, by, dtype):
    loss, _ = ELEMENTWISE[name]
    outputs, targets = outputs_and_targets(name, dtype)
    mask = np.random.default_rng(4).random((3, 4)) < 0.7
    steps = np.arange(4) < LENGTHS[:, None]
    valid = {"lengths": steps, "mask": mask, "both": steps & mask}[by]
    options = {"lengths": None if by == "mask" else LENGTHS, "mask": None if by == "lengths" else mask}
    expected, slopes = loss(outputs[valid], targets[valid])
    outputs[~valid] = np.nan
    targets[~valid] = 5 if targets.dtype.kind == "i" else np.nan
    value, found = loss(outputs, targets, **options)
    assert value == expected
    assert np.array_equal(found[valid], slopes)
    assert not np.any(found[~valid])
    turned, turned_slopes = loss(
        outputs.swapaxes(0, 1),
        targets.swapaxes(0, 1),
        options["lengths"],
        mask=None if options["mask"] is None else options["mask"].T,
        time_major=True,
    )
    assert turned == pytest.approx(value, rel=1e-6)
    assert np.allclose(turned_slopes.swapaxes(0, 1), found, rtol=1e-5, atol=1e-9)


def test_class_weights_are_a_weighted_mean():
    logits, targets = problem()
    weights = [0.5, 2, 0, 1, 3]
    loss = SoftmaxCrossEntropy(weights)
    each = np.array(
        [
            SoftmaxCrossEntropy()(z[None], t[None])[0]
            for z, t in zip(logits.reshape(-1, 5), targets.ravel(), strict=True)
        ]
    )
    w = np.array(weights)[targets.ravel()]
    value, slopes = loss(logits, targets)
    assert value == pytest.approx((w * each).sum() / w.sum(), rel=1e-13)
    assert (
        relative_error(slopes, gradient(lambda: loss(logits, targets)[0], logits)) <= TOLERANCES["gradient", "float64"]
    )
    assert loss.weight(targets) == w.sum()
    assert loss(logits[:1, :1], np.array([[2]]))[0] == 0


@pytest.mark.parametrize("name", [*ELEMENTWISE, "softmax", "softmax, weighted", "accuracy"])
def test_weights_join_the_means_of_batches(name):
    """A mean of everything is that of the parts' means with their weights."""
    if name in ELEMENTWISE:
        loss, (outputs, targets) = ELEMENTWISE[name][0], outputs_and_targets(name)
    else:
        outputs, targets = problem()
        loss = {
            "softmax": SoftmaxCrossEntropy(),
            "softmax, weighted": SoftmaxCrossEntropy([1, 2, 3, 4, 0.5]),
            "accuracy": Accuracy(),
        }[name]
    for lengths in (None, LENGTHS):
        parts = [np.s_[:1], np.s_[1:]]
        found = [loss(outputs[p], targets[p], None if lengths is None else lengths[p])[0] for p in parts]
        weights = [loss.weight(targets[p], None if lengths is None else lengths[p]) for p in parts]
        assert np.average(found, weights=weights) == pytest.approx(loss(outputs, targets, lengths)[0], rel=1e-12)
        assert sum(weights) == pytest.approx(loss.weight(targets, lengths), rel=1e-12)


def test_logits_of_any_size_do_not_overflow_the_binary_loss(dtype):
    logits = np.array([[3e4, -3e4, 0.0]], dtype)
    value, slopes = BinaryCrossEntropy()(logits, np.array([[1, 0, 1]]))
    assert value == pytest.approx(np.log(2) / 3, rel=1e-6)
    assert np.allclose(slopes, [[0, 0, -1 / 6]])
    assert BinaryCrossEntropy()(logits, np.array([[0, 1, 1]]))[0] == pytest.approx((6e4 + np.log(2)) / 3, rel=1e-6)


def test_the_quantile_loss_is_least_at_the_quantile():
    sample = np.random.default_rng(0).exponential(size=(2001, 1))
    loss, candidates = Quantile([0.9]), np.linspace(0.5, 5, 91)
    values = [loss(np.full_like(sample, c), sample)[0] for c in candidates]
    assert candidates[int(np.argmin(values))] == pytest.approx(np.quantile(sample, 0.9), abs=0.05)


def test_accuracy():
    logits = np.array([[[0, 1], [2, 0], [0, 1]]], "float32")
    accuracy = Accuracy()
    assert accuracy(logits, np.array([[1, 1, 1]]))[0] == pytest.approx(2 / 3)
    assert accuracy(logits, np.array([[1, 1, 1]]), [1])[0] == 1
    assert accuracy(logits, np.array([[1, 1, 1]]), mask=np.array([[False, True, True]]))[0] == 0.5
    assert accuracy(np.array([[0.5], [-0.5]]), np.array([[1], [1]]))[0] == 0.5
    assert accuracy(logits, np.array([[1, 1, 1]]), [0])[0] == 0
    assert accuracy(np.full((2, 3), np.nan), np.array([0, 1]))[0] == 0
    assert accuracy(np.array([[1.0, np.nan]]), np.array([0]))[0] == 0
    assert accuracy(np.array([[np.nan], [-0.5]]), np.array([[0], [0]]))[0] == 0.5
    with pytest.raises(ValueError, match=r"^targets must have shape \(1, 3\) or \(1, 3, 2\), got \(1,\)"):
        accuracy(logits, np.array([1]))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_no_elements_are_no_elementwise_loss(name):
    loss, _ = ELEMENTWISE[name]
    outputs, targets = outputs_and_targets(name)
    for arguments in ((outputs[:0], targets[:0]), (outputs, targets, [0, 0, 0])):
        value, slopes = loss(*arguments)
        assert value == 0.0
        assert slopes.shape == arguments[0].shape
        assert not np.any(slopes)


@pytest.mark.parametrize("name", ["squares", "binary, of probabilities", "quantile"])
def test_targets_in_lists_take_the_dtype_of_the_outputs(name, dtype):
    loss, _ = ELEMENTWISE[name]
    outputs, targets = outputs_and_targets(name, dtype)
    value, slopes = loss(outputs, targets.tolist())
    expected, expected_slopes = loss(outputs, targets)
    assert value == expected
    assert slopes.dtype == dtype
    assert np.array_equal(slopes, expected_slopes)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: MeanSquaredError()(np.ones((2, 3)), np.ones((3, 2))),
            ValueError,
            r"^targets must have the shape of outputs",
        ),
        (
            lambda: MeanSquaredError()(np.ones((2, 3), "f"), np.ones((2, 3))),
            TypeError,
            "^targets must be float32, got float64",
        ),
        (lambda: MeanSquaredError()(np.ones((2, 3)), np.ones((2, 3), int)), TypeError, "^targets must hold floating"),
        (lambda: MeanSquaredError()(np.ones((2, 2)), [[1.0], [1.0, 2.0]]), ValueError, "^targets must be one array"),
        (lambda: SoftmaxCrossEntropy()(np.ones((2, 2, 2)), [[1], [1, 0]]), ValueError, "^targets must be one array"),
        (lambda: Accuracy()([[1.0], [1.0, 2.0]], [0, 0]), ValueError, "^outputs must be one array"),
        (lambda: MeanSquaredError()(np.ones((2, 3), int), np.ones((2, 3))), TypeError, "^outputs must hold floating"),
        (
            lambda: MeanSquaredError()(np.ones((2, 3)), np.ones((2, 3)), [1, 1]),
            ValueError,
            r"^outputs must have shape \(N, T, K\)",
        ),
        (
            lambda: BinaryCrossEntropy()(np.ones((2, 1)), np.array([[0], [2]])),
            ValueError,
            r"^targets must lie in 0\.\.1, got 2",
        ),
        (
            lambda: BinaryCrossEntropy()(np.ones((1, 1)), np.array([[np.nan]])),
            ValueError,
            r"^targets must lie in 0\.\.1, got nan",
        ),
        (lambda: BinaryCrossEntropy([1]), ValueError, "^class_weight must have 2 numbers, got 1"),
        (lambda: SoftmaxCrossEntropy([1, -1]), ValueError, "^class_weight must hold numbers of at least 0"),
        (
            lambda: SoftmaxCrossEntropy([1, 1])(np.ones((2, 3)), np.array([0, 1])),
            ValueError,
            "^class_weight must have 3 numbers",
        ),
        (lambda: Quantile([0.5, 1.0]), ValueError, r"^quantiles must lie in \(0, 1\)"),
        (lambda: SoftmaxCrossEntropy("ab"), TypeError, "^class_weight must be a sequence of numbers.*, got 'ab'"),
        (lambda: BinaryCrossEntropy([[1], 2]), TypeError, "^class_weight must be a sequence of numbers"),
        (lambda: Quantile(0.5), TypeError, "^quantiles must be a sequence of numbers, got 0.5"),
        (lambda: Quantile(["0.5"]), TypeError, r"^quantiles\[0\] must be a number, got '0.5'"),
        (lambda: Quantile([]), ValueError, r"^quantiles must lie in \(0, 1\)"),
        (
            lambda: Quantile([0.1, 0.9])(np.ones((2, 3)), np.ones((2, 1))),
            ValueError,
            "^outputs must have 2 columns per target",
        ),
        (
            lambda: Quantile([0.1, 0.9])(np.ones((2, 4)), np.ones((2, 4))),
            ValueError,
            r"^targets must have shape \(2, 2\)",
        ),
        (
            lambda: MeanSquaredError()(np.ones((2, 3)), np.ones((2, 3)), mask=np.ones(2)),
            TypeError,
            "^mask must hold bool",
        ),
        (
            lambda: MeanSquaredError()(np.ones((2, 3)), np.ones((2, 3)), mask=np.ones(3, bool)),
            ValueError,
            r"^mask must have shape \(2,\)",
        ),
    ],
)
def test_errors_of_the_others(call, error, message):
    with pytest.raises(error, match=message):
        call()
