"""save and load: what comes back is what was there; what is broken, foreign or hostile is told, and changes nothing."""

from __future__ import annotations

import json
import os
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from stacks import EMBEDDED, RECURRENT, STACKS, inputs, make
from toolkit import make_model

import fastrnn
from fastrnn import GRU, LSTM, AttentionLSTM, BatchNorm, Bidirectional, Dense, LastStep, LayerNorm, Sequential, files

OTHERS = {
    "one layer": lambda: LSTM(2, 3),
    "bidirectional": lambda: Bidirectional(LSTM(2, 3), merge="sum"),
    "attention": lambda: AttentionLSTM(2, 3, 4),
    "norms": lambda: Sequential([BatchNorm(2), LayerNorm(2), LastStep(2), Dense(2, 1, "sigmoid", dtype="float32")]),
    "with buffers": make_model,
    "options of an LSTM": lambda: LSTM(
        2, 3, peephole="diagonal", coupled=True, proj_size=2, zoneout=(0.1, 0.2), trainable_state=True, clip=5.0
    ),
    "options of a GRU": lambda: GRU(
        2, 3, recurrent_activation=("hard_sigmoid", 0.2, 0.5), activation="softsign", layer_norm=True, weight_drop=0.5
    ),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("name", [*RECURRENT, *STACKS, *EMBEDDED])
def test_every_layer_comes_back(name, dtype, path, backend):
    model = make(name, dtype)
    fastrnn.save(path, model)
    again = fastrnn.load(path)
    assert repr(again) == repr(model)
    assert again.params.same_layout(model.params)
    assert np.array_equal(again.params.flat, model.params.flat)
    x = inputs(name, dtype=dtype)
    assert np.array_equal(again(x)[0], model(x)[0])


@pytest.mark.parametrize("name", OTHERS)
def test_others_come_back(name, path):
    model = OTHERS[name]()
    model.params.flat[...] = np.random.default_rng(0).normal(size=model.params.flat.shape)
    for buffer in model.buffers.values():
        buffer[...] = np.random.default_rng(1).random(buffer.shape)
    fastrnn.save(path, model)
    again = fastrnn.load(path)
    assert files.describe(again) == files.describe(model)
    for mine, theirs in ((model.params, again.params), (model.buffers, again.buffers)):
        assert list(mine) == list(theirs)
        for key, value in mine.items():
            assert np.array_equal(value, theirs[key])
            assert not np.may_share_memory(value, theirs[key])


def test_extras_come_back(path):
    extras = {"vocabulary": ["the", "é", "\u2028"], "scaler": {"mean": [0.1, 1e300]}, "n": None}
    fastrnn.save(path, make_model(), extras=extras)
    assert fastrnn.load_extras(path) == extras
    fastrnn.save(path, make_model())
    assert fastrnn.load_extras(path) is None
    before = path.read_bytes()
    for wrong in ({1j}, {"x": np.ones(2)}, float("nan")):
        with pytest.raises(TypeError, match=r"^extras must be what JSON can hold"):
            fastrnn.save(path, make_model(), extras=wrong)
    for keys in ({1: "a", "1": "b"}, {"classes": [{"x": 0}, {None: 1}]}, ({True: 1},)):
        with pytest.raises(TypeError, match=r"^extras must be what JSON .*: keys must be strings, got (1|None|True)"):
            fastrnn.save(path, make_model(), extras=keys)
    assert path.read_bytes() == before


def test_a_class_of_ones_own(path):
    class Mine(LSTM):
        pass

    with pytest.raises(TypeError, match=r"got a Mine$"):
        fastrnn.save(path, Sequential([Mine(2, 3)]))
    assert not path.exists()
    files.register(Mine)
    try:
        fastrnn.save(path, Sequential([Mine(2, 3)]))
        assert isinstance(fastrnn.load(path).layers[0], Mine)
    finally:
        del files._REGISTERED["Mine"]
    with pytest.raises(ValueError, match="there is no layer of the class 'Mine'"):
        fastrnn.load(path)
    with pytest.raises(TypeError, match=r"^layer must be a subclass"):
        files.register(int)


def test_other_programs_can_read_the_tensors(path):
    from safetensors.numpy import load_file

    model = make("LSTM")
    fastrnn.save(path, model)
    tensors = load_file(path)
    assert {name: a.tolist() for name, a in tensors.items()} == {
        f"params/{name}": a.tolist() for name, a in model.params.items()
    }


def test_loading_draws_no_weights(path, monkeypatch):
    fastrnn.save(path, make_model())
    monkeypatch.setattr(np.linalg, "qr", None)
    fastrnn.load(path)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, -1, -100])
