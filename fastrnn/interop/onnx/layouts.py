"""Arrays of ONNX's recurrent operators in our layout, and back: one direction at a time.

=======  =========================  ==============================  ==========================
         ONNX                       ours                            with ``coupled``
=======  =========================  ==============================  ==========================
LSTM     i o f c                    i f g o                         i g o
GRU      z r h                      r z n
P        rows i o f, as one (3H,)   p (3, H), rows i f o            p (2, H), rows i o
W, R     (G*H, D), (G*H, H)         W, U: transposed
B        (2*G*H,): of W, of R       b: their sum; of a GRU with ``reset_after`` the n block of R's is b_rec
=======  =========================  ==============================  ==========================
"""

from __future__ import annotations

import numpy as np

from ...layer import Array

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
# where each of our blocks is among ONNX's
_BLOCKS = {"RNN": (0,), "LSTM": (0, 2, 3, 1), "coupled": (0, 3, 1), "GRU": (1, 0, 2)}
_ROWS = {"LSTM": (0, 2, 1), "coupled": (0, 1)}


def _taken(array: Array, order: tuple[int, ...], H: int) -> Array:
    """These blocks of H of the first axis."""
    return np.concatenate([array[k * H : (k + 1) * H] for k in order])


def _put(array: Array, order: tuple[int, ...], count: int) -> Array:
    """The opposite of `_taken`: blocks put where they were among ``count``, zeros elsewhere."""
    blocks = np.split(array, len(order))
    found = [np.zeros_like(blocks[0]) for _ in range(count)]
    for k, block in zip(order, blocks, strict=True):
        found[k] = block
    return np.concatenate(found)


def to_params(
    operator: str, W: Array, R: Array, B: Array, P: Array | None, coupled: bool, reset_after: bool
) -> dict[str, Array]:
    """Our parameters from one direction of ONNX's: W (G*H, D), R (G*H, H), B (2*G*H,), P (3*H,)."""
    H, variant = R.shape[1], "coupled" if coupled else operator
    order = _BLOCKS[variant]
    b, b_rec = (_taken(half, order, H) for half in np.split(B, 2))
    params = {"W": _taken(W, order, H).T, "U": _taken(R, order, H).T, "b": b + b_rec}
    if operator == "GRU" and reset_after:
        params["b"][2 * H :], params["b_rec"] = b[2 * H :], b_rec[2 * H :]
    if P is not None:
        params["p"] = P.reshape(3, H)[list(_ROWS[variant])]
    return params


def from_params(operator: str, params: dict[str, Array], coupled: bool) -> dict[str, Array]:
    """One direction of ONNX's W, R, B and P from our parameters: the opposite of `to_params`."""
    variant = "coupled" if coupled else operator
    order, count = _BLOCKS[variant], GATES[operator]
    b_rec = np.zeros_like(params["b"])
    if "b_rec" in params:
        b_rec[-len(params["b_rec"]) :] = params["b_rec"]
    found = {"W": _put(params["W"].T, order, count), "R": _put(params["U"].T, order, count)}
    found["B"] = np.concatenate([_put(b, order, count) for b in (params["b"], b_rec)])
    if "p" in params:
        found["P"] = _put(params["p"].ravel(), _ROWS[variant], 3)
    return found
