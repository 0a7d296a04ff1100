"""`from_module` and `to_module`: PyTorch's modules as fastrnn's layers, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..._arrays import as_rate
from ...activations import as_function
from ...bidirectional import Bidirectional
from ...dropout import Dropout
from ...elementwise import Activation
from ...layer import Layer
from ...layers import Dense, Embedding
from ...masking import MaskedSequential
from ...norms import LayerNorm
from ...recurrent import GRU, LSTM, RecurrentLayer, SimpleRNN
from ...sequential import Sequential
from . import dropin
from .state_dict import array_of, load_state_dict
from .weights import weights_of

_DENSE: dict[type, str] = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.Sigmoid: "sigmoid"}
"""What becomes a part of the Linear before it."""
_FUNCTIONS: dict[type, Callable[[Any], Any]] = {
    nn.Tanh: lambda module: "tanh",
    nn.ReLU: lambda module: "relu",
    nn.Sigmoid: lambda module: "sigmoid",
    nn.Softsign: lambda module: "softsign",
    nn.LeakyReLU: lambda module: ("leaky_relu", module.negative_slope),
    nn.ELU: lambda module: ("elu", module.alpha),
}
_MODULES: dict[str, Callable[..., nn.Module]] = {
    **{name: kind for kind, name in _DENSE.items()},
    "softsign": nn.Softsign,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}


class Stack(nn.Sequential):
    """A `torch.nn.Sequential` that may hold recurrent modules: of their results the next module gets y alone.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from fastrnn.interop.torch import Stack
    >>> model = Stack(torch.nn.LSTM(3, 5, batch_first=True), torch.nn.Linear(5, 2))
    >>> model(torch.zeros(4, 7, 3)).shape
    torch.Size([4, 7, 2])
    """

    def forward(self, input: Any) -> Any:
        """Run the modules one after the other."""
        for module in self:
            input = module(input)
            if isinstance(input, tuple):
                input = input[0]
        return input


def from_module(module: nn.Module) -> Layer:
    """A layer that computes what a PyTorch module computes, with a copy of its weights.

    Parameters
    ----------
    module : torch.nn.RNN, LSTM, GRU, RNNCell, LSTMCell, GRUCell, or torch.nn.Sequential
        A Sequential may hold these, Embedding, Linear, Tanh, ReLU, Sigmoid, Softsign, LeakyReLU, ELU, Dropout,
        LayerNorm over one axis, and Sequentials. What a recurrent module gives to the next one is its y.

    Returns
    -------
    layer
        One recurrent layer; `fastrnn.Bidirectional`; `fastrnn.Sequential` of several layers. Calls take (N, T, D),
        whatever the module's ``batch_first``, and are inference: dropout is in ``forward`` alone. float16 and bfloat16
        become float32. An Embedding's ``padding_idx`` is left out: its row is as the others in training.

    Raises
    ------
    TypeError
        A class of module that is not among these, or a dtype that is not floating; named.
    ValueError
        An attribute that fastrnn has no equal of, a hook or a ``forward`` of the module's own; named.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from fastrnn.interop.torch import from_module
    >>> from_module(torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True))
    Sequential([Bidirectional(LSTM(3, 5)), Bidirectional(LSTM(10, 5))])
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    _check_plain("module", module)
    return _layer("module", module)


def _check_plain(name: str, module: nn.Module) -> None:
    """Raise where a call of the module does more than its class: as hooks of torch.nn.utils.weight_norm, spectral_norm
    and prune do, which compute a weight anew in every call."""
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    if hooks or "forward" in vars(module):
        found = ", ".join(f"hook {getattr(hook, '__qualname__', type(hook).__name__)}" for hook in hooks)
        raise ValueError(f"{name} must compute what its class does and no more, got {found or 'another forward'}")


