"""`from_module`, `to_module` and `load_state_dict` beside live PyTorch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

import fastrnn  # noqa: E402
from fastrnn.interop import torch as interop  # noqa: E402
from fastrnn.interop.torch import Stack, from_module, load_state_dict, to_module  # noqa: E402

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
NEAR = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Largest difference from PyTorch, relative to the largest of an array's numbers (at least 1)."""


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=NEAR, ids=str)
def dtype(request):
    return request.param


def near(ours, theirs):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    bound = NEAR[torch.float64 if ours.dtype == np.float64 else torch.float32]
    return np.abs(ours - theirs).max(initial=0) <= bound * max(1, np.abs(theirs).max(initial=0))


def stacked(state, both, lstm):
    """A layer's state as PyTorch has it: (layers * directions, N, H), of an LSTM two of these."""
    layers = [part for part in state if part is not None] if isinstance(state, list) else [state]
    directions = [direction for part in layers for direction in (part if both else [part])]
    return [np.stack(parts) for parts in (zip(*directions, strict=True) if lstm else [directions])]


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_modules_compute_the_same(kind, dtype, layers, both, bias, batch_first, backend):
    torch.manual_seed(0)
    options = {"num_layers": layers, "bidirectional": both, "bias": bias, "batch_first": batch_first}
    module = KINDS[kind](3, 4, dtype=dtype, **options)
    layer = from_module(module)
    x = torch.randn(5, 7, 3, dtype=dtype)
    y, state = module(x if batch_first else x.transpose(0, 1))
    our_y, our_state = layer(x.numpy())
    assert near(our_y, y if batch_first else y.transpose(0, 1))
    our_parts, parts = stacked(our_state, both, kind == "lstm"), state if kind == "lstm" else (state,)
    assert all(near(ours, theirs) for ours, theirs in zip(our_parts, parts, strict=True))


def test_relu(backend):
    torch.manual_seed(0)
    module = nn.RNN(3, 4, 2, nonlinearity="relu", batch_first=True)
    layer = from_module(module)
    assert repr(layer) == "Sequential([SimpleRNN(3, 4, activation='relu'), SimpleRNN(4, 4, activation='relu')])"
    x = torch.randn(5, 7, 3)
    assert near(layer(x.numpy())[0], module(x)[0])


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_projections_there_and_back(dtype, both, bias, backend):
    torch.manual_seed(0)
    module = nn.LSTM(3, 5, 2, proj_size=2, bidirectional=both, bias=bias, batch_first=True, dtype=dtype)
    layer = from_module(module)
    x = torch.randn(5, 7, 3, dtype=dtype)
    y, state = module(x)
    our_y, our_state = layer(x.numpy())
    assert near(our_y, y)
    assert all(near(a, b) for a, b in zip(stacked(our_state, both, True), state, strict=True))
    back = to_module(layer)
    assert back.proj_size == 2
    assert near(our_y, back(x)[0])


@pytest.mark.parametrize("bias", [False, True])
def test_cells(kind, dtype, bias, backend):
    torch.manual_seed(0)
    module = CELLS[kind](3, 4, bias=bias, dtype=dtype)
    layer = from_module(module)
    x, h, c = (torch.randn(5, n, dtype=dtype) for n in (3, 4, 4))
    state = (h, c) if kind == "lstm" else h
    theirs = module(x, state)
    ours = layer.step(x.numpy(), (h.numpy(), c.numpy()) if kind == "lstm" else h.numpy())
    pairs = zip(ours, theirs, strict=True) if kind == "lstm" else [(ours, theirs)]
    assert all(near(a, b) for a, b in pairs)


