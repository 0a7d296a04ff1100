"""First values of weights: their distributions and their errors."""

from __future__ import annotations

import numpy as np
import pytest

from fastrnn import init

DISTRIBUTIONS = {  # name -> variance for D inputs and H outputs
    "xavier_uniform": lambda D, H: 2 / (D + H),
    "xavier_normal": lambda D, H: 2 / (D + H),
    "he_uniform": lambda D, H: 2 / D,
    "he_normal": lambda D, H: 2 / D,
}
ALL = (*DISTRIBUTIONS, "orthogonal")


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_variance_and_shape_of_the_distribution(name, dtype):
    D, H = 300, 200
    W = getattr(init, name)((D, H), 0, dtype)
    variance = DISTRIBUTIONS[name](D, H)
    assert W.shape == (D, H)
    assert W.dtype == dtype
    assert abs(W.mean()) < 5 * np.sqrt(variance / W.size)
    assert W.var() == pytest.approx(variance, rel=0.03)
    kurtosis = np.mean((W / W.std()) ** 4)
    assert kurtosis == pytest.approx(1.8 if name.endswith("uniform") else 3.0, rel=0.05)


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 1), (1, 5)], ids=str)
def test_orthogonal(shape):
    Q = init.orthogonal(shape, 0, "float64")
    assert Q.shape == shape
    product = Q @ Q.T if shape[0] <= shape[1] else Q.T @ Q
    assert np.allclose(product, np.eye(min(shape)), rtol=0, atol=1e-14)


def test_orthogonal_favours_no_sign():
    rng = np.random.default_rng(0)
    signs = [np.sign(init.orthogonal((3, 3), rng, "float64")[0, 0]) for _ in range(400)]
    assert abs(np.mean(signs)) < 0.2


@pytest.mark.parametrize("name", ALL)
def test_seeds(name):
    draw = getattr(init, name)
    assert np.array_equal(draw((4, 3), 5), draw((4, 3), np.random.default_rng(5)))
    assert not np.array_equal(draw((4, 3), 5), draw((4, 3), 6))
    assert not np.array_equal(draw((4, 3)), draw((4, 3)))
    assert np.array_equal(draw((4, 3), 5, "float64").astype("float32"), draw((4, 3), 5))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((3,),), ValueError, r"^shape must be \(inputs, outputs\), got \(3,\)"),
        ((3,), TypeError, r"^shape must be \(inputs, outputs\), got 3"),
        (((3, 0),), ValueError, r"^shape\[1\] must be at least 1, got 0"),
        (((3.0, 2),), TypeError, r"^shape\[0\] must be an integer, got 3.0"),
        (((3, 2), "seed"), TypeError, "^seed must be an integer, got 'seed'"),
        (((3, 2), 0, "float16"), TypeError, "^dtype must be float32 or float64"),
    ],
)
def test_errors(name, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(init, name)(*arguments)