def _layer(name: str, module: nn.Module) -> Layer:
    kind: Any = type(module)
    if kind in _READERS:
        return _READERS[kind](name, module)
    if kind in _FUNCTIONS:
        raise ValueError(f"{name} must follow a module of a Sequential that tells its features, got {module}")
    known = ", ".join(sorted({reader.__name__ for reader in (*_READERS, *_FUNCTIONS)}))
    raise TypeError(f"{name} must be one of {known}, got {kind.__module__}.{kind.__qualname__}")


def _from_recurrent(name: str, module: Any) -> Layer:
    return load_state_dict(
        module.state_dict(),
        nonlinearity=getattr(module, "nonlinearity", "tanh"),
        dropout=getattr(module, "dropout", 0.0),
    )


def _from_sequential(name: str, module: Any) -> Layer:
    layers: list[Any] = []
    for k, part in enumerate(module):
        _check_plain(f"{name}[{k}]", part)
        kind: Any = type(part)
        before = next((layer for layer in reversed(layers) if layer.output_size), None)
        if kind in _DENSE and k and isinstance(module[k - 1], nn.Linear):
            layers[-1] = _from_linear(f"{name}[{k - 1}]", module[k - 1], _DENSE[kind])
        elif kind in _FUNCTIONS and before is not None:
            layers.append(Activation(before.output_size, _FUNCTIONS[kind](part), dtype=before.dtype))
        else:
            layers.append(_layer(f"{name}[{k}]", part))
    if not layers:
        raise ValueError(f"{name} must hold at least one module, got none")
    return Sequential(layers)


def _from_linear(name: str, module: Any, activation: str | None = None) -> Dense:
    weight = array_of(f"{name}.weight", module.weight)
    layer = Dense(module.in_features, module.out_features, activation, dtype=weight.dtype, seed=0)
    layer.params["W"] = weight.T
    if module.bias is not None:
        layer.params["b"] = array_of(f"{name}.bias", module.bias)
    return layer


def _from_embedding(name: str, module: Any) -> Embedding:
    if module.max_norm is not None:
        raise ValueError(f"{name}.max_norm must be None, got {module.max_norm}")
    weight = array_of(f"{name}.weight", module.weight)
    layer = Embedding(module.num_embeddings, module.embedding_dim, dtype=weight.dtype, seed=0)
    layer.params["W"] = weight
    return layer


def _from_layer_norm(name: str, module: Any) -> LayerNorm:
    if len(module.normalized_shape) != 1:
        raise ValueError(f"{name}.normalized_shape must be of one axis, got {tuple(module.normalized_shape)}")
    if module.weight is None:
        raise ValueError(f"{name}.elementwise_affine must be True: without weights there is no telling the dtype")
    weight = array_of(f"{name}.weight", module.weight)
    layer = LayerNorm(module.normalized_shape[0], module.eps, dtype=weight.dtype)
    layer.params["gain"] = weight
    if module.bias is not None:
        layer.params["b"] = array_of(f"{name}.bias", module.bias)
    return layer


def _from_dropout(name: str, module: Any) -> Dropout:
    return Dropout(as_rate(f"{name}.p", module.p))


_READERS: dict[type, Callable[[str, Any], Layer]] = {
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell), _from_recurrent),
    **dict.fromkeys((dropin.RNN, dropin.LSTM, dropin.GRU), _from_recurrent),
    nn.Sequential: _from_sequential,
    Stack: _from_sequential,
    nn.Linear: _from_linear,
    nn.Embedding: _from_embedding,
    nn.LayerNorm: _from_layer_norm,
    nn.Dropout: _from_dropout,
}


