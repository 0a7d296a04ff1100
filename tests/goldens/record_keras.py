"""Record what Keras 3 computes: the reset-before GRU's gradients, masks with holes, hard_sigmoid, merges.

Run with a Python that has tensorflow-cpu (which brings Keras), from the root of the repository::

    PYTHONPATH=tests python tests/goldens/record_keras.py

On its other backends Keras multiplies float64 in float32, so TensorFlow it must be. Results and gradients are float64;
``golden_files`` says how they are stored. A layer with ``go_backwards`` gives its outputs in
the order in which it scans, so they are turned round to the order of time.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from golden_files import numbered, write
from tensorflow.python.keras.saving import hdf5_format

N, T, D, H = 4, 6, 3, 4
# holes in the middle, at the end, at the beginning; a row without a valid step
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 0, 1, 1, 0], [0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0]], bool)
CLASSES = {"SimpleRNN": keras.layers.SimpleRNN, "LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU}
BEFORE, AFTER = {"reset_after": False}, {"reset_after": True}
HARD = {"recurrent_activation": "hard_sigmoid"}
SCANS: dict[str, tuple[str, dict[str, Any], bool]] = {  # kind, options, with a mask?
    "gru_before": ("GRU", BEFORE, False),
    "gru_before_reverse": ("GRU", BEFORE | {"reverse": True}, False),
    "gru_before_mask": ("GRU", BEFORE, True),
    "gru_before_relu": ("GRU", BEFORE | {"activation": "relu"}, False),
    "gru_before_hard_sigmoid": ("GRU", BEFORE | HARD, False),
    "gru_after_mask": ("GRU", AFTER, True),
    "gru_after_reverse_mask": ("GRU", AFTER | {"reverse": True}, True),
    "gru_after_hard_sigmoid": ("GRU", AFTER | HARD, False),
    "lstm_mask": ("LSTM", {}, True),
    "lstm_reverse_mask": ("LSTM", {"reverse": True}, True),
    "lstm_hard_sigmoid": ("LSTM", HARD, False),
    "lstm_relu_mask": ("LSTM", {"activation": "relu"}, True),
    "lstm_softsign": ("LSTM", {"activation": "softsign"}, False),
    "lstm_linear": ("LSTM", {"activation": "linear"}, False),
    "rnn_mask": ("SimpleRNN", {}, True),
    "rnn_reverse_mask": ("SimpleRNN", {"reverse": True}, True),
    "rnn_hard_sigmoid": ("SimpleRNN", {"activation": "hard_sigmoid"}, False),
}
MERGES = {
    "lstm_concat": ("LSTM", "concat", False),
    "lstm_sum": ("LSTM", "sum", False),
    "gru_mul": ("GRU", "mul", False),
    "rnn_ave": ("SimpleRNN", "ave", False),
    "gru_concat_mask": ("GRU", "concat", True),
    "lstm_mul_mask": ("LSTM", "mul", True),
}


def normal(rng: np.random.Generator, *shape: int) -> tf.Tensor:
    return tf.constant(rng.normal(size=shape) / 2)


def in_our_layout(kind: str, weights: list[tf.Tensor], gradient: bool) -> dict[str, np.ndarray]:
    """kernel, recurrent_kernel, bias by fastrnn's names and in its order of gates.

    Keras's LSTM has fastrnn's order. Its GRU has z r h where fastrnn has r z n; with reset_after its bias is (2, 3H),
    the second row added to the recurrent product: in r and z the two rows are one b, in n the second is b_rec.
    """
    W, U, b = (weight.numpy() for weight in weights)
    if kind != "GRU":
        return {"W": W, "U": U, "b": b}
    order = np.r_[H : 2 * H, :H, 2 * H : 3 * H]
    W, U, b = W[:, order], U[:, order], b[..., order]
    if b.ndim == 1:
        return {"W": W, "U": U, "b": b}
    both = b[0] if gradient else b.sum(axis=0)
    return {"W": W, "U": U, "b": np.concatenate([both[: 2 * H], b[0, 2 * H :]]), "b_rec": b[1, 2 * H :]}


def fill(layer: Any, rng: np.random.Generator) -> None:
    layer.set_weights([rng.normal(size=weight.shape) / 2 for weight in layer.get_weights()])


def parameters(layer: Any) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(variable) for variable in layer.weights]


def assert_multiplies_doubles(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(8, 8)), rng.normal(size=(8, 8))
    assert np.abs(keras.ops.convert_to_numpy(keras.ops.matmul(a, b)) - a @ b).max() < 1e-14, "this is not float64"


def run(layer: Any, x: tf.Tensor, initial: list[tf.Tensor], mask: Any, rng: np.random.Generator) -> dict:
    """Results of one call with all its gradients, in Keras's order of time."""
    variables = [variable.value for variable in layer.weights]
    with tf.GradientTape() as tape:
        tape.watch([x, *initial])
        y, *final = layer(x, mask=mask, initial_state=initial)
        dy = rng.normal(size=y.shape)
        dfinal = [rng.normal(size=part.shape) for part in final]
        pairs = zip([dy, *dfinal], [y, *final], strict=True)
        loss = tf.add_n([tf.reduce_sum(d * part) for d, part in pairs])
    gradients = tape.gradient(loss, [x, *initial, *variables])
    dx, dstate = gradients[0], gradients[1 : 1 + len(initial)]
    arrays = {"x": x, "y": y, "dy": dy, "dx": dx}
    arrays |= numbered("state", initial) | numbered("final", final)
    arrays |= numbered("dfinal", dfinal) | numbered("dstate", dstate)
    found: dict[str, Any] = {key: np.asarray(value) for key, value in arrays.items()}
    found["mask"] = None if mask is None else MASK
    found["gradients"] = gradients[1 + len(initial) :]
    return found


