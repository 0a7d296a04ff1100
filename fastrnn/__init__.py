"""fastrnn: the fastest recurrent layers that run on a CPU."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import init
from .attention import Attention, AttentionLSTM
from .backend import (
    available_backends,
    available_isas,
    get_backend,
    get_gemm,
    get_isa,
    get_num_threads,
    set_backend,
    set_gemm,
    set_isa,
    set_num_threads,
    show_config,
    use_backend,
)
from .bidirectional import Bidirectional
from .dropout import Dropout
from .elementwise import Activation
from .layers import Dense, Embedding
from .masking import MaskedSequential
from .norms import BatchNorm, LayerNorm
from .params import Params
from .pooling import LastStep, MaxSteps, MeanSteps
from .recurrent import GRU, LSTM, SimpleRNN
from .sequential import Sequential
from .session import Session
from .tied import Tied

if TYPE_CHECKING:
    from . import data, files, losses, models, optim, schedules, text, training
    from .callbacks import ActivationMonitor, Callback, EarlyStopping, GradientMonitor, StopAfter, TrainingWarning
    from .checkpoint import Checkpoint
    from .files import load, load_extras, save
    from .fitting import fit
    from .gradients import check_gradients
    from .history import History
    from .models import Forecaster, LanguageModel, SequenceClassifier, SequenceRegressor, SequenceTagger
    from .optim import clip_by_norm, clip_by_value

__version__ = "0.1.0"
__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "ActivationMonitor",
    "Attention",
    "AttentionLSTM",
    "BatchNorm",
    "Bidirectional",
    "Callback",
    "Checkpoint",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "Forecaster",
    "GradientMonitor",
    "History",
    "LanguageModel",
    "LastStep",
    "LayerNorm",
    "MaskedSequential",
    "MaxSteps",
    "MeanSteps",
    "Params",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "Sequential",
    "Session",
    "SimpleRNN",
    "StopAfter",
    "Tied",
    "TrainingWarning",
    "available_backends",
    "available_isas",
    "check_gradients",
    "clip_by_norm",
    "clip_by_value",
    "data",
    "files",
    "fit",
    "get_backend",
    "get_gemm",
    "get_isa",
    "get_num_threads",
    "init",
    "load",
    "load_extras",
    "losses",
    "models",
    "optim",
    "save",
    "schedules",
    "set_backend",
    "set_gemm",
    "set_isa",
    "set_num_threads",
    "show_config",
    "text",
    "training",
    "use_backend",
]

# what training and applications need, and layers alone do not: modules that are imported when they, or one of their
# names here, are first asked for
_LATER: dict[str, tuple[str, ...]] = {
    "callbacks": (
        "ActivationMonitor",
        "Callback",
        "EarlyStopping",
        "GradientMonitor",
        "StopAfter",
        "TrainingWarning",
    ),
    "checkpoint": ("Checkpoint",),
    "data": (),
    "files": ("load", "load_extras", "save"),
    "fitting": ("fit",),
    "gradients": ("check_gradients",),
    "history": ("History",),
    "losses": (),
    "models": ("Forecaster", "LanguageModel", "SequenceClassifier", "SequenceRegressor", "SequenceTagger"),
    "optim": ("clip_by_norm", "clip_by_value"),
    "schedules": (),
    "text": (),
    "training": (),
}
_HOMES = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    """A module of `_LATER`, or a name in one; it is an attribute like any other from then on."""
    if name in _LATER:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_HOMES})
