"""Lists of arrays as Keras orders them, as layers and back.

W (D, G*H), U (H, G*H) and b (G*H,) are as ours but for the gates of a GRU: Keras has z r h, we have r z n. A GRU with
``reset_after`` has a bias (2, 3H), whose second row is added to the recurrent product: in z and r both rows are one b,
in h the second is our b_rec. Weights of the former CuDNNLSTM and CuDNNGRU are told by the length of their bias, 8H and
6H. Their matrices are transposed gate by gate, and the input kernels laid out in Fortran's order besides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import init
from ..._arrays import as_choice, as_shape
from ...activations import as_function
from ...bidirectional import Bidirectional
from ...layer import Array, Layer
from ...layers import Dense, Embedding
from ...norms import BatchNorm, LayerNorm
from ...recurrent import GRU, LSTM, RecurrentLayer, SimpleRNN
from ...sequential import Sequential

_SCANS: dict[str, tuple[type[RecurrentLayer], int]] = {"SimpleRNN": (SimpleRNN, 1), "LSTM": (LSTM, 4), "GRU": (GRU, 3)}
_CUDNN = {"CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}
FUNCTIONS: dict[str, Any] = {
    "tanh": "tanh",
    "relu": "relu",
    "sigmoid": "sigmoid",
    "linear": "linear",
    "softsign": "softsign",
    "softplus": "softplus",
    "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5),
    "leaky_relu": ("leaky_relu", 0.2),
    "elu": ("elu", 1.0),
}
"""Keras's activations by its names, as our options."""
HARD_SIGMOID_2 = ("hard_sigmoid", 0.2, 0.5)  # until Keras 3
KINDS = (*_SCANS, *_CUDNN, "Bidirectional", "Dense", "Embedding", "LayerNormalization", "BatchNormalization")


def as_weights(weights: Any) -> list[Array]:
    """Arrays of one floating dtype, float32 where they are narrower; raises where one is not floating."""
    if not isinstance(weights, (list, tuple)):
        raise TypeError(f"weights must be a list of arrays, got {type(weights).__name__}")
    arrays = [np.asarray(array) for array in weights]
    for k, array in enumerate(arrays):
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise TypeError(f"weights[{k}] must hold floating-point numbers, got {array.dtype}")
    widest = max((array.dtype.itemsize for array in arrays), default=4)
    return [array.astype("float64" if widest > 4 else "float32") for array in arrays]


def regated(array: Array) -> Array:
    """The gates z r h of the last axis as r z n, or r z n as z r h."""
    first, second, last = np.split(array, 3, axis=-1)
    return np.concatenate([second, first, last], axis=-1)


def _from_cudnn(W: Array, U: Array, b: Array, gates: int) -> tuple[Array, Array, Array]:
    """CuDNNLSTM's or CuDNNGRU's arrays as those of LSTM or of GRU with ``reset_after``."""

    def each_gate(function: Callable[[Array], Array], matrix: Array) -> Array:
        return np.hstack([function(block) for block in np.hsplit(matrix, gates)])

    W = each_gate(lambda block: block.T.reshape(block.shape, order="F"), W)
    U = each_gate(lambda block: block.T, U)
    both = b.reshape(2, -1)
    return W, U, both.sum(axis=0) if gates == 4 else both


def _gates_of(U: Array) -> int:
    """How many gate blocks a recurrent kernel has, or 0."""
    return U.shape[1] // U.shape[0] if U.ndim == 2 and U.shape[0] and U.shape[1] % U.shape[0] == 0 else 0


def _scan_kind(weights: list[Array]) -> str:
    """The kind that has arrays of these shapes."""
    gates = _gates_of(weights[1]) if len(weights) > 1 else 0
    found = [kind for kind, (_, own) in _SCANS.items() if own == gates]
    if not found:
        shapes = [array.shape for array in weights]
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}: arrays of shapes {shapes} do not tell it")
    return found[0]


def _scan(weights: list[Array], kind: str | None, reset_after: bool | None, options: dict[str, Any]) -> RecurrentLayer:
    """A recurrent layer from kernel, recurrent kernel and perhaps a bias."""
    is_cudnn = kind in _CUDNN
    kind = _CUDNN.get(kind, kind) if kind is not None else _scan_kind(weights)
    make, gates = _SCANS[kind]
    if len(weights) not in (2, 3):
        raise ValueError(f"weights must be 2 or 3 arrays for {kind}, got {len(weights)}")
    W, U, *rest = weights
    if U.ndim != 2 or _gates_of(U) != gates:
        raise ValueError(f"weights[1] must have shape (H, {gates}*H) for {kind}, got {U.shape}")
    H = U.shape[0]
    W = as_shape("weights[0]", W, W.dtype, ("D", gates * H))
    b = rest[0] if rest else None
    if gates > 1 and b is not None and b.shape == (2 * gates * H,):
        W, U, b = _from_cudnn(W, U, b, gates)
    elif is_cudnn:
        got = "none" if b is None else f"one of shape {b.shape}"
        raise ValueError(f"weights must hold a bias of shape ({2 * gates * H},) in CuDNN's format, got {got}")
    params = {"W": W, "U": U}
    if kind == "GRU":
        after = _reset_after(b, reset_after)
        options = options | {"reset_after": after}
        params = {name: regated(array) for name, array in params.items()}
        b = np.zeros((2, 3 * H) if after else 3 * H, W.dtype) if b is None else b
        b = regated(as_shape("weights[2]", b, b.dtype, (2, 3 * H) if after else (3 * H,)))
        if after:
            params["b_rec"] = b[1, 2 * H :]
            b = np.concatenate([b.sum(axis=0)[: 2 * H], b[0, 2 * H :]])
    if b is not None:
        params["b"] = as_shape("weights[2]", b, b.dtype, (gates * H,))
    layer = make(W.shape[0], H, **{"dtype": W.dtype.name, **options})
    if b is None:
        layer.params["b"][...] = 0
    layer.params.update(params)
    return layer


