"""The drop-in modules beside PyTorch's own: results, gradients and everything around them."""

from __future__ import annotations

import copy
import io
import itertools
import warnings

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence  # noqa: E402

from fastrnn.interop.torch import GRU, LSTM, RNN, dropin, scan  # noqa: E402

KINDS = {"lstm": (nn.LSTM, LSTM), "gru": (nn.GRU, GRU), "rnn": (nn.RNN, RNN)}
NEAR = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Largest difference from PyTorch, relative to the largest of an array's numbers (at least 1)."""


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(autouse=True)
def _fresh_warnings(monkeypatch):
    monkeypatch.setattr(dropin, "_warned", set())


@pytest.fixture
def calls(monkeypatch):
    """One entry for every layer that runs on the kernels: its plan."""
    plans = []
    forward = scan.run

    def run(plan, *args):
        plans.append(plan)
        return forward(plan, *args)

    for module in (scan, dropin):
        monkeypatch.setattr(module, "run", run)
    return plans


def pair(kind, *sizes, dtype=torch.float64, **options):
    """PyTorch's module and ours with the same weights."""
    torch.manual_seed(0)
    theirs, ours = (module(*sizes, dtype=dtype, **options) for module in KINDS[kind])
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def state_of(module, N, dtype=torch.float64):
    """A random initial state that wants a gradient, as the module takes it."""
    rows = module.num_layers * (2 if module.bidirectional else 1)
    parts = [torch.randn(rows, N, module.proj_size or module.hidden_size, dtype=dtype, requires_grad=True)]
    if module.mode == "LSTM":
        parts.append(torch.randn(rows, N, module.hidden_size, dtype=dtype, requires_grad=True))
        return tuple(parts)
    return parts[0]


