"""Record what PyTorch's own layers compute: projections, both directions at once, two layers, packed sequences.

Run with a Python that has torch, from the root of the repository::

    PYTHONPATH=tests python tests/goldens/record_torch_layers.py

Everything is float64, results and gradients; ``golden_files`` says how it is stored.
"""

from __future__ import annotations

from typing import Any

import torch
from golden_files import numbered, write
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

N, T, D, H = 4, 5, 3, 4
LENGTHS = {"full": None, "ragged": torch.tensor([3, 5, 1, 4])}
KINDS: dict[str, Any] = {
    "rnn_tanh": (torch.nn.RNN, {}, "SimpleRNN", {}),
    "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu"}, "SimpleRNN", {"activation": "relu"}),
    "lstm": (torch.nn.LSTM, {}, "LSTM", {}),
    "lstm_proj": (torch.nn.LSTM, {"proj_size": 2}, "LSTM", {"proj_size": 2}),
    "gru": (torch.nn.GRU, {}, "GRU", {}),
}
SHAPES = {  # number of layers, both directions
    "one": (1, False),
    "bidirectional": (1, True),
    "two": (2, False),
    "two_bidirectional": (2, True),
}


def spec_of(kind: str, layers: int, both: bool) -> list[Any]:
    """The layer as ``golden_files.build`` takes it."""
    _, _, name, options = KINDS[kind]
    output_size = options.get("proj_size", H) * (2 if both else 1)
    stack = []
    for k in range(layers):
        scan = [name, D if k == 0 else output_size, H, options]
        stack.append(["Bidirectional", scan, "concat"] if both else scan)
    return ["Sequential", *stack] if layers > 1 else stack[0]


def prefix_of(k: int, suffix: str, layers: int, both: bool) -> str:
    """What comes before W in the name of a parameter of layer k."""
    side = ("bwd." if suffix else "fwd.") if both else ""
    return (f"{k}." if layers > 1 else "") + side


def in_our_layout(module: torch.nn.Module, layers: int, both: bool, gradient: bool) -> dict[str, torch.Tensor]:
    """The module's parameters, or their gradients, by fastrnn's names.

    W = weight_ih.T, U = weight_hh.T and b = bias_ih + bias_hh, but for the n gate of a GRU, whose bias_hh is b_rec.
    Both biases that make up b have b's gradient.
    """
    found = {}
    for k in range(layers):
        for suffix in ("", "_reverse") if both else ("",):
            own = {name: getattr(module, f"{name}_l{k}{suffix}") for name in ("weight_ih", "weight_hh")}
            b_ih, b_hh = (getattr(module, f"bias_{which}_l{k}{suffix}") for which in ("ih", "hh"))
            if gradient:
                own = {name: value.grad for name, value in own.items()}
                b, b_rec = b_ih.grad, b_hh.grad[2 * H :]
            elif isinstance(module, torch.nn.GRU):
                b, b_rec = torch.cat([(b_ih + b_hh)[: 2 * H], b_ih[2 * H :]]), b_hh[2 * H :]
            else:
                b, b_rec = b_ih + b_hh, None
            prefix = prefix_of(k, suffix, layers, both)
            found |= {f"{prefix}W": own["weight_ih"].T, f"{prefix}U": own["weight_hh"].T, f"{prefix}b": b}
            if isinstance(module, torch.nn.GRU):
                found[f"{prefix}b_rec"] = b_rec
            if getattr(module, "proj_size", 0):
                projection = getattr(module, f"weight_hr_l{k}{suffix}")
                found[f"{prefix}W_proj"] = (projection.grad if gradient else projection).T
    return found


def record(kind: str, shape: str, batch: str) -> None:
    make, options, name, _ = KINDS[kind]
    layers, both = SHAPES[shape]
    module = make(D, H, num_layers=layers, bidirectional=both, batch_first=True, **options)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, lengths = torch.randn(N, T, D).requires_grad_(), LENGTHS[batch]
    sizes = (options.get("proj_size", H), H) if name == "LSTM" else (H,)
    initial = [torch.randn(layers * (1 + both), N, size).requires_grad_() for size in sizes]

    packed = x if lengths is None else pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, final = module(packed, tuple(initial) if name == "LSTM" else initial[0])
    if lengths is not None:
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=T)
    final = final if name == "LSTM" else (final,)
    dy, dfinal = torch.randn(y.shape), [torch.randn(part.shape) for part in final]
    loss = (dy * y).sum() + sum((d * part).sum() for d, part in zip(dfinal, final, strict=True))
    loss.backward()

    def parts(arrays: Any) -> list[torch.Tensor]:  # h and c side by side, direction by direction, layer by layer
        return [array[k] for k in range(layers * (1 + both)) for array in arrays]

    arrays = {"x": x, "lengths": lengths, "y": y, "dy": dy, "dx": x.grad}
    arrays |= numbered("state", parts(initial)) | numbered("final", parts(final)) | numbered("dfinal", parts(dfinal))
    arrays |= numbered("dstate", parts([array.grad for array in initial]))
    arrays |= {f"param.{key}": value for key, value in in_our_layout(module, layers, both, False).items()}
    arrays |= {f"grad.{key}": value for key, value in in_our_layout(module, layers, both, True).items()}
    arrays = {key: None if value is None else value.detach().numpy() for key, value in arrays.items()}
    write("torch", f"{kind}_{shape}_{batch}", spec_of(kind, layers, both), arrays, f"torch {torch.__version__}")


def main() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    for kind in KINDS:
        for shape in SHAPES:
            if shape == "one" and kind != "lstm_proj":  # recorded, direction by direction, by record_torch.py
                continue
            if shape.startswith("two") and kind.startswith("rnn"):  # stacks are the same for every cell
                continue
            for batch in LENGTHS:
                record(kind, shape, batch)


if __name__ == "__main__":
    main()
