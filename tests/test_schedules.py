"""Schedules against their formulas, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastrnn.schedules import Cosine, Exponential, InverseTime, ReduceOnPlateau, Step, Warmup, rate

FORMULAS = {
    "inverse time": (InverseTime(0.4, 0.3), lambda t: 0.4 / (1 + 0.3 * t)),
    "exponential": (Exponential(0.4, 0.9), lambda t: 0.4 * 0.9**t),
    "step": (Step(0.4, 3, 0.5), lambda t: 0.4 * 0.5 ** (t // 3)),
    "cosine": (Cosine(0.4, 8, 0.1), lambda t: 0.1 + 0.3 * (1 + math.cos(math.pi * min(t, 8) / 8)) / 2),
    "warm-up to a rate": (Warmup(0.4, 4), lambda t: 0.4 * min(t + 1, 4) / 4),
    "warm-up to a schedule": (
        Warmup(Exponential(0.4, 0.9), 4),
        lambda t: 0.4 * (t + 1) / 4 if t < 4 else 0.4 * 0.9 ** (t - 4),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name):
    schedule, formula = FORMULAS[name]
    rates = [schedule(t) for t in range(12)]
    assert rates == pytest.approx([formula(t) for t in range(12)], rel=1e-14)
    assert len(set(rates)) > 3


def test_between_two_counts_a_warm_up_stays_below_its_end():
    schedule = Warmup(0.4, 4)
    assert [schedule(t) for t in (0.5, 2.5, 3.5, 4)] == pytest.approx([0.15, 0.35, 0.4, 0.4])


def test_what_is_counted():
    assert [schedule.per for schedule, _ in FORMULAS.values()] == ["epoch", "epoch", "epoch", "step", "step", "epoch"]
    assert rate(InverseTime(1.0, 1.0), steps=50, epochs=4) == 0.2
    assert rate(InverseTime(1.0, 1.0, per="step"), steps=9, epochs=4) == 0.1
    assert rate(lambda steps: 1 / steps, steps=50, epochs=4) == 0.02
    assert rate(Warmup(InverseTime(1.0, 1.0), 1), steps=50, epochs=5) == 0.2


def test_a_rate_falls_when_a_value_stays():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=2, min_delta=0.1, floor=0.3)
    found = []
    for value in [3.0, 2.95, 2.8, 2.75, math.nan, 2.75, 2.75, 2.0, 2.0, 2.0]:
        schedule.observe(value)
        found.append(schedule(0))
    assert found == [1, 1, 1, 1, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]


def test_a_plateau_is_remembered():
    whole, first, second = (ReduceOnPlateau(1.0, patience=2) for _ in range(3))
    values = [3.0, 4.0, 4.0, 2.0, 5.0, 5.0, 5.0]
    for value in values:
        whole.observe(value)
    for value in values[:2]:
        first.observe(value)
    second.set_state(first.get_state())
    for value in values[2:]:
        second.observe(value)
    assert second(0) == whole(0) == 0.25
    assert second.get_state() == whole.get_state()


def test_a_floor_above_the_rate_does_not_raise_it():
    schedule = ReduceOnPlateau(0.1, patience=1, floor=0.5)
    for _ in range(3):
        schedule.observe(1.0)
    assert schedule(0) == 0.1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: InverseTime(-1, 1), ValueError, "^lr must lie in"),
        (lambda: InverseTime("1", 1), TypeError, "^lr must be a number, got '1'"),
        (lambda: InverseTime(1, -1), ValueError, "^decay must lie in"),
        (lambda: InverseTime(1, 1, per="day"), ValueError, "^per must be one of 'step', 'epoch', got 'day'"),
        (lambda: InverseTime(1, 1)(-1), ValueError, "^t must lie in"),
        (lambda: InverseTime(1, 1)(np.nan), ValueError, "^t must lie in"),
        (lambda: Exponential(1, 0), ValueError, "^factor must lie in"),
        (lambda: Exponential(1, 1.5), ValueError, r"^factor must lie in \(0, 1\], got 1.5"),
        (lambda: Step(1, 0), ValueError, "^every must be at least 1, got 0"),
        (lambda: Cosine(1, 0), ValueError, "^length must be at least 1, got 0"),
        (lambda: Cosine(1, 5, -1), ValueError, "^final must lie in"),
        (lambda: Warmup(1, 0), ValueError, "^length must be at least 1"),
        (lambda: Warmup(None, 3), TypeError, "^after must be a number, got None"),
        (lambda: Warmup(ReduceOnPlateau(1), 3), TypeError, "^after must be a function of the count"),
        (lambda: ReduceOnPlateau(1, 1.0), ValueError, "^factor must lie in"),
        (lambda: ReduceOnPlateau(1, patience=0), ValueError, "^patience must be at least 1"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
