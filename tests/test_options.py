"""Options of SimpleRNN, LSTM and GRU as their users meet them: parameters, noise, states, cells, errors, copies."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import TOLERANCES, scaled_error
from differences import layer_gradient_errors, leaves, map_state

import fastrnn
from fastrnn import GRU, LSTM, SimpleRNN
from fastrnn.recurrent import RecurrentLayer

D, H, N, T = 4, 9, 5, 6
GRADIENT, EXACT = TOLERANCES["gradient", "float64"], TOLERANCES["agreement", "float64"]
LENGTHS = np.array([6, 3, 0, 5, 6])
HOLES = np.array(
    [[1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 0]], bool
)
RAGGED = {"full": {}, "lengths": {"lengths": LENGTHS}, "mask": {"mask": HOLES}}

SHARED: dict[str, dict[str, Any]] = {
    "plain": {},
    "activation": {"activation": ("scaled_tanh", 1.25, 0.75)},
    "clip": {"clip": 2.5},
    "layer_norm": {"layer_norm": True},
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "weight_drop": {"weight_drop": 0.3},
    "zoneout": {"zoneout": 0.3},
    "trainable_state": {"trainable_state": True},
    "dropouts": {"recurrent_dropout": 0.4, "weight_drop": 0.3, "zoneout": 0.2, "trainable_state": True},
}
GATED = {**SHARED, "recurrent_activation": {"recurrent_activation": "hard_sigmoid"}}
OPTIONS: dict[type[RecurrentLayer], dict[str, dict[str, Any]]] = {
    SimpleRNN: SHARED,
    GRU: {
        **GATED,
        "reset_before": {"reset_after": False},
        "reset_before, all": {"reset_after": False, "layer_norm": True, "zoneout": 0.2, "recurrent_dropout": 0.3},
    },
    LSTM: {
        **GATED,
        "diagonal": {"peephole": "diagonal"},
        "full": {"peephole": "full"},
        "coupled": {"coupled": True, "peephole": "diagonal"},
        "proj_size": {"proj_size": 5},
        "output_activation": {"output_activation": "softsign"},
        "zoneout of both": {"zoneout": (0.3, 0.1)},
        "zoneout of c": {"zoneout": (0.0, 0.3)},
        "all": {
            "peephole": "full",
            "coupled": True,
            "proj_size": 5,
            "activation": ("scaled_tanh", 1.25, 0.75),
            "recurrent_activation": ("scaled_tanh", 0.75, 0.5),
            "output_activation": "tanh",
            "clip": 3.0,
            "layer_norm": True,
            "recurrent_dropout": 0.2,
            "weight_drop": 0.3,
            "zoneout": (0.3, 0.1),
            "trainable_state": True,
            "reverse": True,
        },
    },
}
ALL = [(kind, name) for kind, options in OPTIONS.items() for name in options]
NOISY = [
    (kind, name) for kind, name in ALL if {"recurrent_dropout", "weight_drop", "zoneout"} & OPTIONS[kind][name].keys()
]


def make(kind: type[RecurrentLayer], name: str, dtype: str = "float64", **more: Any) -> Any:
    """A layer with random parameters, gains near 1."""
    layer = kind(D, H, dtype=dtype, seed=0, **OPTIONS[kind][name], **more)
    rng = np.random.default_rng(1)
    for key, value in layer.params.items():
        value[...] = rng.normal(size=value.shape) * (0.2 if "gain" in key else 0.4) + ("gain" in key)
    return layer


def inputs(dtype: str = "float64", steps: int = T) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(N, steps, D)).astype(dtype)


def generator(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def like(results: Any) -> Any:
    rng = np.random.default_rng(4)
    return map_state(lambda part: rng.normal(size=part.shape).astype(part.dtype), results)


def equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(leaves(a), leaves(b), strict=True))


def trained(layer: Any, seed: int = 3, **options: Any) -> list[Any]:
    """Everything that a training pass gives."""
    y, state, tape = layer.forward(inputs(layer.dtype), **options, rng=generator(seed))
    dx, dstate, grads = layer.backward(tape, like(y), like(state))
    return [y, state, dx, dstate, *grads.values()]


# ---------------------------------------------------------------------------------------------------------------------
# Parameters and copies


PLAIN_SHAPES = {
    SimpleRNN: {"W": (4, 9), "U": (9, 9), "b": (9,)},
    GRU: {"W": (4, 27), "U": (9, 27), "b": (27,), "b_rec": (9,)},
    LSTM: {"W": (4, 36), "U": (9, 36), "b": (36,)},
}


@pytest.mark.parametrize(
    ("kind", "options", "more"),
    [
        *((kind, {}, {}) for kind in PLAIN_SHAPES),
        *(
            (kind, {"recurrent_dropout": 0.1, "weight_drop": 0.1, "zoneout": 0.1, "clip": 1}, {})
            for kind in PLAIN_SHAPES
        ),
        (SimpleRNN, {"layer_norm": True, "trainable_state": True}, {"gain_W": (9,), "gain_U": (9,), "h0": (9,)}),
        (GRU, {"layer_norm": True}, {"gain_W": (27,), "gain_U": (27,)}),
        (LSTM, {"layer_norm": True}, {"gain_W": (36,), "gain_U": (36,), "gain_c": (9,), "bias_c": (9,)}),
        (LSTM, {"peephole": "diagonal"}, {"p": (3, 9)}),
        (LSTM, {"peephole": "full"}, {"P": (9, 27)}),
        (LSTM, {"coupled": True}, {"W": (4, 27), "U": (9, 27), "b": (27,)}),
        (LSTM, {"coupled": True, "peephole": "diagonal"}, {"W": (4, 27), "U": (9, 27), "b": (27,), "p": (2, 9)}),
        (LSTM, {"coupled": True, "peephole": "full"}, {"W": (4, 27), "U": (9, 27), "b": (27,), "P": (9, 18)}),
        (LSTM, {"proj_size": 5, "trainable_state": True}, {"U": (5, 36), "W_proj": (9, 5), "h0": (5,), "c0": (9,)}),
    ],
    ids=str,
)
def test_shapes_of_parameters(kind, options, more):
    found = {name: value.shape for name, value in kind(D, H, **options).params.items()}
    assert found == PLAIN_SHAPES[kind] | more


def test_reset_before_has_no_second_bias():
    assert "b_rec" not in GRU(D, H, reset_after=False).params


def test_first_values():
    layer = LSTM(D, H, layer_norm=True, peephole="diagonal", trainable_state=True, seed=0)
    for name in ("gain_W", "gain_U", "gain_c"):
        assert np.all(layer.params[name] == 1)
    for name in ("bias_c", "p", "h0", "c0"):
        assert np.all(layer.params[name] == 0)
    assert np.array_equal(layer.params["b"].reshape(4, H).sum(axis=1), [0, H, 0, 0])
    assert np.all(LSTM(D, H, coupled=True).params["b"] == 0)
    full = LSTM(D, H, peephole="full", proj_size=4, seed=0)
    assert 0 < np.abs(full.params["P"]).max() <= np.sqrt(6 / (H + H))
    assert 0 < np.abs(full.params["W_proj"]).max() <= np.sqrt(6 / (H + 4))


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_copies(backend, kind, name):
    """From its own description, deeply copied and pickled, a layer is the same."""
    layer = make(kind, name)
    expected = trained(layer)
    again = kind(**layer._config())
    assert again._config() == layer._config()
    again.params.flat[...] = layer.params.flat
    for other in (again, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(other) == repr(layer)
        assert other.cell == layer.cell
        assert equal(trained(other), expected)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_repr_names_the_options(kind, name):
    options = OPTIONS[kind][name]
    layer = kind(D, H, **options)
    assert repr(layer) == repr(eval(repr(layer), {kind.__name__: kind}))  # it is the call that makes the layer
    for key, value in options.items():
        if (key, value) != ("output_activation", "tanh"):
            assert f"{key}={value!r}" in repr(layer)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_saved_and_loaded(tmp_path, kind, name):
    layer = make(kind, name)
    fastrnn.save(tmp_path / "layer.safetensors", layer)
    loaded = fastrnn.load(tmp_path / "layer.safetensors")
    assert equal(trained(loaded), trained(layer))


# ---------------------------------------------------------------------------------------------------------------------
# Runs


@pytest.mark.parametrize("ragged", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize(("kind", "name"), ALL)
def test_gradients(backend, kind, name, ragged):
    """Training passes of one seed, and the first state that is learned."""
    layer = make(kind, name)
    errors = layer_gradient_errors(layer, inputs(), None, **ragged, seed=3, entries=10)
    assert all(error <= GRADIENT for error in errors.values()), errors
    assert {"x", *layer.params} == errors.keys()


@pytest.mark.parametrize("ragged", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize(("kind", "name"), ALL)
def test_gradients_that_are_not_given_are_zeros(backend, kind, name, ragged):
    layer = make(kind, name)
    y, state, tape = layer.forward(inputs(), **ragged, rng=generator())
    dy, dstate = like(y), like(state)
    for given, zeros in (
        ((None, dstate), (np.zeros_like(y), dstate)),
        ((dy, None), (dy, map_state(np.zeros_like, state))),
    ):
        (dx, d0, grads), (dx0, d00, grads0) = layer.backward(tape, *given), layer.backward(tape, *zeros)
        assert equal([dx, d0, *grads.values()], [dx0, d00, *grads0.values()])


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_backends_agree(compiled, kind, name, dtype):
    layer = make(kind, name, dtype)
    with fastrnn.use_backend("numpy"):
        reference = make(kind, name)
        for key, value in layer.params.items():
            reference.params[key][...] = layer.params[key][...] = value.astype("float32")
        y, state, tape = reference.forward(inputs("float32").astype("float64"), lengths=LENGTHS, rng=generator())
        dx, dstate, grads = reference.backward(tape, like(y), like(state))
        expected = leaves([y, state, dx, dstate, list(grads.values())])
    found = layer.forward(inputs("float32").astype(dtype), lengths=LENGTHS, rng=generator())
    back = layer.backward(found[2], like(y).astype(dtype), map_state(lambda part: part.astype(dtype), like(state)))
    got = leaves([*found[:2], *back[:2], list(back[2].values())])
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == dtype
        assert scaled_error(a, b) <= TOLERANCES["agreement", dtype]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_steps_are_the_call(simd, kind, name, dtype):
    """Stepwise, in chunks and at once: the same bits."""
    layer = make(kind, name, dtype)
    if layer.reverse:
        layer = kind(**(layer._config() | {"reverse": False}))
    x, state, y = inputs(dtype), None, []
    expected, final = layer(x)
    for t in range(T):
        state = layer.step(x[:, t], state)
        y.append(leaves(state)[0])
    assert equal([np.stack(y, axis=1), state], [expected, final])
    first, middle = layer(x[:, :2])
    second, last = layer(x[:, 2:], middle)
    assert equal([np.concatenate([first, second], axis=1), last], [expected, final])


@pytest.mark.parametrize(("kind", "name"), [pair for pair in ALL if pair not in NOISY])
def test_without_noise_training_runs_as_inference_does(backend, kind, name):
    layer = make(kind, name)
    assert equal(layer(inputs(), lengths=LENGTHS), layer.forward(inputs(), None, LENGTHS)[:2])


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize(("kind", "name"), ALL)
def test_one_sequence_and_time_major(backend, kind, name, time_major):
    """Same noise in either layout; a sequence alone is a batch of one."""
    layer = make(kind, name)
    x = inputs()
    turned = x.swapaxes(0, 1) if time_major else x
    y, _, _ = layer.forward(turned, lengths=LENGTHS, time_major=time_major, rng=generator())
    expected, _, _ = layer.forward(x, lengths=LENGTHS, rng=generator())
    assert equal(y.swapaxes(0, 1) if time_major else y, expected)
    alone, _, tape = layer.forward(x[0], time_major=time_major, rng=generator())
    batch, _, batch_tape = layer.forward(x[:1], rng=generator())
    assert scaled_error(alone, batch[0]) <= EXACT
    dx, _, grads = layer.backward(tape, like(alone))
    batch_dx, _, batch_grads = layer.backward(batch_tape, like(alone)[None])
    assert scaled_error(dx, batch_dx[0]) <= EXACT
    assert scaled_error(grads.flat, batch_grads.flat) <= EXACT


# ---------------------------------------------------------------------------------------------------------------------
# Noise


@pytest.mark.parametrize(("kind", "name"), NOISY)
def test_a_seed_is_a_run(simd, kind, name, threads, dtype):
    """The same bits for one seed on any number of threads, others for another."""
    layer = make(kind, name, dtype)
    fastrnn.set_num_threads(1)
    expected = trained(layer, lengths=LENGTHS)
    for n in (1, 2, 3):
        fastrnn.set_num_threads(n)
        assert equal(trained(layer, lengths=LENGTHS), expected)
    assert not equal(trained(layer, seed=4, lengths=LENGTHS), expected)


@pytest.mark.parametrize(("kind", "name"), NOISY)
def test_without_a_generator(backend, kind, name):
    layer = make(kind, name)
    flat = layer.params.flat.copy()
    with pytest.raises(ValueError, match=rf"^rng must be a numpy.random.Generator: {kind.__name__}\(4, 9.* got None"):
        layer.forward(inputs())
    with pytest.raises(TypeError, match=r"^rng must be a numpy\.random\.Generator, got 3"):
        layer.forward(inputs(), rng=3)
    assert np.array_equal(layer.params.flat, flat)
    assert equal(layer(inputs()), layer(inputs()))  # inference draws nothing


def plain(layer: Any, **changes: Any) -> Any:
    """A layer with the same parameters and without noise."""
    quiet = {"recurrent_dropout": 0.0, "weight_drop": 0.0, "zoneout": 0.0}
    other = type(layer)(**(layer._config() | quiet | changes))
    other.params.flat[...] = layer.params.flat
    return other


@pytest.mark.parametrize("kind", [SimpleRNN, GRU, LSTM])
def test_weight_drop_is_a_scan_with_fewer_weights(backend, kind):
    """And its gradient is zero where a weight was dropped, scaled where it was kept."""
    layer = make(kind, "weight_drop")
    y, state, tape = layer.forward(inputs(), rng=generator())
    factors = tape.record.dropped
    assert set(np.unique(factors)) == {0.0, 1 / 0.7}
    assert abs((factors == 0).mean() - 0.3) < 0.12
    other = plain(layer)
    other.params["U"][...] *= factors
    expected_y, expected_state, expected_tape = other.forward(inputs())
    assert equal([y, state], [expected_y, expected_state])
    dx, dstate, grads = layer.backward(tape, like(y))
    expected_dx, expected_dstate, expected = other.backward(expected_tape, like(y))
    assert equal([dx, dstate], [expected_dx, expected_dstate])
    for name in layer.params:
        assert scaled_error(grads[name], expected[name] * (factors if name == "U" else 1)) <= EXACT
    assert equal(layer(inputs()), plain(layer)(inputs()))


@pytest.mark.parametrize("kind", [SimpleRNN, GRU, LSTM])
def test_recurrent_dropout_hides_the_same_units_at_all_steps(backend, kind):
    """With dropped units' rows of U zero, and kept ones' scaled, each row of the batch is a plain layer's."""
    layer = make(kind, "recurrent_dropout")
    y, _, tape = layer.forward(inputs(), rng=generator())
    mask = tape.record.tape.noise.mask
    assert mask.shape == (N, H)
    assert set(np.unique(mask)) == {0.0, 1 / 0.6}
    for n in range(N):
        other = plain(layer)
        other.params["U"][...] *= mask[n][:, None]
        assert scaled_error(y[n], other(inputs()[n])[0]) <= EXACT
    assert equal(layer(inputs()), plain(layer)(inputs()))


