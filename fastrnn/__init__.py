"""fastrnn: the fastest recurrent layers that run on a CPU."""

from .backend import (
    available_backends,
    get_backend,
    get_num_threads,
    set_backend,
    set_num_threads,
    show_config,
    use_backend,
)

__version__ = "0.1.0"
__all__ = [
    "available_backends",
    "get_backend",
    "get_num_threads",
    "set_backend",
    "set_num_threads",
    "show_config",
    "use_backend",
]