def test_gradients_are_those_of_pytorch(kind, backend):
    torch.manual_seed(0)
    module = KINDS[kind](3, 4, batch_first=True, bidirectional=True, dtype=torch.float64)
    layer = from_module(module)
    x = torch.randn(5, 7, 3, dtype=torch.float64, requires_grad=True)
    y, _ = module(x)
    y.sum().backward()
    our_y, _, tape = layer.forward(x.detach().numpy())
    dx, _, grads = layer.backward(tape, np.ones_like(our_y))
    assert near(dx, x.grad)
    assert near(grads["fwd.W"].T, module.weight_ih_l0.grad)
    assert near(grads["bwd.U"].T, module.weight_hh_l0_reverse.grad)
    assert near(grads["bwd.b"], module.bias_ih_l0_reverse.grad)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_there_and_back(kind, dtype, layers, both, backend):
    torch.manual_seed(0)
    module = KINDS[kind](3, 4, layers, bidirectional=both, dropout=0.25 * (layers > 1), dtype=dtype)
    layer = from_module(module)
    back = to_module(layer)
    assert type(back) is type(module)
    assert (back.num_layers, back.bidirectional, back.dropout) == (layers, both, module.dropout)
    again = from_module(back)
    assert list(again.params) == list(layer.params)
    assert all(np.array_equal(again.params[name], layer.params[name]) for name in layer.params)
    x = torch.randn(5, 7, 3, dtype=dtype)
    assert near(layer(x.numpy())[0], back.eval()(x)[0])


def test_a_copy_is_a_copy(kind):
    module = KINDS[kind](3, 4)
    layer = from_module(module)
    before = module.weight_ih_l0.detach().clone()
    layer.params["W"][...] = 0
    assert torch.equal(module.weight_ih_l0, before)
    back = to_module(layer)
    with torch.no_grad():
        back.weight_hh_l0.fill_(7)
    assert not (layer.params["U"] == 7).any()


def whole_model(dtype=torch.float32):
    torch.manual_seed(0)
    return Stack(
        nn.Embedding(11, 3, dtype=dtype),
        nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True, dtype=dtype),
        nn.LayerNorm(8, dtype=dtype),
        nn.Dropout(0.2),
        nn.Linear(8, 6, dtype=dtype),
        nn.Tanh(),
        nn.Sequential(nn.Linear(6, 5, bias=False, dtype=dtype), nn.ReLU()),
        nn.GRU(5, 4, batch_first=True, dtype=dtype),
        nn.Linear(4, 2, dtype=dtype),
        nn.Sigmoid(),
    ).eval()


def test_whole_models(dtype, backend):
    module = whole_model(dtype)
    layer = from_module(module)
    x = torch.randint(11, (5, 7))
    y = module(x)
    assert near(layer(x.numpy())[0], y)
    back = to_module(layer).eval()
    assert torch.allclose(back(x), y, rtol=0, atol=1e-6)
    again = from_module(back)
    assert np.array_equal(again(x.numpy())[0], layer(x.numpy())[0])


def test_activations_of_their_own(dtype):
    parts = [nn.Sigmoid(), nn.Softsign(), nn.LeakyReLU(0.3), nn.ELU(0.7), nn.ReLU(), nn.Tanh()]
    module = Stack(nn.GRU(3, 4, batch_first=True, dtype=dtype), nn.Dropout(0.1), *parts).eval()
    x = torch.randn(5, 7, 3, dtype=dtype)
    layer = from_module(module)
    assert near(layer(x.numpy())[0], module(x))
    back = to_module(layer).eval()
    assert [repr(part) for part in back[2:]] == [repr(part) for part in parts]
    assert near(layer(x.numpy())[0], back(x))


def test_drop_ins_are_modules_too():
    module = interop.LSTM(3, 4, batch_first=True)
    x = torch.randn(5, 7, 3)
    assert np.array_equal(from_module(module)(x.numpy())[0], module(x)[0].detach().numpy())


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_half_becomes_single(kind, half):
    torch.manual_seed(0)
    module = KINDS[kind](3, 4, dtype=half)
    layer = from_module(module)
    assert layer.dtype == np.float32
    assert np.array_equal(layer.params["W"], module.weight_ih_l0.detach().float().numpy().T)


# ---------------------------------------------------------------------------------------------------------------------
# Errors of from_module and to_module


class Odd(nn.LSTM):
    """A subclass, as programs have them."""


