"""Forecaster: that it learns seasons, trends and columns that are known, is calibrated, and says what it cannot use."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

import fastrnn
from fastrnn import models
from fastrnn.models import Forecaster
from fastrnn.models.backtest import Backtest, naive_scale
from fastrnn.models.conformal import moves
from fastrnn.models.ridge import Ridge
from fastrnn.models.series import before, reverts

RNG = np.random.default_rng(0)


def seasonal(T: int = 240, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """A trend, a year of 12 steps, and noise."""
    t = np.arange(T)
    return 0.05 * t + 2 * np.sin(2 * np.pi * t / 12) + noise * np.random.default_rng(seed).normal(size=T)


def make(**options: object) -> Forecaster:
    return Forecaster(**({"hidden": 8, "epochs": 5, "random_state": 0} | options))


class Frame:
    """A table with names, as those of pandas have them."""

    def __init__(self, values: np.ndarray, *columns: str):
        self.values, self.columns = values, columns

    def __array__(self, dtype=None, copy=None):
        return self.values


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_a_season_is_continued(backend, cell):
    series = seasonal(252)
    model = make(horizon=12, season=12, cell=cell).fit(series[:240])
    assert np.abs(model.predict() - series[240:]).mean() < 0.2


def test_several_columns_and_what_shapes_they_give(backend):
    series = np.stack([seasonal(), -seasonal(seed=1)], axis=1)
    model = make(horizon=4, season=12).fit(series)
    assert model.predict().shape == (4, 2) and model.predict(7).shape == (7, 2)
    assert model.predict_quantiles().shape == (4, 2, 3)
    lower, upper = model.predict_interval()
    assert (lower <= model.predict()).all() and (model.predict() <= upper).all()
    single = make(horizon=4).fit(series[:, 0])
    assert single.predict().shape == (4,) and single.predict_quantiles().shape == (4, 3)


def test_columns_that_are_known_beforehand_help():
    promotion = (np.random.default_rng(1).random(260) < 0.3).astype(float)
    series = 5 * promotion + 0.1 * np.random.default_rng(2).normal(size=260)
    model = make(horizon=3).fit(series[:250], exog=promotion[:250])
    found = model.predict(6, exog=promotion[250:256])
    assert np.abs(found - series[250:256]).max() < 1
    with pytest.raises(ValueError, match="6 rows of 1 columns"):
        model.predict(6)
    with pytest.raises(ValueError, match="6 rows, one for each step, got 5"):
        model.predict(6, exog=promotion[:5])


def test_the_network_learns_what_is_not_linear(backend):
    x = [0.3]
    for _ in range(499):
        x.append(3.9 * x[-1] * (1 - x[-1]))
    options = {"hidden": 24, "epochs": 60, "learning_rate": 0.01, "inputs": 8}
    found = make(**options).backtest(np.array(x), start=0.8)
    linear = make(epochs=1, learning_rate=1e-9, inputs=8).backtest(np.array(x), start=0.8)
    assert found.mase < 0.4 * linear.mase


def test_a_network_that_does_not_help_is_not_kept():
    series = np.random.default_rng(0).normal(size=120)
    model = make(learning_rate=0.3, epochs=3, clip_norm=None, hidden=64).fit(series)
    linear = make(learning_rate=1e-12, epochs=1, hidden=64).fit(series)
    assert np.allclose(model.predict(), linear.predict(), atol=1e-5)


def test_intervals_are_calibrated():
    series = np.random.default_rng(0).normal(size=1200)
    for quantiles, wanted in (((0.1, 0.5, 0.9), 0.8), ((0.25, 0.5, 0.75), 0.5)):
        found = make(quantiles=quantiles, inputs=4).backtest(series)
        assert abs(found.coverage - wanted) < 0.08
        assert (np.diff(found.quantiles, axis=-1) >= 0).all()


def test_intervals_of_errors_that_come_together_are_calibrated():
    """Forecasts that began one after another are wrong together: so many tell less than as many that did not."""
    coverage = []
    for seed in range(8):
        e = np.random.default_rng(seed).normal(size=300)
        series = [e[0]]
        for shock in e[1:]:
            series.append(0.8 * series[-1] + shock)
        coverage.append(make(horizon=6, epochs=1, hidden=2).backtest(np.array(series)).coverage)
    assert 0.75 < np.mean(coverage) < 0.85


@pytest.mark.parametrize(
    "levels", [(0.1, 0.5, 0.9), (0.05, 0.25, 0.5, 0.75, 0.95), (0.2, 0.5), (0.5, 0.6, 0.9), (0.5,)]
)
def test_moved_quantiles_enclose_what_they_promise(levels):
    rng, (M, trials), middle = np.random.default_rng(0), (30, 400), levels.index(0.5)
    inside = np.zeros(len(levels))
    for _ in range(trials):
        came = rng.standard_normal(M + 1)
        quantiles = 0.5 * ndtri(levels)  # too near to each other
        moved = quantiles + moves(came[:M, None] - quantiles, levels)
        inside += came[M] <= moved
    below = inside / trials
    assert abs(below[middle] - 0.5) < 0.08
    assert -0.03 < below[-1] - below[0] - (levels[-1] - levels[0]) < 0.1
    assert moves(np.full((M, len(levels)), 3.0), levels).tolist() == [3.0] * len(levels)


def test_steps_beyond_the_horizon_are_those_of_looking_again():
    series = seasonal()
    model = make(horizon=5, season=12).fit(series)
    twice = model.predict(10)
    assert np.array_equal(twice[:5], model.predict())
    assert np.allclose(model.update(twice[:5]).predict(), twice[5:], atol=1e-9)


def test_updates_are_like_a_longer_past():
    series = seasonal()
    model = make(horizon=3, season=12).fit(series[:200])
    expected = model.backtest(series, start=200, stride=10)
    for k, origin in enumerate(expected.origins[:3]):
        assert np.allclose(model.predict(), expected.predicted[k][:, 0], atol=1e-6)
        model.update(series[origin : origin + 10])


def test_gaps_of_an_update_lie_after_what_was_known():
    series, known = np.stack([seasonal(), -seasonal()], axis=1), np.arange(240.0)
    model = make(horizon=3, missing="interpolate").fit(series[:200], exog=known[:200])
    other = make(horizon=3, missing="interpolate").fit(series[:200], exog=known[:200])
    holed = series[200:204].copy()
    holed[:2, 0], holed[3, 1] = np.nan, np.nan
    filled = holed.copy()
    filled[:2, 0] = series[199, 0] + (series[202, 0] - series[199, 0]) * np.array([1, 2]) / 3
    filled[3, 1] = series[202, 1]
    plans = known[204:207].copy()
    plans[0] = np.nan
    model.update(holed, exog=known[200:204])
    expected = other.update(filled, exog=known[200:204]).predict(exog=known[204:207])
    assert np.allclose(model.predict(exog=plans), expected)
    model.update(np.full((1, 2), np.nan), exog=[204.0])
    expected = other.update(filled[-1:], exog=[204.0]).predict(exog=known[205:208])
    assert np.allclose(model.predict(exog=known[205:208]), expected)
    with pytest.raises(ValueError, match="2 columns, as in fit, got 1"):
        model.update([np.nan], exog=[205.0])


def test_forecasts_that_grow_without_bounds_are_told_of(recwarn):
    model = make(horizon=1).fit(np.exp(np.arange(60) / 2))
    with pytest.raises(ValueError, match=r"^steps must be fewer, got 5000: after step \d+ forecasts are no longer"):
        model.predict(5000)
    assert np.isfinite(model.predict(100)).all()
    assert not recwarn.list


def test_backtests_see_only_what_was_before():
    series = seasonal()
    found = make(horizon=4, season=12).backtest(series, start=150, stride=5)
    changed = series.copy()
    changed[200:] += 100
    other = make(horizon=4, season=12).backtest(changed, start=150, stride=5)
    early = found.origins <= 200
    assert 0 < early.sum() < len(early)
    assert np.array_equal(found.predicted[early], other.predicted[early])
    assert not np.array_equal(found.predicted[~early], other.predicted[~early])


@pytest.mark.parametrize("refit", [None, 1])
def test_gaps_are_filled_with_what_was_known_before_an_origin(refit):
    series, origins = seasonal(120), [80, 90]
    for origin in origins:
        series[origin - 2 : origin + 1] = np.nan
    options = {"season": 12, "missing": "interpolate", "epochs": 1, "validation_fraction": 0.0}
    found, other = (
        make(**options).backtest(np.where(np.arange(120) > 92, series + more, series), start=80, stride=10, refit=refit)
        for more in (0, 100)
    )
    assert found.origins[:2].tolist() == origins
    assert np.array_equal(found.quantiles[:2], other.quantiles[:2])
    changed = series.copy()
    changed[81:90] += 100  # after the first origin
    other = make(**options).backtest(changed, start=80, stride=10, refit=refit)
    assert np.array_equal(found.quantiles[0], other.quantiles[0]) and found.scale == other.scale
    assert np.array_equal(found.naive[0], other.naive[0])
    carried = series[:80].copy()
    carried[78:] = carried[77]
    assert np.allclose(found.predicted[0, :, 0], make(**options).fit(series[:80]).predict())
    assert np.array_equal(before(series[:, None], np.isnan(series)[:, None], np.array([80]), 80)[0, :, 0], carried)


@pytest.mark.parametrize("refit", [None, 1])
def test_gaps_of_known_columns_hold_nothing_beyond_the_horizon(refit):
    known = np.random.default_rng(0).normal(size=(120, 1))
    series = seasonal(120) + known[:, 0]
    known[[78, 79, 83, 84]] = np.nan
    changed = known.copy()
    changed[85:] += 100
    found, other = (
        make(horizon=5, missing="interpolate", epochs=1).backtest(series, exog=exog, start=80, stride=10, refit=refit)
        for exog in (known, changed)
    )
    assert found.origins[0] == 80 and np.array_equal(found.quantiles[0], other.quantiles[0])
    assert not np.array_equal(found.quantiles[1], other.quantiles[1])


def test_a_backtests_measures_by_hand():
    series = seasonal()
    found = make(horizon=2, season=12).backtest(series, start=0.5, stride=7)
    assert found.origins[0] == 120 and np.array_equal(found.actual[1, :, 0], series[127:129])
    scale = np.abs(series[12:120] - series[:108]).mean()
    assert np.isclose(naive_scale(series[:120, None], 12)[0], scale)
    assert np.isclose(found.mase, np.abs(found.actual - found.predicted).mean() / scale)
    assert np.array_equal(found.naive[0, :, 0], series[108:110])
    assert np.isclose(found.mase_by_step.mean(), found.mase)
    assert found.rmse >= found.mae and "seasonal naive" in str(found)


def test_errors_beside_a_naive_forecast_that_is_exact():
    """A series that repeats itself has no scale: no error is 0, any other infinite, and there is no warning."""
    actual, quantiles = np.ones((2, 2, 1)), np.ones((2, 2, 1, 1))
    exact = Backtest(np.arange(2), actual, actual, actual, quantiles, (0.5,), np.zeros(1))
    assert (exact.mase, exact.naive_mase, exact.mase_by_step.tolist()) == (0.0, 0.0, [0.0, 0.0])
    off = Backtest(np.arange(2), actual, actual + np.array([[0.0], [0.5]]), actual, quantiles, (0.5,), np.zeros(1))
    assert (off.mase, off.naive_mase, off.mase_by_step.tolist()) == (np.inf, 0.0, [0.0, np.inf])
    for series in (np.tile([1.0, 2.0, 0.0, 5.0], 40), np.sin(2 * np.pi * np.arange(160) / 4), np.ones(160)):
        found = make(season=4, horizon=4).backtest(series, stride=4)
        assert found.naive_mase == found.mase == 0 and "MASE 0.000 (seasonal naive 0.000)" in str(found)


def test_refitting_uses_what_has_come():
    series = np.concatenate([np.random.default_rng(0).normal(size=150), 5 + np.random.default_rng(1).normal(size=150)])
    options = {"inputs": 4, "baseline": "mean", "linear": False}
    never, often = (make(**options).backtest(series, start=0.45, refit=refit) for refit in (None, 20))
    assert often.mae < never.mae


def test_without_seeing_the_future_the_standardizer_is_that_of_training():
    series = np.concatenate([np.zeros(90), np.full(30, 100.0)]) + np.random.default_rng(0).normal(size=120)
    model = make(inputs=5, validation_fraction=0.25).fit(series)
    assert abs(model._scaler.mean_[0]) < 5


@pytest.mark.parametrize("baseline", ["mean", "last", "season"])
@pytest.mark.parametrize("linear", [False, True])
def test_baselines(baseline, linear):
    series = seasonal(noise=0.0)
    model = make(horizon=6, season=12, baseline=baseline, linear=linear).fit(series)
    assert model.baseline_ == baseline
    assert np.isfinite(model.predict()).all()
    if linear:
        assert np.abs(model.predict() - seasonal(246, 0.0)[240:]).max() < 0.3


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
def test_a_random_walk_is_not_taken_for_what_returns_to_its_mean(seed):
    walk = np.random.default_rng(seed).normal(size=260).cumsum()
    model = make(horizon=6, epochs=1).fit(walk[:120])
    assert model.baseline_ == "last"
    assert make(horizon=6, epochs=1, linear=False).fit(walk[:120] - walk[:120].round()).baseline_ == "mean"
    found = model.backtest(walk, start=120)
    last = walk[found.origins - 1][:, None, None]
    assert found.mae < 1.3 * np.abs(found.actual - last).mean()


def test_the_mean_is_for_what_returns_to_it():
    t, noise = np.arange(400), np.random.default_rng(0).normal(size=400)
    returning = [noise, np.sin(t / 2), 1e-12 * noise, np.full(400, 0.1), 1e6 + noise]
    drifting = [noise.cumsum(), 0.1 * t, 0.1 * t + noise, np.sin(t / 2) + noise.cumsum()]
    assert all(reverts(column[:, None]) for column in returning) and reverts(np.stack(returning, axis=1))
    assert not any(reverts(column[:, None]) for column in drifting)
    assert not reverts(np.stack([noise, drifting[0]], axis=1))
    assert not any(reverts(noise[:T, None]) for T in range(20))
    long = np.random.default_rng(1).normal(size=(9000, 1))  # in blocks
    assert reverts(long) and not reverts(long.cumsum(axis=0)) and reverts(np.sin(np.arange(9000.0) / 2)[:, None])
    assert make(horizon=5, epochs=1).fit(noise).baseline_ == "mean"


class NAType:
    """What pandas has where there is nothing, by its name."""


def test_gaps_of_pandas():
    series = seasonal()
    series[17] = np.nan
    table = Frame(np.array([NAType() if np.isnan(value) else value for value in series])[:, None], "sun")
    with pytest.raises(ValueError, match="nan in column 'sun', row 17"):
        make().fit(table)
    expected = make(missing="interpolate").fit(series).predict()
    assert np.array_equal(make(missing="interpolate").fit(table).predict()[:, 0], expected)


@pytest.mark.parametrize("fraction", [0.0, 0.2])
def test_rounding_is_not_learned(fraction):
    line = 0.1 * np.arange(120)
    model = make(horizon=3, validation_fraction=fraction).fit(line)
    assert np.allclose(model.predict(), [12.0, 12.1, 12.2]) and set(model.history_.get("loss")) == {0.0}
    both = make(horizon=3, validation_fraction=fraction).fit(np.stack([seasonal(120), line], axis=1))
    assert both._core.scale[1] == 1 and np.allclose(both.predict()[:, 1], [12.0, 12.1, 12.2], atol=0.02)


def test_gaps_are_named_or_filled():
    series = np.stack([seasonal(), seasonal(seed=1)], axis=1)
    series[17, 1] = np.nan
    table = Frame(series, "sun", "rain")
    with pytest.raises(ValueError, match="nan in column 'rain', row 17"):
        make().fit(table)
    filled = series.copy()
    filled[17, 1] = (series[16, 1] + series[18, 1]) / 2
    found = make(missing="interpolate").fit(table)
    assert np.allclose(found.predict(), make().fit(filled).predict())
    assert found._names == ("sun", "rain")
    masked = np.ma.masked_invalid(series).filled(-9999.0)
    found = make(missing="interpolate").fit(np.ma.masked_equal(masked, -9999.0))
    assert np.allclose(found.predict(), make().fit(filled).predict())
    series[:, 1] = np.nan
    with pytest.raises(ValueError, match="none in column 'rain'"):
        make(missing="interpolate").fit(table)
    series[:, 1] = np.inf
    with pytest.raises(ValueError, match=r"inf in column 'rain', row 0, and 239 more like it$"):
        make(missing="interpolate").fit(table)


@pytest.mark.parametrize("exog", [False, True])
def test_files(tmp_path, backend, exog):
    series = np.stack([seasonal(), -seasonal(seed=1)], axis=1)
    known = np.random.default_rng(0).normal(size=(250, 2)) if exog else None
    model = make(horizon=4, season=12, layers=2, dropout=0.1)
    model.fit(series, exog=known[:240] if exog else None).save(tmp_path / "m")
    loaded = models.load(tmp_path / "m")
    ahead = known[240:246] if exog else None
    assert np.array_equal(loaded.predict_quantiles(6, exog=ahead), model.predict_quantiles(6, exog=ahead))
    assert loaded.season == 12 and loaded.quantiles == (0.1, 0.5, 0.9)
    learned = model._learned() | {"inputs": 3}
    fastrnn.save(tmp_path / "m", model.model_, extras=model._extras(learned))
    with pytest.raises(ValueError, match="fit together"):
        models.load(tmp_path / "m")


def test_parameters_set_after_fit_wait_for_the_next_fit(tmp_path, backend):
    series = seasonal(60)
    series[-3] = np.nan
    model = make(horizon=2, season=12, missing="interpolate", epochs=1).fit(series)
    expected, score = model.predict_quantiles(3), model.score(series)
    model.set_params(horizon=1, season=None, quantiles=(0.5,), dtype="float64", missing="error").save(tmp_path / "m")
    for found in (model, models.load(tmp_path / "m")):
        assert np.array_equal(found.predict_quantiles(3), expected) and found.score(series) == score
        assert found.predict().shape == (2,)
    assert (model.horizon, models.load(tmp_path / "m").horizon) == (1, 2)


def test_quantiles_may_be_an_array(tmp_path):
    series = seasonal(60)
    model = make(quantiles=np.array([0.1, 0.5, 0.9]), epochs=1).fit(series)
    model.save(tmp_path / "m")
    expected = make(epochs=1).fit(series).predict_quantiles()
    for found in (model, models.load(tmp_path / "m")):
        assert np.array_equal(found.predict_quantiles(), expected) and found.predict() == expected[:, 1]
    assert model.backtest(series, start=50).levels == (0.1, 0.5, 0.9)


def test_names_of_columns_are_those_of_fit(tmp_path):
    series, known = np.stack([seasonal(60), -seasonal(60)], axis=1), np.arange(60.0)[:, None]
    exog = Frame(known, "e")
    model = make(epochs=1).fit(Frame(series, "a", "b"), exog=exog)
    model.save(tmp_path / "m")
    for found in (model, models.load(tmp_path / "m")):
        assert found.score(Frame(series, "a", "b"), exog=exog) == found.score(series, exog=known)
        for call in (found.score, found.update):
            with pytest.raises(ValueError, match=r"^series must have the columns a, b, as in fit, got b, a"):
                call(Frame(series, "b", "a"), exog=exog)
            with pytest.raises(ValueError, match=r"^exog must have the columns e, as in fit, got f"):
                call(series, exog=Frame(known, "f"))
        with pytest.raises(ValueError, match=r"^exog must have the columns e, as in fit, got f"):
            found.predict(1, exog=Frame(known[:1], "f"))
    numbered = make(epochs=1).fit(series)
    with pytest.raises(ValueError, match=r"^series must have the columns 0, 1, as in fit, got 1, 0"):
        numbered.update(Frame(series, 1, 0))
    assert numbered.score(Frame(series, 0, 1)) == numbered.score(Frame(series, "a", "b"))
    turned = make(epochs=1).fit(Frame(series, 1, 0))
    assert turned.score(series) == turned.score(Frame(series, 1, 0))
    with pytest.raises(ValueError, match=r"^series must have the columns 1, 0, as in fit, got 0, 1"):
        turned.score(Frame(series, 0, 1))


@pytest.mark.parametrize("scale", [1e-200, 1e150])
def test_magnitudes(scale):
    series = scale * np.sin(np.arange(60))
    assert np.isfinite(make(epochs=1).fit(series).predict()).all()
    with pytest.raises(ValueError, match="deviation is finite, got up to 1e"):
        make().fit(series / scale * 1e200)


def test_plots(tmp_path):
    pytest.importorskip("matplotlib")
    series = np.stack([seasonal(), -seasonal(seed=1)], axis=1)
    model = make(horizon=12, season=12).fit(series)
    figure = model.plot(path=tmp_path / "forecast.png")
    assert (tmp_path / "forecast.png").stat().st_size > 1000
    assert len(figure.axes) == 2
    median = figure.axes[0].lines[1].get_ydata()
    assert np.array_equal(median[1:], model.predict()[:, 0]) and median[0] == series[-1, 0]
    band = figure.axes[1].collections[0].get_paths()[0].vertices[:, 1]
    lower, upper = model.predict_interval()
    edges = series[-1, 1], *lower[:, 1], *upper[:, 1]  # it begins at the last known value, as the median does
    assert np.isclose(band.min(), min(edges)) and np.isclose(band.max(), max(edges))
    assert np.any(np.isclose(band, series[-1, 1]))


def test_the_same_seed_gives_the_same_forecast():
    series = seasonal()
    flats = [make(random_state=seed, dropout=0.1).fit(series).model_.params.flat for seed in (1, 1, 2)]
    assert np.array_equal(flats[0], flats[1]) and not np.array_equal(flats[0], flats[2])


def test_bad_input_is_refused_before_any_training():
    series, fresh = seasonal(), make()
    for given, message in [
        (series[:2], "more rows"),
        (series.reshape(2, 3, 40), r"shape \(T,\) or \(T, K\)"),
        (np.append(series, np.inf), "column '0', row 240"),
    ]:
        with pytest.raises(ValueError, match=message):
            fresh.fit(given)
    with pytest.raises(TypeError, match="numbers"):
        fresh.fit(["a", "b"])
    with pytest.raises(ValueError, match=r"^series must have shape \(T,\) or \(T, K\), got rows that are not alike"):
        fresh.fit([[1.0], [2.0, 3.0]])
    with pytest.raises(TypeError, match=r"^quantiles must be a tuple of numbers, got 0\.5"):
        make(quantiles=0.5).fit(series)
    with pytest.raises(ValueError, match=r"^start must be finite, got nan"):
        make().backtest(series, start=float("nan"))
    with pytest.raises(ValueError, match="more rows: 100 inputs and a horizon of 1 need 102"):
        make(inputs=100).fit(series[:80])
    for change, message in [
        ({"quantiles": (0.1, 0.9)}, "0.5"),
        ({"quantiles": (0.9, 0.5)}, "rise"),
        ({"season": 1}, "season"),
        ({"baseline": "season"}, "season must be given"),
        ({"baseline": "median"}, "baseline"),
        ({"horizon": 0}, "horizon"),
        ({"missing": "drop"}, "missing"),
    ]:
        with pytest.raises(ValueError, match=message):
            make(**change).fit(series)
    assert not hasattr(fresh, "model_")
    with pytest.raises(ValueError, match="not been fitted"):
        fresh.predict()
    with pytest.raises(ValueError, match="1 columns, as in fit, got 2"):
        make().fit(series).update(np.ones((3, 2)))
    with pytest.raises(ValueError, match="start must lie in"):
        make().backtest(series, start=240)
    with pytest.raises(ValueError, match=r"series must have 251 rows at least, a season of 200 .* got 240"):
        make(season=200, horizon=50).backtest(series)


def test_ridge():
    x, y = RNG.normal(size=(50, 4)), RNG.normal(size=(50, 2))
    A, a = Ridge(x, y).weights(0.0)
    B = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), y, rcond=None)[0]
    assert np.allclose(A, B[:4]) and np.allclose(a, B[4])
    sizes = [np.linalg.norm(Ridge(x, y).weights(p)[0]) for p in (0.0, 0.1, 1.0, 10.0)]
    assert sizes == sorted(sizes, reverse=True)
    wide = Ridge(RNG.normal(size=(5, 40)), RNG.normal(size=(5, 1))).weights(0.1)[0]
    assert wide.shape == (40, 1) and np.isfinite(wide).all()


def test_score():
    series = seasonal()
    model = make(horizon=2, season=12).fit(series[:180])
    assert -0.2 < model.score(series[180:]) < 0
    with pytest.raises(ValueError, match="rows at least"):
        model.score(series[:10])
