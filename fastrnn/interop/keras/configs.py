"""What Keras says of a layer or a model in its config, together with its weights, as ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bidirectional import Bidirectional
from ...dropout import Dropout
from ...elementwise import Activation
from ...layer import Array, Layer
from ...masking import MaskedSequential
from ...pooling import LastStep
from ...sequential import Sequential
from .weights import FUNCTIONS, HARD_SIGMOID_2, from_weights

Config = Mapping[str, Any]

_DENSE_FUNCTIONS = ("tanh", "relu", "sigmoid")
_SCANS = ("SimpleRNN", "LSTM", "GRU", "CuDNNLSTM", "CuDNNGRU")
_NORMS = ("LayerNormalization", "BatchNormalization")
_PACKAGES = ("keras", "tf_keras", "tensorflow")


@dataclass(frozen=True)
class Source:
    """Where a config comes from: ``before_3`` tells Keras 2's meaning of hard_sigmoid."""

    before_3: bool = False

    def function(self, where: str, value: Any) -> Any:
        """An activation of a config as our option."""
        name = "linear" if value is None else value
        if not isinstance(name, str) or name not in FUNCTIONS:
            known = ", ".join(map(repr, FUNCTIONS))
            raise ValueError(f"{where} must be one of {known}, got {_called(value)}")
        return HARD_SIGMOID_2 if self.before_3 and name == "hard_sigmoid" else FUNCTIONS[name]


def _called(value: Any) -> str:
    """A function of a config as an error message shows it."""
    if isinstance(value, Mapping):
        return repr(value.get("class_name", value.get("config")))
    return repr(value)


def _scan_options(name: str, kind: str, config: Config, source: Source) -> dict[str, Any]:
    """Keyword arguments of a recurrent layer: only those that differ from the defaults."""
    options: dict[str, Any] = {}
    for option, default in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        if kind.startswith("CuDNN") or (kind == "SimpleRNN" and option == "recurrent_activation"):
            continue  # they have no choice
        found = source.function(f"{name}: {option}", config.get(option, default))
        if found != default:
            options[option] = found
    if config.get("recurrent_dropout"):
        options["recurrent_dropout"] = config["recurrent_dropout"]
    if config.get("go_backwards"):
        options["reverse"] = True
    return options


def _reset_after(kind: str, config: Config) -> bool | None:
    if kind != "GRU" or config.get("use_bias", True):
        return None
    return bool(config.get("reset_after", True))


def _scan(name: str, kind: str, config: Config, weights: Sequence[Array], source: Source) -> Layer:
    if config.get("zero_output_for_mask"):
        raise ValueError(f"{name}: zero_output_for_mask must be False outside of a Bidirectional, got True")
    if config.get("time_major"):
        raise ValueError(f"{name}: time_major must be False, got True")
    _check_units(name, config, weights)
    options = _scan_options(name, kind, config, source)
    return from_weights(weights, kind, reset_after=_reset_after(kind, config), **options)


def _check_units(name: str, config: Config, weights: Sequence[Array]) -> None:
    """Raise where the config's size is not that of the weights."""
    wanted = 3 if config.get("use_bias", True) else 2
    if len(weights) != wanted:
        raise ValueError(f"{name}: weights must be {wanted} arrays, got {len(weights)}; is the layer built?")
    H = np.shape(weights[1])[0] if np.ndim(weights[1]) == 2 else None
    if config.get("units") != H:
        raise ValueError(f"{name}: units must be {H}, as its weights have it, got {config.get('units')}")


def _bidirectional(name: str, config: Config, weights: Sequence[Array], source: Source) -> Bidirectional:
    inner, kind = _inner(name, config["layer"])
    other, other_kind = _inner(name, config.get("backward_layer") or config["layer"])
    other = {**other, "go_backwards": True} if not config.get("backward_layer") else other
    half = 3 if inner.get("use_bias", True) else 2
    _check_units(name, inner, weights[:half])
    _check_units(name, other, weights[half:])
    options = _scan_options(name, kind, inner, source), _scan_options(name, other_kind, other, source)
    fwd = from_weights(weights[:half], kind, reset_after=_reset_after(kind, inner), **options[0])
    bwd = from_weights(weights[half:], other_kind, reset_after=_reset_after(other_kind, other), **options[1])
    return Bidirectional((fwd, bwd), merge=config.get("merge_mode", "concat"))


def _check_own(name: str, kind: str, module: Any) -> None:
    """Raise where a layer's class comes from another package: it may share no more than its name with Keras's."""
    if str(module).partition(".")[0] not in _PACKAGES:
        raise ValueError(f"{name}: {kind}, of another package than Keras, is not a layer that can be imported")


