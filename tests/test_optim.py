"""Optimisers and clipping against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastrnn.optim import Adam, clip_by_norm, clip_by_value
from fastrnn.params import Params

SHAPES = {"W": (3, 5), "b": (5,)}


def random_params(seed: int, dtype: str = "float64", shapes=SHAPES) -> Params:
    params, rng = Params.zeros(shapes, dtype), np.random.default_rng(seed)
    for value in params.values():
        value[...] = rng.normal(size=value.shape)
    return params


def test_adam_against_a_sequence_computed_by_hand():
    """lr 0.1, beta1 0.5, beta2 0.75, no eps to speak of; gradients 4, 0, -4 on a parameter that begins at 1.

    t=1: m = 2, v = 4; corrected 2/0.5 = 4 and 4/0.25 = 16; step 0.1 * 4/4 = 0.1
    t=2: m = 1, v = 3; corrected 1/0.75 = 4/3 and 3/0.4375 = 48/7; step 0.1 * (4/3)/sqrt(48/7)
    t=3: m = -1.5, v = 6.25; corrected -12/7 and 6.25/0.578125 = 400/37; step 0.1 * (-12/7)/sqrt(400/37)
    """
    params, grads = Params.zeros({"b": (1,)}, "float64"), Params.zeros({"b": (1,)}, "float64")
    params["b"][...] = 1
    adam = Adam(lr=0.1, beta1=0.5, beta2=0.75, eps=1e-300)
    expected = 1.0
    for gradient, step in [
        (4, 0.1),
        (0, 0.1 * (4 / 3) / math.sqrt(48 / 7)),
        (-4, -0.1 * (12 / 7) / math.sqrt(400 / 37)),
    ]:
        grads["b"][...] = gradient
        adam.update(params, grads)
        expected -= step
        assert params["b"][0] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("shapes", [SHAPES, {"W": (300, 150), "b": (7,)}], ids=["small", "more than a block"])
def test_adam_is_kingma_and_bas_algorithm(dtype, shapes):
    params, options = random_params(0, dtype, shapes), {"beta1": 0.8, "beta2": 0.9, "eps": 1e-3}
    theta = params.flat.astype("float64")
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    adam = Adam(lr=0.05, **options)
    for t in range(1, 8):
        grads = random_params(t, dtype, shapes)
        before = grads.flat.copy()
        g = grads.flat.astype("float64")
        m = 0.8 * m + 0.2 * g
        v = 0.9 * v + 0.1 * g**2
        theta -= 0.05 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-3)
        adam.update(params, grads)
        assert np.array_equal(grads.flat, before)
        assert np.abs(params.flat - theta).max() <= (1e-13 if dtype == "float64" else 2e-6)


def test_adam_leaves_padding_zero():
    params = random_params(0)
    padding = np.ones(params.flat.size, bool)
    for value in params.values():
        first = (value.__array_interface__["data"][0] - params.flat.__array_interface__["data"][0]) // 8
        padding[first : first + value.size] = False
    assert padding.any()
    adam = Adam(lr=0.1)
    for t in range(3):
        adam.update(params, random_params(t))
    assert not np.any(params.flat[padding])


def test_adam_resumes_where_it_stopped():
    whole, first = random_params(0), random_params(0)
    adam, begun, resumed = Adam(lr=0.1), Adam(lr=0.1), Adam(lr=0.5)
    for t in range(6):
        adam.update(whole, random_params(t))
    for t in range(3):
        begun.update(first, random_params(t))
    state = begun.get_state()
    begun.update(random_params(0), random_params(1))
    resumed.set_state(state)
    for t in range(3, 6):
        resumed.update(first, random_params(t))
    assert np.array_equal(first.flat, whole.flat)
    with pytest.raises(ValueError, match=r"^state must have the keys t, lr, m, v, lacks v"):
        resumed.set_state({"t": 1, "lr": 0.1, "m": None})


def test_the_learning_rate_may_change():
    params, before = random_params(0), random_params(0)
    adam = Adam(lr=0.1)
    adam.lr = 0
    adam.update(params, random_params(1))
    assert np.array_equal(params.flat, before.flat)
    adam.lr = 0.2
    adam.update(params, random_params(1))
    assert not np.array_equal(params.flat, before.flat)
    with pytest.raises(ValueError, match=r"^lr must lie in"):
        adam.lr = -1
    assert adam.lr == 0.2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": -0.1}, ValueError, "^lr must lie in"),
        ({"lr": math.nan}, ValueError, "^lr must lie in"),
        ({"lr": math.inf}, ValueError, "^lr must lie in"),
        ({"lr": "0.1"}, TypeError, "^lr must be a number, got '0.1'"),
        ({"beta1": 1.0}, ValueError, "^beta1 must lie in"),
        ({"beta1": -0.1}, ValueError, "^beta1 must lie in"),
        ({"beta2": 1.5}, ValueError, "^beta2 must lie in"),
        ({"eps": 0}, ValueError, "^eps must lie in"),
        ({"eps": None}, TypeError, "^eps must be a number, got None"),
        ({"nonsense": 1}, TypeError, "nonsense"),
    ],
)
def test_adam_options(options, error, message):
    with pytest.raises(error, match=message):
        Adam(**options)


def test_adam_refuses_other_parameters():
    params, before, adam = random_params(0), random_params(0), Adam()
    for grads, error, message in [
        ({"W": np.ones((3, 5))}, TypeError, "^grads must be a Params"),
        (random_params(1, "float32"), ValueError, "^grads must have the names, shapes and dtype of params"),
        (random_params(1, shapes={"W": (5, 3), "b": (5,)}), ValueError, "^grads must have the names"),
    ]:
        with pytest.raises(error, match=message):
            adam.update(params, grads)
    adam.update(params.copy(), random_params(1))
    other = {"W": (30, 50), "b": (5,)}
    with pytest.raises(ValueError, match=r"^params must be those of the first update"):
        adam.update(random_params(0, shapes=other), random_params(1, shapes=other))
    with pytest.raises(TypeError, match=r"^params must be a Params"):
        adam.update(dict(params), random_params(1))
    assert np.array_equal(params.flat, before.flat)


def test_clip_by_value(dtype):
    grads, before = random_params(0, dtype), random_params(0, dtype)
    clip_by_value(grads, 0.5)
    for name, value in grads.items():
        assert np.array_equal(value, np.clip(before[name], -0.5, 0.5))
        assert np.any(value != before[name])


@pytest.mark.parametrize("shapes", [SHAPES, {"W": (300, 150), "b": (7,)}], ids=["small", "more than a block"])
def test_clip_by_norm_scales_all_together(dtype, shapes):
    grads, before = random_params(0, dtype, shapes), random_params(0, dtype, shapes)
    expected = math.sqrt(sum(float(np.sum(value.astype("float64") ** 2)) for value in before.values()))
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    assert clip_by_norm(grads, 2 * expected) == pytest.approx(expected, rel=tolerance)
    assert np.array_equal(grads.flat, before.flat)
    assert clip_by_norm(grads, 0.25 * expected) == pytest.approx(expected, rel=tolerance)
    assert np.allclose(grads.flat, 0.25 * before.flat, rtol=tolerance, atol=0)


def test_the_norm_does_not_overflow_float32():
    grads = Params.zeros({"b": (2,)}, "float32")
    grads["b"] = np.array([3e30, -4e30], "float32")
    assert clip_by_norm(grads, 1.0) == pytest.approx(5e30, rel=1e-6)
    assert np.allclose(grads["b"], [0.6, -0.8])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_returned_and_clips_nothing(value):
    grads = random_params(0)
    grads["b"][2] = value
    before = grads.flat.copy()
    assert not math.isfinite(clip_by_norm(grads, 1.0))
    assert np.array_equal(grads.flat, before, equal_nan=True)


@pytest.mark.parametrize("clip", [clip_by_value, clip_by_norm])
@pytest.mark.parametrize(
    ("limit", "error"),
    [(0, ValueError), (-1.0, ValueError), (math.nan, ValueError), ("1", TypeError), (None, TypeError)],
)
def test_limits(clip, limit, error):
    grads, before = random_params(0), random_params(0)
    with pytest.raises(error, match=r"^limit must "):
        clip(grads, limit)
    with pytest.raises(TypeError, match=r"^grads must be a Params"):
        clip(np.ones(3), 1.0)
    assert np.array_equal(grads.flat, before.flat)