BAD_MODULES = {
    "class": (nn.Conv1d(3, 4, 1), TypeError, r"module must be one of .*, got torch\.nn\.modules\.conv\.Conv1d"),
    "subclass": (Odd(3, 4), TypeError, r"module must be .*, got .*\.Odd"),
    "inner": (nn.Sequential(nn.Linear(3, 4), nn.GELU()), TypeError, r"module\[1\] must be one of .*GELU"),
    "nested": (nn.Sequential(nn.Sequential(nn.GELU())), TypeError, r"module\[0\]\[0\] must be one of .*GELU"),
    "activation": (nn.Sequential(nn.Tanh()), ValueError, r"module\[0\] must follow a module"),
    "empty": (nn.Sequential(), ValueError, "module must hold at least one"),
    "max_norm": (nn.Embedding(3, 4, max_norm=1.0), ValueError, r"module\.max_norm must be None, got 1\.0"),
    "norm axes": (nn.LayerNorm((3, 4)), ValueError, r"module\.normalized_shape must be of one axis, got \(3, 4\)"),
    "plain norm": (nn.LayerNorm(3, elementwise_affine=False), ValueError, r"module\.elementwise_affine must be True"),
    "complex": (nn.Linear(3, 4, dtype=torch.complex64), TypeError, r"module\.weight must hold float16.*got complex64"),
    "meta": (nn.Sequential(nn.Linear(3, 4, device="meta")), ValueError, r"module\[0\]\.weight must hold numbers, got"),
    "dropout": (nn.Sequential(nn.Linear(3, 4), nn.Dropout(1.0)), ValueError, r"module\[1\]\.p must be .* got 1\.0"),
    "no module": (3, TypeError, r"module must be a torch\.nn\.Module, got int"),
}


@pytest.mark.parametrize("what", BAD_MODULES)
def test_modules_that_have_no_equal(what):
    module, error, message = BAD_MODULES[what]
    with pytest.raises(error, match=message):
        from_module(module)