def _module(entry: Config) -> Any:
    """Where the class of a config's layer comes from; ``.h5`` files do not say it."""
    return entry.get("module", "keras")


def _inner(name: str, config: Config) -> tuple[Config, str]:
    kind = config["class_name"]
    _check_own(name, kind, _module(config))
    if kind not in _SCANS:
        raise ValueError(f"{name}: layer must be one of {', '.join(_SCANS)}, got {kind}")
    return config["config"], kind


def _dense(name: str, config: Config, weights: Sequence[Array], source: Source) -> list[Layer]:
    """A Dense, and behind it a function that it does not have itself."""
    function = config.get("activation") or "linear"
    if function == "linear":
        return [from_weights(weights, "Dense")]
    if function in _DENSE_FUNCTIONS:
        return [from_weights(weights, "Dense", activation=function)]
    option = _layer_function(name, function, source)
    dense = from_weights(weights, "Dense")
    return [dense, Activation(dense.output_size, option, dtype=dense.dtype)]


def _layer_function(name: str, function: Any, source: Source) -> Any:
    """The option of an `Activation`."""
    return "softmax" if function == "softmax" else source.function(f"{name}: activation", function)


def _axis(config: Config) -> Any:
    """Of a normalisation: a number where it is one axis, in a list or not."""
    axis = config.get("axis", -1)
    return axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis


def _norm(name: str, kind: str, config: Config, weights: Sequence[Array]) -> Layer:
    """Normalisation over the features; a missing gamma is 1, a missing beta 0."""
    axis = _axis(config)
    if axis not in (-1, 2):
        raise ValueError(f"{name}: axis must be -1, the features, got {axis}")
    if config.get("rms_scaling") or config.get("renorm"):
        option = "rms_scaling" if config.get("rms_scaling") else "renorm"
        raise ValueError(f"{name}: {option} must be False, got True")
    rest = list(weights)
    size = np.shape(rest[0]) if rest else None
    if size is None:
        raise ValueError(f"{name}: weights must hold at least one array, got none")
    gain = rest.pop(0) if config.get("scale", True) else np.ones(size, np.asarray(rest[0]).dtype)
    b = rest.pop(0) if config.get("center", True) else np.zeros(size, gain.dtype)
    options = {"eps": config.get("epsilon", 1e-3)}
    if kind == "BatchNormalization":
        options["momentum"] = 1 - config.get("momentum", 0.99)
    return from_weights([gain, b, *rest], kind, **options)


def layer_of(name: str, kind: str, config: Config, weights: Sequence[Array], source: Source) -> list[Layer]:
    """One Keras layer that has weights as one or two of ours, each over whole sequences."""
    if kind in _SCANS:
        return [_scan(name, kind, config, weights, source)]
    if kind == "Bidirectional":
        return [_bidirectional(name, config, weights, source)]
    if kind == "Dense":
        return _dense(name, config, weights, source)
    if kind == "TimeDistributed" and config["layer"]["class_name"] == "Dense":
        _check_own(name, "Dense", _module(config["layer"]))
        return _dense(name, config["layer"]["config"], weights, source)
    if kind == "Embedding":
        return [from_weights(weights, "Embedding")]
    if kind in _NORMS:
        return [_norm(name, kind, config, weights)]
    raise ValueError(f"{name}: {kind} is not a layer that can be imported")


def _is_before_3(layer: Any) -> bool:
    """Whether a live layer is of Keras 2."""
    package = type(layer).__module__.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", "3")
    return package == "tf_keras" or (package == "keras" and str(version).startswith("2"))


def from_layer(layer: Any) -> Any:
    """A live Keras layer, or a live model that is a chain of layers, as ours.

    Parameters
    ----------
    layer : keras.layers.Layer or keras.Model
        Built: SimpleRNN, LSTM, GRU, Bidirectional, Dense, Embedding, LayerNormalization or BatchNormalization; or a
        Sequential or functional model in which each layer's output is the next one's only input.

    Returns
    -------
    layer of ours; for a model what `load` gives for its file

    Raises
    ------
    ValueError
        A layer, or an option of one, that cannot be imported; the message names it.
    TypeError
        ``layer`` is not a Keras layer.

    Notes
    -----
    The layer here gives whole sequences and the final state, whatever ``return_sequences`` and ``return_state`` say.
    With ``go_backwards`` y is in the order of time, where Keras gives it in the order of the scan. Dropout of a layer's
    inputs, which is for training, comes over with a model as a layer of its own, not with a single layer.
    """
    if not (hasattr(layer, "get_config") and hasattr(layer, "get_weights")):
        raise TypeError(f"layer must be a Keras layer, got {type(layer).__name__}")
    kind, config, source = type(layer).__name__, layer.get_config(), Source(_is_before_3(layer))
    if kind in ("Sequential", "Functional", "Model"):
        return model_of(config, {part.name: part.get_weights() for part in layer.layers}, source)
    name = f"layer {config.get('name', kind)!r}"
    _check_own(name, kind, type(layer).__module__)
    found = layer_of(name, kind, config, layer.get_weights(), source)
    if len(found) > 1:
        raise ValueError(f"layer: activation must be one that Dense has here, got one that makes two layers: {found}")
    return found[0]