def store(name: str, spec: list[Any], arrays: dict[str, Any]) -> None:
    write("keras", name, spec, arrays, f"keras {keras.__version__} on tensorflow {tf.__version__}")


def record_scan(name: str, rng: np.random.Generator) -> None:
    kind, options, masked = SCANS[name]
    own = {key: value for key, value in options.items() if key != "reverse"}
    reverse = options.get("reverse", False)
    layer = CLASSES[kind](H, return_sequences=True, return_state=True, go_backwards=reverse, dtype="float64", **own)
    layer.build((N, T, D))
    fill(layer, rng)
    mask = tf.constant(MASK) if masked else None
    x = normal(rng, N, T, D)
    initial = [normal(rng, N, H) for _ in range(2 if kind == "LSTM" else 1)]
    arrays = run(layer, x, initial, mask, rng)
    if reverse:
        arrays["y"], arrays["dy"] = arrays["y"][:, ::-1], arrays["dy"][:, ::-1]
    gradients = arrays.pop("gradients")
    arrays |= {f"param.{key}": value for key, value in in_our_layout(kind, parameters(layer), False).items()}
    arrays |= {f"grad.{key}": value for key, value in in_our_layout(kind, gradients, True).items()}
    store(name, [kind, D, H, options], arrays)


def record_merge(name: str, rng: np.random.Generator) -> None:
    kind, merge, masked = MERGES[name]
    inner = CLASSES[kind](H, return_sequences=True, return_state=True, dtype="float64")
    layer = keras.layers.Bidirectional(inner, merge_mode=merge, dtype="float64")
    layer.build((N, T, D))
    fill(layer, rng)
    mask = tf.constant(MASK) if masked else None
    x = normal(rng, N, T, D)
    initial = [normal(rng, N, H) for _ in range(4 if kind == "LSTM" else 2)]
    arrays = run(layer, x, initial, mask, rng)
    gradients = arrays.pop("gradients")
    for k, side in enumerate(("fwd", "bwd")):
        half = slice(3 * k, 3 * k + 3)
        own = in_our_layout(kind, parameters(layer)[half], False), in_our_layout(kind, gradients[half], True)
        for prefix, found in zip(("param", "grad"), own, strict=True):
            arrays |= {f"{prefix}.{side}.{key}": value for key, value in found.items()}
    store(f"bidirectional_{name}", ["Bidirectional", [kind, D, H, {}], merge], arrays)


def record_cudnn(kind: str, rng: np.random.Generator) -> None:
    """Weights in the format of the former CuDNNLSTM and CuDNNGRU, which TensorFlow's own code makes of plain ones."""
    layer = CLASSES[kind](H, return_sequences=True, dtype="float64")
    layer.build((N, T, D))
    fill(layer, rng)
    plain, x = layer.get_weights(), rng.normal(size=(N, T, D))
    target = type(f"CuDNN{kind}", (), {})()
    arrays = {"x": x, "y": layer(x).numpy()} | numbered("plain", plain)
    arrays |= numbered("cudnn", hdf5_format._convert_rnn_weights(target, plain))
    store(f"cudnn/{kind.lower()}", [], arrays)


def main() -> None:
    assert_multiplies_doubles(np.random.default_rng(0))
    for k, name in enumerate(SCANS):
        record_scan(name, np.random.default_rng(100 + k))
    for k, name in enumerate(MERGES):
        record_merge(name, np.random.default_rng(200 + k))
    for k, kind in enumerate(("LSTM", "GRU")):
        record_cudnn(kind, np.random.default_rng(300 + k))


if __name__ == "__main__":
    main()
