"""`Forecaster`: where a time series goes, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import as_choice, as_flag, as_number, as_rate, as_size, dtype_of
from ..callbacks import Callback, EarlyStopping
from ..data import Standardizer, batches
from ..fitting import fit
from ..history import History
from ..losses import Loss, Quantile
from ..optim import Adam, as_number_in
from ..sequential import Sequential
from ..training import evaluate
from . import network
from .backtest import Backtest, naive, naive_scale
from .conformal import moves
from .estimator import Estimator, decoded, encoded
from .linear import Linear, best
from .series import Examples, Table, as_table, before, examples, phases, reverts

Array = np.ndarray

BASELINES = ("auto", "mean", "last", "season")
LOOK_BACK = 24  # steps, where no season says how many
FEW = 20  # forecasts that validate; of fewer, quantiles cannot be told


class _Ahead(Loss):
    """Pinball loss of the last steps of the outputs, those to be predicted, after offsets (horizon, K·Q) are added."""

    def __init__(self, quantiles: Sequence[float], offsets: Array):
        self._loss, self._offsets = Quantile(quantiles), offsets

    def __call__(self, outputs: Any, targets: Any, lengths: Any = None, **options: Any) -> tuple[float, Array]:
        ahead = slice(outputs.shape[1] - len(self._offsets), None)
        value, slopes = self._loss(outputs[:, ahead] + self._offsets, targets)
        gradient = np.zeros_like(outputs)
        gradient[:, ahead] = slopes
        return value, gradient

    def weight(self, targets: Any, lengths: Any = None, **options: Any) -> float:
        return float(np.size(targets))


@dataclass(eq=False, repr=False, kw_only=True)
class Forecaster(Estimator):
    """Forecasts of one series or of several at once, with intervals: a linear part, and a recurrent network that
    corrects it.

    The linear part is a ridge regression of every step ahead on the past. The network reads the past too, goes on over
    the steps ahead, and says by how much each quantile there differs; it begins at zero, and what it has learned is
    kept only where that is better on the end of the series, which training does not see. In the end quantiles are moved
    by how far they were off there, step by step ahead: an interval holds the share that it promises, as long as the
    series goes on as it did (`fastrnn.models.conformal`).

    Parameters
    ----------
    horizon : int
        Steps that one look predicts. `predict` gives more by looking again, at its own medians.
    inputs : int or None
        Steps of the past that are looked at. None: two seasons, or 24 and at least two horizons; at most a third of
        the series.
    season : float or None
        Steps of a season, such as 12 for months or 365.25 / 7 for weeks; the model then knows where in the season each
        step is.
    quantiles : tuple of numbers
        Which quantiles to predict, in (0, 1) and rising; 0.5 must be one. The outermost ones bound the interval.
    baseline : "auto", "mean", "last" or "season"
        What forecasts are relative to: the mean, the last value, or the value one season before. "auto" takes what is
        best on the end of the series; with a linear part the mean only where all columns keep returning to theirs.
    linear : bool
        Whether there is a linear part: of all steps ahead at once or of one that is repeated, whichever is better on
        the end of the series, and then learned from all of it. Without it the network is alone with the baseline.
    missing : "error" or "interpolate"
        What to do about NaN.
    cell : "lstm", "gru" or "rnn"
    hidden, layers : int
        Units of each layer, and how many layers there are.
    cell_options : dict, optional
        More options of the recurrent layers.
    dropout : float
        Share of the features left out in training, between the layers and before the output.
    epochs, batch_size : int
        Passes over the series, at most, and examples of an update.
    learning_rate : float
        Of Adam.
    clip_norm : float or None
        Limit of the gradient's norm.
    validation_fraction : float
        Share of the series, its end, that validates. 0: the baseline is the last value, and all epochs are made.
    patience : int
        Epochs without improvement after which to stop.
    dtype : "float32" or "float64"
    random_state : int, generator or None
    progress : bool
        Show a bar on stderr.

    Attributes
    ----------
    model_ : Sequential
        The network.
    history_ : History
        Losses of every epoch.
    baseline_ : str
        The one that was taken.

    Notes
    -----
    Columns are standardised as in the training part. Intervals beyond the horizon are too narrow, since the medians
    looked at are taken for certain; so are those of a model that was fitted long before what it forecasts, where a
    series drifts. They are not calibrated where fewer than 20 forecasts validate.

    References
    ----------
    Wen et al. 2017, "A multi-horizon quantile recurrent forecaster"; the linear part beside the network: Lai et al.
    2018, "Modeling long- and short-term temporal patterns with deep neural networks"; values relative to the last one:
    Zeng et al. 2023, "Are transformers effective for time series forecasting?"; the calibration: Romano, Patterson &
    Candès 2019, "Conformalized quantile regression".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models import Forecaster
    >>> t = np.arange(200)
    >>> series = 0.1 * t + np.sin(2 * np.pi * t / 12)
    >>> model = Forecaster(horizon=12, season=12, epochs=5, random_state=0).fit(series)
    >>> forecast = model.predict()
    >>> t = np.arange(200, 212)
    >>> bool(np.abs(forecast - 0.1 * t - np.sin(2 * np.pi * t / 12)).max() < 0.1)
    True
    """

    horizon: int = 1
    inputs: int | None = None
    season: float | None = None
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    baseline: str = "auto"
    linear: bool = True
    missing: str = "error"
    cell: str = "gru"
    hidden: int = 32
    layers: int = 1
    cell_options: dict[str, Any] | None = None
    dropout: float = 0.0
    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 2e-3
    clip_norm: float | None = 1.0
    validation_fraction: float = 0.2
    patience: int = 10
    dtype: str = "float32"
    random_state: Any = None
    progress: bool = False

    # fit

    def fit(self, series: Any, y: Any = None, *, exog: Any = None, callbacks: Sequence[Callback] = ()) -> Forecaster:
        """Learn from a series; what was learned before is forgotten.

        Parameters
        ----------
        series : array (T,) or (T, K), or a table of pandas
            Rows are steps, equally far apart. All K columns are predicted, from all of them. Other tables that the
            model is given must have the same columns, in the same order.
        y : ignored
            There for scikit-learn.
        exog : array (T, E), optional
            Columns that are known beforehand also for the steps ahead: calendars, prices, plans. What is not known
            beforehand belongs into the series.
        callbacks : sequence of Callback
            For `fastrnn.fit`.

        Raises
        ------
        TypeError, ValueError
            Wrong parameters; NaN, with its column and row; fewer rows than the past and the steps ahead need. Before
            any training.
        """
        self._check_params()
        table = as_table("series", series, self.missing)
        columns = _as_exog(exog, len(table.values), self.missing)
        known = columns.values
        inputs = self._look_back(len(table.values))
        rng = self._rng()
        origins = np.arange(inputs, len(table.values) - self.horizon + 1)
        held_out = math.floor(self.validation_fraction * len(origins))
        # an example that validates has nothing to predict that training has seen
        trained = len(origins) - held_out - (self.horizon - 1 if held_out else 0)
        if trained < 2:
            least = inputs + self.horizon + 1
            raise ValueError(
                f"series must have more rows: {inputs} inputs and a horizon of {self.horizon} need {least} at least, "
                f"and what validates, {self.validation_fraction:g} of them, besides, got {len(table.values)}"
            )
        last = int(origins[trained - 1]) + self.horizon
        scaler = Standardizer(table.names).fit(table.values[:last])
        exog_scaler = Standardizer(columns.names).fit(known[:last]) if columns.names else None
        values, seen = scaler.transform(table.values), _scaled(exog_scaler, known)
        found = examples(values, table.gaps, seen, columns.gaps, inputs, self.horizon, origins)
        parts = found.take(slice(trained)), found.take(slice(len(origins) - held_out, None))
        partial = self._linear_part(values, *parts)
        model, history = self._train(partial, *parts, rng, tuple(callbacks))
        core = partial.refitted(found)
        core.offsets = partial.offsets + self._calibration(model, partial, parts[1])
        self._inputs, self._is_column, self._names = inputs, table.is_column, table.names
        self._scaler, self._exog_scaler, self._core = scaler, exog_scaler, core
        self._fit_params, self._levels = self._params(), _as_levels(self.quantiles)
        self.model_, self.history_, self.baseline_ = model, history, core.kind
        self._values, self._exog, self._row = table.values[-inputs:], known[-inputs:], len(table.values)
        return self

    def _check_params(self) -> None:
        as_choice("cell", self.cell, tuple(network.CELLS))
        as_choice("baseline", self.baseline, BASELINES)
        as_choice("missing", self.missing, ("error", "interpolate"))
        for name in ("horizon", "hidden", "layers", "epochs", "batch_size", "patience"):
            as_size(name, getattr(self, name))
        for name in ("dropout", "validation_fraction"):
            as_rate(name, getattr(self, name))
        for name in ("linear", "progress"):
            as_flag(name, getattr(self, name))
        as_number_in("learning_rate", self.learning_rate, 0, open_end=True)
        if self.season is not None and as_number_in("season", self.season, 0) < 2:
            raise ValueError(f"season must be at least 2 steps, got {self.season!r}")
        if self.baseline == "season" and self.season is None:
            raise ValueError("season must be given for baseline='season', got None")
        _as_levels(self.quantiles)
        dtype_of(self.dtype)

    def _period(self) -> int:
        """Whole steps of a season; 1 without one."""
        return 1 if self.season is None else round(self.season)

    def _look_back(self, T: int) -> int:
        """Steps of the past."""
        if self.inputs is not None:
            inputs = as_size("inputs", self.inputs)
        else:
            wanted = max(LOOK_BACK, 2 * self.horizon) if self.season is None else 2 * self._period()
            inputs = max(1, min(wanted, T // 3))
        if self.baseline == "season" and inputs < self._period():
            raise ValueError(f"inputs must be at least a season of {self._period()} steps, got {inputs}")
        return inputs

    def _linear_part(self, values: Array, train: Examples, held_out: Examples) -> Linear:
        """The best linear part on the examples that validate."""
        kinds = ["last"] if self.baseline == "auto" else [self.baseline]
        # a map makes up for the mean where the level drifts, but not for long
        if self.baseline == "auto" and (not self.linear or reverts(values)):
            kinds.append("mean")
        if self.baseline == "auto" and self.season is not None and train.past.shape[1] >= self._period():
            kinds.append("season")
        kinds = kinds if len(held_out) else kinds[:1]
        chosen = best(kinds, train, held_out if len(held_out) else train, self.season, self.linear)
        chosen.spread(train, _as_levels(self.quantiles))
        return chosen

    def _train(
        self,
        core: Linear,
        train: Examples,
        held_out: Examples,
        rng: np.random.Generator,
        callbacks: tuple[Callback, ...],
    ) -> tuple[Sequential, History]:
        x = _network_inputs(core, train, self.dtype)
        K, levels = train.past.shape[2], _as_levels(self.quantiles)
        model = self._network(x.shape[2], K * len(levels), rng)
        loss = _Ahead(levels, _offsets(core, self.dtype))
        data = batches(x, self._targets(core, train), size=self.batch_size, per_step=False)
        validation, before = None, math.inf
        if len(held_out):
            rows = _network_inputs(core, held_out, self.dtype), self._targets(core, held_out)
            validation = batches(*rows, size=256, shuffle=False, per_step=False)
            before = evaluate(model, {"loss": loss}, validation)["loss"]
        first = model.params.flat.copy()
        history = fit(
            model,
            loss,
            Adam(self.learning_rate),
            data,
            validation,
            epochs=self.epochs,
            clip_norm=self.clip_norm,
            callbacks=([EarlyStopping(self.patience)] if validation else []) + list(callbacks),
            progress=self.progress,
            seed=rng,
        )
        if validation is not None and not min(history.get("val_loss", [math.inf])) < before:
            model.params.flat[...] = first
        return model, history

    def _network(self, features: int, outputs: int, rng: np.random.Generator) -> Sequential:
        options: Any = {"dtype": self.dtype, "options": self.cell_options}
        stack = network.scans(self.cell, features, self.hidden, 1, rng, **options)
        for _ in range(self.layers - 1):
            width = stack[-1].output_size
            stack += network.scans(self.cell, width, self.hidden, 1, rng, dropout=self.dropout, **options)
        stack += network.head(stack[-1].output_size, outputs, rng, dropout=self.dropout, dtype=self.dtype)
        stack[-1].params["W"][...] = 0
        return Sequential(stack)

    def _targets(self, core: Linear, given: Examples) -> Array:
        """(M, horizon, K) what is left to the network, in units of what the linear part leaves on average."""
        return (core.residuals(given) / core.scale).astype(self.dtype)

    def _calibration(self, model: Any, core: Linear, held_out: Examples) -> Array:
        """(horizon, K, Q) by how much quantiles are to be moved, for each step ahead, after what validates."""
        found = np.zeros_like(core.offsets)
        if len(held_out) < FEW:
            return found
        off = self._targets(core, held_out)[..., None] - _outputs(model, core, held_out)
        for step, k in np.ndindex(found.shape[:2]):
            found[step, k] = moves(off[:, step, k], _as_levels(self.quantiles))
        return found

    def _ahead(self, exog: Any, steps: int, past: Array | None = None) -> Table:
        """What is known of the steps ahead, (steps, E), checked; ``past`` as `as_table` has it."""
        E = self._exog.shape[1]
        if exog is None and E:
            raise ValueError(f"exog must have {steps} rows of {E} columns, as the model was fitted with some, got None")
        # files of earlier versions have no names of these columns
        names = None if self._exog_scaler is None else self._exog_scaler.columns
        wanted = tuple(map(str, range(E))) if names is None else names
        return _as_exog(exog, steps, self._fit_params["missing"], wanted=wanted, past=past)

    # predict

    def predict(self, steps: int | None = None, *, exog: Any = None) -> Array:
        """The medians of what comes next.

        Parameters
        ----------
        steps : int, optional
            The horizon when None.
        exog : array (steps, E)
            Where the model was fitted with such columns.

        Returns
        -------
        array (steps,) or (steps, K)
            Like the series of fit.
        """
        return self._medians(self.predict_quantiles(steps, exog=exog))

    def _medians(self, quantiles: Array) -> Array:
        """Those among quantiles (..., Q)."""
        return quantiles[..., self._levels.index(0.5)]

    def predict_quantiles(self, steps: int | None = None, *, exog: Any = None) -> Array:
        """All quantiles of what comes next, (steps, Q) or (steps, K, Q); arguments as for `predict`."""
        self._check_fitted()
        horizon = self._core.horizon
        steps = horizon if steps is None else as_size("steps", steps)
        known = self._ahead(exog, steps, self._exog).values
        whole = -(-steps // horizon) * horizon
        # what is not asked for has no columns yet: its last ones stand in, and reach no step before
        known = np.concatenate([self._exog, known, np.repeat(known[-1:], whole - steps, axis=0)])
        values, found = self._values, []
        for first in range(0, whole, horizon):
            span = known[first : first + self._inputs + horizon]
            found.append(self._look(values[None], span[None], np.array([self._row + first]))[0])
            if not np.isfinite(found[-1]).all():
                raise ValueError(f"steps must be fewer, got {steps}: after step {first} forecasts are no longer finite")
            values = np.concatenate([values, self._medians(found[-1])])[-self._inputs :]
        quantiles = np.concatenate(found)[:steps]
        return quantiles[:, 0] if self._is_column else quantiles

    def predict_interval(self, steps: int | None = None, *, exog: Any = None) -> tuple[Array, Array]:
        """The outermost quantiles of what comes next, lower and upper; arguments as for `predict`."""
        found = self.predict_quantiles(steps, exog=exog)
        return found[..., 0], found[..., -1]

    def update(self, series: Any, *, exog: Any = None) -> Forecaster:
        """Take note of steps that have come since: forecasts begin after them. Nothing is trained.

        Parameters
        ----------
        series : array (T,) or (T, K)
            The steps that follow those of fit, or of the last update. Gaps at their beginning are filled from the
            last steps before, too.
        exog : array (T, E)
            Where the model was fitted with such columns.
        """
        self._check_fitted()
        values = self._as_series(series, self._values).values
        known = self._ahead(exog, len(values), self._exog).values
        self._values = np.concatenate([self._values, values])[-self._inputs :]
        self._exog = np.concatenate([self._exog, known])[-self._inputs :]
        self._row += len(values)
        return self

    def score(self, series: Any, y: Any = None, *, exog: Any = None) -> float:
        """Minus the mean absolute error, in deviations of the training data, of forecasts within another series.

        Forecasts begin at every row that has enough before it; the series is taken to follow the one of fit where
        there is a season. More is better.
        """
        self._check_fitted()
        values, _, _, gaps = self._as_series(series)
        known, horizon = self._ahead(exog, len(values)), self._core.horizon
        origins = np.arange(self._inputs, len(values) - horizon + 1)
        if not len(origins):
            raise ValueError(f"series must have {self._inputs + horizon} rows at least, got {len(values)}")
        given = examples(values, gaps, known.values, known.gaps, self._inputs, horizon, origins)
        found = self._medians(self._look(given.past, given.exog, given.origin + self._row))
        return -float((np.abs(given.future - found) / self._scaler.scale_).mean())

    def _as_series(self, series: Any, past: Array | None = None) -> Table:
        """A table with the columns of fit; ``past`` as `as_table` has it."""
        return as_table("series", series, self._fit_params["missing"], wanted=self._names, past=past)

    def _look(self, past: Array, exog: Array, origin: Array) -> Array:
        """Quantiles (M, horizon, K, Q), rising, for pasts (M, inputs, K) in the series' own units."""
        core = self._core
        given = Examples(self._scaler.transform(past), _scaled(self._exog_scaler, exog), origin, None)
        with np.errstate(over="ignore", invalid="ignore"):  # what repeats its own forecasts may grow without bounds
            spread = _outputs(self.model_, core, given) * core.scale[:, None]
            found = np.sort(spread + core.predict(given)[..., None], axis=3)
            return found * self._scaler.scale_[:, None] + self._scaler.mean_[:, None]

    # looking back

    def backtest(
        self, series: Any, *, exog: Any = None, start: float = 0.7, stride: int = 1, refit: int | None = None
    ) -> Backtest:
        """How good forecasts would have been: train on the beginning, then forecast from one row after another.

        This model stays as it is; one with the same parameters is trained. A gap that is filled holds, before each
        origin, nothing of what comes after it; one of exog nothing of what comes after the horizon.

        Parameters
        ----------
        series, exog : as for `fit`
        start : float or int
            The first origin, as a share of the series or as a row.
        stride : int
            Rows from one origin to the next.
        refit : int, optional
            Train anew, on all that has come, after every so many origins; never when None.

        Returns
        -------
        Backtest

        Examples
        --------
        >>> import numpy as np
        >>> from fastrnn.models import Forecaster
        >>> t = np.arange(240)
        >>> series = np.sin(2 * np.pi * t / 12) + 0.1 * np.random.default_rng(0).normal(size=240)
        >>> test = Forecaster(horizon=6, season=12, epochs=5, random_state=0).backtest(series)
        >>> test.mase < test.naive_mase
        True
        """
        table = as_table("series", series, self.missing)
        T, period = len(table.values), self._period()
        columns = _as_exog(exog, T, self.missing)
        known = np.where(columns.gaps, np.nan, columns.values)
        first = round(as_number("start", start) * T) if isinstance(start, float) else as_size("start", start)
        origins = np.arange(first, T - self.horizon + 1, as_size("stride", stride))
        least = period + self.horizon + 1
        if least > T:
            wanted = f"a season of {period} before the first origin and a horizon of {self.horizon} after the last"
            raise ValueError(f"series must have {least} rows at least, {wanted}, got {T}")
        if not period < first or not len(origins):
            wanted = f"rows {period + 1}..{T - self.horizon}, with a season before and a horizon after"
            raise ValueError(f"start must lie in {wanted}, got {first}")
        every = len(origins) if refit is None else as_size("refit", refit)
        found, given = [], np.where(table.gaps, np.nan, table.values)
        for k in range(0, len(origins), every):
            at = origins[k : k + every]
            model = type(self)(**self.get_params()).fit(given[: at[0]], exog=known[: at[0]] if known.shape[1] else None)
            seen = examples(table.values, table.gaps, columns.values, columns.gaps, model._inputs, self.horizon, at)
            found.append(model._look(seen.past, seen.exog, at))
        quantiles, levels = np.concatenate(found), _as_levels(self.quantiles)
        return Backtest(
            origins,
            table.values[origins[:, None] + np.arange(self.horizon)],
            quantiles[..., levels.index(0.5)],
            naive(before(table.values, table.gaps, origins, period), self.horizon),
            quantiles,
            levels,
            naive_scale(before(table.values, table.gaps, origins[:1], first)[0], period),
        )

    def plot(self, steps: int | None = None, *, exog: Any = None, history: Any = None, path: Any = None) -> Any:
        """Draw the forecast and its interval after the last steps of the series.

        Parameters
        ----------
        steps, exog : as for `predict`
        history : array (T,) or (T, K), optional
            What to draw before the forecast, ending where it begins; as much as the model looks back on when None.
        path : str or path, optional
            File to write to as well; its ending says the format.

        Returns
        -------
        matplotlib.figure.Figure
            Which a notebook shows.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        from .forecast_plot import draw

        found = self.predict_quantiles(steps, exog=exog)
        past = self._values if history is None else self._as_series(history).values
        quantiles = found[:, None] if self._is_column else found
        return draw(past, quantiles, self._levels, self._names, self._row, path)

    # files

    def _learned(self) -> dict[str, Any]:
        exog = None if self._exog_scaler is None else self._exog_scaler.to_dict()
        numbers = {"inputs": self._inputs, "row": self._row, "is_column": self._is_column}
        arrays = {"values": encoded(self._values), "exog": encoded(self._exog), "exog_scaler": exog}
        return numbers | arrays | {"scaler": self._scaler.to_dict(), "core": self._core.to_dict()}

    def _adopt(self, learned: dict[str, Any]) -> None:
        self._inputs, self._row = as_size("inputs", learned["inputs"]), as_size("row", learned["row"])
        self._is_column, self._scaler = bool(learned["is_column"]), Standardizer.from_dict(learned["scaler"])
        self._names = tuple(self._scaler.columns or ())
        self._values, self._exog = decoded(learned["values"]), decoded(learned["exog"])
        kept = learned["exog_scaler"]
        self._exog_scaler = None if kept is None else Standardizer.from_dict(kept)
        self._core = Linear.from_dict(learned["core"], self.season)
        self.baseline_, self._levels = self._core.kind, _as_levels(self.quantiles)
        K, E, Q = len(self._names), self._exog.shape[1], len(self._levels)
        features = K + 1 + E + phases(self.season, np.zeros(1)).shape[1]
        wanted = (self._inputs, K), (self._inputs, E), features, K * Q, (self.horizon, K, Q), len(self._scaler.mean_)
        network_ = self.model_.input_size, self.model_.output_size
        found = self._values.shape, self._exog.shape, *network_, self._core.offsets.shape, K
        if wanted != found:
            raise ValueError(f"the parts of the forecaster must fit together: {wanted}, got {found}")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.input_tags.string = tags.input_tags.three_d_array = False
        return tags


def _as_levels(quantiles: Any) -> tuple[float, ...]:
    """The parameter ``quantiles``, checked."""
    if not isinstance(quantiles, (tuple, list, np.ndarray)) or np.ndim(quantiles) != 1:
        raise TypeError(f"quantiles must be a tuple of numbers, got {quantiles!r}")
    levels = tuple(as_number(f"quantiles[{k}]", q) for k, q in enumerate(quantiles))
    if 0.5 not in levels or not all(0 < q < 1 for q in levels) or list(levels) != sorted(set(levels)):
        raise ValueError(f"quantiles must rise within (0, 1) and have 0.5 among them, got {quantiles!r}")
    return levels


def _as_exog(exog: Any, rows: int, missing: str, **options: Any) -> Table:
    """A table of as many rows, of no column for None; options are those of `as_table`."""
    if exog is None:
        return Table(np.empty((rows, 0)), (), False, np.empty((rows, 0), bool))
    table = as_table("exog", exog, missing, **options)
    if len(table.values) != rows:
        raise ValueError(f"exog must have {rows} rows, one for each step, got {len(table.values)}")
    return table


def _scaled(scaler: Standardizer | None, exog: Array) -> Array:
    return exog if scaler is None else scaler.transform(exog)


def _network_inputs(core: Linear, given: Examples, dtype: Any) -> Array:
    """(M, inputs + horizon, features): the past relative to its last value, what is known of every step, and a mark of
    those ahead."""
    M, T, K = given.past.shape
    x = np.zeros((M, T + core.horizon, K + 1))
    x[:, :T, :K], x[:, T:, K] = (given.past - given.past[:, -1:]) / core.unit, 1
    steps = given.origin[:, None] + np.arange(-T, core.horizon)
    return np.concatenate([x, given.exog, phases(core.season, steps)], axis=2).astype(dtype)


def _offsets(core: Linear, dtype: Any) -> Array:
    """(horizon, K·Q) the quantiles that the network corrects."""
    return core.offsets.reshape(core.horizon, -1).astype(dtype)


def _outputs(model: Sequential, core: Linear, given: Examples) -> Array:
    """(M, horizon, K, Q) what the linear part leaves, as the network has it, in units of ``core.scale``."""
    outputs = model(_network_inputs(core, given, model.dtype))[0][:, -core.horizon :] + _offsets(core, model.dtype)
    return outputs.astype(np.float64).reshape(len(outputs), *core.offsets.shape)