def names_of(config: Config) -> Iterator[tuple[str, Config]]:
    """The layers of a model, as they are listed, by name."""
    if not isinstance(config.get("layers"), list):
        raise ValueError("config must be that of a Sequential or functional model, with a list of layers")
    for entry in config["layers"]:
        if not isinstance(entry, Mapping) or not {"class_name", "config"} <= set(entry):
            raise ValueError(f"config must list layers with class_name and config, got {entry!r}")
        if not isinstance(entry["config"], Mapping) or not isinstance(entry["class_name"], str):
            raise ValueError(f"config must list layers with class_name and config, got {entry!r}")
        name = entry.get("name") or entry["config"].get("name") or entry["class_name"].lower()
        yield str(name), entry


def _sources(node: Any) -> list[str]:
    """Names of the layers whose outputs a node of a functional model takes: Keras 3's and Keras 2's notation."""
    if isinstance(node, Mapping):
        if node.get("class_name") == "__keras_tensor__":
            return [str(node["config"]["keras_history"][0])]
        return [name for value in node.values() for name in _sources(value)]
    if isinstance(node, (list, tuple)):
        if len(node) in (3, 4) and isinstance(node[0], str) and all(isinstance(k, int) for k in node[1:3]):
            return [node[0], *_sources(node[3:])]
        return [name for value in node for name in _sources(value)]
    return []


def _arguments(entry: Config) -> tuple[list[str], list[str], list[Any]]:
    """What a layer of a functional model takes: inputs by name, other tensors by name, numbers among the inputs."""
    inputs, keywords, numbers = [], [], []
    for node in entry.get("inbound_nodes", []):
        args = node.get("args", []) if isinstance(node, Mapping) else node
        inputs += _sources(args)
        keywords += _sources(node.get("kwargs", {})) if isinstance(node, Mapping) else []
        numbers += [value for value in args if isinstance(value, (int, float))]
    return inputs, keywords, numbers


def _trains(node: Any) -> bool:
    """Whether a node of a functional model calls its layer with ``training=True``."""
    if isinstance(node, Mapping):
        return bool(node.get("training")) or any(map(_trains, node.values()))
    return isinstance(node, (list, tuple)) and any(map(_trains, node))


_MASK_STEPS = ("NotEqual", "Any")  # how Keras 3 writes down a mask of the input


def _chained(config: Config) -> list[tuple[str, Config]]:
    """The layers of a functional model, without the steps that find its mask; raises unless each takes the one before
    it, and nothing else but the mask."""
    chain: list[tuple[str, Config]] = []
    masks: set[str] = set()
    values: list[Any] = []
    for name, entry in names_of(config):
        inputs, keywords, numbers = _arguments(entry)
        before = [chain[-1][0]] if chain else []
        if entry["class_name"] in _MASK_STEPS and set(inputs) <= masks | {name for name, _ in chain[:1]}:
            masks.add(name)
            values += numbers
            continue
        if inputs != before or len(entry.get("inbound_nodes", [])) > 1 or not set(keywords) <= masks:
            wanted = f"the output of {before[0]!r} and nothing else" if before else "nothing"
            raise ValueError(f"layer {name!r} must take {wanted}, got {inputs + keywords}")
        if entry["class_name"] == "Bidirectional" and entry["config"].get("merge_mode", "concat") is None:
            raise ValueError(f"layer {name!r} must have one output, got the pair that merge_mode=None gives")
        if _trains(entry.get("inbound_nodes")):
            raise ValueError(
                f"layer {name!r} must be called without training=True, which would be so in predictions too"
            )
        chain.append((name, entry))
    ends = config["output_layers"]
    ends = list(ends.values()) if isinstance(ends, Mapping) else [ends] if ends and isinstance(ends[0], str) else ends
    if [end[0] for end in ends] != [chain[-1][0] if chain else None]:
        raise ValueError(f"the model must have one output, that of its last layer, got {ends}")
    if masks and values != [_mask_value(chain)]:
        raise ValueError(f"the model must have one mask, that of its first layer, got {', '.join(sorted(masks))}")
    return chain


