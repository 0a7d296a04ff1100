"""What works without PyTorch, and what the others say then. Runs with and without it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from safetensors.numpy import save_file

BLOCKED = "import sys; sys.modules['torch'] = None; "


def run(code: str, *, blocked: bool = True) -> str:
    """What a fresh interpreter prints; ``blocked``: one in which `import torch` fails."""
    command = [sys.executable, "-c", (BLOCKED if blocked else "") + code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_importing_fastrnn_imports_no_framework():
    code = "import sys, fastrnn; print([n for n in sys.modules if n == 'torch' or n.startswith('fastrnn.interop')])"
    assert run(code, blocked=False) == "[]"


def test_a_safetensors_file_needs_no_pytorch(tmp_path):
    shapes = {"weight_ih": (16, 3), "weight_hh": (16, 4), "bias_ih": (16,), "bias_hh": (16,)}
    weights = {f"rnn.{name}_l0": np.full(shape, 0.5, "f") for name, shape in shapes.items()}
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    code = (
        f"from fastrnn.interop.torch import load_state_dict as f; l = f({str(path)!r}, 'rnn.'); print(l, l.params['b'])"
    )
    assert run(code) == "LSTM(3, 4) [1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1.]"


def test_the_rest_says_what_it_needs(tmp_path):
    code = """
import fastrnn.interop.torch as t
for name in ("LSTM", "GRU", "RNN", "accelerate", "from_module", "to_module"):
    try:
        getattr(t, name)
    except ImportError as error:
        print(error)
"""
    names = ("LSTM", "GRU", "RNN", "accelerate", "from_module", "to_module")
    assert run(code.strip()).splitlines() == [
        f"{n} needs PyTorch, which is not installed: pip install torch" for n in names
    ]


def test_a_file_of_pytorchs_says_so_too(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"")
    code = f"""
from fastrnn.interop.torch import load_state_dict
try:
    load_state_dict({str(tmp_path / "model.pt")!r})
except ImportError as error:
    print(error)
"""
    assert run(code.strip()).endswith("needs PyTorch (a .safetensors file does not): pip install torch")


def test_a_name_that_is_not_there():
    code = "import fastrnn.interop.torch as t; print(hasattr(t, 'CNN'))"
    assert run(code, blocked=False) == "False"