def _reset_after(b: Array | None, wanted: bool | None) -> bool:
    """Whether a GRU resets after the product, from its bias or from what the caller says."""
    if b is None:
        if wanted is None:
            raise ValueError("reset_after must be given for a GRU without bias: its weights do not tell it")
        return wanted
    if wanted is not None and wanted != (b.ndim == 2):
        raise ValueError(f"reset_after={wanted} does not fit weights[2] of shape {b.shape}")
    return b.ndim == 2


def _dense(weights: list[Array], options: dict[str, Any]) -> Dense:
    if len(weights) not in (1, 2):
        raise ValueError(f"weights must be 1 or 2 arrays for Dense, got {len(weights)}")
    W = as_shape("weights[0]", weights[0], weights[0].dtype, ("D", "O"))
    layer = Dense(*W.shape, **{"dtype": W.dtype.name, **options})
    layer.params["W"] = W
    if len(weights) == 2:
        layer.params["b"] = as_shape("weights[1]", weights[1], W.dtype, (W.shape[1],))
    return layer


def _embedding(weights: list[Array], options: dict[str, Any]) -> Embedding:
    if len(weights) != 1:
        raise ValueError(f"weights must be 1 array for Embedding, got {len(weights)}")
    W = as_shape("weights[0]", weights[0], weights[0].dtype, ("V", "D"))
    layer = Embedding(*W.shape, **{"dtype": W.dtype.name, **options})
    layer.params["W"] = W
    return layer


def _norm(weights: list[Array], kind: str, options: dict[str, Any]) -> LayerNorm | BatchNorm:
    make, count = (LayerNorm, 2) if kind == "LayerNormalization" else (BatchNorm, 4)
    if len(weights) != count:
        raise ValueError(f"weights must be {count} arrays for {kind}, got {len(weights)}")
    gain, b, *statistics = (as_shape("weights", array, array.dtype, (weights[0].size,)) for array in weights)
    options = {"eps": 1e-3, **({"momentum": 0.01} if statistics else {}), **options}  # Keras's defaults
    layer = make(gain.size, **{"dtype": gain.dtype.name, **options})
    layer.params.update(gain=gain, b=b)
    for name, value in zip(("mean", "var"), statistics, strict=False):
        layer.buffers[name][...] = value
    return layer


def from_weights(
    weights: Sequence[Any],
    kind: str | None = None,
    *,
    merge: str | None = "concat",
    reset_after: bool | None = None,
    **options: Any,
) -> Layer:
    """A layer from what Keras's ``layer.get_weights()`` gives.

    Parameters
    ----------
    weights : list of arrays
        Floating; float16 and bfloat16 become float32. Kernel (D, G*H), recurrent kernel (H, G*H), bias; without
        ``use_bias`` the bias is absent, and zero here. Twice as many arrays make a `Bidirectional`, forward ones first.
    kind : str, optional
        "SimpleRNN", "LSTM", "GRU", "CuDNNLSTM", "CuDNNGRU", "Bidirectional", "Dense", "Embedding",
        "LayerNormalization" or "BatchNormalization". Shapes tell recurrent layers, CuDNN's format and directions apart,
        so that None will do for those, and the inner kind for a Bidirectional.
    merge : "concat", "sum", "mul", "ave" or None
        Keras's merge_mode, of a Bidirectional.
    reset_after : bool, optional
        Of a GRU; only one without bias needs it.
    **options
        Keyword arguments of the layer that are not in its weights: ``activation``, ``recurrent_activation`` in our
        names, ``reverse`` for Keras's go_backwards, ``dtype``.

    Returns
    -------
    SimpleRNN, LSTM, GRU, Bidirectional, Dense, Embedding, LayerNorm or BatchNorm
        Of the arrays' dtype where ``dtype`` does not say another.

    Raises
    ------
    TypeError, ValueError
        The arrays are not those of a layer of this kind; the message names the array and the shape that is wanted. Or
        ``merge`` is given for one direction, ``reset_after`` for another layer than a GRU.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.interop.keras import from_weights
    >>> from_weights([np.zeros((3, 20)), np.zeros((5, 20)), np.zeros(20)])
    LSTM(3, 5)
    """
    arrays = as_weights(weights)
    as_choice("kind", kind, (*KINDS, None))
    with init.skipped():  # every weight comes from the arrays
        layer = _made(arrays, kind, merge, reset_after, options)
    parts = layer.layers if isinstance(layer, Bidirectional) else (layer,)
    if merge != "concat" and len(parts) == 1:
        raise TypeError(f"merge must not be given for {layer!r}, which has one direction, got {merge!r}")
    if reset_after is not None and not any(isinstance(part, GRU) for part in parts):
        raise TypeError(f"reset_after must not be given for {layer!r}, which is no GRU, got {reset_after!r}")
    return layer


