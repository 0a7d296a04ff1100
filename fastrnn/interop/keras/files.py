"""Reading Keras's files with h5py, without Keras.

``.keras``
    A zip archive: config.json says what the layers are, model.weights.h5 holds their arrays.
``.weights.h5``
    HDF5: group ``layers``, in it a group per layer, named by class and number, with arrays ``vars/0``, ``vars/1``, ...
    of its own or of its ``cell``, ``forward_layer``, ``backward_layer`` or ``layer``.
``.h5`` of Keras 2
    HDF5: attribute ``layer_names``, a group per layer with attribute ``weight_names``; a whole model has these in
    ``model_weights`` and its config in attribute ``model_config``.

Nothing in such a file is trusted: arrays must lie in the file itself, and none may claim to be larger than the file.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...files import as_path
from ...layer import Array, Layer
from ...sequential import Sequential
from .configs import Config, Source, model_of, names_of
from .weights import from_weights

_CONFIG_LIMIT = 64 * 2**20  # bytes; a config holds no arrays
_DEPTH_LIMIT = 8
_INNER = ("cell", "forward_layer", "backward_layer", "layer")
_HDF5 = b"\x89HDF\r\n\x1a\n"


def load(path: str | os.PathLike[str], config: Any = None) -> Sequential:
    """A Keras model from its file, as a stack of our layers. Needs h5py, not Keras.

    Parameters
    ----------
    path : str or path
        A ``.keras`` file; a ``.weights.h5`` file; an ``.h5`` file of Keras 2. What is in the file counts, not its name.
    config : dict, str or path, optional
        For a file that holds weights only, the model's architecture: what ``model.get_config()`` or ``model.to_json()``
        gives, or a file with the latter. Without it the layers are those whose arrays these are, in the one order in
        which their sizes fit, **with Keras's default options** (activation tanh, recurrent_activation sigmoid, forward,
        return_sequences=True, merge_mode concat, Dense linear): a weights file does not say others.

    Returns
    -------
    Sequential
        ``y, state = model(x)``. A Dense with softmax becomes two layers, a layer with ``return_sequences=False`` is
        followed by `LastStep`, and a model that masks its input (``mask_zero``, ``Masking``) is a `MaskedSequential`.

    Raises
    ------
    ValueError
        The file is damaged or no Keras file, a layer or option cannot be imported, arrays do not fit the config or
        have no layer in it, or their order cannot be told; the message names it.
    TypeError
        ``path`` is no path, or ``config`` none of the above.
    ImportError
        h5py is not installed.
    OSError
        The file cannot be read.
    """
    path = Path(as_path("path", path))
    with path.open("rb") as file:
        start = file.read(len(_HDF5))
    if start == _HDF5:
        with path.open("rb") as file:
            return _from_hdf5(file, path.stat().st_size, str(path), _as_config(config), Source())
    if zipfile.is_zipfile(path):
        if config is not None:
            raise ValueError(f"config must be None for {path}, which holds its own")
        return _from_archive(path)
    raise ValueError(f"{path} must be a .keras or HDF5 file, and is neither, or is cut short")


def _as_config(config: Any) -> Config | None:
    """A model's own config, out of what the caller gave for it."""
    if config is None:
        return None
    if isinstance(config, (str, os.PathLike)):
        text = str(config)
        config = _parsed(text if text.lstrip().startswith("{") else Path(config).read_text(), "config")
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a dict, JSON or the path of a JSON file, got {type(config).__name__}")
    return config["config"] if isinstance(config.get("config"), Mapping) else config


def _parsed(text: str | bytes, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} must be JSON: {error}") from error


def _from_archive(path: Path) -> Sequential:
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            config = _parsed(_member(archive, "config.json", _CONFIG_LIMIT), f"config.json in {path}")
            metadata = _parsed(_member(archive, "metadata.json", _CONFIG_LIMIT), f"metadata.json in {path}")
            # Keras stores the arrays as they are; numbers like weights hardly shrink in any case
            data = _member(archive, "model.weights.h5", 20 * size)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(config, Mapping) or not isinstance(config.get("config"), Mapping):
        raise ValueError(f"config.json in {path} must hold a model's config")
    kind = config.get("class_name")
    if kind not in ("Sequential", "Functional", "Model"):
        raise ValueError(f"{path} must hold a Sequential or functional model, got {kind}")
    before_3 = str(metadata.get("keras_version", "3")).startswith("2")
    return _from_hdf5(io.BytesIO(data), len(data), str(path), config["config"], Source(before_3))


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"{archive.filename} must hold {name}, and does not") from None
    if info.file_size > limit:
        raise ValueError(f"{name} in {archive.filename} must have at most {limit} bytes, got {info.file_size}")
    with archive.open(info) as file:
        data = file.read(limit + 1)
    if len(data) != info.file_size:
        raise ValueError(f"{name} in {archive.filename} must have {info.file_size} bytes, got {len(data)}")
    return data