def test_a_truncated_file(path, length):
    fastrnn.save(path, make_model())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        fastrnn.load(path)


def test_every_truncation_and_every_flipped_byte_of_a_small_file_is_a_valueerror_or_another_model(path):
    """Only bytes of numbers, of the options of a layer, or of words nobody reads can be something else."""
    fastrnn.save(path, Dense(1, 1, seed=0))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="safetensors"):
            fastrnn.load(path)
    rng = np.random.default_rng(0)
    survived = 0
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= int(rng.integers(1, 256))
        path.write_bytes(broken)
        try:
            fastrnn.load(path)
        except ValueError:
            continue
        survived += 1
    assert survived < len(whole) / 4


def test_foreign_files(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        fastrnn.load(path)
    save_file({"W": np.ones(3)}, path)
    with pytest.raises(ValueError, match=r"must be a file of fastrnn\.save, got another safetensors file"):
        fastrnn.load(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        fastrnn.load(path)
    with pytest.raises(FileNotFoundError):
        fastrnn.load(path.with_name("nothing"))
    with pytest.raises(OSError, match=r"[Dd]irectory|denied"):
        fastrnn.load(path.parent)


def raw(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file written by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def metadata(model: object, version: str = "1", **more: str) -> dict[str, str]:
    return {"format": "fastrnn", "version": version, "model": json.dumps(model), "extras": "null", **more}


DENSE = {"class": "Dense", "config": {"input_size": 1, "output_size": 1}}
W = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}
B = {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}


def file_with(model: object = DENSE, data: bytes = bytes(8), version: str = "1", **changes: object) -> bytes:
    tensors = {"params/W": W, "params/b": B} | changes
    kept = {name: value for name, value in tensors.items() if value is not None}
    return raw({"__metadata__": metadata(model, version), **kept}, data)


def nested(depth: int) -> object:
    model: object = DENSE
    for _ in range(depth):
        model = {"class": "Sequential", "config": {"layers": [model]}}
    return model


HOSTILE = {
    "a header longer than the file": (raw(b"{}", length=1 << 40), "must be a whole safetensors file"),
    "a header of all bits": (raw(b"{}", length=(1 << 64) - 1), "must be a whole safetensors file"),
    "a header that is no JSON": (raw(b"{]"), "must be a whole safetensors file"),
    "overlapping tensors": (
        file_with(**{"params/b": {**B, "data_offsets": [0, 4]}}, data=bytes(4)),
        "must be a whole safetensors file",
    ),
    "a hole": (
        file_with(**{"params/b": {**B, "data_offsets": [8, 12]}}, data=bytes(12)),
        "must be a whole safetensors",
    ),
    "a shape that overflows": (
        file_with(**{"params/b": {**B, "shape": [1 << 62, 1 << 62]}}),
        "must be a whole safetensors file",
    ),
    "a shape that is not the data's": (
        file_with(**{"params/b": {**B, "shape": [1000]}}),
        "must be a whole safetensors",
    ),
    "data beyond the tensors": (file_with(data=bytes(900)), "must be a whole safetensors file"),
    "a dtype that numpy lacks": (
        file_with(**{"params/b": {"dtype": "BF16", "shape": [2], "data_offsets": [4, 8]}}),
        "must",
    ),
    "another dtype": (
        file_with(**{"params/b": {"dtype": "I32", "shape": [1], "data_offsets": [4, 8]}}),
        r"params/b in .* must be float32 \(1,\), got int32 \(1,\)",
    ),
    "another shape": (
        file_with(**{"params/b": {"dtype": "F32", "shape": [1, 1], "data_offsets": [4, 8]}}),
        r"params/b in .* must be float32 \(1,\), got float32 \(1, 1\)",
    ),
    "a parameter missing": (file_with(**{"params/b": None}, data=bytes(4)), r"must hold the params \['W', 'b'\], got"),
    "a parameter too many": (
        file_with(**{"params/c": {"dtype": "F32", "shape": [0], "data_offsets": [8, 8]}}),
        r"must hold the params \['W', 'b'\]",
    ),
    "a buffer too many": (
        file_with(**{"buffers/c": {"dtype": "F32", "shape": [0], "data_offsets": [8, 8]}}),
        r"must hold the buffers \[\]",
    ),
    "no class": (file_with({"config": {}}), "there is no layer of the class None"),
    "a class of Python's": (file_with({"class": "eval", "config": {}}), "there is no layer of the class 'eval'"),
    "a class that is no layer": (
        file_with({"class": "Params", "config": {}}),
        "there is no layer of the class 'Params'",
    ),
    "a function": (file_with({"class": "load", "config": {"path": "x"}}), "there is no layer of the class 'load'"),
    "a list for a class": (file_with({"class": ["Dense"], "config": {}}), "there is no layer of the class"),
    "an unknown option": (
        file_with({"class": "Dense", "config": {**DENSE["config"], "nonsense": 1}}),
        "cannot be built: .*nonsense",
    ),
    "a missing option": (file_with({"class": "Dense", "config": {}}), "cannot be built: .*input_size"),
    "an option that cannot be": (
        file_with({"class": "Dense", "config": {"input_size": -1, "output_size": 1}}),
        "cannot be built: input_size must be at least 1",
    ),
    "a layer larger than the file": (
        file_with({"class": "LSTM", "config": {"input_size": 100_000, "hidden_size": 100_000}}),
        "cannot be built: parameters must fit into 1048712 bytes",
    ),
    "a layer larger than memory": (
        file_with({"class": "Embedding", "config": {"vocab": 10**18, "dim": 10**18}}),
        "cannot be built: parameters must fit into",
    ),
    "statistics larger than the file": (
        file_with({"class": "BatchNorm", "config": {"size": 10**9}}),
        "cannot be built: parameters must fit into",
    ),
    "layers in layers": (file_with(nested(60)), "layers must be nested at most 50 deep"),
    "lists in lists": (file_with(json.loads("[" * 400 + "]" * 400)), "describes no model"),
    "no model": (file_with(None), "describes no model"),
    "a number": (file_with(5), "describes no model"),
    "a newer version": (file_with(version="2"), "is of version 2, this fastrnn reads up to 1: update it"),
    "no version": (file_with(version="x"), "must have a version, got 'x'"),
    "a broken architecture": (
        raw({"__metadata__": metadata(DENSE, extras="{"), "params/W": W, "params/b": B}, bytes(8)),
        "must hold JSON in its metadata",
    ),
    "an architecture without end": (
        raw({"__metadata__": metadata(DENSE, extras="[" * 200_000), "params/W": W, "params/b": B}, bytes(8)),
        "must hold JSON in its metadata",
    ),
}


def test_a_file_by_hand_is_one(path):
    path.write_bytes(file_with())
    assert repr(fastrnn.load(path)) == "Dense(1, 1)"
    path.write_bytes(file_with(nested(20), **{"params/W": None, "params/b": None}, data=b""))
    with pytest.raises(ValueError, match="must hold the params"):
        fastrnn.load(path)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(path, name):
    """A clear error, and no more memory than the file has itself."""
    content, message = HOSTILE[name]
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            fastrnn.load(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are POSIX's")
def test_a_pipe_is_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(ValueError, match="must be a whole safetensors file, got 0 bytes"):
        fastrnn.load(path)


@pytest.mark.parametrize("failure", ["while writing", "before renaming"])
def test_an_error_leaves_the_file_that_was_there(path, monkeypatch, failure):
    fastrnn.save(path, make("LSTM"))
    before = path.read_bytes()
    if failure == "while writing":
        monkeypatch.setattr(
            "safetensors.numpy.save_file", lambda *a: (_ for _ in ()).throw(OSError("the disk is full"))
        )
    else:
        monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="the disk is full"):
        fastrnn.save(path, make_model())
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="only there folders are brought to the disk")
def test_a_folder_that_may_be_written_to_but_not_read(path, monkeypatch):
    def no_folders(name, flags, *mode):
        if os.path.isdir(name):
            raise PermissionError(13, "Permission denied", str(name))
        return opened(name, flags, *mode)

    opened = os.open
    monkeypatch.setattr(os, "open", no_folders)  # as for anyone but root
    fastrnn.save(path, LSTM(1, 1))
    monkeypatch.undo()
    assert repr(fastrnn.load(path)) == "LSTM(1, 1)"


def test_a_file_is_replaced_behind_a_link(path, tmp_path):
    link = tmp_path / "link"
    fastrnn.save(path, LSTM(1, 1))
    link.symlink_to(path)
    fastrnn.save(link, LSTM(2, 2))
    assert link.is_symlink()
    assert repr(fastrnn.load(path)) == "LSTM(2, 2)"
    assert sorted(os.listdir(tmp_path)) == ["link", path.name]


def test_a_file_has_the_permissions_of_any_new_file_or_keeps_its_own(path, tmp_path):
    (tmp_path / "other").write_text("")
    fastrnn.save(path, LSTM(1, 1))
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    path.chmod(0o600)
    fastrnn.save(path, LSTM(1, 1))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_path_that_cannot_be_written(tmp_path, monkeypatch):
    for place, error in ((tmp_path / "nowhere" / "model", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error, match=f"^cannot write to {re.escape(repr(str(place)))}: "):
            fastrnn.save(place, LSTM(1, 1))
    long = tmp_path / ("m" * 250)  # which leaves no room for the name of the file that is to take its place
    with pytest.raises(OSError, match=re.escape(repr(str(long)))):
        fastrnn.save(long, LSTM(1, 1))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="its folder may not be written to"):
        fastrnn.save(tmp_path / "model", LSTM(1, 1))
    monkeypatch.undo()
    for wrong in (3, b"model"):
        for call in (lambda path: fastrnn.save(path, LSTM(1, 1)), fastrnn.load):
            with pytest.raises(TypeError, match=r"^path must be a path, a string or a pathlib\.Path, got (3|b'model')"):
                call(wrong)
    for wrong in ("", str(tmp_path / "mo\0del")):
        for call in (lambda path: fastrnn.save(path, LSTM(1, 1)), fastrnn.load):
            with pytest.raises(ValueError, match=r"^path must not be empty or hold a null character, got '"):
                call(wrong)
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        fastrnn.save(f"{tmp_path}/model/", LSTM(1, 1))
    assert os.listdir(tmp_path) == []
    with pytest.raises(TypeError, match=r"^model must be"):
        fastrnn.save(tmp_path / "model", object())


def test_a_file_that_may_not_be_written_to_is_found_before_any_work(path, monkeypatch):
    fastrnn.save(path, LSTM(1, 1))
    before = path.read_bytes()
    monkeypatch.setattr(os, "access", lambda name, mode: name != str(path))  # as for anyone but root
    for write in (lambda: fastrnn.save(path, LSTM(2, 2)), lambda: fastrnn.Checkpoint(path).begin(None)):
        with pytest.raises(PermissionError, match=f"^cannot write to {re.escape(repr(str(path)))}: it may not be"):
            write()
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_best_weights_that_are_none(path):
    """Whatever stands where a checkpoint has its best weights."""
    W_and_b = {"params/W": W, "params/b": B, "training/0": {**B, "data_offsets": [8, 12]}}
    deep = json.loads("[" * 900 + "]" * 900)
    for best in (deep, {"$array": 0}, {"$array": 1}, {"params": {"$array": 0}, "buffers": []}, [], None):
        header = {"__metadata__": metadata(DENSE, training=json.dumps({"best": best})), **W_and_b}
        path.write_bytes(raw(header, bytes(12)))
        with pytest.raises(ValueError, match=f"^{re.escape(repr(str(path)))} must h"):
            fastrnn.load(path, best=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a device or a pipe, and would be replaced by a file"):
        fastrnn.save(pipe, LSTM(1, 1))
    assert pipe.is_fifo()
