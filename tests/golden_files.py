"""The form in which results of other frameworks lie in ``goldens/torch``, ``goldens/keras`` and ``goldens/onnx``.

One .npz a case; everything in fastrnn's layout, so that neither test nor reader needs the framework:

==================== ===============================================================================================
source               which versions computed it
layer                JSON: the layer, as `build` takes it
x, lengths, mask     the input (N, T, D), and one of the other two where there are any
param.NAME           parameters by the layer's own names
state.K, final.K     initial and final state, its arrays numbered in order (h before c, forward before reverse, layers
                     from first to last); no state.K: zeros
y                    (N, T, output_size)
dy, dfinal.K         gradients sent back: the loss is sum(dy * y) + sum(dfinal.K * final.K)
dx, dstate.K,        what comes of them; absent where the framework only runs forward
grad.NAME
cudnn.K, plain.K     in ``keras/cudnn``: one layer's weights as Keras lists them, in CuDNN's format and without
==================== ===============================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray

FOLDER = Path(__file__).parent / "goldens"


def write(framework: str, name: str, layer: list[Any], arrays: dict[str, Any], source: str) -> None:
    """Store one case; what is None is left out."""
    kept = {key: np.asarray(value) for key, value in arrays.items() if value is not None}
    (FOLDER / framework / name).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FOLDER / framework / f"{name}.npz", source=source, layer=json.dumps(layer), **kept)


def read(framework: str, name: str) -> dict[str, Array]:
    """The arrays of one case."""
    with np.load(FOLDER / framework / f"{name}.npz") as file:
        return dict(file)


def names(framework: str) -> list[str]:
    """The cases that are there."""
    return sorted(path.stem for path in (FOLDER / framework).glob("*.npz"))


def numbered(prefix: str, parts: Iterable[Any]) -> dict[str, Any]:
    """The parts of a state under their names in a file."""
    return {f"{prefix}.{k}": part for k, part in enumerate(parts)}


def under(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with the prefix and a dot, by the rest of the name."""
    return {key.removeprefix(f"{prefix}."): value for key, value in arrays.items() if key.startswith(f"{prefix}.")}


def layer_spec(golden: dict[str, Array]) -> list[Any]:
    """The layer of a case, as `build` takes it."""
    return json.loads(str(golden["layer"]))


def build(spec: list[Any], dtype: str) -> Any:
    """The layer that a golden's JSON describes: ["LSTM", 4, 6, {options}], ["Bidirectional", layer, merge] or
    ["Sequential", layer, ...]."""
    import fastrnn

    kind, *rest = spec
    if kind == "Sequential":
        return fastrnn.Sequential([build(inner, dtype) for inner in rest])
    if kind == "Bidirectional":
        return fastrnn.Bidirectional(build(rest[0], dtype), merge=rest[1])
    input_size, hidden_size, options = rest
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    return getattr(fastrnn, kind)(input_size, hidden_size, **options, dtype=dtype)