def normed(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(module)


def hooked(module):
    module.register_forward_hook(lambda module, x, y: (y[0] * 2, y[1]))
    return module


def replaced(module):
    module.forward = lambda x: x
    return module


MORE_THAN_THEIR_CLASS = {
    "weight_norm": (lambda: nn.Sequential(normed(nn.Linear(3, 4))), r"module\[0\] must .*, got hook WeightNorm"),
    "spectral_norm": (lambda: nn.utils.spectral_norm(nn.Linear(3, 4)), "module must .*, got hook SpectralNorm"),
    "prune": (lambda: prune.l1_unstructured(nn.Linear(3, 4), "weight", 2), "module must .*, got hook L1Unstructured"),
    "hook": (lambda: nn.Sequential(hooked(nn.GRU(3, 4))), r"module\[0\] must .*, got hook hooked\.<locals>\.<lambda>"),
    "function": (lambda: nn.Sequential(nn.Linear(3, 4), hooked(nn.ReLU())), r"module\[1\] must .*, got hook hooked"),
    "forward": (lambda: replaced(nn.GRU(3, 4)), "module must compute what its class does and no more, got another"),
}


@pytest.mark.parametrize("what", MORE_THAN_THEIR_CLASS)
def test_modules_that_do_more_than_their_class(what):
    make, message = MORE_THAN_THEIR_CLASS[what]
    with pytest.raises(ValueError, match=message):
        from_module(make())


def two(fwd, bwd):
    return fastrnn.Bidirectional((fwd, bwd))


BAD_LAYERS = {
    "reset": (lambda: fastrnn.GRU(3, 4, reset_after=False), ValueError, "reset_after must be left at .*, got False"),
    "peephole": (lambda: fastrnn.LSTM(3, 4, peephole="full"), ValueError, "peephole must be left at .*, got 'full'"),
    "zoneout": (lambda: fastrnn.GRU(3, 4, zoneout=0.1), ValueError, "zoneout must be left at .*, got 0.1"),
    "state": (lambda: fastrnn.GRU(3, 4, trainable_state=True), ValueError, "trainable_state must be left at"),
    "tanh": (lambda: fastrnn.SimpleRNN(3, 4, activation="elu"), ValueError, "activation must be left at .*, got 'elu'"),
    "reverse": (
        lambda: fastrnn.GRU(3, 4, reverse=True),
        ValueError,
        "reverse must be False outside of a Bidirectional",
    ),
    "merge": (lambda: fastrnn.Bidirectional(fastrnn.GRU(3, 4), "sum"), ValueError, "merge must be 'concat'.*got 'sum'"),
    "activations": (
        lambda: two(fastrnn.SimpleRNN(3, 4), fastrnn.SimpleRNN(3, 4, activation="relu", reverse=True)),
        ValueError,
        r"activation must be the same in both directions .*, got SimpleRNN\(3, 4\) and .*'relu'",
    ),
    "classes": (
        lambda: two(fastrnn.GRU(3, 4), fastrnn.LSTM(3, 4, reverse=True)),
        ValueError,
        "layer must be of one class in both directions",
    ),
    "sizes": (
        lambda: two(fastrnn.GRU(3, 4), fastrnn.GRU(3, 5, reverse=True)),
        ValueError,
        "hidden_size must be the same in both directions",
    ),
    "projections": (
        lambda: fastrnn.Sequential([two(fastrnn.LSTM(3, 4), fastrnn.LSTM(3, 4, proj_size=2, reverse=True))]),
        ValueError,
        "proj_size must be the same in both directions",
    ),
    "mask": (
        lambda: fastrnn.Sequential([fastrnn.MaskedSequential([fastrnn.GRU(3, 4)])]),
        ValueError,
        r"layer must be a stack without a mask_value, .* got MaskedSequential\(",
    ),
    "shared": (lambda: fastrnn.Dropout(0.2, shared_time=True), ValueError, "shared_time must be False"),
    "softmax": (lambda: fastrnn.Activation(3, "softmax"), ValueError, "activation must be one of tanh, .*'softmax'"),
    "affine": (lambda: fastrnn.Activation(3, "affine"), ValueError, "activation must be one of tanh, .*got 'affine'"),
    "class": (lambda: fastrnn.BatchNorm(3), TypeError, r"layer must have an equal in PyTorch, got BatchNorm\(3"),
}


@pytest.mark.parametrize("what", BAD_LAYERS)
def test_layers_that_have_no_equal(what):
    make, error, message = BAD_LAYERS[what]
    with pytest.raises(error, match=message):
        to_module(make())


def test_unequal_layers_are_no_stack():
    layers = [fastrnn.GRU(3, 4, seed=0), fastrnn.GRU(4, 5, seed=1)]
    module = to_module(fastrnn.Sequential(layers))
    assert [type(part) for part in module] == [nn.GRU, nn.GRU]
    dropped = [fastrnn.GRU(3, 4), fastrnn.Dropout(0.1), fastrnn.GRU(4, 4), fastrnn.GRU(4, 4)]
    assert len(to_module(fastrnn.Sequential(dropped))) == 4
    last = [fastrnn.GRU(3, 4), fastrnn.GRU(4, 4), fastrnn.Dropout(0.1)]
    assert [type(part) for part in to_module(fastrnn.Sequential(last))] == [nn.GRU, nn.GRU, nn.Dropout]


# ---------------------------------------------------------------------------------------------------------------------
# load_state_dict


def save_as(module, path):
    if path.suffix == ".safetensors":
        safetensors.torch.save_model(module, str(path))
    else:
        torch.save(module.state_dict(), path)
    return path


class Model(nn.Module):
    def __init__(self, rnn):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.encoder = nn.ModuleDict({"rnn": rnn})


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("half", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_files(kind, suffix, half, tmp_path):
    torch.manual_seed(0)
    rnn = KINDS[kind](3, 4, 2, bidirectional=True, dtype=half)
    path = save_as(Model(rnn), tmp_path / f"model{suffix}")
    expected = from_module(rnn)
    for prefix in ("encoder.rnn.", "encoder.rnn"):
        layer = load_state_dict(path, prefix)
        assert repr(layer) == repr(expected)
        assert layer.dtype == expected.dtype
        assert all(np.array_equal(layer.params[name], expected.params[name]) for name in expected.params)
    assert np.array_equal(load_state_dict(str(path), "encoder.rnn.").params.flat, expected.params.flat)


def test_dicts_of_tensors_and_arrays(kind):
    module = KINDS[kind](3, 4)
    expected = from_module(module).params
    tensors = module.state_dict()
    arrays = {name: value.numpy() for name, value in tensors.items()}
    assert np.array_equal(load_state_dict(tensors).params.flat, expected.flat)
    assert np.array_equal(load_state_dict(arrays).params.flat, expected.flat)


def test_bfloat16_arrays_become_float32(kind):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    module = KINDS[kind](3, 4, dtype=torch.bfloat16)
    arrays = {name: value.float().numpy().astype(bfloat16) for name, value in module.state_dict().items()}
    layer = load_state_dict(arrays)
    assert layer.dtype == np.float32 and np.array_equal(layer.params.flat, from_module(module).params.flat)


def test_options_that_weights_do_not_tell():
    stack = load_state_dict(nn.RNN(3, 4, 2).state_dict(), nonlinearity="relu", dropout=0.5)
    assert [type(layer).__name__ for layer in stack.layers] == ["SimpleRNN", "Dropout", "SimpleRNN"]
    assert repr(stack.layers[0]) == "SimpleRNN(3, 4, activation='relu')"
    assert stack.layers[1].rate == 0.5


def without(name):
    def change(state):
        del state[name]

    return change


def with_(name, value):
    def change(state):
        state[name] = value

    return change


BAD_STATES = {
    "missing weight": (without("weight_hh_l1"), ValueError, "weights must hold weight_hh beside weight_ih_l1"),
    "missing bias": (without("bias_ih_l0"), ValueError, "weights must hold bias_ih beside weight_ih_l0"),
    "missing layer": (lambda s: [s.pop(n) for n in list(s) if "_l0" in n], ValueError, "of layers 0, 1, .* names"),
    "one direction": (with_("weight_ih_l0_reverse", torch.zeros(16, 3)), ValueError, "weights must hold weight_hh"),
    "foreign": (with_("weight_ch_l0", torch.zeros(3)), ValueError, "one RNN, LSTM or GRU, got 'weight_ch_l0'"),
    "below": (
        with_("rnn.weight_ih_l0", torch.zeros(3)),
        ValueError,
        "'rnn.weight_ih_l0' is below ''; it could be '', ",
    ),
    "rows": (with_("weight_hh_l0", torch.zeros(17, 4)), ValueError, r"weight_hh_l0 must have 1, 3 or 4 times 4 rows"),
    "gates": (with_("weight_hh_l0", torch.zeros(8, 4)), ValueError, r"weight_hh_l0 must have 1, 3 or 4 times 4 rows"),
    "axes": (with_("weight_hh_l0", torch.zeros(16)), ValueError, r"weight_hh_l0 must have 2 axes, got shape \(16,\)"),
    "input": (with_("weight_ih_l1", torch.zeros(16, 5)), ValueError, r"weight_ih_l1 must have shape \(16, 4\), got"),
    "bias": (with_("bias_hh_l0", torch.zeros(15)), ValueError, r"bias_hh_l0 must have shape \(16,\), got \(15,\)"),
    "integers": (
        with_("bias_hh_l0", torch.zeros(16, dtype=torch.int32)),
        TypeError,
        "bias_hh_l0 must hold float.*int32",
    ),
    "meta": (with_("bias_hh_l0", torch.zeros(16, device="meta")), ValueError, "bias_hh_l0 must hold numbers, got"),
    "dtypes": (with_("bias_hh_l0", torch.zeros(16).double()), TypeError, "one dtype, got float32, float64"),
    "no axes": (with_("weight_ih_l0", torch.zeros(())), ValueError, r"weight_ih_l0 must have 2 axes, got shape \(\)"),
    "kinds": (
        lambda s: s.update(nn.GRU(4, 4, 2).state_dict(), **{n: v for n, v in s.items() if "_l0" in n}),
        ValueError,
        "weight_hh_l1 must fit layer 0, LSTM with H=4, got GRU with H=4",
    ),
    "units": (
        lambda s: s.update({f"{n[:-1]}1": v for n, v in nn.LSTM(4, 5).state_dict().items()}),
        ValueError,
        "weight_hh_l1 must fit layer 0, LSTM with H=4, got LSTM with H=5",
    ),
    "some biases": (
        lambda s: [s.pop(n) for n in ("bias_ih_l1", "bias_hh_l1")],
        ValueError,
        "weights must hold biases in all layers or in none, got none beside weight_ih_l1",
    ),
}


@pytest.mark.parametrize("what", BAD_STATES)
def test_state_dicts_that_do_not_fit(what):
    change, error, message = BAD_STATES[what]
    state = nn.LSTM(3, 4, 2).state_dict()
    change(state)
    with pytest.raises(error, match=message):
        load_state_dict(state)


def test_prefixes_that_are_not_there(tmp_path):
    path = save_as(Model(nn.GRU(3, 4)), tmp_path / "model.safetensors")
    message = "prefix must be the beginning of a name, got 'decoder'; it could be 'encoder.rnn.'"
    with pytest.raises(ValueError, match=message):
        load_state_dict(path, "decoder")
    with pytest.raises(ValueError, match=r"is below ''; it could be 'encoder\.rnn\.'"):
        load_state_dict(path)
    with pytest.raises(ValueError, match=r"there is no weight_ih_l0 nor weight_ih among 'a', 'b'$"):
        load_state_dict({"a": np.zeros(3), "b": np.zeros(3)}, "c")


def test_a_state_dict_within_a_checkpoint(tmp_path):
    torch.save({"state_dict": nn.GRU(3, 4).state_dict(), "epoch": 3}, tmp_path / "a.ckpt")
    with pytest.raises(TypeError, match="state_dict must be a tensor or an array, got a mapping: is that the state"):
        load_state_dict(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"there is no weight_ih_l0 nor weight_ih among 'state_dict', 'epoch'$"):
        load_state_dict(tmp_path / "a.ckpt", "rnn")


@pytest.mark.parametrize("make", [nn.LSTM, nn.RNN])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prefix": 3}, TypeError, "prefix must be a string, got 3"),
        ({"nonlinearity": "sigmoid"}, ValueError, "nonlinearity must be one of 'tanh', 'relu', got 'sigmoid'"),
        ({"nonlinearity": 3}, TypeError, "nonlinearity must be one of 'tanh', 'relu', got 3"),
        ({"dropout": 7}, ValueError, "dropout must be at least 0 and below 1, got 7"),
        ({"dropout": "a"}, TypeError, "dropout must be a number, got 'a'"),
    ],
)
def test_options_that_no_module_has(make, options, error, message):
    for layers in (1, 2):
        with pytest.raises(error, match=message):
            load_state_dict(make(3, 4, layers).state_dict(), **options)