def to_module(layer: Layer, *, batch_first: bool = True) -> nn.Module:
    """A PyTorch module that computes what a layer computes, with a copy of its parameters.

    Parameters
    ----------
    layer : SimpleRNN, LSTM, GRU, Bidirectional, Dense, Activation, Embedding, Dropout, LayerNorm; a Sequential of them
    batch_first : bool
        Of the recurrent modules. Layers take (N, T, D), which is ``batch_first=True``.

    Returns
    -------
    torch.nn.RNN, LSTM, GRU, Linear, Embedding, Dropout, LayerNorm, an activation, or a `Stack`
        Recurrent layers that are alike become one module with ``num_layers``; a Dense with an activation is a Stack of
        two modules.

    Raises
    ------
    TypeError
        A class of layer that PyTorch has no equal of, named.
    ValueError
        An option that PyTorch has no equal of, named.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from fastrnn import GRU, Dense, Sequential
    >>> from fastrnn.interop.torch import to_module
    >>> to_module(Sequential([GRU(3, 5), Dense(5, 2)]))
    Stack(
      (0): GRU(3, 5, batch_first=True)
      (1): Linear(in_features=5, out_features=2, bias=True)
    )
    """
    if isinstance(layer, MaskedSequential):
        raise ValueError(f"layer must be a stack without a mask_value, which PyTorch has no equal of, got {layer!r}")
    if isinstance(layer, Sequential):
        stacked = _stacked(layer)
        if stacked is not None:
            return _to_recurrent(*stacked, batch_first)
        return Stack(
            *(part for inner in layer.layers for part in _flat(to_module(inner, batch_first=batch_first), inner))
        )
    if isinstance(layer, Bidirectional):
        if layer.merge != "concat":
            raise ValueError(f"merge must be 'concat', which is all that PyTorch has, got {layer.merge!r}")
        _check_alike(*layer.layers)
        return _to_recurrent([list(layer.layers)], 0.0, batch_first)
    if isinstance(layer, RecurrentLayer):
        if layer.reverse:
            raise ValueError(f"reverse must be False outside of a Bidirectional, got {layer!r}")
        return _to_recurrent([[layer]], 0.0, batch_first)
    writer = _WRITERS.get(type(layer))
    if writer is None:
        raise TypeError(f"layer must have an equal in PyTorch, got {layer!r}")
    return writer(layer)


def _flat(module: nn.Module, layer: Layer) -> list[nn.Module]:
    """The parts of a dense layer with activation, any other module as it is."""
    return list(module.children()) if isinstance(layer, Dense) and isinstance(module, Stack) else [module]


def _stacked(layer: Sequential) -> tuple[list[list[Any]], float] | None:
    """The directions of every layer and the dropout between, if PyTorch has this stack as one module; else None."""
    every: Any = layer.layers
    dropped = any(isinstance(inner, Dropout) for inner in every)
    recurrent: tuple[Any, ...] = every[::2] if dropped else every
    between: tuple[Any, ...] = every[1::2] if dropped else ()
    rates = {inner.rate if isinstance(inner, Dropout) and not inner.shared_time else None for inner in between}
    stack = [_directions(inner) for inner in recurrent]
    alike = {(len(parts), type(part), repr(_options(part))) for parts in stack for part in parts}
    # one rate between all layers, and none behind the last
    if len(stack) < 2 or [] in stack or len(alike) != 1 or rates & {None} or len(rates) > 1:
        return None
    if dropped and len(between) != len(stack) - 1:
        return None
    return stack, between[0].rate if dropped else 0.0


def _directions(layer: Layer) -> list[Any]:
    """The layer, or the two of a bidirectional one; nothing of a layer that PyTorch would not stack."""
    if isinstance(layer, Bidirectional) and layer.merge == "concat":
        return list(layer.layers)
    return [layer] if isinstance(layer, RecurrentLayer) and not layer.reverse else []


def _options(layer: Any) -> dict[str, Any]:
    """All of a layer's options that every layer of a module must share."""
    return {name: value for name, value in layer._config().items() if name not in ("input_size", "reverse")}


