"""What the models of whole sequences share: `fit`'s steps, from X and y to a trained network, and its outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import as_choice, as_flag, as_rate, as_size, dtype_of
from ..callbacks import Callback, EarlyStopping
from ..data import Batch, Batches, Standardizer, batches, pad
from ..fitting import fit
from ..history import History
from ..layer import Layer
from ..layers import Embedding
from ..losses import Loss
from ..optim import Adam, AdamW, as_number_in
from ..schedules import Cosine
from ..sequential import Sequential
from . import inputs, network
from .estimator import Estimator

Array = np.ndarray

ROWS = 256  # of a batch of inference

# What parameters that are None stand for. Texts have more parameters than examples: without dropout, they are learned
# by heart.
TEXT_DEFAULTS: dict[str, Any] = {"dropout": 0.7, "token_dropout": 0.3, "pooling": "attention", "epochs": 5}
NUMBER_DEFAULTS: dict[str, Any] = {"dropout": 0.0, "token_dropout": 0.0, "pooling": "last", "epochs": 100}


@dataclass(eq=False, repr=False, kw_only=True)
class SequenceEstimator(Estimator):
    """Parameters and steps of `SequenceClassifier`, `SequenceRegressor` and `SequenceTagger`."""

    cell: str = "lstm"
    hidden: int = 64
    layers: int = 1
    bidirectional: bool = False
    cell_options: dict[str, Any] | None = None
    embedding: int = 128
    tokenizer: Any = "words"
    lowercase: bool = True
    min_count: int = 1
    max_tokens: int | None = 20_000
    token_dropout: float | None = None
    max_length: int | None = None
    standardize: bool = True
    dropout: float | None = None
    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    validation_fraction: float = 0.1
    patience: int = 5
    dtype: str = "float32"
    random_state: Any = None
    progress: bool = False

    # what the subclasses say

    def _outer_layers(self, size: int, outputs: int, rng: np.random.Generator, chosen: dict[str, Any]) -> list[Layer]:
        """The layers after the scans; ``chosen`` has what `_chosen` gives."""
        raise NotImplementedError

    # fit

    def _check_params(self) -> None:
        """Raise where a parameter is wrong that no layer, optimiser or encoder will look at."""
        as_choice("cell", self.cell, tuple(network.CELLS))
        for name in ("hidden", "layers", "embedding", "batch_size", "patience"):
            as_size(name, getattr(self, name))
        as_size("min_count", self.min_count)
        for name, least in (("epochs", 1), ("max_tokens", 2)):
            if getattr(self, name) is not None:
                as_size(name, getattr(self, name), least)
        for name in ("dropout", "token_dropout", "validation_fraction"):
            if name == "validation_fraction" or getattr(self, name) is not None:
                as_rate(name, getattr(self, name))
        for name in ("bidirectional", "lowercase", "standardize", "progress"):
            as_flag(name, getattr(self, name))
        as_number_in("learning_rate", self.learning_rate, 0, open_end=True)
        dtype_of(self.dtype)

    def _new_encoder(self, X: Any) -> inputs.Encoder:
        if inputs.holds_text(X):
            return inputs.TokenEncoder(self.tokenizer, self.lowercase, self.min_count, self.max_tokens, self.max_length)
        if self.token_dropout:
            raise ValueError("token_dropout must be 0 where X holds numbers")
        return inputs.NumberEncoder(self.standardize, self.max_length)

    def _chosen(self, encoder: inputs.Encoder, params: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the parameters that depend on what X holds where they are None."""
        defaults = TEXT_DEFAULTS if isinstance(encoder, inputs.TokenEncoder) else NUMBER_DEFAULTS
        given = {name: params.get(name) for name in defaults}
        return {name: defaults[name] if value is None else value for name, value in given.items()}

    def _network(self, encoder: inputs.Encoder, outputs: int, rng: np.random.Generator) -> Sequential:
        stack: list[Layer] = []
        chosen = self._chosen(encoder, self.get_params())
        if isinstance(encoder, inputs.TokenEncoder):
            stack.append(Embedding(len(encoder.tokens), self.embedding, dtype=self.dtype, seed=rng))
        size = stack[0].output_size if stack else encoder.size  # type: ignore[union-attr]
        stack += network.scans(
            self.cell,
            size,
            self.hidden,
            self.layers,
            rng,
            bidirectional=self.bidirectional,
            dropout=chosen["dropout"] if stack or self.layers > 1 else 0.0,
            dtype=self.dtype,
            options=self.cell_options,
        )
        return Sequential([*stack, *self._outer_layers(stack[-1].output_size, outputs, rng, chosen)])

    def _train(
        self,
        X: Any,
        targets: Any,
        outputs: int,
        loss: Loss,
        held_out: Array,
        rng: np.random.Generator,
        *,
        per_step: bool,
        metrics: Mapping[str, Any] | None = None,
        callbacks: tuple[Callback, ...],
    ) -> tuple[inputs.Encoder, Sequential, History]:
        """Encoder, network and history; ``held_out`` are the rows of X that validate."""
        X = inputs.as_data(X)
        rows = np.setdiff1d(np.arange(len(X)), held_out)
        encoder = self._new_encoder(X).fit(X, rows)
        sequences = encoder.transform(X, self.dtype)
        model = self._network(encoder, outputs, rng)

        def part(chosen: Array, shuffle: bool) -> Batches:
            return _batches(sequences, targets, chosen, self.batch_size if shuffle else ROWS, shuffle, per_step)

        train: Any = part(rows, True)
        chosen = self._chosen(encoder, self.get_params())
        epochs = chosen["epochs"]
        if chosen["token_dropout"]:
            train = _Dropping(train, chosen["token_dropout"])
        optimizer = (
            AdamW(self.learning_rate, weight_decay=self.weight_decay) if self.weight_decay else Adam(self.learning_rate)
        )
        stopping = (EarlyStopping(self.patience),) if len(held_out) else ()
        history = fit(
            model,
            loss,
            optimizer,
            train,
            part(held_out, False) if len(held_out) else None,
            epochs=epochs,
            schedule=Cosine(self.learning_rate, epochs * len(train)),
            clip_norm=self.clip_norm,
            callbacks=(*stopping, *callbacks),
            metrics=metrics if len(held_out) else None,
            progress=self.progress,
            seed=rng,
        )
        return encoder, model, history

    def _finish(self, X: Any, encoder: inputs.Encoder, model: Sequential, history: History) -> None:
        """Take over what a training found, once all of it has gone well."""
        self._encoder, self.model_, self.history_, self._fit_params = encoder, model, history, self._params()
        self._describe_features(inputs.column_names(X))

    def _describe_features(self, names: Array | None) -> None:
        """Set what scikit-learn asks for of the features: their number where X holds numbers, and their names."""
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
        if isinstance(self._encoder, inputs.NumberEncoder):
            self.n_features_in_ = self._encoder.width or self._encoder.size
        if names is not None:
            self.feature_names_in_ = names

    # outputs

    def _sequences(self, X: Any) -> inputs.Sequences:
        self._check_fitted()
        inputs.check_names(getattr(self, "feature_names_in_", None), inputs.column_names(X))
        X = inputs.as_data(X)
        is_text = isinstance(self._encoder, inputs.TokenEncoder)
        if inputs.holds_text(X) not in (None, is_text) and len(X):
            raise TypeError(f"X must hold {'texts' if is_text else 'numbers'}, as in fit")
        found, wanted = inputs.table_width(X), getattr(self._encoder, "width", 0)
        if found and wanted and found != wanted:
            name = type(self).__name__
            raise ValueError(f"X has {found} features, but {name} is expecting {wanted} features as input")
        return self._encoder.transform(X, self.model_.dtype)

    def _each(self, sequences: inputs.Sequences, run: Callable[[Array, Array | None], Array]) -> list[Any]:
        """``run(x, lengths)`` over batches of like length; what it gives for every row, in the order of the rows."""
        lengths = inputs.lengths_of(sequences)
        order, found = np.argsort(lengths, kind="stable"), [None] * len(lengths)
        for first in range(0, len(order), ROWS):
            rows = order[first : first + ROWS]
            chosen = inputs.take(sequences, rows)
            x, given = pad(chosen) if isinstance(chosen, list) else (chosen, None)
            for k, value in zip(rows, run(x, given), strict=True):
                found[k] = value
        return found

    def _outputs(self, X: Any) -> list[Array]:
        """The network's output for every sequence: (K,), or (T, K) without pooling."""
        return self._each(self._sequences(X), lambda x, lengths: self.model_(x, lengths=lengths)[0])

    # files

    def _learned(self) -> dict[str, Any]:
        names = getattr(self, "feature_names_in_", None)
        return {"encoder": self._encoder.to_dict(), "columns": None if names is None else names.tolist()}

    def _adopt(self, learned: dict[str, Any]) -> None:
        kept = learned["encoder"]
        layers = self.model_.layers
        if kept["kind"] == inputs.TokenEncoder.kind:
            encoder = inputs.TokenEncoder(
                self.tokenizer, self.lowercase, self.min_count, self.max_tokens, self.max_length
            )
            encoder.tokens = inputs.Tokens(kept["tokens"])
            if not isinstance(layers[0], Embedding) or layers[0].vocab != len(encoder.tokens):
                raise ValueError(f"the vocabulary has {len(encoder.tokens)} tokens, which does not fit {layers[0]!r}")
            self._encoder = encoder
            return
        numbers = inputs.NumberEncoder(self.standardize, self.max_length)
        numbers.size, numbers.width = as_size("size", kept["size"]), as_size("width", kept["width"], 0)
        if self.standardize:
            numbers.scaler = Standardizer.from_dict(kept["scaler"])
            if len(numbers.scaler.mean_) != numbers.size:
                raise ValueError(f"the scaler must have {numbers.size} columns, got {len(numbers.scaler.mean_)}")
        if self.model_.input_size != numbers.size:
            raise ValueError(f"the network takes {self.model_.input_size} features, the scaler {numbers.size}")
        self._encoder, names = numbers, learned.get("columns")  # files of earlier versions have none
        self._describe_features(None if names is None else np.array(names, object))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = False
        return tags


