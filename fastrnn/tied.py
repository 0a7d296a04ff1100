"""`Tied`: a language model's network whose output reads the matrix of its embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import flat
from ._arrays import as_size
from .composite import Composite, check_part
from .layer import Array, Call, Layer, masked, swapped
from .layers import Dense, Embedding
from .params import Params
from .sequential import Sequential, check_stack


class _Bias(Layer):
    """b (V,), for a sum that its owner makes."""

    def __init__(self, size: int, dtype: Any):
        self._params = Params.zeros({"b": (as_size("size", size),)}, dtype)


class _Record(NamedTuple):
    """What the backward pass needs: what the parts' do, h (T*N, E), which steps count, and how x came."""

    embedding: Any
    body: Any
    h: Array
    ends: Array | None
    outer: tuple[int, int]
    time_major: bool


class Tied(Composite):
    """An embedding, layers, and logits from the embedding's own matrix: logits = layers(E[x]) Eᵀ + b.

    One matrix (V, dim) instead of two: with a large vocabulary most of a language model's parameters.

    Parameters
    ----------
    embedding : Embedding
        E, (V, dim).
    layers : sequence of layers
        As `Sequential` takes them; the first takes dim features and the last gives as many.

    Notes
    -----
    Parameters: ``"embedding.W"``, ``"body.0.W"``, ..., ``"output.b"``. State: a list with one entry per layer. To
    stream such a model, make a `fastrnn.Session` of `untied`.

    References
    ----------
    Press & Wolf 2017, "Using the output embedding to improve language models"; Inan, Khosravi & Socher 2017, "Tying
    word vectors and word classifiers".

    Examples
    --------
    >>> from fastrnn import LSTM, Dense, Embedding, Tied
    >>> model = Tied(Embedding(50, 8, seed=0), [LSTM(8, 16, seed=1), Dense(16, 8, seed=2)])
    >>> logits, state = model([[1, 2, 3], [4, 5, 6]])
    >>> logits.shape, list(model.params)[0]
    ((2, 3, 50), 'embedding.W')
    """

    takes_integers = True
    input_size = None

    def __init__(self, embedding: Embedding, layers: Sequence[Layer]):
        if not isinstance(embedding, Embedding):
            raise TypeError(f"embedding must be an Embedding, got {embedding!r}")
        check_part("embedding", embedding, "model")
        layers, definite = check_stack(layers)
        dim, first, last = embedding.output_size, definite[0], definite[-1]
        if any(layer.pools for layer in layers) or layers[-1].gives_pair:
            raise ValueError("layers must give one vector for every step")
        if (first.input_size, last.output_size) != (dim, dim):
            got = f"{first.input_size} and {last.output_size}"
            raise ValueError(f"layers must take and give {dim} features, as many as the embedding has, got {got}")
        if first.dtype != embedding.dtype:
            raise ValueError(f"layers must have the dtype of embedding, {embedding.dtype}, got {first.dtype}")
        self.embedding, self.body = embedding, Sequential(layers)
        self.output_size = embedding.vocab
        parts = {"embedding": embedding, "body": self.body, "output": _Bias(embedding.vocab, embedding.dtype)}
        self._join(parts, embedding.dtype)

    def _config(self) -> dict[str, Any]:
        return {"embedding": self.embedding, "layers": self.body.layers}

    def _settle(self, record: _Record) -> None:
        self.body._settle(record.body)

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Any, Any, _Record]:
        x, valid = self._time_first(x, call)
        (T, N), inside = x.shape, call.inside()
        codes = np.where(valid, x, 0) if valid is not None else x
        vectors, kept = self.embedding.look_up(codes, self.body.takes_lookup)
        h, state, body = self.body._run(vectors, state, inside, keep)
        h = np.ascontiguousarray(h).reshape(T * N, self.embedding.output_size)
        logits = np.empty((T * N, self.output_size), self.dtype)
        flat.kernels().affine(h, self.params["embedding.W"], self.params["output.b"], logits, transposed=True)
        ends = valid if call.lengths is not None else None
        y = masked(logits.reshape(T, N, self.output_size), ends)
        record = _Record(kept, body, h, ends, (T, N), call.time_major)
        return (y if call.time_major else swapped(y)), state, record

    def _adjoint(self, record: _Record, dy: Any, dstate: Any, grads: Params, input_gradient: bool) -> tuple[None, Any]:
        (T, N), (own, body, output) = record.outer, self._grads(grads)
        dh = None
        if dy is not None:
            dy = self._as_output("dy", dy, (T, N) if record.time_major else (N, T))
            rows = masked(dy if record.time_major else swapped(dy), record.ends).reshape(T * N, self.output_size)
            rows, kernels, dh = np.ascontiguousarray(rows), flat.kernels(), np.empty_like(record.h)
            kernels.add_outer(rows, record.h, own["W"], None)
            output["b"] += rows.sum(axis=0)
            kernels.affine(rows, self.params["embedding.W"], None, dh)
            dh = dh.reshape(T, N, self.embedding.output_size)
        dvectors, dstate = self.body._adjoint(record.body, dh, dstate, body, True)
        self.embedding._adjoint(record.embedding, np.ascontiguousarray(dvectors), own, False)
        return None, dstate

    def untied(self) -> Sequential:
        """A stack that computes the same, with copies of the weights, the matrix twice."""
        from .files import build, describe

        body = build(describe(self.body))
        embedding = Embedding(self.output_size, self.embedding.output_size, dtype=self.dtype)
        dense = Dense(self.embedding.output_size, self.output_size, dtype=self.dtype)
        embedding.params["W"] = self.params["embedding.W"]
        dense.params.update({"W": self.params["embedding.W"].T, "b": self.params["output.b"]})
        body.params.flat[...] = self.body.params.flat
        for name, value in self.body.buffers.items():
            body.buffers[name][...] = value
        return Sequential([embedding, body, dense])

    def __repr__(self) -> str:
        return f"Tied({self.embedding!r}, {list(self.body.layers)!r})"
