"""Models in files: ``save`` and ``load``, in the safetensors format, without pickle.

A file holds the parameters as tensors ``params/<name>``, buffers as ``buffers/<name>``, and in its metadata, as JSON,
the architecture: the class of every layer and the options of its constructor. Nothing in a file is executed. Reading
checks the size of the header, the classes, options, names, shapes and dtypes before anything is built or changed, and
allocates no more than the file has.

Writing is atomic: the file is written beside its place, brought to the disk and renamed. A program or machine that
stops at any moment leaves the file that was there before, or the new one.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import init, params
from ._arrays import as_flag
from .layer import Layer

Array = np.ndarray

FORMAT, VERSION = "fastrnn", 1
MAX_HEADER = 100_000_000  # bytes, as the format has it
MAX_DEPTH = 50  # layers within layers
SLACK = 1 << 20  # bytes a model may need more than its file has, so that small mistakes get their own messages

_REGISTERED: dict[str, type[Layer]] = {}


def register(layer: type[Layer]) -> type[Layer]:
    """Let files hold layers of one's own class, too; a decorator.

    The class needs ``_config``: the keyword arguments of its constructor, which are numbers, strings, None, layers, or
    tuples of them.

    Examples
    --------
    >>> from fastrnn import LSTM, files
    >>> @files.register
    ... class Mine(LSTM):
    ...     pass
    """
    if not (isinstance(layer, type) and issubclass(layer, Layer)):
        raise TypeError(f"layer must be a subclass of fastrnn.layer.Layer, got {layer!r}")
    _REGISTERED[layer.__name__] = layer
    return layer


def _class(name: Any) -> type[Layer] | None:
    """The class of layers that files may name so."""
    import fastrnn

    if not isinstance(name, str):
        return None
    found = _REGISTERED.get(name) or (getattr(fastrnn, name) if name in fastrnn.__all__ else None)
    return found if isinstance(found, type) and issubclass(found, Layer) else None


def describe(value: Any) -> Any:
    """A layer, or an option of one, as JSON can hold it."""
    if isinstance(value, Layer):
        name = type(value).__name__
        if _class(name) is not type(value):
            raise TypeError(f"model must be made of fastrnn's layers, or of registered ones, got a {name}")
        return {"class": name, "config": {key: describe(option) for key, option in value._config().items()}}
    if isinstance(value, (tuple, list)):
        return [describe(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def build(description: Any, depth: int = 0) -> Any:
    """The layer, or option, that `describe` described, with weights that are not set yet."""
    if depth > MAX_DEPTH:
        raise ValueError(f"layers must be nested at most {MAX_DEPTH} deep")
    if isinstance(description, list):
        return tuple(build(entry, depth) for entry in description)
    if not isinstance(description, dict):
        return description
    layer = _class(description.get("class"))
    config = description.get("config")
    if layer is None or not isinstance(config, dict):
        raise ValueError(f"there is no layer of the class {description.get('class')!r}")
    return layer(**{key: build(option, depth + 1) for key, option in config.items()})


@dataclass(frozen=True)
class Saved:
    """What a file holds.

    Attributes
    ----------
    description : the architecture, as `describe` gives it
    tensors : dict
        ``params/...``, ``buffers/...`` and a training's ``training/...``.
    extras : what its writer added
    training : dict or None
        The state of a run, as `flattened` gives it.
    """

    path: str
    description: Any
    tensors: Mapping[str, Array]
    extras: Any
    training: Any

    def build(self) -> Any:
        """The model, with its parameters and buffers."""
        room = SLACK + sum(tensor.nbytes + params.ALIGNMENT for tensor in self.tensors.values())
        try:
            # what a file says is to be built must not need much more room than its own tensors have
            with params.at_most(room), init.skipped():
                model = build(self.description)
        except (
            TypeError,
            ValueError,
            ArithmeticError,
            MemoryError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as error:
            raise ValueError(f"{self.path!r} describes a model that cannot be built: {error}") from error
        if not isinstance(model, Layer):
            raise ValueError(f"{self.path!r} describes no model")
        self.apply(model)
        return model

    def check(self, model: Layer) -> None:
        """Raise unless the model is of the architecture that the file describes."""
        if describe(model) != describe(self.build()):
            raise ValueError(f"{self.path!r} must hold a model like {model!r}, got another architecture")

    def apply(self, model: Layer) -> None:
        """Give a model of this architecture the parameters and buffers; all are checked before the first is written."""
        for kind, arrays in (("params", model.params), ("buffers", model.buffers)):
            self._check(kind, arrays)
        for kind, arrays in (("params", model.params), ("buffers", model.buffers)):
            for name, array in arrays.items():
                array[...] = self.tensors[f"{kind}/{name}"]

    def apply_best(self, model: Layer) -> None:
        """Give the model the best weights of the training that the file holds."""
        if self.training is None:
            raise ValueError(f"{self.path!r} must be a checkpoint to have best weights, got a model without a training")
        try:
            kept = restored(self.training["best"], self.tensors)
            flat, buffers = kept["params"], kept["buffers"]
            pairs = [(model.params.flat, flat), *((array, buffers[name]) for name, array in model.buffers.items())]
            fits = all(array.shape == value.shape and array.dtype == value.dtype for array, value in pairs)
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{self.path!r} must hold a training's state, got a broken one: {error!r}") from error
        if not fits:
            raise ValueError(f"{self.path!r} must have as many best weights as the model")
        for array, value in pairs:
            array[...] = value

    def _check(self, kind: str, arrays: Mapping[str, Array]) -> None:
        found = {name for name in self.tensors if name.startswith(f"{kind}/")}
        if found != {f"{kind}/{name}" for name in arrays}:
            raise ValueError(f"{self.path!r} must hold the {kind} {list(arrays)}, got {sorted(found)}")
        for name, array in arrays.items():
            tensor = self.tensors[f"{kind}/{name}"]
            if tensor.shape != array.shape or tensor.dtype != array.dtype:
                raise ValueError(
                    f"{kind}/{name} in {self.path!r} must be {array.dtype} {array.shape}, "
                    f"got {tensor.dtype} {tensor.shape}"
                )


def save(path: Any, model: Layer, *, extras: Any = None) -> None:
    """Write a model to a file; atomically, so that a file that was there is lost for a whole new one only.

    Parameters
    ----------
    path : str or path
    model : layer
        `Sequential` or any other.
    extras : what JSON can hold, optional
        What belongs to the model: a vocabulary, ``Standardizer.to_dict()``, names of classes. `load_extras` reads it,
        with lists where there were tuples.

    Raises
    ------
    TypeError
        The model has layers that a file cannot name, or the extras are not for JSON: numbers that are not finite, keys
        that are no strings.
    OSError
        The file cannot be written; what was there is untouched.

    Examples
    --------
    >>> import tempfile
    >>> import fastrnn
    >>> from fastrnn import LSTM, Dense, Sequential
    >>> model = Sequential([LSTM(3, 5, seed=0), Dense(5, 2, seed=1)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastrnn.save(f"{folder}/model.safetensors", model, extras={"classes": ["no", "yes"]})
    ...     fastrnn.load(f"{folder}/model.safetensors"), fastrnn.load_extras(f"{folder}/model.safetensors")
    (Sequential([LSTM(3, 5), Dense(5, 2)]), {'classes': ['no', 'yes']})
    """
    write(path, model, extras)


def load(path: Any, *, best: bool = False) -> Any:
    """Read the model that `save`, or a `Checkpoint`, has written.

    Parameters
    ----------
    path : str or path
    best : bool
        Of a checkpoint, take the weights of the best epoch instead of the last ones.

    Returns
    -------
    layer
        With its parameters and buffers.

    Raises
    ------
    ValueError
        The file is not whole, not one of fastrnn's, of a newer version, or says what cannot be.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import fastrnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastrnn.save(f"{folder}/model.safetensors", fastrnn.GRU(3, 5, seed=0))
    ...     layer = fastrnn.load(f"{folder}/model.safetensors")
    >>> layer, layer.params["U"].shape
    (GRU(3, 5), (5, 15))
    """
    saved = read(path)
    model = saved.build()
    if as_flag("best", best):
        saved.apply_best(model)
    return model


def load_extras(path: Any) -> Any:
    """What the ``extras`` of a model's file hold; None where there are none. Raises as `load` does.

    Examples
    --------
    >>> import tempfile
    >>> import fastrnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastrnn.save(f"{folder}/model.safetensors", fastrnn.GRU(3, 5), extras={"columns": ["sales", "price"]})
    ...     fastrnn.load_extras(f"{folder}/model.safetensors")
    {'columns': ['sales', 'price']}
    """
    return read(path).extras


def write(path: Any, model: Layer, extras: Any = None, training: Any = None) -> None:
    """`save`, with the state of a training besides."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    target = as_path("path", path)
    check_writable(target)
    tensors, metadata = contents(model, extras, training)
    with replacing(target) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            raise OSError(f"cannot write {target!r}: {error}") from error


def contents(model: Layer, extras: Any, training: Any) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and metadata of a file; a TypeError where there is something that it cannot hold."""
    from . import __version__

    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer, got {model!r}")
    tensors = {f"params/{name}": array for name, array in model.params.items()}
    tensors |= {f"buffers/{name}": array for name, array in model.buffers.items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "fastrnn": __version__}
    metadata["model"] = json.dumps(describe(model), allow_nan=False)
    metadata["extras"] = as_json("extras", extras)
    if training is not None:
        arrays: list[Array] = []
        metadata["training"] = json.dumps(flattened(training, arrays))
        tensors |= {f"training/{k}": np.asarray(array, order="C") for k, array in enumerate(arrays)}
    return tensors, metadata


def as_path(name: str, value: Any) -> str:
    """Return a path as a string, or raise."""
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a path, a string or a pathlib.Path, got {value!r}")
    if not path or "\0" in path:
        raise ValueError(f"{name} must not be empty or hold a null character, got {path!r}")
    return path


def check_writable(path: str) -> None:
    """Raise an OSError, before any work is done, where a file could not be written."""
    if os.path.isdir(path) or not os.path.basename(path):
        raise IsADirectoryError(f"cannot write to {path!r}: it is a folder")
    if is_stream(path):
        raise OSError(f"cannot write to {path!r}: it is a device or a pipe, and would be replaced by a file")
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"cannot write to {path!r}: there is no folder {folder!r}")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"cannot write to {path!r}: its folder may not be written to")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise PermissionError(f"cannot write to {path!r}: it may not be written to")


def is_stream(path: str) -> bool:
    """Whether a name is that of a pipe or device, which is written to and not replaced."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


@contextmanager
def replacing(target: str) -> Iterator[Path]:
    """A new file beside ``target``, which takes its place and permissions at the end; removed after an error."""
    path = Path(os.path.realpath(target))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:  # which names a file that the caller does not know
        raise OSError(error.errno, error.strerror, target) from error
    try:
        mode = (path if path.exists() else temporary).stat().st_mode
        yield temporary
        temporary.chmod(mode)
        _to_disk(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":
        with suppress(OSError):  # a folder that may be written to but not read: the file is in its place already
            _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def as_json(name: str, value: Any) -> str:
    """``value`` as JSON, or a TypeError."""
    try:
        text = json.dumps(value, allow_nan=False)
        _check_keys([value])
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{name} must be what JSON can hold: {error}") from error
    return text


def _check_keys(value: Any) -> None:
    """Raise where something in a list or dict has other keys than strings: JSON would make strings of them."""
    for entry in value.values() if isinstance(value, dict) else value:
        for key in entry if isinstance(entry, dict) else ():
            if not isinstance(key, str):
                raise TypeError(f"keys must be strings, got {key!r}")
        if isinstance(entry, (dict, list, tuple)):
            _check_keys(entry)


def flattened(value: Any, arrays: list[Array]) -> Any:
    """``value``, the state of a run, as JSON can hold it: arrays are moved to ``arrays``, and their place is kept."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"a state must have arrays of numbers, got one of {value.dtype}")
        arrays.append(value)
        return {"$array": len(arrays) - 1}
    if isinstance(value, tuple):
        return {"$tuple": [flattened(entry, arrays) for entry in value]}
    if isinstance(value, list):
        return [flattened(entry, arrays) for entry in value]
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"a state must have strings as keys, got {wrong[0]!r}")
        return {key: flattened(entry, arrays) for key, entry in value.items()}
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is not None and not isinstance(plain, (bool, int, float, str)):
        raise TypeError(f"a state must be made of numbers, strings, lists, dicts and arrays, got {value!r}")
    return plain


def restored(value: Any, arrays: Mapping[str, Array]) -> Any:
    """Undo `flattened`; ``arrays`` are the tensors of the file."""
    if isinstance(value, list):
        return [restored(entry, arrays) for entry in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"$array"}:
        return arrays[f"training/{value['$array']}"]
    if set(value) == {"$tuple"}:
        return tuple(restored(entry, arrays) for entry in value["$tuple"])
    return {key: restored(entry, arrays) for key, entry in value.items()}


def read(path: Any) -> Saved:
    """What a file holds, checked for being whole and one of fastrnn's; nothing is built yet."""
    from safetensors import SafetensorError, safe_open

    name = as_path("path", path)
    _check_header(name)
    try:
        with safe_open(name, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_format(name, metadata)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, AttributeError) as error:
        raise ValueError(f"{name!r} must be a whole safetensors file, got a broken one: {error}") from error
    try:
        known = {key: json.loads(metadata.get(key, "null")) for key in ("model", "extras", "training")}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name!r} must hold JSON in its metadata: {error}") from error
    return Saved(name, known["model"], tensors, known["extras"], known["training"])


def _check_header(path: str) -> None:
    """Raise unless the file is long enough for the header it announces, before any of it is read."""
    size, length = os.path.getsize(path), -1
    if size >= 8:  # a pipe has size 0, and would be waited for
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
    if not 0 <= length <= min(size - 8, MAX_HEADER):
        announced = f" and a header of {length}" if length >= 0 else ""
        raise ValueError(f"{path!r} must be a whole safetensors file, got {size} bytes{announced}")


def _check_format(path: str, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path!r} must be a file of fastrnn.save, got another safetensors file")
    version = metadata.get("version", "")
    if not version.isdecimal() or len(version) > 9:
        raise ValueError(f"{path!r} must have a version, got {version[:20]!r}")
    if int(version) > VERSION:
        raise ValueError(f"{path!r} is of version {version}, this fastrnn reads up to {VERSION}: update it")