@pytest.mark.parametrize("states", [0.3, (0.3, 0.0), (0.0, 0.3), (0.2, 0.6)])
def test_zoneout_keeps_whole_units(backend, states):
    """At each step a unit's state is exactly the old one, or the new."""
    layer = make(LSTM, "zoneout")
    layer = plain(layer, zoneout=states)
    h_rate, c_rate = states if isinstance(states, tuple) else (states, states)
    x = np.random.default_rng(0).normal(size=(200, 3, D))
    y, _, cells, _ = layer.forward(x, rng=generator(), return_cells=True)
    for values, rate in ((y, h_rate), (cells, c_rate)):
        kept = np.concatenate([values[:, :1] == 0, values[:, 1:] == values[:, :-1]], axis=1)
        assert abs(kept.mean() - rate) < 0.03
        assert rate or not kept.any()


@pytest.mark.parametrize("kind", [SimpleRNN, GRU, LSTM])
def test_zoneout_in_inference_is_the_mean_of_one_step(backend, kind):
    layer = make(kind, "zoneout")
    state = like(layer.initial_state(N))
    new, blended = (leaves(other(inputs(steps=1), state)[1]) for other in (plain(layer), layer))
    old = leaves(state)
    for k in range(len(old)):
        assert scaled_error(blended[k], 0.3 * old[k] + 0.7 * new[k]) <= EXACT


