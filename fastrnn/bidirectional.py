"""`Bidirectional`: one layer reading forwards and one backwards in time."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np

from ._arrays import as_choice
from .composite import Composite, check_part
from .layer import Array, Call, each, masked, swapped
from .lookup import Lookup
from .params import Params
from .recurrent import RecurrentLayer


def _checked(name: str, layer: Any, reverse: bool) -> RecurrentLayer:
    if not isinstance(layer, RecurrentLayer):
        raise TypeError(f"{name} must be a recurrent layer, got {layer!r}")
    if layer.reverse is not reverse:
        raise ValueError(f"{name} must have reverse={reverse}, got {layer!r}")
    check_part(name, layer, "layer")
    return layer


def _twin(layer: RecurrentLayer, seed: Any) -> RecurrentLayer:
    """A layer like this one, reading the other way, with weights of its own."""
    if seed is None:
        seed = zlib.crc32(layer.params.flat.tobytes())
    return type(layer)(**{**layer._config(), "reverse": True, "seed": seed})


class _Record(NamedTuple):
    """What the backward pass needs: what each layer's does, both y where they are multiplied, how the call came.

    ``valid``: (T, N) true on the steps that count, or None.
    """

    layers: list[Any]
    y: list[Array] | None
    valid: Array | None
    outer: tuple[int, int]
    time_major: bool


class Bidirectional(Composite):
    """Two layers over the same sequences, one reading forwards and one backwards, their results merged.

    Parameters
    ----------
    layer : recurrent layer, or a pair of them
        A layer with ``reverse=False``; the one that reads backwards is made like it, with weights of its own. Or both,
        the second with ``reverse=True``. They become parts of this layer: their parameters move into its buffer.
    merge : "concat", "sum", "mul", "ave" or None
        How the two y become one: side by side (N, T, 2H), added, multiplied, averaged. None gives the pair of them,
        and takes a pair as dy; in a stack nothing can follow that.
    seed : int, numpy.random.Generator or None
        Of the first weights of the layer that is made. None takes one that follows from the given layer's weights, so
        that the same seed there makes the same pair.

    Attributes
    ----------
    layers : tuple
        The two, forwards and backwards.

    Notes
    -----
    Parameters: ``"fwd.W"``, ``"fwd.U"``, ..., ``"bwd.W"``, ``"bwd.U"``, ... State: a tuple (forward state, backward
    state), each as its layer has it. The backward layer starts at each row's last valid step, and its final state is
    that of the first step. With a ``mask`` y is zero on skipped steps, as in Keras.

    References
    ----------
    Schuster & Paliwal 1997, "Bidirectional recurrent neural networks".

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import GRU, Bidirectional
    >>> layer = Bidirectional(GRU(3, 5, seed=0))
    >>> y, (h_fwd, h_bwd) = layer(np.ones((2, 7, 3), "float32"), lengths=[7, 4])
    >>> y.shape, bool((y[1, 3, :5] == h_fwd[1]).all()), bool((y[1, 0, 5:] == h_bwd[1]).all())
    ((2, 7, 10), True, True)
    """

    input_size: int

    def __init__(self, layer: Any, merge: str | None = "concat", *, seed: Any = None):
        self.merge = as_choice("merge", merge, ("concat", "sum", "mul", "ave", None))
        self.layers = self._pair(layer, seed)
        fwd, bwd = self.layers
        sizes = fwd.output_size, bwd.output_size
        if self.merge != "concat" and sizes[0] != sizes[1]:
            raise ValueError(f"layer must be two of one output size for merge={self.merge!r}, got {sizes}")
        self.input_size = fwd.input_size
        self.output_size = sum(sizes) if self.merge == "concat" else sizes[0]
        self.gives_pair = self.merge is None
        self.takes_lookup = fwd.takes_lookup and bwd.takes_lookup
        self._join({"fwd": fwd, "bwd": bwd}, fwd.dtype)

    @staticmethod
    def _pair(layer: Any, seed: Any) -> tuple[RecurrentLayer, RecurrentLayer]:
        if not isinstance(layer, (tuple, list)):
            fwd = _checked("layer", layer, False)
            return fwd, _twin(fwd, seed)
        if len(layer) != 2:
            raise ValueError(f"layer must be one recurrent layer or two, got {len(layer)}")
        if seed is not None:
            raise ValueError("seed must be None with a pair of layers, which have their weights")
        fwd, bwd = _checked("layer[0]", layer[0], False), _checked("layer[1]", layer[1], True)
        if (fwd.input_size, fwd.dtype) != (bwd.input_size, bwd.dtype):
            got = f"{fwd!r} of {fwd.dtype} and {bwd!r} of {bwd.dtype}"
            raise ValueError(f"layer must be two of one input size and dtype, got {got}")
        return fwd, bwd

    def _config(self) -> dict[str, Any]:
        return {"layer": self.layers, "merge": self.merge}

    def _entries(self, name: str, state: Any) -> tuple[Any, Any]:
        if state is None:
            return None, None
        if not isinstance(state, (tuple, list)):
            raise TypeError(f"{name} must be a tuple (forward {name}, backward {name}), got {type(state).__name__}")
        if len(state) != 2:
            raise ValueError(f"{name} must be a tuple (forward {name}, backward {name}), got {len(state)} values")
        return state[0], state[1]

    def _run(self, x: Any, state: Any, call: Call, keep: bool) -> tuple[Any, Any, _Record]:
        x, valid = self._time_first(x, call)
        T, N = x.shape[:2]
        if valid is None and not isinstance(x, Lookup):
            x = np.ascontiguousarray(x)  # once for both
        states = self._entries("state", state)
        runs = [layer._run(x, s, call.inside(), keep) for layer, s in zip(self.layers, states, strict=True)]
        parts = [run[0] for run in runs]
        if call.mask is not None:  # a layer repeats its last output there, and the two would tell of different steps
            parts = [masked(part, valid) for part in parts]
        y = self._merged(*parts)
        if not call.time_major:
            y = swapped(y)
        kept = parts if self.merge == "mul" else None
        record = _Record([run[2] for run in runs], kept, valid, (T, N), call.time_major)
        return y, tuple(run[1] for run in runs), record

    def _merged(self, fwd: Array, bwd: Array) -> Any:
        if self.merge is None:
            return fwd, bwd
        if self.merge == "concat":
            return np.concatenate((fwd, bwd), axis=2)
        if self.merge == "mul":
            return fwd * bwd
        y = fwd + bwd
        if self.merge == "ave":
            y *= 0.5
        return y

    def _split(self, dy: Any, record: _Record) -> tuple[Any, Any]:
        """dy (T, N, .) as the gradients of the two layers' y: `_merged` turned round."""
        if self.merge is None:
            return dy
        if self.merge == "concat":
            H = self.layers[0].output_size
            return dy[..., :H], dy[..., H:]
        if record.y is not None:
            fwd, bwd = record.y
            return dy * bwd, dy * fwd
        if self.merge == "ave":
            dy = dy * 0.5
        return dy, dy

    def _adjoint(
        self, record: _Record, dy: Any, dstate: Any, grads: Params, input_gradient: bool
    ) -> tuple[Array | None, Any]:
        T, N = record.outer
        d: tuple[Any, Any] = (None, None)
        if dy is not None:
            dy = self._as_output("dy", dy, (T, N) if record.time_major else (N, T))
            dy = each(lambda part: masked(part, record.valid), dy if record.time_major else swapped(dy))
            d = self._split(dy, record)
        dstates = self._entries("dstate", dstate)
        parts = zip(self.layers, record.layers, d, dstates, self._grads(grads), strict=True)
        found = [layer._adjoint(kept, d_y, d_state, own, input_gradient) for layer, kept, d_y, d_state, own in parts]
        (dx, _), (dx_bwd, _) = found
        if dx is not None:
            dx += dx_bwd
            dx = dx if record.time_major else dx.swapaxes(0, 1)
        return dx, tuple(dstate for _, dstate in found)

    def __repr__(self) -> str:
        merge = "" if self.merge == "concat" else f", merge={self.merge!r}"
        return f"Bidirectional({self.layers[0]!r}{merge})"