def _from_hdf5(stream: Any, size: int, name: str, config: Config | None, source: Source) -> Sequential:
    try:
        import h5py
    except ImportError as error:
        raise ImportError("reading Keras's files needs h5py: pip install 'fastrnn[keras]'") from error
    reader = _Reader(size, name)
    try:
        with h5py.File(stream, "r") as file:
            if "layers" in file:
                found: Any = reader.layers(file["layers"])
            elif "layer_names" in file.attrs or "model_weights" in file:
                found = _read_keras_2(reader, file)
            else:
                raise ValueError(
                    f"{name} must hold a Keras model's layers, and has only {', '.join(file) or 'nothing'}"
                )
    except (OSError, RuntimeError, LookupError, TypeError, ArithmeticError) as error:  # what h5py says of a bad file
        raise ValueError(f"{name} is damaged or cut short: {error}") from error
    if isinstance(found, list):
        return _guessed(found, name) if config is None else _assembled(found, config, source)
    config = found.config if config is None else config
    if config is None:
        raise ValueError(f"config must be given for {name}, which holds weights only")
    model = model_of(config, found.weights, found.source)
    names = {key for key, _ in names_of(config)}
    _check_all_used(key for key, arrays in found.weights.items() if arrays and key not in names)
    return model


class _Layer:
    """What a file says of one layer: its group's name, which is its class and a number, and its arrays."""

    def __init__(self, group: str, arrays: list[Array]):
        self.group, self.arrays = group, arrays

    @property
    def kind(self) -> str:
        """The group's name without its number: the class in snake case."""
        return re.sub(r"_\d+$", "", self.group)

    @property
    def number(self) -> int:
        match = re.search(r"_(\d+)$", self.group)
        return int(match[1]) if match else 0


class _Reader:
    """Takes arrays out of an HDF5 file, as long as they are in it and together no larger than it."""

    def __init__(self, size: int, name: str):
        self.left, self.name = size, name

    def layers(self, group: Any) -> list[_Layer]:
        return [_Layer(key, list(self._arrays(self._child(group, key), 0))) for key in map(str, group)]

    def _child(self, group: Any, key: str) -> Any:
        import h5py

        if not isinstance(group, h5py.Group):
            raise ValueError(f"{self.name}: {group.name} must be a group")
        if key not in group or not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise ValueError(f"{self.name}: {group.name}/{key} must lie in the file itself")
        return group[key]

    def at(self, group: Any, path: str) -> Any:
        """What lies under a path within the group."""
        for key in filter(None, path.split("/")):
            group = self._child(group, key)
        return group

    def _arrays(self, group: Any, depth: int) -> Iterator[Array]:
        if depth > _DEPTH_LIMIT:
            raise ValueError(f"{self.name}: {group.name} is nested too deeply")
        if "vars" in group:
            own = self._child(group, "vars")
            for key in sorted(map(str, own), key=lambda key: (len(key), key)):
                yield self.array(self._child(own, key))
        for key in _INNER:
            if key in group:
                yield from self._arrays(self._child(group, key), depth + 1)

    def array(self, dataset: Any) -> Array:
        """A dataset's numbers, after a look at what it claims to be."""
        import h5py

        where = f"{self.name}: {dataset.name}"
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != "f":
            kind = dataset.dtype if isinstance(dataset, h5py.Dataset) else type(dataset).__name__
            raise ValueError(f"{where} must be an array of floating-point numbers, got {kind}")
        if dataset.is_virtual or dataset.external:
            raise ValueError(f"{where} must lie in the file itself")
        if dataset.nbytes > self.left:
            raise ValueError(f"{where} must fit into what is left of the file, {self.left} bytes, got {dataset.nbytes}")
        self.left -= dataset.nbytes
        return dataset[()]