def test_zoneout_that_keeps_nothing_is_no_zoneout():
    layer = LSTM(D, H, zoneout=(0.0, 0.0), dtype="float64", seed=0)
    assert not layer.cell.zoneout
    layer.forward(inputs())


# ---------------------------------------------------------------------------------------------------------------------
# First states


@pytest.mark.parametrize("kind", [SimpleRNN, GRU, LSTM])
def test_the_learned_state_is_where_a_call_without_one_starts(backend, kind):
    layer = make(kind, "trainable_state")
    first = layer.initial_state(N)
    for name, part in zip(layer.cell.states, leaves(first), strict=True):
        assert np.array_equal(part, np.tile(layer.params[f"{name}0"], (N, 1)))
    assert equal(layer(inputs()), layer(inputs(), first))
    assert equal(layer.step(inputs()[:, 0]), layer(inputs()[:, :1])[1])
    y, _, tape = layer.forward(inputs())
    _, dstate, grads = layer.backward(tape, like(y))
    for name, part in zip(layer.cell.states, leaves(dstate), strict=True):
        assert scaled_error(grads[f"{name}0"], part.sum(axis=0)) <= EXACT
        assert grads[f"{name}0"].any()


@pytest.mark.parametrize("kind", [SimpleRNN, GRU, LSTM])
def test_a_state_that_is_given_goes_before_the_learned_one(backend, kind):
    layer = make(kind, "trainable_state")
    state = like(layer.initial_state(N))
    y, _, tape = layer.forward(inputs(), state)
    assert equal(y, plain(layer, trainable_state=True)(inputs(), state)[0])
    assert not np.array_equal(y, layer(inputs())[0])
    _, _, grads = layer.backward(tape, like(y))
    assert not any(grads[f"{name}0"].any() for name in layer.cell.states)


