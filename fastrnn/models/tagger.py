"""`SequenceTagger`: a label for every step of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..callbacks import Callback
from ..elementwise import softmax
from ..layer import Layer
from . import network
from .classes import LabelEstimator
from .inputs import Encoder, as_data, lengths_of
from .sequences import held_out_rows
from .targets import as_labels, check_count, check_kind, classes_of, plain

Array = np.ndarray


class Report(dict[Any, dict[str, float]]):
    """Label -> ``precision``, ``recall``, ``f1`` and ``support``, how many steps have it; printed as a table.

    Attributes
    ----------
    accuracy : float
        Share of the steps that are right.

    References
    ----------
    van Rijsbergen 1979, "Information retrieval", chapter 7.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.tagger import Report
    >>> report = Report(np.array(["a", "a", "b"]), np.array(["a", "b", "b"]))
    >>> report["a"]["precision"], report["a"]["recall"], round(report.accuracy, 2)
    (1.0, 0.5, 0.67)
    """

    def __init__(self, labels: Array, predicted: Array):
        super().__init__()
        self.accuracy = float(np.mean(labels == predicted)) if len(labels) else float("nan")
        for label in np.unique(np.concatenate([labels, predicted])):
            hits = float(np.sum((labels == label) & (predicted == label)))
            support, found = float(np.sum(labels == label)), float(np.sum(predicted == label))
            self[plain(label)] = {
                "precision": hits / found if found else 0.0,
                "recall": hits / support if support else 0.0,
                "f1": 2 * hits / (support + found),
                "support": int(support),
            }

    def __str__(self) -> str:
        width = max([8, *(len(str(label)) for label in self)])
        lines = [f"{'label':<{width}}  precision  recall      f1  support"]
        for label, row in self.items():
            numbers = f"{row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:6.3f}  {row['support']:7d}"
            lines.append(f"{label!s:<{width}}  {numbers}")
        return "\n".join([*lines, f"accuracy {self.accuracy:.3f}"])


@dataclass(eq=False, repr=False, kw_only=True)
class SequenceTagger(LabelEstimator):
    """A recurrent network that labels every step of a sequence: parts of speech, phases of sleep, states of a machine.

    Parameters are those of `SequenceClassifier`, but for pooling, which there is none of, and with ``bidirectional``
    True by default, so that each label can depend on what comes after it. ``class_weight`` weighs steps.

    Attributes
    ----------
    classes_ : array (K,)
        The labels in their order.
    model_ : Sequential
        The network.
    history_ : History
        Losses and accuracy of every epoch.

    Examples
    --------
    >>> from fastrnn.models import SequenceTagger
    >>> texts = [["a", "big", "dog", "barks"], ["the", "dog", "barks"], ["a", "cat", "sleeps"]] * 10
    >>> tags = [["det", "adj", "noun", "verb"], ["det", "noun", "verb"], ["det", "noun", "verb"]] * 10
    >>> model = SequenceTagger(hidden=16, epochs=100, dropout=0.0, token_dropout=0.0, random_state=0)
    >>> model = model.fit(texts, tags)
    >>> model.predict([["the", "big", "cat", "sleeps"]])[0].tolist()
    ['det', 'adj', 'noun', 'verb']
    """

    bidirectional: bool = True

    def _outer_layers(self, size: int, outputs: int, rng: np.random.Generator, chosen: dict[str, Any]) -> list[Layer]:
        return network.head(size, outputs, rng, dropout=chosen["dropout"], dtype=self.dtype)

    def fit(self, X: Any, y: Any, *, callbacks: Sequence[Callback] = ()) -> SequenceTagger:
        """Train on sequences and the labels of their steps; what was learned before is forgotten.

        Parameters
        ----------
        X : as `SequenceClassifier` takes it
            Texts are better given as lists of tokens, so that it is clear what the steps are.
        y : array (N, T), or a list of N lists or arrays (T_n,)
            A label for every step: strings, integers, bool.
        callbacks : sequence of Callback
            For `fastrnn.fit`.

        Raises
        ------
        TypeError, ValueError
            Wrong parameters or data: labels that are not one for each step, or all of one class; before any training.
        """
        self._check_params()
        data, rng = as_data(X), self._rng()
        labels = self._labels(self._new_encoder(data), data, y)
        classes, numbers = classes_of(_joined(labels))
        targets = np.split(numbers, np.cumsum([len(part) for part in labels])[:-1])
        shaped = np.stack(targets) if isinstance(data, np.ndarray) and data.ndim > 1 else targets
        held_out = held_out_rows(len(data), self.validation_fraction, rng)
        held_out = held_out[[len(labels[k]) > 0 for k in held_out]]  # an empty sequence says nothing
        self._fit_classes(X, classes, numbers, shaped, held_out, rng, per_step=True, callbacks=tuple(callbacks))
        return self

    def predict_proba(self, X: Any) -> list[Array]:
        """Probability of every class at every step: a list of arrays (T_n, K)."""
        return [softmax(logits) for logits in self._logits(X)]

    def predict(self, X: Any) -> Any:
        """The likeliest label of every step: (N, T) where X is an array of numbers, else a list of arrays (T_n,)."""
        found = [self._likeliest(logits) for logits in self._logits(X)]
        data = as_data(X)
        return np.stack(found) if isinstance(data, np.ndarray) and data.ndim > 1 else found

    def score(self, X: Any, y: Any) -> float:
        """Share of the steps whose label is predicted right."""
        return self.report(X, y).accuracy

    def report(self, X: Any, y: Any) -> Report:
        """Precision, recall and F1 of every label.

        Parameters
        ----------
        X, y : as for `fit`

        Returns
        -------
        Report
            Label -> measures; ``print`` shows a table.
        """
        predicted = [self._likeliest(logits) for logits in self._logits(X)]
        labels = _joined(self._labels(self._encoder, as_data(X), y))
        self._check_kind(labels)
        return Report(labels, _joined(predicted))

    def _logits(self, X: Any) -> list[Array]:
        """(T_n, K) float64 for every sequence, without what padding there was."""
        sequences = self._sequences(X)
        found = self._each(sequences, lambda x, lengths: self.model_(x, lengths=lengths)[0])
        return [part[:T].astype(np.float64) for part, T in zip(found, lengths_of(sequences), strict=True)]

    def _labels(self, encoder: Encoder, X: Any, y: Any) -> list[Array]:
        """The labels of every sequence, one for each step that the encoder reads."""
        if y is None or isinstance(y, str) or not hasattr(y, "__len__"):
            raise ValueError(f"y must have a label for every step, got {type(y).__name__}")
        y = as_data(y, "y")
        check_count("y", len(y), len(X))
        steps = lengths_of(encoder.read(X))
        labels = []
        for k, (part, T) in enumerate(zip(y, steps, strict=True)):
            found = as_labels(f"y[{k}]", part)
            found = found[: encoder.max_length]
            if len(found) != min(T, encoder.max_length or T):
                raise ValueError(f"y[{k}] must have {T} labels, one for each step of X[{k}], got {len(found)}")
            labels.append(found)
        return labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.two_d_labels = True
        tags.input_tags.two_d_array = tags.input_tags.three_d_array = True
        return tags


def _joined(labels: list[Array]) -> Array:
    """Those of all sequences, one after another; an empty sequence has no say in what kind they are."""
    filled = [part for part in labels if len(part)] or [np.empty(0)]
    for part in filled:
        check_kind("y", part, filled[0])
    return np.concatenate(filled)
