"""What all models share: scikit-learn's conventions, and files.

Parameters are the fields of a dataclass, so that the constructor, ``get_params`` and ``set_params`` cannot disagree.
scikit-learn is not imported, unless it asks.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any, TypeVar

import numpy as np

from .. import files
from ..init import as_generator

Model = TypeVar("Model", bound="Estimator")

_KINDS: dict[str, type[Estimator]] = {}
_SEEDS = 2**31 - 1  # what scikit-learn's own estimators draw seeds from, too


class Estimator:
    """A model with parameters, that `fit` gives a network: what is learned has names that end in ``_``.

    A subclass is a dataclass (``eq=False, repr=False, kw_only=True``) whose fields are its parameters; ``fit`` checks
    them. ``_learned`` and ``_adopt`` are what a file keeps of it besides the network.
    """

    model_: Any
    _fit_params: dict[str, Any]  # as the last fit found them: what was learned goes with these, whatever is set since

    def __init_subclass__(cls) -> None:
        _KINDS[cls.__name__] = cls

    @classmethod
    def _fields(cls) -> dict[str, Any]:
        """Name -> default of every parameter."""
        return {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters; ``deep`` is there for scikit-learn and changes nothing, since none is an estimator."""
        return {name: getattr(self, name) for name in self._fields()}

    def set_params(self: Model, **params: Any) -> Model:
        """Change parameters; they are looked at by the next ``fit``, and until then a model that is fitted stays as it
        is. A name that is none is a ValueError."""
        names = self._fields()
        if unknown := [name for name in params if name not in names]:
            raise ValueError(f"{type(self).__name__} has no parameter {unknown[0]!r}: they are {', '.join(names)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def _params(self) -> dict[str, Any]:
        """A copy of the parameters that a file holds: all but ``random_state``."""
        return {name: decoded(encoded(value)) for name, value in self.get_params().items() if name != "random_state"}

    def __repr__(self) -> str:
        changed = {
            name: getattr(self, name)
            for name, default in self._fields().items()
            if _differs(getattr(self, name), default)
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True),
            input_tags=InputTags(two_d_array=True, three_d_array=True, string=True),
        )

    def _check_fitted(self) -> None:
        """Raise unless ``fit`` has been called: scikit-learn's NotFittedError where it is in use, else a ValueError."""
        if self.__sklearn_is_fitted__():
            return
        text = f"this {type(self).__name__} has not been fitted: call fit first"
        sklearn = sys.modules.get("sklearn.exceptions")
        raise ValueError(text) if sklearn is None else sklearn.NotFittedError(text)

    def _learned(self) -> dict[str, Any]:
        """What JSON can hold of what was learned, besides the network."""
        raise NotImplementedError

    def _adopt(self, learned: dict[str, Any]) -> None:
        """Take over what `_learned` gave, with ``model_`` there already; any of the usual errors where it is broken."""
        raise NotImplementedError

    def save(self, path: Any) -> None:
        """Write the model to a safetensors file: network, parameters and all that was learned; atomically, no pickle.

        The parameters are those that ``fit`` found, not what ``set_params`` has changed since.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        TypeError
            A parameter is a function, which files do not hold.
        ValueError
            It has not been fitted.
        OSError
            The file cannot be written; what was there is untouched.
        """
        self._check_fitted()
        files.save(path, self.model_, extras=self._extras(self._learned()))

    def _extras(self, learned: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        """What a file holds besides the network; the parameters of the last fit when None."""
        params = self._fit_params if params is None else params
        described = {name: encoded(value) for name, value in params.items()}
        return {"estimator": type(self).__name__, "params": described, "learned": learned}

    @classmethod
    def load(cls: type[Model], path: Any) -> Model:
        """Read a model that `save`, or a checkpoint of its training, has written.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        ValueError
            The file is not whole, not one of fastrnn's, has another kind of model, or its parts do not fit together.
        OSError
            The file cannot be read.
        """
        estimator = load(path)
        if not isinstance(estimator, cls):
            raise ValueError(f"{os.fspath(path)!r} must hold a {cls.__name__}, got a {type(estimator).__name__}")
        return estimator

    def _rng(self) -> np.random.Generator:
        """A generator for ``random_state``: an integer, None, or a generator of NumPy's, new or old."""
        state = getattr(self, "random_state", None)
        if isinstance(state, np.random.RandomState):
            state = int(state.randint(_SEEDS))
        try:
            return as_generator(state)
        except (TypeError, ValueError) as error:
            wanted = "an integer of at least 0, a generator or None"
            raise type(error)(f"random_state must be {wanted}, got {state!r}") from None


def load(path: Any) -> Any:
    """Read a model of any kind from a file that its ``save``, or a checkpoint of its training, has written.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    LanguageModel, SequenceClassifier, SequenceRegressor, SequenceTagger or Forecaster

    Raises
    ------
    ValueError
        The file is not whole, not one of a model, or its parts do not fit together.
    OSError
        The file cannot be read.
    """
    saved = files.read(path)
    extras = saved.extras if isinstance(saved.extras, dict) else {}
    kind = _KINDS.get(str(extras.get("estimator")))
    if kind is None:
        raise ValueError(
            f"{saved.path!r} must hold a model of fastrnn.models, got a bare network: fastrnn.load reads it"
        )
    try:
        estimator = kind(**{name: decoded(value) for name, value in extras["params"].items()})
        estimator.model_, estimator._fit_params = saved.build(), estimator._params()
        estimator._adopt(extras["learned"])
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{saved.path!r} must hold a whole {kind.__name__}, got a broken one: {error!r}") from error
    return estimator


def encoded(value: Any) -> Any:
    """``value`` as JSON can hold it: tuples and dicts whose keys are not strings keep what they are."""
    if isinstance(value, tuple):
        return {"$tuple": [encoded(entry) for entry in value]}
    if isinstance(value, dict):
        return {"$dict": [[encoded(key), encoded(entry)] for key, entry in value.items()]}
    if isinstance(value, list):
        return [encoded(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return {"$array": value.tolist(), "dtype": value.dtype.str}
    return value.item() if isinstance(value, np.generic) else value


def decoded(value: Any) -> Any:
    """Undo `encoded`."""
    if isinstance(value, list):
        return [decoded(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "$tuple" in value:
        return tuple(decoded(entry) for entry in value["$tuple"])
    if "$array" in value:
        return np.array(value["$array"], _plain_dtype(value["dtype"]))
    return {decoded(key): decoded(entry) for key, entry in value["$dict"]}


def _plain_dtype(name: Any) -> np.dtype:
    dtype = np.dtype(str(name))
    if dtype.kind not in "biufUO":
        raise ValueError(f"arrays must hold numbers or strings, got {dtype}")
    return dtype


def _differs(value: Any, default: Any) -> bool:
    """Whether a parameter is not its default; arrays and other unlikely values differ."""
    return not (
        value is default
        or (type(value) is type(default) and isinstance(value, (int, float, str, tuple)) and value == default)
    )