def test_without_a_learned_state_zeros_are_first():
    h, c = LSTM(D, H, proj_size=5).initial_state(3)
    assert (h.shape, c.shape) == ((3, 5), (3, H))
    assert not h.any()
    assert not c.any()


# ---------------------------------------------------------------------------------------------------------------------
# Cells


@pytest.mark.parametrize("ragged", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("name", ["plain", "diagonal", "proj_size", "zoneout of both", "all"])
def test_cells_are_those_of_steps(backend, name, ragged):
    layer = make(LSTM, name)
    y, state, cells, tape = layer.forward(inputs(), **ragged, rng=generator(), return_cells=True)
    again_y, again_state, again_tape = layer.forward(inputs(), **ragged, rng=generator())
    assert equal([y, state], [again_y, again_state])
    assert cells.shape == (N, T, H)
    last = (0 if layer.reverse else -1) if not ragged or "mask" in ragged else None
    if last is not None:
        some = np.arange(N) if not ragged else np.array([0, 1, 3, 4])
        assert np.array_equal(cells[some, last], state[1][some])
    dy, dcells = like(y), like(cells)
    none, zero, given = (layer.backward(tape, dy, dcells=d)[2].flat for d in (None, np.zeros_like(cells), dcells))
    assert np.array_equal(none, zero)
    assert not np.array_equal(none, given)
    assert np.array_equal(none, layer.backward(again_tape, dy)[2].flat)


def test_cells_of_one_sequence_and_time_major(backend):
    layer, x = make(LSTM, "full"), inputs()
    y, _, cells, tape = layer.forward(x[:1], return_cells=True)
    _, _, alone, alone_tape = layer.forward(x[0], return_cells=True)
    _, _, turned, turned_tape = layer.forward(x[:1].swapaxes(0, 1), time_major=True, return_cells=True)
    assert scaled_error(alone, cells[0]) <= EXACT
    assert scaled_error(turned[:, 0], cells[0]) <= EXACT
    dx, _, _ = layer.backward(tape, like(y), dcells=cells)
    dx_alone, _, _ = layer.backward(alone_tape, like(y)[0], dcells=alone)
    dx_turned, _, _ = layer.backward(turned_tape, like(y).swapaxes(0, 1), dcells=turned)
    assert scaled_error(dx_alone, dx[0]) <= EXACT
    assert scaled_error(dx_turned[:, 0], dx[0]) <= EXACT


def test_wrong_cells(backend):
    layer = make(LSTM, "proj_size")
    y, _, _, tape = layer.forward(inputs(), return_cells=True)
    with pytest.raises(ValueError, match=r"^dcells must have shape \(5, 6, 9\), got \(5, 6, 5\)"):
        layer.backward(tape, dcells=y)
    with pytest.raises(TypeError, match=r"^dcells must hold floating-point numbers"):
        layer.backward(tape, dcells=np.ones((N, T, H), int))
    with pytest.raises(ValueError, match=r"^return_cells must be False with checkpoint.* got True"):
        layer.forward(inputs(), return_cells=True, checkpoint=True)
    with pytest.raises(TypeError, match=r"^return_cells must be True or False, got 1"):
        layer.forward(inputs(), return_cells=1)
    with pytest.raises(TypeError, match="return_cells"):
        GRU(D, H).forward(inputs("float32"), return_cells=True)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


RATES = [
    (1.0, ValueError, "must be at least 0 and below 1, got 1.0"),
    (-0.1, ValueError, "must be at least 0 and below 1, got -0.1"),
    (np.nan, ValueError, "must be finite, got nan"),
    ("0.5", TypeError, "must be a number, got '0.5'"),
    (None, TypeError, "must be a number, got None"),
    (True, TypeError, "must be a number, got True"),
]


@pytest.mark.parametrize(("value", "error", "message"), RATES)
@pytest.mark.parametrize("option", ["recurrent_dropout", "weight_drop", "zoneout"])
@pytest.mark.parametrize("kind", [SimpleRNN, GRU, LSTM])
def test_wrong_rates(kind, option, value, error, message):
    with pytest.raises(error, match=f"^{option} " + message.format(option)):
        kind(D, H, **{option: value})


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        (LSTM, {"zoneout": (0.1,)}, ValueError, r"^zoneout must be a number or a tuple \(h, c\), got \(0.1,\)"),
        (LSTM, {"zoneout": (0.1, 1.5)}, ValueError, "^zoneout must be at least 0 and below 1, got 1.5"),
        (LSTM, {"zoneout": (0.1, "x")}, TypeError, "^zoneout must be a number, got 'x'"),
        (GRU, {"zoneout": (0.1, 0.1)}, ValueError, r"^zoneout must be a number or a tuple \(h\)"),
        *(
            (kind, {"clip": value}, error, f"^clip must be a positive number or None, got {value!r}")
            for kind in (SimpleRNN, GRU, LSTM)
            for value, error in [
                (0, ValueError),
                (-1.0, ValueError),
                (np.inf, ValueError),
                ("1", TypeError),
                (True, TypeError),
            ]
        ),
        *(
            (kind, {option: value}, TypeError, f"^{option} must be True or False, got {value!r}")
            for kind in (SimpleRNN, GRU, LSTM)
            for option in ("layer_norm", "trainable_state", "reverse")
            for value in (1, None, "yes")
        ),
        (LSTM, {"coupled": 1}, TypeError, "^coupled must be True or False, got 1"),
        (GRU, {"reset_after": 0}, TypeError, "^reset_after must be True or False, got 0"),
        (LSTM, {"peephole": "gers"}, ValueError, "^peephole must be one of None, 'diagonal', 'full', got 'gers'"),
        (LSTM, {"peephole": True}, TypeError, "^peephole must be one of None, 'diagonal', 'full', got True"),
        (LSTM, {"proj_size": 9}, ValueError, "^proj_size must be less than hidden_size, 9, got 9"),
        (LSTM, {"proj_size": 12}, ValueError, "^proj_size must be less than hidden_size, 9, got 12"),
        (LSTM, {"proj_size": 0}, ValueError, "^proj_size must be at least 1, got 0"),
        (LSTM, {"proj_size": 4.0}, TypeError, "^proj_size must be an integer, got 4.0"),
        (LSTM, {"proj_size": True}, TypeError, "^proj_size must be an integer, got True"),
        *(
            (kind, {option: value}, TypeError, option)
            for kind, option, value in [
                (SimpleRNN, "recurrent_activation", "sigmoid"),
                (SimpleRNN, "output_activation", "tanh"),
                (SimpleRNN, "peephole", "full"),
                (SimpleRNN, "proj_size", 3),
                (SimpleRNN, "reset_after", False),
                (GRU, "output_activation", "tanh"),
                (GRU, "peephole", "diagonal"),
                (GRU, "coupled", True),
                (GRU, "proj_size", 3),
                (LSTM, "reset_after", True),
            ]
        ),
    ],
)
def test_wrong_options(kind, options, error, message):
    with pytest.raises(error, match=message):
        kind(D, H, **options)