def _mask_value(chain: list[tuple[str, Config]]) -> float | None:
    """The value that a chain's first layer masks, or None."""
    for _, entry in chain[:2]:
        if entry["class_name"] == "Embedding" and entry["config"].get("mask_zero"):
            return 0.0
        if entry["class_name"] == "Masking":
            return float(entry["config"].get("mask_value", 0.0))
    return None


class _Chain:
    """Collects our layers of a chain of Keras's, and the mask that runs through it."""

    def __init__(self, source: Source):
        self.source = source
        self.layers: list[Layer] = []
        self.mask_value: float | None = None

    def add(self, name: str, entry: Config, weights: Sequence[Array]) -> None:
        kind, config, where = entry["class_name"], entry["config"], f"layer {name!r}"
        _check_own(where, kind, _module(entry))
        special: dict[str, Callable[[str, Config], None]] = {
            "InputLayer": lambda where, config: None,
            "Dropout": self._dropout,
            "SpatialDropout1D": self._dropout,
            "Masking": self._masking,
            "Activation": self._activation,
        }
        if kind in special:
            special[kind](where, {**config, "class_name": kind})
            return
        if kind == "Embedding" and config.get("mask_zero"):
            self._masking(where, {"mask_value": 0.0})
        inner = config["layer"]["config"] if kind == "Bidirectional" else config
        if kind in (*_SCANS, "Bidirectional") and inner.get("dropout"):
            self.layers.append(Dropout(inner["dropout"], shared_time=True))
        if kind in _NORMS and self.layers:
            config, weights = self._norm(kind, config, weights)
        found = layer_of(where, kind, config, weights, self.source)
        self.layers += found
        if kind in (*_SCANS, "Bidirectional"):
            self._end(where, inner, found[0])

    def _norm(self, kind: str, config: Config, weights: Sequence[Array]) -> tuple[Config, Sequence[Array]]:
        """What only the layers before tell of a normalisation: where the features are, and how many."""
        if any(isinstance(layer, LastStep) for layer in self.layers) and _axis(config) == 1:
            config = {**config, "axis": -1}
        before = next((layer for layer in reversed(self.layers) if layer.output_size), None)
        is_bare = kind == "LayerNormalization" and not (config.get("scale", True) or config.get("center", True))
        if is_bare and before is not None:
            config, weights = {**config, "scale": True}, [*weights, np.ones(before.output_size, before.dtype)]
        return config, weights

    def _end(self, where: str, config: Config, layer: Any) -> None:
        """Behind a scan that gives its last output only: take that."""
        if config.get("return_state"):
            raise ValueError(f"{where}: return_state must be False within a chain, got True")
        if config.get("return_sequences"):
            if config.get("go_backwards"):
                raise ValueError(f"{where}: go_backwards must be False with return_sequences, got True")
            return
        backwards = layer
        if isinstance(layer, Bidirectional):
            if layer.merge != "concat":
                raise ValueError(f"{where}: merge_mode must be 'concat' without return_sequences, got {layer.merge!r}")
            backwards = layer.layers[1]
        reverse_size = backwards.output_size if backwards.reverse else 0
        self.layers.append(LastStep(layer.output_size, reverse_size, dtype=layer.dtype))

    def _dropout(self, where: str, config: Config) -> None:
        if config.get("noise_shape") is not None:
            raise ValueError(f"{where}: noise_shape must be None, got {config['noise_shape']}")
        self.layers.append(Dropout(config["rate"], shared_time=config["class_name"] == "SpatialDropout1D"))

    def _masking(self, where: str, config: Config) -> None:
        if self.layers or self.mask_value is not None:
            raise ValueError(f"{where}: a mask must come from the model's input")
        self.mask_value = float(config.get("mask_value", 0.0))

    def _activation(self, where: str, config: Config) -> None:
        function = config.get("activation")
        if function == "linear":
            return
        option = _layer_function(where, function, self.source)
        before = [layer for layer in self.layers if layer.output_size]
        if not before:
            raise ValueError(f"{where}: an Activation must not come first")
        self.layers.append(Activation(before[-1].output_size, option, dtype=before[-1].dtype))

    def finished(self) -> Sequential:
        if not self.layers:
            raise ValueError("the model must have at least one layer with weights, got none")
        if self.mask_value is None:
            return Sequential(self.layers)
        return MaskedSequential(self.layers, self.mask_value)


def model_of(config: Config, weights: Mapping[str, Sequence[Array]], source: Source) -> Sequential:
    """A model's config and the weights of its layers, by name, as a stack."""
    try:
        entries = _chained(config) if "output_layers" in config else list(names_of(config))
        chain = _Chain(source)
        for name, entry in entries:
            chain.add(name, entry, weights.get(name, ()))
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"config must be what Keras writes for a model, and is not: {error}") from error
    return chain.finished()
