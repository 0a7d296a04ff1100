from collections.abc import Mapping
from typing import Any

from numpy import ndarray

from .cells import Cell
from .lookup import Lookup
from .scan import Noise, Placed, Trace

def available_isas() -> list[str]: ...
def get_isa() -> str: ...
def set_isa(name: str) -> None: ...
def set_blas(blas: bool) -> None: ...
def set_threads(n: int) -> None: ...
def after_fork() -> None: ...
def has_openmp() -> bool: ...
def fma_peak() -> float: ...
def read_peak(size: int) -> float: ...
def barrier_seconds() -> float: ...
def empty(shape: tuple[int, int], dtype: object) -> ndarray: ...
def blank(shape: tuple[int, int], dtype: object, index: ndarray) -> ndarray: ...
def gather(source: ndarray, index: ndarray) -> ndarray: ...
def sigmoid(x: ndarray) -> ndarray: ...
def tanh(x: ndarray) -> ndarray: ...
def forward(
    cell: Cell,
    params: Mapping[str, ndarray],
    x: ndarray | Placed | Lookup,
    h0: ndarray,
    c0: ndarray | None,
    noise: Noise,
    start: ndarray,
    rows: ndarray,
    trace: Trace,
    keep: bool,
    out: Placed | None = None,
) -> None: ...
def backward(
    cell: Cell,
    params: Mapping[str, ndarray],
    x: ndarray | Placed | Lookup,
    h0: ndarray,
    c0: ndarray | None,
    noise: Noise,
    start: ndarray,
    rows: ndarray,
    trace: Trace,
    dy: ndarray | Placed | None,
    dcells: ndarray | None,
    dh: ndarray,
    dc: ndarray | None,
    dx: ndarray | Placed | None,
    grads: Mapping[str, ndarray],
    add: bool = True,
) -> None: ...
def forward_at_once(
    cell: Cell, params: Mapping[str, ndarray], order: Any, x: Any, state: Any, keep: bool
) -> tuple[ndarray, Any, Any] | None: ...
def backward_at_once(
    cell: Cell,
    params: Mapping[str, ndarray],
    order: Any,
    x: ndarray | Placed,
    h0: ndarray,
    c0: ndarray | None,
    trace: Trace,
    dy: ndarray | None,
    dstate: Any,
    input_gradient: bool,
    grads: Mapping[str, ndarray],
    add: bool,
) -> tuple[ndarray | None, Any] | None: ...
def new_parts(size: int, dtype: object, places: list[Any], into: Any) -> ndarray: ...
def add_rows(out: ndarray, index: ndarray, rows: ndarray) -> None: ...
def chunk_steps(cell: Cell, N: int, D: int, H: int, dtype: object) -> int: ...
def adam(
    params: ndarray,
    grads: ndarray,
    m: ndarray,
    v: ndarray,
    rate: float,
    correction: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    scale: float,
) -> None: ...
def sgd(
    params: ndarray,
    grads: ndarray,
    m: ndarray | None,
    rate: float,
    momentum: float,
    nesterov: bool,
    scale: float,
) -> None: ...
def rmsprop(
    params: ndarray,
    grads: ndarray,
    v: ndarray,
    rate: float,
    rho: float,
    eps: float,
    scale: float,
) -> None: ...
def squared_norm(x: ndarray) -> float: ...
def softmax_cross_entropy(
    logits: ndarray,
    targets: ndarray,
    weights: ndarray | None,
    scale: float,
    dlogits: ndarray,
) -> float: ...
def affine(x: ndarray, W: ndarray, b: ndarray | None, y: ndarray, transposed: bool = False) -> None: ...
def add_outer(x: ndarray, d: ndarray, dW: ndarray, db: ndarray | None) -> None: ...

class Affine:
    def __init__(self, W: ndarray, b: ndarray | None, transposed: bool = False, unpacked: bool = False) -> None: ...
    def run(self, x: ndarray, y: ndarray) -> None: ...

def fits(x: Any, like: ndarray) -> bool: ...

class Steps:
    def __init__(self, parts: Any, results: Any, like: ndarray | None, door: Any) -> None: ...
    def step(self, x_t: Any, *, out: ndarray | None = None) -> ndarray: ...

class Stream:
    states: tuple[ndarray, ...]
    def __init__(self, cell: Cell, params: Mapping[str, ndarray], noise: Noise, N: int) -> None: ...
    def run(self, x: ndarray, y: ndarray) -> None: ...
