"""Optimisers and clipping against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastrnn.optim import SGD, Adam, AdamW, RMSprop, clip_by_norm, clip_by_value, clip_scale, global_norm
from fastrnn.params import Params

pytestmark = pytest.mark.usefixtures("backend")

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


def momentum(theta, g, kept, t):
    kept["m"] = 0.9 * kept["m"] + g
    return theta - 0.05 * kept["m"]


def nesterov(theta, g, kept, t):
    """As its authors write it: a step with the old velocity to a point, and the gradient at that point.

    theta here is the point phi = theta + momentum * velocity; the velocity is -lr * m.
    """
    velocity = -0.05 * kept["m"]
    ball = theta - 0.9 * velocity
    new = 0.9 * velocity - 0.05 * g
    kept["m"] = new / -0.05
    return ball + new + 0.9 * new


def rmsprop(theta, g, kept, t):
    kept["v"] = 0.8 * kept["v"] + 0.2 * g**2
    return theta - 0.05 * g / (np.sqrt(kept["v"]) + 1e-3)


def adamw(theta, g, kept, t):
    kept["m"] = 0.8 * kept["m"] + 0.2 * g
    kept["v"] = 0.9 * kept["v"] + 0.1 * g**2
    m, v = kept["m"] / (1 - 0.8**t), kept["v"] / (1 - 0.9**t)
    return theta - 0.05 * (m / (np.sqrt(v) + 1e-3) + 0.3 * theta)


RULES = {
    "sgd": (lambda: SGD(0.05), lambda theta, g, kept, t: theta - 0.05 * g),
    "momentum": (lambda: SGD(0.05, momentum=0.9), momentum),
    "nesterov": (lambda: SGD(0.05, momentum=0.9, nesterov=True), nesterov),
    "rmsprop": (lambda: RMSprop(0.05, rho=0.8, eps=1e-3), rmsprop),
    "adamw": (lambda: AdamW(0.05, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.3), adamw),
}


@pytest.mark.parametrize("shapes", [SHAPES, {"W": (300, 150), "b": (7,)}], ids=["small", "more than a block"])
@pytest.mark.parametrize("rule", RULES)
def test_rules_are_their_definitions(rule, dtype, shapes):
    make, definition = RULES[rule]
    optimizer, params = make(), random_params(0, dtype, shapes)
    theta = params.flat.astype("float64")
    kept = {"m": np.zeros_like(theta), "v": np.zeros_like(theta)}
    for t in range(1, 8):
        grads = random_params(t, dtype, shapes)
        before = grads.flat.copy()
        theta = definition(theta, 0.5 * grads.flat.astype("float64"), kept, t)
        optimizer.update(params, grads, scale=0.5)
        assert np.array_equal(grads.flat, before)
        assert np.abs(params.flat - theta).max() <= (1e-13 if dtype == "float64" else 4e-6)


def of_one_number(value: float, dtype: str) -> Params:
    params = Params.zeros({"b": (1,)}, dtype)
    params["b"][...] = value
    return params


@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.5, 0.999])
def test_moments_of_a_gradient_that_falls(dtype, beta):
    """By nine orders of magnitude: what a mean keeps of the old gradient leaves the new one its digits."""
    adam, rmsprop = Adam(beta1=beta, beta2=beta), RMSprop(rho=beta)
    m = v = 0.0
    for k, g in enumerate((1e5, 1e-4, 3e-4)):
        m, v = beta * m + (1 - beta) * g, beta * v + (1 - beta) * g**2
        for optimizer in (adam, rmsprop):
            optimizer.update(of_one_number(0, dtype), of_one_number(g, dtype))
        tolerance = 1e-4 if dtype == "float32" else 1e-12
        assert adam.get_state()["m"][0] == pytest.approx(m, rel=tolerance), k
        assert adam.get_state()["v"][0] == rmsprop.get_state()["v"][0] == pytest.approx(v, rel=tolerance), k


@pytest.mark.parametrize("make", [Adam, RMSprop])
def test_a_square_beyond_float32_makes_no_step(make):
    params, optimizer = of_one_number(1, "float32"), make(lr=0.5)
    for g in (1e25, 1.0, 1.0):
        optimizer.update(params, of_one_number(g, "float32"))
        assert params["b"][0] == 1


@pytest.mark.parametrize("make", [Adam, RMSprop])
def test_an_eps_below_what_float32_has(make):
    params = Params.zeros({"b": (2,)}, "float32")
    grads = params.zeros_like()
    grads["b"][1] = 1
    make(lr=0.5, eps=1e-60).update(params, grads)
    assert params["b"][0] == 0
    assert params["b"][1] < -0.4


def test_adamw_without_decay_is_adam():
    a, b, adam, decaying = random_params(0), random_params(0), Adam(0.1), AdamW(0.1, weight_decay=0)
    for t in range(3):
        adam.update(a, random_params(t))
        decaying.update(b, random_params(t))
    assert np.array_equal(a.flat, b.flat)
    assert AdamW().weight_decay == 0.01


@pytest.mark.parametrize("rule", RULES)
def test_rules_resume_where_they_stopped(rule):
    make, _ = RULES[rule]
    whole, half = random_params(0), random_params(0)
    optimizer, begun, resumed = make(), make(), make()
    resumed.lr = 0.5
    for t in range(6):
        optimizer.update(whole, random_params(t))
    for t in range(3):
        begun.update(half, random_params(t))
    state = begun.get_state()
    assert state["t"] == 3
    begun.update(random_params(0), random_params(1))
    resumed.set_state(state)
    for t in range(3, 6):
        resumed.update(half, random_params(t))
    assert np.array_equal(half.flat, whole.flat)


def test_a_state_of_another_optimizer():
    with pytest.raises(ValueError, match=r"^state must have the keys t, lr, v, lacks v"):
        RMSprop().set_state(SGD(momentum=0.5).get_state())
    with pytest.raises(ValueError, match=r"^state must have m and v of one shape, got \(3,\) and None"):
        Adam().set_state({"t": 1, "lr": 0.1, "m": np.ones(3), "v": None})
    with pytest.raises(ValueError, match=r"^t must be at least 0"):
        SGD().set_state({"t": -1, "lr": 0.1})


def test_scale_is_a_factor_of_the_gradient():
    """With the scale that clipping asks for, no pass for clipping."""
    clipped, scaled, adam, other = random_params(0), random_params(0), Adam(0.1), Adam(0.1)
    for t in range(1, 4):
        grads = random_params(t)
        norm, scale = clip_scale(grads, 0.5)
        assert norm == global_norm(grads)
        assert scale == 0.5 / norm
        other.update(scaled, grads, scale=scale)
        assert clip_by_norm(grads, 0.5) == norm
        adam.update(clipped, grads)
    assert np.allclose(clipped.flat, scaled.flat, rtol=1e-12, atol=0)
    assert clip_scale(grads, 2.0) == (pytest.approx(0.5), 1.0)
    with pytest.raises(ValueError, match=r"^scale must lie in \[0, inf\), got -1"):
        adam.update(clipped, grads, scale=-1)


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


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (SGD, {"momentum": 1}, ValueError, r"^momentum must lie in \[0, 1\)"),
        (SGD, {"nesterov": True}, ValueError, "^nesterov must go with a momentum above 0"),
        (SGD, {"momentum": 0.5, "nesterov": 1}, TypeError, "^nesterov must be True or False, got 1"),
        (SGD, {"eps": 1e-8}, TypeError, "eps"),
        (RMSprop, {"rho": 1.0}, ValueError, "^rho must lie in"),
        (RMSprop, {"eps": 0}, ValueError, "^eps must lie in"),
        (RMSprop, {"lr": None}, TypeError, "^lr must be a number"),
        (AdamW, {"weight_decay": -0.1}, ValueError, "^weight_decay must lie in"),
        (Adam, {"weight_decay": 0.1}, TypeError, "weight_decay"),
    ],
)
def test_options_of_the_others(make, options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


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
