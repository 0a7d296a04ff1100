"""fastrnn: the fastest recurrent layers that run on a CPU."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import data, files, init, losses, optim, schedules, text, training
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
from .callbacks import ActivationMonitor, Callback, EarlyStopping, GradientMonitor, StopAfter, TrainingWarning
from .checkpoint import Checkpoint
from .dropout import Dropout
from .elementwise import Activation
from .files import load, load_extras, save
from .fitting import fit
from .gradients import check_gradients
from .history import History
from .layers import Dense, Embedding
from .masking import MaskedSequential
from .norms import BatchNorm, LayerNorm
from .optim import clip_by_norm, clip_by_value
from .params import Params
from .pooling import LastStep, MaxSteps, MeanSteps
from .recurrent import GRU, LSTM, SimpleRNN
from .sequential import Sequential
from .session import Session
from .tied import Tied

if TYPE_CHECKING:
    from . import models
    from .models import Forecaster, LanguageModel, SequenceClassifier, SequenceRegressor, SequenceTagger

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

_MODELS = ("Forecaster", "LanguageModel", "SequenceClassifier", "SequenceRegressor", "SequenceTagger")


def __getattr__(name: str) -> Any:
    """The models, which are imported when they are first asked for: layers alone come faster."""
    if name != "models" and name not in _MODELS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    models = import_module(".models", __name__)
    return models if name == "models" else getattr(models, name)
