"""The libraries under test, one small class each."""

from .base import Runner, Task
from .fastrnn_runner import FastrnnCython, FastrnnNumpy, FastrnnSession
from .jax_runner import Jax
from .onnx_runner import OnnxRuntime
from .torch_runner import Torch

RUNNERS: dict[str, Runner] = {
    runner.name: runner for runner in (FastrnnCython(), FastrnnNumpy(), FastrnnSession(), Torch(), OnnxRuntime(), Jax())
}
PEERS = tuple(name for name, runner in RUNNERS.items() if not runner.ours)

__all__ = ["PEERS", "RUNNERS", "Runner", "Task"]
