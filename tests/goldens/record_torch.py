"""Record what PyTorch (and, for the reset-before GRU, ONNX Runtime) computes, for tests that need neither.

Run with a Python that has torch, onnx and onnxruntime::

    python tests/goldens/record_torch.py

Writes one .npz per cell, direction and batch (full or ragged) beside this file. All arrays are in fastrnn's layout
and float64:

    x (N, T, D); lengths (N,), absent for a full batch; W, U, b, b_rec as in fastrnn.cells; h0, c0;
    y (N, T, H), 0 in the padding; h, c the final states; dy, dh, dc the gradients sent back;
    dx, dh0, dc0, dW, dU, db, db_rec the gradients that come of them.

PyTorch's parameters become fastrnn's by W = weight_ih.T, U = weight_hh.T, b = bias_ih + bias_hh, but for the n gate of
a GRU: there b holds bias_ih and b_rec holds bias_hh. The order of the gates is the same.

PyTorch has no reset-before GRU. Its forward pass is recorded from ONNX Runtime (``y_onnx``, float32), and its
gradients from PyTorch's differentiation of a loop that is checked against that.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = Path(__file__).parent
N, T, D, H = 3, 5, 4, 6
LENGTHS = {"full": None, "ragged": torch.tensor([3, 5, 1])}
MODULES = {
    "rnn_tanh": lambda: torch.nn.RNN(D, H, nonlinearity="tanh", batch_first=True, bidirectional=True),
    "rnn_relu": lambda: torch.nn.RNN(D, H, nonlinearity="relu", batch_first=True, bidirectional=True),
    "lstm": lambda: torch.nn.LSTM(D, H, batch_first=True, bidirectional=True),
    "gru": lambda: torch.nn.GRU(D, H, batch_first=True, bidirectional=True),
}


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape).requires_grad_()


def write(name: str, arrays: dict) -> None:
    values = {key: value.detach().numpy() if torch.is_tensor(value) else value for key, value in arrays.items()}
    sources = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    np.savez_compressed(HERE / f"{name}.npz", source=sources, **values)


def in_our_layout(cell: str, w_ih: torch.Tensor, w_hh: torch.Tensor, b_ih: torch.Tensor, b_hh: torch.Tensor) -> dict:
    params = {"W": w_ih.T, "U": w_hh.T, "b": b_ih + b_hh}
    if cell == "gru":
        params["b"] = torch.cat([(b_ih + b_hh)[: 2 * H], b_ih[2 * H :]])
        params["b_rec"] = b_hh[2 * H :]
    return params


def gradients_in_our_layout(cell: str, w_ih, w_hh, b_ih, b_hh) -> dict:
    grads = {"dW": w_ih.grad.T, "dU": w_hh.grad.T, "db": b_ih.grad}
    if cell == "gru":
        grads["db_rec"] = b_hh.grad[2 * H :]
    return grads


def record_module(cell: str, direction: int, batch: str) -> None:
    """One direction of a bidirectional module: the loss reads that direction's half of the results."""
    module = MODULES[cell]()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, lengths = normal(N, T, D), LENGTHS[batch]
    initial = [normal(2, N, H) for _ in ("h", "c")[: 2 if cell == "lstm" else 1]]
    packed = x if lengths is None else pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, final = module(packed, tuple(initial) if cell == "lstm" else initial[0])
    if lengths is not None:
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=T)
    final = [part[direction] for part in (final if cell == "lstm" else (final,))]
    y = y[..., direction * H : (direction + 1) * H]
    dy, dfinal = torch.randn(N, T, H), [torch.randn(N, H) for _ in final]
    loss = (dy * y).sum() + sum((d * part).sum() for d, part in zip(dfinal, final, strict=True))
    loss.backward()

    suffix = "_reverse" if direction else ""
    parameters = [getattr(module, f"{k}_l0{suffix}") for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    arrays = {"x": x, "y": y, "dy": dy, "dx": x.grad, **in_our_layout(cell, *parameters)}
    arrays |= gradients_in_our_layout(cell, *parameters)
    for k, state in enumerate("hc"[: len(final)]):
        arrays |= {f"{state}0": initial[k][direction], state: final[k]}
        arrays |= {f"d{state}": dfinal[k], f"d{state}0": initial[k].grad[direction]}
    if lengths is not None:
        arrays["lengths"] = lengths
    write(f"{cell}_{'reverse' if direction else 'forward'}_{batch}", arrays)


def reset_before(x, lengths, h, W, U, b, reverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The reset-before GRU of Cho et al. (2014, version 1), sequence by sequence."""
    rows, finals = [], []
    for row in range(N):
        state, length = h[row], T if lengths is None else int(lengths[row])
        y = [torch.zeros(H)] * T
        for t in reversed(range(length)) if reverse else range(length):
            a = x[row, t] @ W + b
            r = torch.sigmoid(a[:H] + state @ U[:, :H])
            z = torch.sigmoid(a[H : 2 * H] + state @ U[:, H : 2 * H])
            n = torch.tanh(a[2 * H :] + (r * state) @ U[:, 2 * H :])
            y[t] = state = (1 - z) * n + z * state
        rows.append(torch.stack(y))
        finals.append(state)
    return torch.stack(rows), torch.stack(finals)


def onnx_gru(x, lengths, h, W, U, b, reverse: bool) -> np.ndarray:
    """y (N, T, H) of ONNX's GRU with linear_before_reset = 0; its gates come in the order z r h."""
    order = np.r_[H : 2 * H, :H, 2 * H : 3 * H]
    bias = np.concatenate([b.detach().numpy()[order], np.zeros(3 * H)])
    inputs = {"X": x.detach().numpy().swapaxes(0, 1), "W": W.detach().numpy().T[order][None]}
    inputs |= {"R": U.detach().numpy().T[order][None], "B": bias[None], "initial_h": h.detach().numpy()[None]}
    inputs = {name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()}
    inputs["sequence_lens"] = np.full(N, T, np.int32) if lengths is None else lengths.numpy().astype(np.int32)
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h"]
    node = onnx.helper.make_node(
        "GRU", names, ["Y"], hidden_size=H, linear_before_reset=0, direction="reverse" if reverse else "forward"
    )
    infos = [
        onnx.helper.make_tensor_value_info(k, onnx.helper.np_dtype_to_tensor_dtype(inputs[k].dtype), inputs[k].shape)
        for k in names
    ]
    result = onnx.helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, (T, 1, N, H))
    graph = onnx.helper.make_graph([node], "gru", infos, [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["Y"], inputs)[0][:, 0].swapaxes(0, 1)


def record_reset_before(reverse: bool, batch: str) -> None:
    lengths = LENGTHS[batch]
    x, h0 = normal(N, T, D), normal(N, H)
    W, U, b = (
        parameter.detach().mul(0.5).requires_grad_()
        for parameter in (normal(D, 3 * H), normal(H, 3 * H), normal(3 * H))
    )
    y, h = reset_before(x, lengths, h0, W, U, b, reverse)
    y_onnx = onnx_gru(x, lengths, h0, W, U, b, reverse)
    assert np.abs(y.detach().numpy() - y_onnx).max() < 1e-6, "ONNX Runtime computes something else"
    dy, dh = torch.randn(N, T, H), torch.randn(N, H)
    ((dy * y).sum() + (dh * h).sum()).backward()
    arrays = {"x": x, "W": W, "U": U, "b": b, "h0": h0, "y": y, "h": h, "dy": dy, "dh": dh, "y_onnx": y_onnx}
    arrays |= {"dx": x.grad, "dh0": h0.grad, "dW": W.grad, "dU": U.grad, "db": b.grad}
    if lengths is not None:
        arrays["lengths"] = lengths
    write(f"gru_before_{'reverse' if reverse else 'forward'}_{batch}", arrays)


def main() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(2)
    for batch in LENGTHS:
        for direction in (0, 1):
            for cell in MODULES:
                record_module(cell, direction, batch)
            record_reset_before(bool(direction), batch)


if __name__ == "__main__":
    main()
