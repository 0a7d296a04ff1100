"""fastrnn: the fastest recurrent layers that run on a CPU."""

from . import init, losses, optim, text, training
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
from .layers import Dense, Embedding
from .norms import BatchNorm, LayerNorm
from .optim import clip_by_norm, clip_by_value
from .params import Params
from .recurrent import GRU, LSTM, SimpleRNN
from .sequential import Sequential
from .session import Session

__version__ = "0.1.0"
__all__ = [
    "GRU",
    "LSTM",
    "Attention",
    "AttentionLSTM",
    "BatchNorm",
    "Bidirectional",
    "Dense",
    "Dropout",
    "Embedding",
    "LayerNorm",
    "Params",
    "Sequential",
    "Session",
    "SimpleRNN",
    "available_backends",
    "available_isas",
    "clip_by_norm",
    "clip_by_value",
    "get_backend",
    "get_gemm",
    "get_isa",
    "get_num_threads",
    "init",
    "losses",
    "optim",
    "set_backend",
    "set_gemm",
    "set_isa",
    "set_num_threads",
    "show_config",
    "text",
    "training",
    "use_backend",
]
