"""Models that say one thing of a whole sequence: `SequenceClassifier` and `SequenceRegressor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import as_choice
from ..attention import Attention
from ..callbacks import Callback
from ..data import Standardizer
from ..elementwise import softmax
from ..layer import Layer, StatefulLayer
from ..losses import MeanSquaredError
from . import network
from .classes import LabelEstimator
from .inputs import as_data
from .sequences import SequenceEstimator, held_out_rows
from .targets import as_columns, as_labels, check_count, classes_of

Array = np.ndarray


@dataclass(eq=False, repr=False, kw_only=True)
class PooledEstimator(SequenceEstimator):
    """What the two share: the pooling."""

    pooling: str | None = None

    def _check_params(self) -> None:
        super()._check_params()
        as_choice("pooling", self.pooling, (None, *network.POOLINGS))

    def _outer_layers(self, size: int, outputs: int, rng: np.random.Generator, chosen: dict[str, Any]) -> list[Layer]:
        name, dropout = chosen["pooling"], chosen["dropout"]
        pooled = network.pooling_layer(name, size, rng, bidirectional=self.bidirectional, dtype=self.dtype)
        return [pooled, *network.head(size, outputs, rng, dropout=dropout, dtype=self.dtype)]

    def attention_weights(self, X: Any) -> list[Array]:
        """How much each step of each sequence counts: what ``pooling="attention"`` has learned to look at.

        Parameters
        ----------
        X : as for ``fit``

        Returns
        -------
        list of arrays (T_n,)
            Each one's sum is 1, or 0 for an empty sequence.

        Raises
        ------
        ValueError
            The pooling is another one.
        """
        sequences = self._sequences(X)
        layers = self.model_.layers
        at = next((k for k, layer in enumerate(layers) if isinstance(layer, Attention)), None)
        if at is None:
            found = self._chosen(self._encoder, self._fit_params)["pooling"]
            raise ValueError(f"attention_weights needs a fit with pooling='attention', got {found!r}")

        def run(x: Array, lengths: Array | None) -> Array:
            for layer in layers[:at]:
                y = layer(x, lengths=lengths)
                x = y[0] if isinstance(layer, StatefulLayer) else y
            return layers[at](x, lengths=lengths, return_weights=True)[1]

        lengths = [len(sequence) for sequence in sequences]
        return [weights[:T] for weights, T in zip(self._each(sequences, run), lengths, strict=True)]


@dataclass(eq=False, repr=False, kw_only=True)
class SequenceClassifier(PooledEstimator, LabelEstimator):
    """A recurrent network that says which class a sequence is of: sentiment, topic, gesture, fault.

    Sequences are numbers or text. A scikit-learn classifier.

    Parameters
    ----------
    cell : "lstm", "gru" or "rnn"
    hidden : int
        Units of each layer (and direction).
    layers : int
    bidirectional : bool
        Read each sequence from both ends.
    pooling : "last", "mean", "max", "attention" or None
        How the steps become one vector: the last one, their mean, each feature's maximum, or a mean weighted by
        `Attention`. None: attention for texts, the last one for numbers.
    cell_options : dict, optional
        More options of the recurrent layers, such as ``{"layer_norm": True}``.
    embedding : int
        Features of a token's vector.
    tokenizer : "words", "chars" or function
        What makes tokens of a text; lists of tokens are taken as they are.
    lowercase : bool
        Of texts.
    min_count, max_tokens : int, int or None
        How often a token must be there to be known, and how many are. The others are one token, "unknown".
    token_dropout : float or None
        Share of tokens that training makes unknown, others in every epoch. None: 0.3.
    max_length : int or None
        Steps that are read, the first ones.
    standardize : bool
        Numbers are standardised, feature by feature, as in the training data.
    dropout : float or None
        Share of the features left out in training, before each layer; of a single layer's numbers none is. None: 0.7
        for texts, which have more parameters than examples, 0 for numbers.
    epochs : int or None
        Passes over the data, at most. None: 5 over texts, 100 over numbers. A handful of texts needs more.
    batch_size : int
        Sequences of an update; those of like length go together.
    learning_rate, weight_decay : float
        Of Adam, and of AdamW where there is a decay. The rate falls to zero along half a cosine over the epochs.
    clip_norm : float or None
        Limit of the gradient's norm.
    validation_fraction : float
        Share of the sequences, of each class alike, that training does not see. What it loses on them says when to
        stop, and which epoch's weights stay. 0, or too few sequences for one of them: all epochs are made.
    patience : int
        Epochs without improvement after which to stop.
    class_weight : None, "balanced" or dict
        Weight of every class in the loss: of classes that are rare, or dear.
    dtype : "float32" or "float64"
    random_state : int, generator or None
        Of everything random; the same one gives the same model.
    progress : bool
        Show a bar on stderr.

    Attributes
    ----------
    classes_ : array (K,)
        The labels in their order.
    model_ : Sequential
        The network.
    history_ : History
        Losses and accuracy of every epoch.
    feature_names_in_ : array (T,) of str
        Names of the columns, where X was a table with names: another table must have the same, in the same order.

    Notes
    -----
    X may be

    - numbers (N, T, D); (N, T) with one number per step; or a list of arrays (T_n, D) or (T_n,), of any lengths;
    - a list of N texts, or of N lists of tokens.

    Weights are those of the epoch with the least validation loss. A training that diverges stops there too, with a
    `fastrnn.TrainingWarning`.

    Examples
    --------
    >>> from fastrnn.models import SequenceClassifier
    >>> texts = ["a good film", "good fun", "so good", "a bad film", "bad, just bad", "so bad"] * 5
    >>> labels = ["yes", "yes", "yes", "no", "no", "no"] * 5
    >>> model = SequenceClassifier(hidden=8, epochs=40, random_state=0).fit(texts, labels)
    >>> model.predict(["good", "what a bad film"]).tolist()
    ['yes', 'no']
    """

    def fit(self, X: Any, y: Any, *, callbacks: Sequence[Callback] = ()) -> SequenceClassifier:
        """Train on sequences and their labels; what was learned before is forgotten.

        Parameters
        ----------
        X : numbers (N, T, D) or (N, T), or a list of arrays, texts or lists of tokens
        y : array (N,) of labels: strings, integers, bool
        callbacks : sequence of Callback
            For `fastrnn.fit`.

        Raises
        ------
        TypeError, ValueError
            Wrong parameters or data, NaN and labels of only one class among them; before any training.
        """
        self._check_params()
        N, labels = len(as_data(X)), as_labels("y", y)
        rng = self._rng()
        check_count("y", len(labels), N)
        classes, numbers = classes_of(labels)
        held_out = held_out_rows(N, self.validation_fraction, rng, numbers)
        self._fit_classes(X, classes, numbers, numbers, held_out, rng, per_step=False, callbacks=tuple(callbacks))
        return self

    def decision_function(self, X: Any) -> Array:
        """Logits (N, K); with two classes (N,), how much more the second is likely than the first."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> Array:
        """Probability of every class, (N, K)."""
        return softmax(self._logits(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithm of `predict_proba`, (N, K)."""
        logits = self._logits(X)
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> Array:
        """The likeliest class of every sequence, (N,)."""
        return self._likeliest(self._logits(X))

    def score(self, X: Any, y: Any) -> float:
        """Share of the sequences whose class is predicted right."""
        labels = as_labels("y", y)
        predicted = self.predict(X)
        check_count("y", len(labels), len(predicted))
        self._check_kind(labels)
        return float(np.mean(predicted == labels))

    def _logits(self, X: Any) -> Array:
        """(N, K) float64."""
        outputs = self._outputs(X)
        return np.array(outputs, np.float64).reshape(len(outputs), len(self.classes_))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags

        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags


@dataclass(eq=False, repr=False, kw_only=True)
class SequenceRegressor(PooledEstimator):
    """A recurrent network that says a number, or several, of a sequence. A scikit-learn regressor.

    Parameters are those of `SequenceClassifier`, but for class_weight. Targets are standardised inside.

    Attributes
    ----------
    model_ : Sequential
        The network; it gives standardised numbers.
    history_ : History

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models import SequenceRegressor
    >>> x = np.random.default_rng(0).uniform(size=(300, 6))
    >>> model = SequenceRegressor(hidden=16, random_state=0).fit(x, x.sum(axis=1))  # to add up six numbers
    >>> model.score(x, x.sum(axis=1)) > 0.95
    True
    """

    def fit(self, X: Any, y: Any, *, callbacks: Sequence[Callback] = ()) -> SequenceRegressor:
        """Train on sequences and their numbers; what was learned before is forgotten.

        Parameters
        ----------
        X : as `SequenceClassifier` takes it
        y : array (N,) or (N, K)
        callbacks : sequence of Callback
            For `fastrnn.fit`.

        Raises
        ------
        TypeError, ValueError
            Wrong parameters or data, NaN among it; before any training.
        """
        self._check_params()
        N, rng = len(as_data(X)), self._rng()
        values, is_column = as_columns("y", y, N), np.asarray(y).ndim == 1
        held_out = held_out_rows(N, self.validation_fraction, rng)
        scaler = Standardizer().fit(np.delete(values, held_out, axis=0))
        targets, loss = scaler.transform(values).astype(self.dtype), MeanSquaredError()
        found = self._train(
            X, targets, values.shape[1], loss, held_out, rng, per_step=False, callbacks=tuple(callbacks)
        )
        self._finish(X, *found)
        self._scaler, self._is_column = scaler, is_column
        return self

    def predict(self, X: Any) -> Array:
        """(N,) or (N, K), like the y of fit."""
        outputs = self._outputs(X)
        shape = len(outputs), len(self._scaler.mean_)
        values = self._scaler.inverse_transform(np.array(outputs, np.float64).reshape(shape))
        return values[:, 0] if self._is_column else values

    def score(self, X: Any, y: Any) -> float:
        """R², the share of the variance that is explained; the mean of it over columns."""
        predicted = self.predict(X)
        values, columns = as_columns("y", y, len(predicted)), predicted.reshape(len(predicted), -1)
        if values.shape != columns.shape:
            raise ValueError(f"y must have {columns.shape[1]} columns, as in fit, got {values.shape[1]}")
        errors = np.square(values - columns).sum(axis=0)
        spread = np.square(values - values.mean(axis=0)).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.where(spread > 0, 1 - errors / spread, np.where(errors > 0, 0.0, 1.0))
        return float(scores.mean())

    def _learned(self) -> dict[str, Any]:
        return super()._learned() | {"targets": self._scaler.to_dict(), "is_column": self._is_column}

    def _adopt(self, learned: dict[str, Any]) -> None:
        super()._adopt(learned)
        self._scaler, self._is_column = Standardizer.from_dict(learned["targets"]), bool(learned["is_column"])
        if self.model_.output_size != len(self._scaler.mean_):
            raise ValueError("the network and the scaler of its outputs must have as many columns")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags

        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        tags.target_tags.multi_output = True
        return tags
