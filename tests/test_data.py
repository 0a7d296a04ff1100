"""Padding, batches, standardised columns, windows: against their definitions, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrnn.data import Batch, Standardizer, as_batch, batches, pad, text_batches, truncate, windows


def ragged(N: int = 23, D: int = 2, seed: int = 0, least: int = 0) -> list[np.ndarray]:
    """Sequences of 0 to 9 steps; every one begins with its own number, where it has a step."""
    rng = np.random.default_rng(seed)
    sequences = [rng.normal(size=(rng.integers(least, 10), D)).astype("float32") for _ in range(N)]
    for k, sequence in enumerate(sequences):
        sequence[:1] = k
    return sequences


@given(
    st.lists(st.lists(st.integers(-5, 5), max_size=6), max_size=6), st.integers(0, 3), st.sampled_from(["end", "start"])
)
def test_padding_is_undone_by_the_lengths(sequences, more, at):
    T = max(map(len, sequences), default=0) + more
    x, lengths = pad(sequences, T, at=at, value=9)
    assert x.shape == (len(sequences), T)
    for row, length, sequence in zip(x, lengths, sequences, strict=True):
        valid, padding = np.split(row, [length]) if at == "end" else np.split(row, [T - length])[::-1]
        assert valid.tolist() == sequence
        assert np.all(padding == 9)


def test_padding_keeps_features_and_dtype():
    x, lengths = pad(ragged())
    assert x.shape == (23, int(lengths.max()), 2)
    assert x.dtype == np.float32
    assert pad([])[0].shape == (0, 0)


def test_empty_sequences_have_features_and_dtype_of_the_others():
    x, lengths = pad([np.zeros((0, 3), np.float32)])
    assert x.shape == (1, 0, 3) and x.dtype == np.float32 and lengths.tolist() == [0]
    assert pad([np.zeros(0, np.int64)])[0].dtype == np.int64
    assert pad([[], [[1, 2]]])[0].tolist() == [[[0, 0]], [[1, 2]]]
    pair = [np.zeros((0, 3), np.float32), np.zeros((2, 3), np.float32)]
    for sequences in (pair, [[], pair[1]]):
        shapes = [(batch.x.shape, batch.x.dtype) for batch in batches(sequences, [0, 1], size=1, shuffle=False)]
        assert shapes == [((1, 0, 3), np.float32), ((1, 2, 3), np.float32)]


def test_what_padding_holds():
    assert pad([[1.0, 2.0], [3.0]], value=np.nan)[0].tolist()[0] == [1.0, 2.0]
    assert pad([np.ones(1, np.float32), np.ones(2, np.float32)], value=0.1)[0][0, 1] == np.float32(0.1)
    assert pad([["a"], ["b", "c"]], value="z")[0].tolist() == [["a", "z"], ["b", "c"]]


def test_truncation_at_either_end():
    sequences = ragged()
    for first, last, whole in zip(truncate(sequences, 3), truncate(sequences, 3, at="start"), sequences, strict=True):
        assert np.array_equal(first, whole[:3])
        assert np.array_equal(last, whole[max(len(whole) - 3, 0) :])
    assert [len(a) for a in truncate([[1, 2]], 0, at="start")] == [0]


@pytest.mark.parametrize("bucket", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("size", [1, 4, 23, 50])
def test_every_example_exactly_once_in_every_epoch(size, shuffle, bucket):
    sequences = ragged(least=1)
    found = batches(sequences, np.arange(23), size=size, shuffle=shuffle, bucket=bucket, seed=0)
    for _ in range(3):
        epoch = list(found)
        assert len(epoch) == len(found) == -(-23 // size)
        assert sorted(np.concatenate([b.y for b in epoch])) == list(range(23))
        for batch in epoch:
            assert batch.x.shape[1] == batch.lengths.max()
            for row, length, label in zip(batch.x, batch.lengths, batch.y, strict=True):
                assert np.array_equal(row[:length], sequences[label])


def test_the_order_is_the_seeds():
    x = np.arange(40.0)[:, None]

    def orders(seed):
        found = batches(x, np.arange(40), size=8, seed=seed)
        return [np.concatenate([b.y for b in found]).tolist() for _ in range(2)]

    assert orders(3) == orders(3)
    first, second = orders(3)
    assert first != second
    assert orders(3) != orders(4)
    found = batches(x, np.arange(40), size=8)
    again = [np.concatenate([b.y for b in found(np.random.default_rng(5))]).tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_drop_last_leaves_out_what_does_not_fill_a_batch():
    for bucket in (False, True):
        found = batches(ragged(least=1), np.arange(23), size=5, bucket=bucket, drop_last=True, seed=0)
        epoch = list(found)
        assert [len(b.y) for b in epoch] == [5] * 4
        assert len(found) == 4
        assert len(set(np.concatenate([b.y for b in epoch]))) == 20


def test_drop_last_leaves_out_no_length_for_ever():
    sequences = [np.ones((1 + k, 2)) for k in range(23)]
    found = batches(sequences, np.arange(23), size=5, bucket=True, drop_last=True, seed=0)
    seen = {int(label) for _ in range(20) for batch in found for label in batch.y}
    assert seen == set(range(23))
    in_order = batches(sequences[::-1], np.arange(23), size=5, shuffle=False, bucket=True, drop_last=True)
    assert sorted(np.concatenate([batch.y for batch in in_order])) == list(range(20))


def test_buckets_need_less_padding():
    sequences = ragged(400)
    y = np.zeros(400)

    def padded(bucket):
        return sum(
            b.x.shape[0] * b.x.shape[1] - int(b.lengths.sum())
            for b in batches(sequences, y, size=8, bucket=bucket, seed=0)
        )

    assert padded(True) < 0.2 * padded(False)
    orders = [[int(b.lengths.max()) for b in batches(sequences, y, size=8, bucket=True, seed=0)] for _ in range(2)]
    assert orders[0] == orders[1] != sorted(orders[0])


def test_arrays_are_cut_to_the_longest_row_of_a_batch():
    x, lengths = pad(ragged(least=1))
    labels, tags, values = np.arange(23), np.arange(23 * x.shape[1]).reshape(23, -1), np.ones((23, x.shape[1]))
    for y, cut in ((labels, False), (tags, True), (values, False), (values[:, :, None], True)):
        for batch in batches(x, y, lengths, size=4, bucket=True, seed=0):
            T = batch.lengths.max()
            assert batch.x.shape[1] == T
            assert batch.y.shape[1:2] == ((T,) if cut else y.shape[1:2])
    forced = next(iter(batches(x, values, lengths, size=4, per_step=True)))
    assert forced.y.shape == forced.x.shape[:2]
    assert next(iter(batches(x, tags, lengths, size=4, per_step=False))).y.shape[1] == x.shape[1]


def test_lists_of_targets_for_every_step():
    x = ragged(least=1)
    y = [np.arange(len(a)) for a in x]
    for batch in batches(x, y, size=4, seed=0):
        assert batch.y.shape == batch.x.shape[:2]
        for row, length in zip(batch.y, batch.lengths, strict=True):
            assert row[:length].tolist() == list(range(length))


def test_an_array_of_targets_for_every_step_of_lists_is_cut():
    x = ragged(least=1)
    T = max(map(len, x))
    for y in (np.ones((23, T, 2)), np.ones((23, T), int)):
        assert all(b.y.shape[:2] == b.x.shape[:2] for b in batches(x, y, size=4, seed=0))
    assert all(b.y.shape[1:] == (T,) for b in batches(x, np.ones((23, T)), size=4, seed=0))


def test_all_batches_of_lists_have_one_dtype():
    whole, fraction = [[1], [2]], [[0.5]]
    assert {b.x.dtype.name for b in batches([whole, fraction], [0, 1], size=1)} == {"float64"}


def test_text_as_batches():
    codes = np.arange(50)
    found = text_batches(codes, 3, 5)
    epoch = list(found)
    assert len(found) == len(epoch) == 4
    assert [b.carry for b in epoch] == [False, True, True, True]
    assert np.concatenate([b.x for b in epoch], axis=1).ravel().tolist() == list(range(48))
    assert all(np.array_equal(b.y, b.x + 1) for b in epoch)


def test_some_batches_of_a_text_begin_anew():
    found = text_batches(np.arange(4001), 1, 4, restart=0.25)
    assert [b.carry for b in found] == [False] + 999 * [True]
    first, again, other = (list(found(np.random.default_rng(seed))) for seed in (0, 0, 1))
    carried = [[b.carry for b in epoch] for epoch in (first, again, other)]
    assert carried[0] == carried[1] != carried[2] and not carried[0][0]
    assert 0.2 < np.mean([not carry for carry in carried[0]]) < 0.3
    assert all(np.array_equal(b.x, c.x) for b, c in zip(found, first, strict=True))
    with pytest.raises(ValueError, match=r"^restart must be at least 0 and below 1, got 1"):
        text_batches(np.arange(9), 2, 3, restart=1)


def test_batches_are_tuples_that_begin_with_x_and_y():
    assert as_batch((1, 2)) == Batch(1, 2, None, None, False)
    assert as_batch([1, 2, 3]) == Batch(1, 2, 3)
    for wrong in (1, (1,), (1, 2, 3, 4, 5, 6), None):
        with pytest.raises(TypeError, match=r"^a batch must be a tuple \(x, y, lengths, mask, carry\)"):
            as_batch(wrong)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_standardised_columns(dtype):
    x = (np.random.default_rng(0).normal(size=(30, 7, 3)) * [5, 20, 300] + [1, -2, 3000]).astype(dtype)
    before = x.copy()
    scaler = Standardizer()
    z = scaler.fit_transform(x)
    assert z.shape == x.shape
    assert z.dtype == ("float32" if dtype == "float32" else "float64")
    assert np.allclose(z.mean(axis=(0, 1)), 0, atol=1e-5)
    assert np.allclose(z.std(axis=(0, 1)), 1, atol=1e-5)
    assert np.allclose(scaler.inverse_transform(z), x, rtol=1e-5, atol=1e-3)
    assert np.array_equal(x, before)


def test_a_standardizer_knows_training_data_only():
    scaler = Standardizer().fit(np.arange(10.0)[:, None])
    mean, scale = scaler.mean_.copy(), scaler.scale_.copy()
    assert scaler.transform(np.array([[100.0]]))[0, 0] == pytest.approx((100 - 4.5) / np.std(np.arange(10)))
    assert np.array_equal(scaler.mean_, mean)
    assert np.array_equal(scaler.scale_, scale)


def test_ragged_and_padded_sequences_are_standardised_alike():
    sequences = ragged(least=1)
    padded, lengths = pad(sequences)
    padded[np.arange(padded.shape[1]) >= lengths[:, None]] = np.nan
    of_list, of_array = Standardizer().fit(sequences), Standardizer().fit(padded, lengths)
    assert np.allclose(of_list.mean_, of_array.mean_, rtol=1e-12)
    assert np.allclose(of_list.scale_, of_array.scale_, rtol=1e-12)
    z = of_array.fit_transform(padded, lengths)
    for row, length, one in zip(z, lengths, of_list.transform(sequences), strict=True):
        assert np.allclose(row[:length], one, atol=1e-6)
        assert not np.any(row[length:])


def test_a_constant_column_becomes_zero():
    x = np.column_stack([np.full(7, 0.1), np.zeros(7), np.arange(7.0)])
    z = Standardizer().fit_transform(x)
    assert np.allclose(z[:, :2], 0, atol=1e-12)
    assert np.allclose(z[:, 2].std(), 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_column_of_many_rows_becomes_zero(dtype):
    x = np.column_stack([np.full(100_000, 0.1), np.random.default_rng(0).normal(1e6, 1, 100_000)]).astype(dtype)
    scaler = Standardizer().fit(x)
    assert scaler.mean_[0] == x[0, 0]
    assert scaler.scale_[0] == 1
    assert not scaler.transform(x)[:, 0].any()
    exact = x[:, 1].astype(np.longdouble)
    assert scaler.mean_[1] == pytest.approx(float(exact.mean()), rel=1e-15)
    assert scaler.scale_[1] == pytest.approx(float(exact.std()), rel=1e-12)


def test_numbers_whose_squares_are_none_are_standardised():
    x = np.random.default_rng(0).normal(size=(50, 2)) * [1e-300, 1.0]
    scaler = Standardizer().fit(x)
    assert np.allclose(scaler.scale_ / [1e-300, 1.0], (x / [1e-300, 1.0]).std(axis=0), rtol=1e-12)


def test_a_standardizer_in_json():
    scaler = Standardizer(["a", "b"]).fit(np.array([[1.0, 2.0], [3.0, 7.0], [0.1, 0.2]]))
    again = Standardizer.from_dict(json.loads(json.dumps(scaler.to_dict())))
    x = np.array([[0.3, 0.7]])
    assert np.array_equal(again.transform(x), scaler.transform(x))
    assert again.columns == ("a", "b")
    for mean, scale in ((0.0, 0.0), (0.0, np.inf), (np.nan, 1.0), (np.inf, 1.0)):
        with pytest.raises(ValueError, match="scale above 0 for every column, all of them finite"):
            Standardizer.from_dict({"mean": [mean], "scale": [scale]})
    with pytest.raises(ValueError, match=r"^values must hold as many columns as means, 1, got 2"):
        Standardizer.from_dict({"mean": [0.0], "scale": [1.0], "columns": ["a", "b"]})


@pytest.mark.parametrize(("inputs", "horizon", "stride"), [(3, 1, 1), (4, 2, 3), (1, 1, 1), (7, 3, 2)])
def test_windows_of_a_series(inputs, horizon, stride):
    series = np.random.default_rng(0).normal(size=(10, 3))
    x, y = windows(series, inputs, horizon, stride=stride, targets=[2, 0])
    M = (10 - inputs - horizon) // stride + 1
    assert x.shape == (M, inputs, 3)
    assert y.shape == (M, horizon, 2)
    for m in range(M):
        first = m * stride
        assert np.array_equal(x[m], series[first : first + inputs])
        assert np.array_equal(y[m], series[first + inputs : first + inputs + horizon][:, [2, 0]])
    assert not windows(series, inputs)[0].flags.writeable


NAN = np.array([[1.0, 2.0], [3.0, np.nan], [np.inf, 4.0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pad([[1, 2, 3]], 2), ValueError, r"^sequences\[0\] must have at most 2 steps, got 3: truncate"),
        (
            lambda: pad([np.ones((2, 3)), np.ones((2, 4))]),
            ValueError,
            r"^sequences\[1\] must have features of shape \(3,\)",
        ),
        (lambda: pad([[1]], at="middle"), ValueError, "^at must be one of 'end', 'start', got 'middle'"),
        (lambda: pad([[1, 2], [3]], value=0.5), ValueError, "^value must be a number that int64 can hold.*got 0.5"),
        (lambda: pad([[1, 2], [3]], value=np.nan), ValueError, "^value must be a number that int64 can hold.*got nan"),
        (lambda: pad([np.zeros(2, np.uint8)], value=-1), ValueError, "^value must be a number that uint8 can hold"),
        (lambda: pad([np.ones(2, np.float32)], value=1e300), ValueError, "^value must be a number that float32"),
        (lambda: pad([[1]], value="a"), TypeError, "^value must be a number, got 'a'"),
        (lambda: pad([np.ones((0, 2)), np.ones((1, 3))]), ValueError, r"^sequences\[0\] must have features.*\[1\]"),
        (lambda: pad("text"), TypeError, "^sequences must be a list of arrays, got str"),
        (lambda: pad([[1], [[1, 2], [3]]]), ValueError, r"^sequences\[1\] must be one array, got lists of different"),
        (lambda: batches([[[1, 2], [3]]], [0]), ValueError, r"^x\[0\] must be one array, got lists of different"),
        (lambda: batches([1, [2, 3]], [0, 1]), ValueError, "^x must be one array, got lists of different lengths"),
        (lambda: Standardizer().fit([[[1, 2], [3]]]), ValueError, r"^x\[0\] must be one array, got lists of"),
        (lambda: pad([1, 2]), ValueError, r"^sequences\[0\] must be an array with a row per step"),
        (lambda: truncate([[1]], -1), ValueError, "^T must be at least 0"),
        (lambda: batches(np.ones((3, 2)), np.ones(4)), ValueError, "^y must have as many rows as x, 3, got 4"),
        (lambda: batches(np.ones((0, 2)), np.ones(0)), ValueError, "^x must have at least one row"),
        (lambda: batches(np.ones((3, 2)), np.ones(3), bucket=True), ValueError, "^bucket must go with lengths"),
        (lambda: batches(np.ones((3, 2)), np.ones(3), [1, 2, 3]), ValueError, r"^lengths must lie in 0\.\.2, got 3"),
        (lambda: batches(np.ones(3), np.ones(3), [1, 1, 1]), ValueError, "^lengths must go with x"),
        (lambda: batches(ragged(3), np.ones(3), [1, 1, 1]), ValueError, "^lengths must be None where x is a list"),
        (lambda: batches([[1, 2], [3]], [[1, 2], [3, 4]]), ValueError, "^y must have as many steps as x"),
        (
            lambda: batches(np.ones((2, 3)), [[1.0], [2.0]]),
            ValueError,
            "^y .*: make it an array for one target per row",
        ),
        (lambda: batches(np.ones((3, 2)), np.ones(3), size=4, drop_last=True), ValueError, "^size must be at most"),
        (lambda: batches(np.ones((3, 2)), np.ones(3), shuffle=1), TypeError, "^shuffle must be True or False"),
        (lambda: batches(5, np.ones(3)), TypeError, "^x must be an array or a list of arrays, got int"),
        (
            lambda: Standardizer().fit(NAN),
            ValueError,
            r"^x must hold finite numbers, got nan in column 1, row 1, and 1 more",
        ),
        (lambda: Standardizer(["a", "b"]).fit(NAN[1:]), ValueError, "got nan in column 'b', row 0"),
        (
            lambda: Standardizer().fit([np.ones((2, 2)), NAN]),
            ValueError,
            r"^x\[1\] must hold finite numbers, got nan in col",
        ),
        (lambda: Standardizer().fit(np.ones((2, 2))).transform(NAN), ValueError, "^x must hold finite numbers"),
        (
            lambda: Standardizer().fit(np.ones((2, 2))).transform(np.ones((2, 3))),
            ValueError,
            "^x must have 2 columns, got 3",
        ),
        (lambda: Standardizer(["a"]).fit(np.ones((2, 2))), ValueError, r"^x must have 1 columns \(a\), got 2"),
        (lambda: Standardizer().fit(np.ones((0, 2))), ValueError, "^x must have at least one row"),
        (lambda: Standardizer().fit([[1e200], [-1e200]]), ValueError, r"^x must .* deviation is finite, .* 1e\+200"),
        (lambda: Standardizer().fit(np.ones(3)), ValueError, "^x must hold numbers, of shape"),
        (
            lambda: Standardizer().fit(np.ones((3, 0))),
            ValueError,
            r"^x must hold numbers, of .*, got float64 .* \(3, 0",
        ),
        (lambda: Standardizer().fit([[1, 2], [3]]), ValueError, "^x must be one array, got lists of different lengths"),
        (
            lambda: Standardizer().fit([np.ones((2, 3)), np.ones((2, 2))]),
            ValueError,
            r"^x\[1\] must have 3 columns like x\[0\], got 2",
        ),
        (lambda: Standardizer().fit([["a", "b"]]), ValueError, "^x must hold numbers"),
        (lambda: Standardizer().transform(np.ones((2, 2))), ValueError, "has not been fitted"),
        (
            lambda: windows(np.ones(3), 3),
            ValueError,
            "^series must have at least 4 rows for 3 inputs and a horizon of 1, got 3",
        ),
        (lambda: windows(np.ones((3, 3, 3)), 1), ValueError, r"^series must have shape \(T,\) or \(T, D\)"),
        (
            lambda: windows(np.ones((9, 2)), 3, targets=[5]),
            ValueError,
            r"^targets must be columns of the series, 0\.\.1, got \[5\]",
        ),
        (lambda: windows([[1, 2], [3]], 1), ValueError, "^series must be one array, got lists of different lengths"),
        (lambda: windows(np.ones(9), 2, stride=0), ValueError, "^stride must be at least 1"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