def _check_alike(fwd: Any, bwd: Any) -> None:
    """Raise unless the two directions may be those of one module."""
    if type(fwd) is not type(bwd):
        raise ValueError(f"layer must be of one class in both directions for PyTorch, got {fwd!r} and {bwd!r}")
    options, others = _options(fwd), _options(bwd)
    for name in {**options, **others}:
        if options.get(name) != others.get(name):
            raise ValueError(f"{name} must be the same in both directions for PyTorch, got {fwd!r} and {bwd!r}")


_SHARED = ("input_size", "hidden_size", "reverse", "dtype", "proj_size")
"""What PyTorch's modules have too; of a layer's other options only the defaults."""


def _to_recurrent(stack: list[list[Any]], dropout: float, batch_first: bool) -> nn.Module:
    """One module of layers that are alike, each of one direction or two."""
    kinds: dict[type, Any] = {SimpleRNN: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}
    first = stack[0][0]
    kind = kinds.get(type(first))
    if kind is None:
        raise TypeError(f"layer must have an equal in PyTorch, got {first!r}")
    for parts in stack:
        for part in parts:
            _check_options(part, kind)
    config, options = first._config(), {}
    if "activation" in config:
        options["nonlinearity"] = config["activation"]
    if "proj_size" in config:
        options["proj_size"] = config["proj_size"]
    module = kind(
        first.input_size,
        first.hidden_size,
        num_layers=len(stack),
        dropout=dropout,
        batch_first=batch_first,
        bidirectional=len(stack[0]) == 2,
        dtype=getattr(torch, first.dtype.name),
        **options,
    )
    arrays = {
        f"{name}_l{k}{'_reverse' if layer.reverse else ''}": array
        for k, parts in enumerate(stack)
        for layer in parts
        for name, array in weights_of(layer.params).items()
    }
    return _filled(module, arrays)


def _check_options(layer: Any, kind: type) -> None:
    """Raise for an option that PyTorch does not have; a layer's configuration leaves defaults out."""
    for name, value in layer._config().items():
        relu = kind is nn.RNN and (name, value) == ("activation", "relu")
        if name not in _SHARED and not relu:
            raise ValueError(f"{name} must be left at its default for PyTorch, got {value!r}")


def _filled(module: Any, arrays: Mapping[str, Any]) -> Any:
    """The module with these arrays copied into its parameters."""
    module.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return module


def _to_linear(layer: Dense) -> nn.Module:
    linear = nn.Linear(layer.input_size, layer.output_size, dtype=getattr(torch, layer.dtype.name))
    _filled(linear, {"weight": layer.params["W"].T, "bias": layer.params["b"]})
    return linear if layer.activation is None else Stack(linear, _MODULES[layer.activation]())


def _to_embedding(layer: Embedding) -> nn.Module:
    embedding = nn.Embedding(layer.vocab, layer.output_size, dtype=getattr(torch, layer.dtype.name))
    return _filled(embedding, {"weight": layer.params["W"]})


def _to_layer_norm(layer: LayerNorm) -> nn.Module:
    norm = nn.LayerNorm(layer.input_size, layer.eps, dtype=getattr(torch, layer.dtype.name))
    return _filled(norm, {"weight": layer.params["gain"], "bias": layer.params["b"]})


def _to_activation(layer: Activation) -> nn.Module:
    function = None if layer.activation == "softmax" else as_function("activation", layer.activation)
    if function is None or function.name not in _MODULES:
        raise ValueError(f"activation must be one of {', '.join(_MODULES)} for PyTorch, got {layer.activation!r}")
    return _MODULES[function.name](*function.numbers)


def _to_dropout(layer: Dropout) -> nn.Module:
    if layer.shared_time:
        raise ValueError("shared_time must be False for PyTorch, got True")
    return nn.Dropout(layer.rate)


_WRITERS: dict[type, Callable[[Any], nn.Module]] = {
    Dense: _to_linear,
    Activation: _to_activation,
    Embedding: _to_embedding,
    LayerNorm: _to_layer_norm,
    Dropout: _to_dropout,
}