def test_sources_that_are_none():
    with pytest.raises(TypeError, match="source must be a path or a state dict, got int"):
        load_state_dict(3)
    with pytest.raises(FileNotFoundError):
        load_state_dict("nowhere.safetensors")
    with pytest.raises(FileNotFoundError):
        load_state_dict("nowhere.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_damaged_and_hostile_files(tmp_path):
    good = {
        suffix: save_as(nn.GRU(3, 4), tmp_path / f"good{suffix}").read_bytes() for suffix in (".pt", ".safetensors")
    }
    header = (
        b'{"weight_ih_l0":{"dtype":"F32","shape":[12,3],"data_offsets":[0,144]},'
        b'"weight_hh_l0":{"dtype":"F32","shape":[12,4],"data_offsets":[%d,%d]}}'
    )
    overlap, beyond = header % (0, 192), header % (144, 336)
    contents = {
        "cut.pt": good[".pt"][:300],
        "cut.safetensors": good[".safetensors"][:-5],
        "junk.pt": b"hello world" * 50,
        "junk.safetensors": b"hello world" * 50,
        "empty.safetensors": b"",
        "huge.safetensors": (2**40).to_bytes(8, "little") + b"{}",
        "overlap.safetensors": len(overlap).to_bytes(8, "little") + overlap + bytes(336),
        "beyond.safetensors": len(beyond).to_bytes(8, "little") + beyond + bytes(200),
        "code.pt": b"cbuiltins\nprint\n(S'run'\ntR.",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match="source must be a"):
            load_state_dict(path)


def test_a_file_that_holds_something_else(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="source must hold a state dict, got list"):
        load_state_dict(tmp_path / "list.pt")
