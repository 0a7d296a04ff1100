"""`accelerate`: which modules it replaces, and that a program learns what it learned before."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from bench import drop_in  # noqa: E402
from fastrnn.interop.torch import GRU, LSTM, RNN, accelerate  # noqa: E402


@pytest.mark.parametrize("name", drop_in.MODELS)
def test_losses_over_100_updates(name):
    theirs, ours = drop_in.losses(name, drop_in.TINY, 100, 3e-3)
    assert max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) <= 1e-4
    assert ours[96] < 0.9 * ours[0]  # of the same batch: something was learned


@pytest.mark.parametrize("name", drop_in.MODELS)
def test_every_model_of_the_benchmark_is_accelerated_whole(name):
    theirs, ours = drop_in.pair(name, drop_in.TINY)
    fast = [type(module) for module in ours.modules() if isinstance(module, nn.RNNBase)]
    slow = [type(module) for module in theirs.modules() if isinstance(module, nn.RNNBase)]
    assert slow
    assert [kind.__mro__[2] for kind in fast] == slow
    assert not set(fast) & set(slow)


class Odd(nn.LSTM):
    """A subclass, as programs have them."""


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.LSTM(3, 4)
        self.parts = nn.ModuleList([nn.GRU(3, 4, bidirectional=True), nn.Linear(3, 4), nn.RNN(3, 4)])
        self.cell = nn.GRUCell(3, 4)
        self.odd = Odd(3, 4)
        self.half = nn.LSTM(3, 4).half()
        self.same = self.first
        self.wrapped = nn.RNN(3, 4)
        self.wrapped.forward = lambda x: x
        self.scripted = torch.jit.script(nn.GRU(3, 4))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_the_report_names_every_recurrent_module():
    model = Model()
    report = accelerate(model)
    assert report.replaced == ("first", "parts.0", "parts.2")
    assert {name: reason.split()[:2] for name, reason in report.left.items()} == {
        "cell": ["a", "cell"],
        "odd": ["Odd", "may"],
        "half": ["the", "kernels"],
        "wrapped": ["its", "forward"],
        "scripted": ["a", "scripted"],
    }
    lines = str(report).splitlines()
    assert lines[0] == "first: replaced"
    assert lines[-1] == "scripted: left, a scripted GRU cannot be changed"
    assert [type(model.first), *map(type, model.parts)] == [LSTM, GRU, nn.Linear, RNN]
    assert model.same is model.first


def test_parameters_and_hooks_are_shared():
    model = nn.ModuleDict({"rnn": nn.GRU(3, 4)})
    module, parameters, calls = model["rnn"], list(model.parameters()), []
    module.register_forward_hook(lambda *_: calls.append(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    accelerate(model)
    assert model["rnn"] is module
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    before = copy.deepcopy(model.state_dict())
    model["rnn"](torch.ones(5, 2, 3))[0].sum().backward()
    optimizer.step()
    assert calls == [1]
    assert all(not torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_recurrent_module_itself():
    module = nn.LSTM(3, 4)
    report = accelerate(module)
    assert type(module) is LSTM
    assert str(report) == "the model: replaced"


def test_twice_is_once():
    module = nn.LSTM(3, 4)
    accelerate(module)
    report = accelerate(module)
    assert report.replaced == ()
    assert report.left == {"": "runs on fastrnn already"}


def test_nothing_recurrent():
    assert str(accelerate(nn.Linear(3, 4))) == "no recurrent modules"


def test_what_is_not_a_model():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got int"):
        accelerate(3)
