"""ONNX's activations as our options, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class _Function(NamedTuple):
    """An activation of ONNX: our name, alpha and beta where a node gives none (None: it must), and where we do not."""

    name: str
    alpha: float | None = None
    beta: float | None = None
    ours: tuple[float, ...] = ()


# The spec has no defaults for Affine and ScaledTanh, and for ThresholdedRelu one, 1, that ONNX Runtime does not keep
_FUNCTIONS = {
    "Tanh": _Function("tanh"),
    "Relu": _Function("relu"),
    "Sigmoid": _Function("sigmoid"),
    "Softsign": _Function("softsign"),
    "Softplus": _Function("softplus"),
    "HardSigmoid": _Function("hard_sigmoid", 0.2, 0.5, (1 / 6, 0.5)),
    "LeakyRelu": _Function("leaky_relu", 0.01, None, (0.01,)),
    "ThresholdedRelu": _Function("thresholded_relu", None, None, (1.0,)),
    "Elu": _Function("elu", 1.0, None, (1.0,)),
    "ScaledTanh": _Function("scaled_tanh", None, None, (1.0, 1.0)),
    "Affine": _Function("affine", None, 0.0, (1.0, 0.0)),
}
# operators of their own, with ONNX's defaults, which those have
OPERATORS: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(("Tanh", "Relu", "Sigmoid", "Softsign", "Softplus"), ()),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01,),
    "ThresholdedRelu": (1.0,),
    "Elu": (1.0,),
}
_BY_NAME = {name.lower(): name for name in _FUNCTIONS}
_ONNX_NAMES = {function.name: name for name, function in _FUNCTIONS.items()}


def to_options(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Any]:
    """Options for activations with the numbers that a node gives, which those that have any take in order."""
    left = {"activation_alpha": list(alphas), "activation_beta": list(betas)}
    options = [_option(name, left) for name in names]
    for attribute, rest in left.items():
        if rest:
            raise ValueError(
                f"{attribute} must have no more numbers than {', '.join(names)} take, got {len(rest)} more"
            )
    return options


def _option(name: str, left: dict[str, list[float]]) -> Any:
    known = _BY_NAME.get(name.lower())
    if known is None:
        raise ValueError(f"activations must be among {', '.join(_FUNCTIONS)}, got {name}")
    function = _FUNCTIONS[known]
    if not function.ours:
        return function.name
    numbers = []
    defaults = {"activation_alpha": function.alpha, "activation_beta": function.beta}
    for attribute, default in list(defaults.items())[: len(function.ours)]:
        number = left[attribute].pop(0) if left[attribute] else default
        if number is None:
            raise ValueError(f"{attribute} must be given for {known}: ONNX has no default that all programs keep")
        numbers.append(float(number))
    return (function.name, *numbers)


def from_option(option: Any) -> tuple[str, list[float], list[float]]:
    """An activation of a layer as ONNX's name, alphas and betas."""
    name, *numbers = option if isinstance(option, tuple) else (option,)
    if name == "linear":
        name, numbers = "affine", [1.0, 0.0]
    if name not in _ONNX_NAMES:
        raise ValueError(f"activation must be one that ONNX has, got {option!r}")
    function = _FUNCTIONS[_ONNX_NAMES[name]]
    numbers = numbers or list(function.ours)
    return _ONNX_NAMES[name], numbers[:1], numbers[1:2]


def operator_option(operator: str, given: Mapping[str, float | None]) -> Any:
    """The option for an operator of this type with the alpha and beta that it gives."""
    defaults = zip(("alpha", "beta"), OPERATORS[operator], strict=False)
    numbers = [default if given.get(name) is None else given[name] for name, default in defaults]
    name = _FUNCTIONS[operator].name
    return (name, *numbers) if numbers else name


def option_operator(option: Any) -> tuple[str, dict[str, float]]:
    """The operator for an option, and its attributes."""
    if option == "linear":
        return "Identity", {}
    operator, alphas, betas = from_option(option)
    if operator not in OPERATORS:
        raise ValueError(f"activation must be one that ONNX has as an operator, got {option!r}")
    numbers = zip(("alpha", "beta"), [*alphas, *betas], strict=False)
    return operator, dict(numbers)
