"""Models that PyTorch's exporter wrote, trained a little before: `load` gives what PyTorch and ONNX Runtime give."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from cases import scaled_error

from fastrnn import Sequential
from fastrnn.interop.onnx import load

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's exporter warns of itself

N, T, D, H, V = 3, 6, 4, 5, 11
TOLERANCE = 2e-6  # of scaled_error, float32 against float32


class Tagger(torch.nn.Module):
    def __init__(self, rnn):
        super().__init__()
        self.embedding, self.rnn = torch.nn.Embedding(V, D), rnn
        width = rnn.hidden_size * (2 if rnn.bidirectional else 1)
        self.hidden, self.output = torch.nn.Linear(width, 4), torch.nn.Linear(4, 3)

    def forward(self, ids):
        y, _ = self.rnn(self.embedding(ids))
        return torch.softmax(self.output(torch.tanh(self.hidden(y))), dim=-1)


class Classifier(torch.nn.Module):
    def __init__(self, rnn):
        super().__init__()
        self.rnn, self.output = rnn, torch.nn.Linear(rnn.hidden_size, 2)

    def forward(self, x):
        _, h = self.rnn(x)
        h = h[0] if isinstance(h, tuple) else h
        return torch.sigmoid(self.output(h.squeeze(0)))


class Outputs(torch.nn.Module):
    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn

    def forward(self, x):
        return self.rnn(x)[0]


MODELS = {
    "LSTM": lambda: Outputs(torch.nn.LSTM(D, H, batch_first=True)),
    "LSTM, both directions, two layers": lambda: Outputs(torch.nn.LSTM(D, H, 2, batch_first=True, bidirectional=True)),
    "GRU, two layers": lambda: Outputs(torch.nn.GRU(D, H, 2, batch_first=True)),
    "GRU, both directions": lambda: Outputs(torch.nn.GRU(D, H, batch_first=True, bidirectional=True)),
    "RNN": lambda: Outputs(torch.nn.RNN(D, H, batch_first=True)),
    "RNN relu": lambda: Outputs(torch.nn.RNN(D, H, batch_first=True, nonlinearity="relu")),
    "LSTM tagger": lambda: Tagger(torch.nn.LSTM(D, H, batch_first=True)),
    "GRU tagger, both directions": lambda: Tagger(torch.nn.GRU(D, H, batch_first=True, bidirectional=True)),
    "GRU classifier": lambda: Classifier(torch.nn.GRU(D, H, batch_first=True)),
    "LSTM classifier": lambda: Classifier(torch.nn.LSTM(D, H, batch_first=True)),
    "time-major GRU": lambda: Outputs(torch.nn.GRU(D, H)),
}


def trained(name):
    """The model after a few steps towards random targets, and an input."""
    torch.manual_seed(0)
    model = MODELS[name]()
    x = torch.randint(V, (N, T)) if isinstance(model, Tagger) else torch.randn(N, T, D)
    target = torch.rand_like(model(x))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(10):
        optimizer.zero_grad()
        ((model(x) - target) ** 2).mean().backward()
        optimizer.step()
    return model.eval(), x


def exported(model, x):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), file, dynamo=False, opset_version=14, input_names=["x"], output_names=["y"])
    return file.getvalue()


@pytest.mark.parametrize("name", MODELS)
def test_what_pytorch_exports(backend, name):
    model, x = trained(name)
    data = exported(model, x)
    found = load(data)
    assert isinstance(found, Sequential)
    y, _ = found(x.numpy(), time_major=name.startswith("time-major"))
    assert scaled_error(y, model(x).detach().numpy()) <= TOLERANCE
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert scaled_error(y, session.run(["y"], {"x": x.numpy()})[0]) <= TOLERANCE
    assert np.any(y)
