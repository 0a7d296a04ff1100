"""fastrnn: the fastest recurrent layers that run on a CPU."""

from . import init
from .backend import (
    available_backends,
    get_backend,
    get_num_threads,
    set_backend,
    set_num_threads,
    show_config,
    use_backend,
)
from .layers import GRU, LSTM, Dense, Embedding, SimpleRNN
from .sequential import Sequential

__version__ = "0.1.0"
__all__ = [
    "GRU",
    "LSTM",
    "Dense",
    "Embedding",
    "Sequential",
    "SimpleRNN",
    "available_backends",
    "get_backend",
    "get_num_threads",
    "init",
    "set_backend",
    "set_num_threads",
    "show_config",
    "use_backend",
]