@pytest.mark.parametrize("kind", [SimpleRNN, GRU, LSTM])
def test_options_are_named(kind):
    with pytest.raises(TypeError, match="positional"):
        kind(D, H, "tanh")


@pytest.mark.parametrize("kind", [SimpleRNN, GRU, LSTM])
def test_a_call_that_fails_changes_nothing(backend, kind):
    layer = make(kind, "dropouts")
    before, expected = layer.params.flat.copy(), trained(layer)
    y, _, tape = layer.forward(inputs(), rng=generator())
    calls = [
        lambda: layer.forward(inputs()[..., :3], rng=generator()),
        lambda: layer.forward(inputs(), lengths=[7] * N, rng=generator()),
        lambda: layer.forward(inputs(), lengths=LENGTHS, mask=HOLES, rng=generator()),
        lambda: layer.forward(inputs(), mask=HOLES.T, rng=generator()),
        lambda: layer.forward(inputs(), np.zeros((2, 2)), rng=generator()),
        lambda: layer.backward(tape, y[:, :1]),
        lambda: layer.backward(tape, y, np.zeros((2, 2))),
        lambda: layer.forward(inputs(), rng=generator(), checkpoint=-2),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="must"):
            call()
        assert np.array_equal(layer.params.flat, before)
        assert equal(trained(layer), expected)


def test_control_the_factors_of_dropped_weights_count():
    layer = make(LSTM, "weight_drop")
    y, _, tape = layer.forward(inputs(), rng=generator())
    _, _, grads = layer.backward(tape, like(y))
    record = replace(tape.record, dropped=np.ones_like(tape.record.dropped))
    _, _, wrong = layer.backward(replace(tape, record=record), like(y))
    assert scaled_error(wrong["U"], grads["U"]) > 1e-3