def _made(
    arrays: list[Array], kind: str | None, merge: str | None, reset_after: bool | None, options: dict[str, Any]
) -> Layer:
    if kind == "Dense":
        return _dense(arrays, options)
    if kind == "Embedding":
        return _embedding(arrays, options)
    if kind in ("LayerNormalization", "BatchNormalization"):
        return _norm(arrays, str(kind), options)
    if kind != "Bidirectional" and len(arrays) not in (4, 6):
        return _scan(arrays, kind, reset_after, options)
    if len(arrays) not in (4, 6):
        raise ValueError(f"weights must be 4 or 6 arrays for Bidirectional, got {len(arrays)}")
    if options.get("reverse"):
        raise ValueError("reverse must be False for a Bidirectional, which has both directions")
    half, inner = len(arrays) // 2, None if kind == "Bidirectional" else kind
    fwd = _scan(arrays[:half], inner, reset_after, options)
    bwd = _scan(arrays[half:], inner, reset_after, options | {"reverse": True})
    return Bidirectional((fwd, bwd), merge=merge)


_PLAIN = {
    "clip": None,
    "coupled": False,
    "layer_norm": False,
    "output_activation": None,
    "weight_drop": 0.0,
    "zoneout": 0.0,
}
_KNOWN = {as_function("activation", option) for option in (*FUNCTIONS.values(), HARD_SIGMOID_2)}


def _scan_weights(layer: RecurrentLayer) -> list[Array]:
    params = layer.params
    extra = sorted(set(params) - {"W", "U", "b", "b_rec"})
    if extra:
        raise ValueError(f"layer must be one that Keras has, got {layer!r} with parameters {', '.join(extra)}")
    config = layer._config()
    for option, plain in _PLAIN.items():
        if config.get(option, plain) != plain:
            raise ValueError(f"layer must be one that Keras has, got {layer!r} with {option}={config[option]!r}")
    for option in ("activation", "recurrent_activation"):
        if option in config and as_function(option, config[option]) not in _KNOWN:
            raise ValueError(f"{option} must be one that Keras has a name for, got {config[option]!r} in {layer!r}")
    if not isinstance(layer, GRU):
        return [params["W"].copy(), params["U"].copy(), params["b"].copy()]
    b = regated(params["b"])
    if layer.reset_after:
        H = layer.hidden_size
        b = np.stack([b, np.concatenate([np.zeros(2 * H, b.dtype), params["b_rec"]])])
    return [regated(params["W"]), regated(params["U"]), b]


def to_weights(layer: Layer) -> list[Array]:
    """A layer's parameters in Keras's form: for ``set_weights`` of a Keras layer of the same kind and sizes.

    Parameters
    ----------
    layer : SimpleRNN, LSTM, GRU, Bidirectional, Dense, Embedding, LayerNorm, BatchNorm, or a Sequential of them
        A Sequential gives the arrays of all its layers, one after the other, as ``model.get_weights()`` does.
        Activations and directions are not in the weights: give the Keras layer the same.

    Returns
    -------
    list of arrays
        Copies. A GRU with ``reset_after`` has a bias (2, 3H).

    Raises
    ------
    ValueError
        The layer has an option or parameters that no Keras layer has, or an activation that Keras has no name for.
    TypeError
        It is not one of the layers above.

    Examples
    --------
    >>> from fastrnn import GRU, Dense, Sequential
    >>> from fastrnn.interop.keras import to_weights
    >>> [array.shape for array in to_weights(Sequential([GRU(3, 5), Dense(5, 2)]))]
    [(3, 15), (5, 15), (2, 15), (5, 2), (2,)]
    """
    if isinstance(layer, Sequential):
        return [array for part in layer.layers for array in to_weights(part)]
    if isinstance(layer, Bidirectional):
        return [array for part in layer.layers for array in to_weights(part)]
    if isinstance(layer, RecurrentLayer):
        return _scan_weights(layer)
    if isinstance(layer, Dense):
        return [layer.params["W"].copy(), layer.params["b"].copy()]
    if isinstance(layer, Embedding):
        return [layer.params["W"].copy()]
    if isinstance(layer, (LayerNorm, BatchNorm)):
        return [
            layer.params["gain"].copy(),
            layer.params["b"].copy(),
            *(array.copy() for array in layer.buffers.values()),
        ]
    if isinstance(layer, Layer) and not layer.params:
        return []
    raise TypeError(f"layer must be one that Keras has, got {layer!r}")
