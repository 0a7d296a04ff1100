"""ONNX's recurrent operators as our layers, and our models as ONNX files. Needs onnx: the extra ``onnx`` installs it.

============  ==================================================================================================
`load`        a model: a `Sequential` where its graph is a plain chain, else a dict with each RNN, LSTM and GRU node
`run_node`    one node, executed on arrays that go by ONNX's names
`export`      a stack as a model that ONNX Runtime runs
============  ==================================================================================================

Operators RNN, LSTM and GRU of opsets 7 to 22, with all their attributes.
"""

from .exporting import export
from .graphs import load
from .nodes import run_node

__all__ = ["export", "load", "run_node"]