class _Dropping:
    """Batches of tokens, some of which are made unknown: another few in every epoch."""

    def __init__(self, train: Batches, rate: float):
        self.train, self.rate = train, rate

    def __len__(self) -> int:
        return len(self.train)

    def __call__(self, rng: np.random.Generator) -> Iterator[Batch]:
        for batch in self.train(rng):
            yield batch._replace(x=np.where(rng.random(batch.x.shape) < self.rate, 0, batch.x))


def _batches(
    sequences: inputs.Sequences, targets: Any, rows: Array, size: int, shuffle: bool, per_step: bool
) -> Batches:
    """Batches of these rows, those of like length together where there are several lengths."""
    x, y = inputs.take(sequences, rows), inputs.take(targets, rows)
    if isinstance(x, list):
        padded, lengths = pad(x)
        y = pad(y)[0] if isinstance(y, list) else y
        return batches(padded, y, lengths, size=size, shuffle=shuffle, bucket=True, per_step=per_step)
    return batches(x, y, size=size, shuffle=shuffle, per_step=per_step)


def held_out_rows(N: int, fraction: float, rng: np.random.Generator, labels: Array | None = None) -> Array:
    """Rows to validate on: a share of all, of every class alike where there are labels.

    None where the share of all is less than one row, nor of a class that it would take the last row from.
    """
    if labels is None:
        return np.sort(rng.permutation(N)[: math.floor(fraction * N)])
    if math.floor(fraction * N) < 1:
        return np.empty(0, np.intp)
    chosen = []
    for label in range(int(labels.max()) + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(rows[: min(round(fraction * len(rows)), len(rows) - 1)])
    return np.sort(np.concatenate(chosen)).astype(np.intp)