def everything(module, x, hx, inputs, train=True):
    """Outputs and the gradients of all that goes in, of a loss that weighs every output differently."""
    module.train(train)
    torch.manual_seed(1)
    y, state = module(x, hx)
    outputs = [y.data if isinstance(y, PackedSequence) else y, *as_tuple(state)]
    loss = sum((out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum() for out in outputs)
    return [*outputs, *torch.autograd.grad(loss, [*inputs, *module.parameters()])]


def assert_same(theirs, ours):
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        scale = max(1.0, float(a.detach().abs().max())) if a.numel() else 1.0
        assert torch.allclose(a, b, rtol=0, atol=NEAR[a.dtype] * scale), float((a - b).abs().max())


OPTIONS = [
    {"num_layers": layers, "bidirectional": both, "bias": bias, "batch_first": first, "dropout": 0.3 * (layers > 1)}
    for layers, both, bias, first in itertools.product((1, 3), (False, True), (False, True), (False, True))
]


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda o: "-".join(str(int(v > 0) if k != "num_layers" else v) for k, v in o.items())
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", NEAR, ids=str)
def test_outputs_and_gradients_are_those_of_pytorch(kind, options, packed, dtype, backend):
    results = []
    for module in pair(kind, 3, 4, dtype=dtype, **options):
        torch.manual_seed(2)
        x = torch.randn(5, 5, 3, dtype=dtype, requires_grad=True)
        hx = state_of(module, 5, dtype)
        lengths = torch.tensor([3, 5, 1, 5, 2])
        batch = pack_padded_sequence(x, lengths, options["batch_first"], enforce_sorted=False) if packed else x
        results.append(everything(module, batch, hx, [x, *as_tuple(hx)]))
    assert_same(*results)


def test_relu(backend):
    results = []
    for module in pair("rnn", 3, 4, nonlinearity="relu"):
        torch.manual_seed(2)
        x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
        results.append(everything(module, x, None, [x]))
    assert_same(*results)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_projections(both, bias, packed, backend, calls):
    results = []
    for module in pair("lstm", 3, 4, num_layers=2, proj_size=2, bidirectional=both, bias=bias):
        torch.manual_seed(2)
        x = torch.randn(5, 3, 3, dtype=torch.float64, requires_grad=True)
        hx = state_of(module, 3)
        batch = pack_padded_sequence(x, torch.tensor([5, 2, 1])) if packed else x
        results.append(everything(module, batch, hx, [x, *as_tuple(hx)]))
    assert_same(*results)
    assert len(calls) == 2


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_a_single_sequence(kind, batch_first, given):
    results = []
    for module in pair(kind, 3, 4, num_layers=2, bidirectional=True, batch_first=batch_first):
        torch.manual_seed(2)
        x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
        hx = state_of(module, 1) if given else None
        if hx is not None:
            hx = tuple(part[:, 0] for part in hx) if isinstance(hx, tuple) else hx[:, 0]
        results.append(everything(module, x, hx, [x]))
    assert_same(*results)


def test_sorted_packed_sequences_and_no_state(kind):
    results = []
    for module in pair(kind, 3, 4, bidirectional=True):
        torch.manual_seed(2)
        x = [torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (5, 5, 3, 1)]
        packed = pack_sequence(x, enforce_sorted=True)
        assert packed.sorted_indices is None
        results.append(everything(module, packed, None, x))
    assert_same(*results)


def test_a_packed_result_says_how_its_input_was_packed(kind):
    _, ours = pair(kind, 3, 4)
    x = pack_sequence([torch.zeros(n, 3, dtype=torch.float64) for n in (2, 5, 3)], enforce_sorted=False)
    y, _ = ours(x)
    assert y.batch_sizes is x.batch_sizes
    assert y.sorted_indices is x.sorted_indices
    assert y.unsorted_indices is x.unsorted_indices


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch_first", [False, True])
def test_results_are_contiguous(kind, batch_first, layers):
    x = torch.randn(5, 7, 3, dtype=torch.float64)
    options = {"batch_first": batch_first, "num_layers": layers}
    (_, state), (our_y, our_state) = (module(x) for module in pair(kind, 3, 4, **options))
    assert our_y.is_contiguous()
    assert [part.stride() for part in as_tuple(our_state)] == [part.stride() for part in as_tuple(state)]


@pytest.mark.parametrize(
    "view", [lambda x: x.flip(0), lambda x: x[::2], lambda x: x[..., ::2], lambda x: x.expand(4, 3, 6)]
)
def test_inputs_that_are_not_contiguous(kind, view):
    x = torch.randn(4, 1, 6, dtype=torch.float64)
    x = view(x)
    assert_same(*([module(x)[0]] for module in pair(kind, x.shape[2], 4)))


@pytest.mark.parametrize("packed", [False, True])
def test_gradcheck(kind, packed, backend):
    _, ours = pair(kind, 2, 3, num_layers=2, bidirectional=True)
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    hx = state_of(ours, 3)

    def outputs(x, *rest):
        n = len(as_tuple(hx))
        state = rest[:n] if n > 1 else rest[0]
        batch = pack_padded_sequence(x, torch.tensor([4, 2, 1])) if packed else x
        y, state = torch.func.functional_call(ours, dict(zip(names, rest[n:], strict=True)), (batch, state))
        return y.data if packed else y, *as_tuple(state)

    names = [name for name, _ in ours.named_parameters()]
    assert torch.autograd.gradcheck(outputs, (x, *as_tuple(hx), *ours.parameters()))


def test_the_kernels_run(kind, calls):
    """Nothing above means anything if PyTorch computes."""
    theirs, ours = pair(kind, 3, 4, num_layers=2)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        ours(torch.zeros(5, 2, 3, dtype=torch.float64))
        theirs(torch.zeros(5, 2, 3, dtype=torch.float64))
    assert len(calls) == 2


SHORT = [(1, 15, 512, False), (2, 8, 512, True), (64, 1, 3, False), (1, 2, 3, True)]
SHORT_TRAINED = [(1, 7, 512, False), (2, 4, 512, True), (64, 1, 3, False), (1, 2, 3, True)]


@pytest.mark.parametrize("N, T, D, ours", SHORT)
def test_what_does_not_pay_is_pytorchs(kind, calls, N, T, D, ours):
    with torch.no_grad():
        check_who_computes(kind, calls, N, T, D, ours)


@pytest.mark.parametrize("N, T, D, ours", SHORT_TRAINED)
def test_what_does_not_pay_with_gradients_is_pytorchs(kind, calls, N, T, D, ours):
    check_who_computes(kind, calls, N, T, D, ours or kind == "lstm")


def check_who_computes(kind, calls, N, T, D, ours):
    theirs, module = pair(kind, D, 32 * 4)
    for x in (torch.randn(T, N, D, dtype=torch.float64), pack_sequence([torch.zeros(T, D).double()] * N)):
        calls.clear()
        y, expected = (m(x)[0] for m in (module, theirs))
        assert bool(calls) is ours
        pairs = (y.data, expected.data) if isinstance(x, PackedSequence) else (y, expected)
        assert_same(*([part] for part in pairs))


def test_nothing_is_kept_where_no_gradient_is_wanted(kind, calls):
    _, ours = pair(kind, 3, 4)
    x = torch.zeros(5, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        assert ours(x)[0].grad_fn is None
    with torch.inference_mode():
        assert ours(x)[0].is_inference()
    frozen = copy.deepcopy(ours).requires_grad_(False)
    assert frozen(x)[0].grad_fn is None
    assert frozen(x.requires_grad_())[0].grad_fn is not None
    assert [plan.keep for plan in calls] == [False, False, False, True]


def test_a_second_derivative_raises(kind):
    _, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    y = ours(x)[0].sum()
    (dx,) = torch.autograd.grad(y, x, create_graph=True)
    assert torch.equal(dx, torch.autograd.grad(y, x)[0])
    loss = y + dx.square().sum()
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        loss.backward(retain_graph=True)
    for wanted in (x, *ours.parameters()):  # of which y is a function too
        with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
            torch.autograd.grad(loss, wanted, retain_graph=True)


def test_a_second_derivative_through_the_gradient_of_y_raises(kind):
    _, ours = pair(kind, 3, 4)
    x, weights = torch.randn(5, 2, 3, dtype=torch.float64), torch.ones(4, dtype=torch.float64, requires_grad=True)
    grads = torch.autograd.grad((ours(x)[0] * weights).sum(), list(ours.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        torch.autograd.grad(sum(part.square().sum() for part in grads), weights)


def test_many_gradients_at_once_raise(kind):
    _, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    y, batch = ours(x)[0], torch.randn(6, 5, 2, 4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="take one gradient at a time"):
        torch.autograd.grad(y, x, batch, is_grads_batched=True, retain_graph=True)
    with pytest.raises(RuntimeError, match="take one gradient at a time"):
        torch.func.vmap(lambda dy: torch.autograd.grad(y, x, dy, retain_graph=True))(batch)


def test_the_graph_may_be_kept_and_used_again(kind):
    _, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    y, _ = ours(x)
    (first,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(y.sum(), x)


@pytest.mark.parametrize(
    "kind, packed, P",
    [("gru", False, None), ("gru", True, None), ("rnn", False, None), ("lstm", True, None), ("lstm", False, 2)],
)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}], ids=str)
def test_outputs_may_be_changed_in_place(kind, packed, P, options, backend):
    gradients = []
    if P:
        options = {**options, "proj_size": P}
    for module in pair(kind, 3, 4, **options):
        x = torch.linspace(-1, 1, 30, dtype=torch.float64).view(5, 2, 3).requires_grad_()
        y, state = module(pack_padded_sequence(x, torch.tensor([5, 2])) if packed else x)
        y, (h, *_) = y.data if packed else y, as_tuple(state)
        y.relu_()
        h.mul_(2)
        gradients.append(torch.autograd.grad(y.sum() + h.sum(), [x, *module.parameters()]))
    assert_same(*gradients)


def test_where_pytorch_raises_for_a_change_in_place_we_do():
    for module in pair("lstm", 3, 4, dtype=torch.float32):
        y, _ = module(torch.zeros(5, 2, 3))
        y.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_a_weight_changed_before_the_backward_pass_is_noticed(kind):
    _, ours = pair(kind, 3, 4)
    y, _ = ours(torch.zeros(5, 2, 3, dtype=torch.float64))
    with torch.no_grad():
        ours.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_weight_changed_behind_autograds_back_counts(kind):
    _, ours = pair(kind, 3, 4)
    x = torch.ones(5, 2, 3, dtype=torch.float64)
    before = ours(x)[0]
    ours.weight_ih_l0.data.mul_(2)
    assert not torch.equal(before, ours(x)[0])


def test_the_state_dict_is_pytorchs(kind):
    theirs, ours = pair(kind, 3, 4, num_layers=2, bidirectional=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert isinstance(ours, KINDS[kind][0])
    assert repr(ours) == repr(theirs)


def test_copies_and_files(kind):
    _, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    file = io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    for twin in (copy.deepcopy(ours), torch.load(file, weights_only=False)):
        assert type(twin) is type(ours)
        assert torch.equal(twin(x)[0], ours(x)[0])
        with torch.no_grad():
            next(twin.parameters()).zero_()
        assert not torch.equal(twin(x)[0], ours(x)[0])


def test_a_dtype_may_be_changed(kind):
    theirs, ours = (module.float() for module in pair(kind, 3, 4))
    x = torch.randn(5, 2, 3)
    assert_same([theirs(x)[0]], [ours(x)[0]])


def test_optimizers(kind):
    losses = []
    for module in pair(kind, 3, 4, num_layers=2, dropout=0.2):
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        torch.manual_seed(3)
        x = torch.randn(6, 4, 3, dtype=torch.float64)
        own = []
        for _ in range(20):
            optimizer.zero_grad()
            loss = (module(x)[0] - x.mean()).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimizer.step()
            own.append(loss.item())
        losses.append(own)
    assert losses[0] == pytest.approx(losses[1], abs=1e-10)
    assert losses[1][-1] < losses[1][0]


def test_gradients_lie_as_the_parameters_do(kind):
    _, ours = pair(kind, 3, 4)
    ours(torch.zeros(5, 2, 3, dtype=torch.float64))[0].sum().backward()
    for parameter in ours.parameters():
        assert parameter.grad.stride() == parameter.stride()


class Rows(torch.utils.data.Dataset):
    """Runs a module in whichever process asks for a row."""

    def __init__(self, module):
        self.module = module

    def __len__(self):
        return 4

    def __getitem__(self, k):
        with torch.no_grad():
            return self.module(torch.full((50, 16, 64), k / 4))[0][-1]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_workers_of_a_data_loader(kind):
    _, ours = pair(kind, 64, 64, dtype=torch.float32)
    rows = Rows(ours)
    here = torch.stack([rows[k] for k in range(4)])  # threads have run in this process before it forks
    loader = torch.utils.data.DataLoader(rows, batch_size=2, num_workers=2, multiprocessing_context="fork")
    assert torch.equal(torch.cat(list(loader)), here)


BAD = {
    "features": lambda: (torch.zeros(5, 2, 4),),
    "axes": lambda: (torch.zeros(5),),
    "dtype": lambda: (torch.zeros(5, 2, 3, dtype=torch.float64),),
    "no step": lambda: (torch.zeros(0, 2, 3),),
    "rows of the state": lambda: (torch.zeros(5, 2, 3), torch.zeros(1, 3, 4)),
    "axes of the state": lambda: (torch.zeros(5, 2, 3), torch.zeros(2, 4)),
}


@pytest.mark.parametrize("what", BAD)
def test_errors_are_pytorchs(kind, what):
    messages = []
    for module in pair(kind, 3, 4, dtype=torch.float32):
        x, *hx = BAD[what]()
        if hx and kind == "lstm":
            hx = [(hx[0], hx[0])]
        with pytest.raises((RuntimeError, ValueError)) as error:
            module(x, *hx)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("kind", ["gru", "rnn"])
def test_a_state_of_a_packed_batch_with_too_many_rows(kind):
    _, ours = pair(kind, 3, 4, dtype=torch.float32)
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 1, 4\), got \[1, 2, 4\]"):
        ours(pack_sequence([torch.zeros(3, 3)]), torch.zeros(1, 2, 4))


def test_an_empty_tuple_is_no_state(kind):
    for module in pair(kind, 3, 4):
        with pytest.raises((IndexError, AttributeError)):
            module(torch.zeros(5, 2, 3, dtype=torch.float64), ())


@pytest.mark.parametrize("kind", ["gru", "rnn"])
def test_a_state_in_a_tuple_is_that_of_an_lstm_only(kind):
    messages = []
    for module in pair(kind, 3, 4, dtype=torch.float32):
        with warnings.catch_warnings(), pytest.raises(AttributeError) as error:
            warnings.simplefilter("error")
            module(torch.zeros(5, 2, 3), (torch.zeros(1, 2, 4),))
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_half_precision_is_pytorchs_and_said_once(kind):
    theirs, ours = (module.bfloat16() for module in pair(kind, 3, 4))
    x = torch.ones(5, 2, 3, dtype=torch.bfloat16)
    with pytest.warns(UserWarning, match="runs on PyTorch, not on fastrnn: .* not bfloat16") as found:
        y = ours(x)[0]
    assert found[0].filename == __file__
    assert torch.equal(y, theirs(x)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours(x)


def test_tensors_of_another_device_are_pytorchs(kind):
    ours = KINDS[kind][1](3, 4, device="meta")
    with pytest.warns(UserWarning, match="a tensor is on meta"):
        assert ours(torch.zeros(5, 2, 3, device="meta"))[0].device.type == "meta"


def test_another_default_device(kind):
    gradients = []
    for module in pair(kind, 3, 4):
        x = torch.linspace(-1, 1, 30, dtype=torch.float64).view(5, 2, 3)
        with torch.device("meta"):
            y = module(x)[0]
        gradients.append([y, *torch.autograd.grad(y.sum(), list(module.parameters()))])
    assert_same(*gradients)


def test_autocast_is_pytorchs(kind):
    theirs, ours = pair(kind, 3, 4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16), pytest.warns(UserWarning, match="autocast"):
        assert_same([theirs(torch.ones(5, 2, 3))[0].float()], [ours(torch.ones(5, 2, 3))[0].float()])


def test_a_trace_holds_pytorchs_operators(kind):
    theirs, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with pytest.warns(UserWarning, match="traced"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        traced = torch.jit.trace(ours, x)
    with pytest.warns(UserWarning, match="records"):
        recorded = make_fx(lambda x: ours(x)[0])(x)
    assert_same([theirs(2 * x)[0]] * 2, [traced(2 * x)[0], recorded(2 * x)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_compiled_is_pytorchs(kind):
    theirs, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with pytest.warns(UserWarning, match="compiled"):
        y = torch.compile(ours, backend="eager")(x)[0]
    assert_same([theirs(x)[0]], [y])


class Tagger(nn.Module):
    """A recurrent module within a model."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(4, 2, dtype=torch.float64)

    def forward(self, x, hx=None):
        y, _ = self.rnn(x, hx)
        return self.head(y)


def test_a_symbolic_trace_calls_the_module(kind, calls):
    _, ours = pair(kind, 3, 4)
    model = Tagger(ours)
    traced = torch.fx.symbolic_trace(model)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["rnn", "head"]
    x, hx = torch.randn(5, 2, 3, dtype=torch.float64), state_of(ours, 2)
    assert torch.equal(traced(x, hx), model(x, hx))
    assert len(calls) == 2


def test_saved_tensors_that_may_be_changed(kind):
    gradients = []
    for module in pair(kind, 3, 4):
        x = torch.linspace(-1, 1, 30, dtype=torch.float64).view(5, 2, 3)
        with warnings.catch_warnings(), torch.autograd.graph.allow_mutation_on_saved_tensors():
            warnings.filterwarnings("ignore", message=".* runs on PyTorch")
            y = module(x)[0]
            with torch.no_grad():
                module.weight_hh_l0.mul_(2)
            gradients.append(torch.autograd.grad(y.sum(), list(module.parameters())))
    assert_same(*gradients)


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpoints(kind, reentrant):
    gradients = []
    for module in pair(kind, 3, 4):
        x = torch.linspace(-1, 1, 30, dtype=torch.float64).view(5, 2, 3).requires_grad_()
        y = torch.utils.checkpoint.checkpoint(lambda x, module=module: module(x)[0], x, use_reentrant=reentrant)
        y.square().sum().backward()
        gradients.append([x.grad, *(parameter.grad for parameter in module.parameters())])
    assert_same(*gradients)


def test_parametrized_weights(kind):
    gradients = []
    for module in pair(kind, 3, 4):
        nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
        x = torch.linspace(-1, 1, 30, dtype=torch.float64).view(5, 2, 3)
        y = module(x)[0]
        gradients.append([y, *torch.autograd.grad(y.sum(), list(module.parameters()))])
    assert_same(*gradients)


def test_transforms_are_pytorchs(kind):
    theirs, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with pytest.warns(UserWarning, match="transforms"):
        gradient = torch.func.grad(lambda x: ours(x)[0].sum())(x)
    assert_same([torch.func.grad(lambda x: theirs(x)[0].sum())(x)], [gradient])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["gru", "rnn"])  # PyTorch's LSTM has no forward mode
def test_forward_mode_is_pytorchs(kind, calls):
    theirs, ours = pair(kind, 3, 4)
    x, direction = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    tangents = []
    with forward_ad.dual_level(), pytest.warns(UserWarning, match="forward-mode"):
        for module in (theirs, ours):
            y = module(forward_ad.make_dual(x, direction))[0]
            tangents.append([part.detach() for part in forward_ad.unpack_dual(y)])
    assert_same(*tangents)
    assert not calls
    ours(x)
    assert calls