def _snake_case(name: str) -> str:
    """A class's name as Keras writes it in a file."""
    name = re.sub(r"\W+", "", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _assembled(found: list[_Layer], config: Config, source: Source) -> Sequential:
    """A file's arrays put into the layers of a config. Keras goes by class and number, not by the layers' names."""
    groups = {layer.group: layer.arrays for layer in found}
    counts: Counter[str] = Counter()
    weights = {}
    for name, entry in names_of(config):
        kind = _snake_case(entry["class_name"])
        group = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        weights[name] = groups.pop(group, [])
    model = model_of(config, weights, source)
    _check_all_used(group for group, arrays in groups.items() if arrays)
    return model


def _check_all_used(left: Iterable[str]) -> None:
    """Raise where arrays are left over."""
    if names := ", ".join(sorted(left)):
        raise ValueError(f"config must have a layer for every one of the file's, got none for {names}")


_GUESSED_LIMIT = 16
_GUESSED = {
    "embedding": "Embedding",
    "simple_rnn": "SimpleRNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "bidirectional": "Bidirectional",
    "dense": "Dense",
    "time_distributed": "Dense",
}


def _guessed(found: list[_Layer], name: str) -> Sequential:
    """The layers of a file without a config, in the only order in which each takes what the one before gives."""
    with_arrays = [layer for layer in found if layer.arrays]
    if not with_arrays:
        raise ValueError(f"{name} must hold at least one layer with weights, got none")
    unknown = [layer.group for layer in with_arrays if layer.kind not in _GUESSED]
    if unknown:
        raise ValueError(f"config must be given for {name}: weights alone do not tell what {', '.join(unknown)} does")
    if len(with_arrays) > _GUESSED_LIMIT:
        raise ValueError(f"config must be given for {name}: it has {len(with_arrays)} layers")
    made = [from_weights(layer.arrays, _GUESSED[layer.kind]) for layer in with_arrays]
    orders = _orders([(layer.kind, layer.number) for layer in with_arrays], made)
    if len(orders) != 1:
        how_many = "more than one order" if orders else "no order"
        raise ValueError(f"config must be given for {name}: its layers' sizes fit in {how_many}")
    return Sequential([made[k] for k in orders[0]])


def _orders(keys: list[tuple[str, int]], layers: list[Layer]) -> list[list[int]]:
    """Orders in which each layer takes what the one before gives, and layers of one kind follow their numbers: two at
    most, which is enough to know that there is not just one."""
    found: list[list[int]] = []

    def extend(order: list[int], left: set[int]) -> None:
        if not left:
            found.append(order)
        for k in sorted(left):
            comes_later = any(keys[j][0] == keys[k][0] and keys[j][1] < keys[k][1] for j in left)
            fits = not order or layers[k].input_size == layers[order[-1]].output_size
            if fits and not comes_later and len(found) < 2:
                extend([*order, k], left - {k})

    extend([], set(range(len(layers))))
    return found


class _Keras2(NamedTuple):
    """What an .h5 file of Keras 2 holds; no config where only weights were saved."""

    config: Config | None
    weights: dict[str, list[Array]]
    source: Source


def _read_keras_2(reader: _Reader, file: Any) -> _Keras2:
    config: Config | None = None
    if "model_config" in file.attrs:
        whole = _parsed(file.attrs["model_config"], f"model_config in {reader.name}")
        is_listed = isinstance(whole, Mapping) and isinstance(whole.get("config"), list)  # a Sequential before 2.2.3
        config = {"layers": whole["config"]} if is_listed else _as_config(whole)
    root = reader.at(file, "model_weights") if "model_weights" in file else file
    version = root.attrs.get("keras_version", file.attrs.get("keras_version", b"2"))
    version = version.decode() if isinstance(version, bytes) else str(version)
    weights = {}
    for name in _strings(root.attrs["layer_names"]):
        group = reader.at(root, name)
        weights[name] = [reader.array(reader.at(group, key)) for key in _strings(group.attrs["weight_names"])]
    return _Keras2(config, weights, Source(before_3=not version.startswith("3")))


def _strings(values: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in np.asarray(values).ravel().tolist()]
