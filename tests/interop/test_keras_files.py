"""Keras's files that need h5py but no Keras: former formats, and damaged or hostile ones."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from fastrnn import GRU, LSTM, Dense, Embedding
from fastrnn.interop.keras import load, to_weights

h5py = pytest.importorskip("h5py")

D, H = 3, 4
METADATA = {"keras_version": "3.5.0"}


def _like(layer, seed=1):
    rng = np.random.default_rng(seed)
    layer.params.update({name: rng.normal(size=p.shape).astype(p.dtype) for name, p in layer.params.items()})
    return layer


def _lstm_config(**options):
    config = {"name": "a", "units": H, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    return {"class_name": "LSTM", "config": config | {"return_sequences": True} | options}


def _model_config(*layers):
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}}


def _weights_file(layers):
    """The bytes of a .weights.h5 file: group -> arrays under ``cell``."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for group, arrays in layers.items():
            for k, array in enumerate(arrays):
                file[f"layers/{group}/cell/vars/{k}"] = array
    return memory.getvalue()


def _archive(path, config, weights, metadata=METADATA, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("config.json", config if isinstance(config, (str, bytes)) else json.dumps(config))
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("model.weights.h5", weights)
    return path


@pytest.fixture
def lstm():
    return _like(LSTM(D, H))


@pytest.fixture
def weights(lstm):
    return _weights_file({"lstm": to_weights(lstm)})


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 5, D)).astype("float32")


class TestKerasFile:
    def test_layers_are_found_by_class_and_number(self, lstm, x, tmp_path):
        other = _like(LSTM(H, H), seed=2)
        data = _weights_file({"lstm_1": to_weights(other), "lstm": to_weights(lstm)})
        config = _model_config(_lstm_config(name="lstm_1"), _lstm_config(name="lstm"))
        y, _ = load(_archive(tmp_path / "m.keras", config, data))(x)
        assert (y == other(lstm(x)[0])[0]).all()

    def test_a_config_must_not_be_given_twice(self, weights, tmp_path):
        path = _archive(tmp_path / "m.keras", _model_config(_lstm_config()), weights)
        with pytest.raises(ValueError, match=r"config must be None for .*m\.keras, which holds its own"):
            load(path, _model_config(_lstm_config()))

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (b"{", "must be JSON"),
            (b"[" * 10_000, "must be JSON"),
            (b"3", "must hold a model's config"),
            ({"class_name": "Custom>Model", "config": {}}, "must hold a Sequential or functional model, got Custom"),
            ({"class_name": "Sequential", "config": {"layers": 3}}, "with a list of layers"),
            (_model_config({"name": "x"}), "layers with class_name and config"),
            (_model_config(_lstm_config(units=7)), "layer 'a': units must be 4, as its weights have it, got 7"),
            (
                _model_config(_lstm_config(name="b", units=H), _lstm_config()),
                "layer 'a': weights must be 3 arrays, got 0",
            ),
            (_model_config(_lstm_config(use_bias=False)), "layer 'a': weights must be 2 arrays, got 3"),
            (_model_config({"class_name": "Lambda", "config": {"name": "f"}}), "layer 'f': Lambda is not a layer that"),
            (_model_config(_lstm_config(return_state=True)), "return_state must be False"),
            (_model_config(), "must have at least one layer with weights"),
        ],
    )
    def test_config_that_cannot_be_imported(self, config, message, weights, tmp_path):
        with pytest.raises(ValueError, match=message):
            load(_archive(tmp_path / "m.keras", config, weights))

    @pytest.mark.parametrize("kind", ["Bidirectional", "TimeDistributed"])
    def test_a_layer_of_another_package_within_one(self, kind, weights, tmp_path):
        inner = {"class_name": "LSTM" if kind == "Bidirectional" else "Dense", "config": {}, "module": None}
        config = _model_config({"class_name": kind, "config": {"layer": inner}, "module": "keras.layers"})
        with pytest.raises(ValueError, match=f"{inner['class_name']}, of another package than Keras, is not a layer"):
            load(_archive(tmp_path / "m.keras", config, weights))

    def test_hard_sigmoid_is_what_it_was_before_keras_3(self, weights, tmp_path, x):
        config = _model_config(_lstm_config(recurrent_activation="hard_sigmoid"))
        now = load(_archive(tmp_path / "3.keras", config, weights))
        then = load(_archive(tmp_path / "2.keras", config, weights, {"keras_version": "2.15.0"}))
        assert np.abs(now(x)[0] - then(x)[0]).max() > 1e-3
        layers = [model.layers[0]._config()["recurrent_activation"] for model in (now, then)]
        assert layers == ["hard_sigmoid", ("hard_sigmoid", 0.2, 0.5)]

    @pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
    def test_missing_member(self, member, weights, tmp_path):
        parts = {"config.json": "{}", "metadata.json": "{}", "model.weights.h5": weights}
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            for name in parts.keys() - {member}:
                archive.writestr(name, parts[name])
        with pytest.raises(ValueError, match=f"must hold {member}, and does not"):
            load(tmp_path / "m.keras")

    def test_archive_that_would_grow(self, tmp_path):
        path = _archive(
            tmp_path / "m.keras", _model_config(_lstm_config()), b"\0" * 10**8, compression=zipfile.ZIP_DEFLATED
        )
        with pytest.raises(ValueError, match=r"model\.weights\.h5 in .* must have at most \d+ bytes, got 100000000"):
            load(path)


class TestArguments:
    @pytest.mark.parametrize("path", [3, None])
    def test_path(self, path):
        with pytest.raises(TypeError, match=f"path must be a path, .*got {path}"):
            load(path)

    def test_arrays_that_the_config_has_no_layer_for(self, lstm, tmp_path):
        data = _weights_file({"lstm": to_weights(lstm), "dense": to_weights(Dense(H, 2)), "dropout": []})
        (tmp_path / "m.weights.h5").write_bytes(data)
        with pytest.raises(ValueError, match=r"config must have a layer for every one .*, got none for dense$"):
            load(tmp_path / "m.weights.h5", _model_config(_lstm_config()))


class TestDamage:
    def test_every_cut(self, weights, tmp_path):
        whole = _archive(tmp_path / "m.keras", _model_config(_lstm_config()), weights).read_bytes()
        assert load(tmp_path / "m.keras").layers[0].hidden_size == H
        cut = tmp_path / "cut"
        for data in (whole, weights):
            for size in range(0, len(data), 97):
                cut.write_bytes(data[:size])
                with pytest.raises(ValueError, match=r"cut short|damaged|must hold|must be"):
                    load(cut)

    def test_another_kind_of_file(self, tmp_path):
        (tmp_path / "a.keras").write_text("hello")
        with pytest.raises(ValueError, match=r"a\.keras must be a \.keras or HDF5 file"):
            load(tmp_path / "a.keras")
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "none.keras")

    def test_array_larger_than_the_file(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("layers/lstm/cell/vars/0", (10**6, 10**6), "f4", chunks=(1, 10**6))
        with pytest.raises(ValueError, match=r"must fit into what is left of the file, .* bytes, got 4000000000000"):
            load(tmp_path / "a.h5")

    def test_one_array_under_many_names(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["layers/lstm/cell/vars/0"] = np.zeros((100, 100), "f4")
            for k in range(1, 100):
                file[f"layers/lstm/cell/vars/{k}"] = file["layers/lstm/cell/vars/0"]
        with pytest.raises(ValueError, match="must fit into what is left of the file"):
            load(tmp_path / "a.h5")

    def test_links_out_of_the_file(self, tmp_path):
        with h5py.File(tmp_path / "secret.h5", "w") as file:
            file["a"] = np.zeros(3, "f4")
        for link in (h5py.ExternalLink(str(tmp_path / "secret.h5"), "/a"), h5py.SoftLink("/layers/lstm/b")):
            with h5py.File(tmp_path / "a.h5", "w") as file:
                file.create_group("layers/lstm/cell/vars")["0"] = link
            with pytest.raises(ValueError, match=r"vars/0 must lie in the file itself"):
                load(tmp_path / "a.h5")
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "a", (3,))
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_group("layers/lstm/cell/vars").create_virtual_dataset("0", layout)
        with pytest.raises(ValueError, match="must lie in the file itself"):
            load(tmp_path / "a.h5")

    def test_endless_nesting(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            group = file.create_group("layers/lstm/cell")
            group["cell"] = group
        with pytest.raises(ValueError, match="is nested too deeply"):
            load(tmp_path / "a.h5")

    @pytest.mark.parametrize("value", [np.arange(3), np.array([b"a"])])
    def test_arrays_of_another_kind(self, value, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["layers/lstm/cell/vars/0"] = value
        with pytest.raises(ValueError, match="must be an array of floating-point numbers"):
            load(tmp_path / "a.h5")

    def test_a_file_of_something_else(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["data"] = np.zeros(3)
        with pytest.raises(ValueError, match="must hold a Keras model's layers, and has only data"):
            load(tmp_path / "a.h5")


@pytest.mark.parametrize("seed", range(40))
def test_random_bytes_never_raise_anything_else(seed, weights, tmp_path):
    """A file with some wrong bytes is read, or is a ValueError."""
    rng, path = np.random.default_rng(seed), tmp_path / "m"
    whole = _archive(tmp_path / "m.keras", _model_config(_lstm_config()), weights).read_bytes()
    for data in (whole, weights):
        damaged = bytearray(data)
        for place in rng.integers(len(data), size=3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert load(path).layers
        except ValueError as error:
            assert str(error)


class TestKeras2:
    """Files as Keras 2 wrote them with ``save`` and ``save_weights``."""

    def _write(self, root, layers):
        root.attrs["layer_names"] = [name.encode() for name in layers]
        root.attrs["keras_version"] = b"2.4.0"
        for name, arrays in layers.items():
            group = root.create_group(name)
            names = [f"{name}/weights:{k}".encode() for k in range(len(arrays))]
            group.attrs["weight_names"] = names
            for key, array in zip(names, arrays, strict=True):
                group[key.decode()] = array

    def _layers(self):
        embedding, gru, dense = _like(Embedding(9, D)), _like(GRU(D, H), 2), _like(Dense(H, 2), 3)
        return {"embedding_1": embedding, "gru_1": gru, "dense_1": dense}

    def _config(self):
        return [
            {"class_name": "Embedding", "config": {"name": "embedding_1", "mask_zero": False}},
            {
                "class_name": "GRU",
                "config": {"name": "gru_1", "units": H, "reset_after": True, "return_sequences": True},
            },
            {"class_name": "Dense", "config": {"name": "dense_1", "activation": "linear"}},
        ]

    @pytest.mark.parametrize("listed", [True, False])  # a Sequential's config was a plain list at first
    def test_whole_model(self, listed, tmp_path):
        layers = self._layers()
        with h5py.File(tmp_path / "m.h5", "w") as file:
            config = self._config() if listed else {"name": "m", "layers": self._config()}
            file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": config}).encode()
            self._write(file.create_group("model_weights"), {name: to_weights(layer) for name, layer in layers.items()})
        self._assert_same(load(tmp_path / "m.h5"), layers)

    def test_weights_need_a_config(self, tmp_path):
        layers = self._layers()
        with h5py.File(tmp_path / "w.h5", "w") as file:
            self._write(file, {name: to_weights(layer) for name, layer in layers.items()})
        with pytest.raises(ValueError, match=r"config must be given for .*w\.h5, which holds weights only"):
            load(tmp_path / "w.h5")
        self._assert_same(load(tmp_path / "w.h5", {"layers": self._config()}), layers)

    def test_arrays_that_the_config_has_no_layer_for(self, tmp_path):
        with h5py.File(tmp_path / "w.h5", "w") as file:
            self._write(file, {name: to_weights(layer) for name, layer in self._layers().items()})
        with pytest.raises(ValueError, match=r"a layer for every one of the file's, got none for dense_1"):
            load(tmp_path / "w.h5", {"layers": self._config()[:2]})

    def test_functional_model(self, tmp_path):
        layers, config, before = self._layers(), self._config(), "input_1"
        entries = [{"class_name": "InputLayer", "config": {"name": "input_1"}, "name": "input_1", "inbound_nodes": []}]
        for entry in config:
            name = entry["config"]["name"]
            entries.append({**entry, "name": name, "inbound_nodes": [[[before, 0, 0, {}]]]})
            before = name
        whole = {"class_name": "Functional", "config": {"layers": entries, "output_layers": [["dense_1", 0, 0]]}}
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.attrs["model_config"] = json.dumps(whole).encode()
            self._write(file.create_group("model_weights"), {name: to_weights(layer) for name, layer in layers.items()})
        self._assert_same(load(tmp_path / "m.h5"), layers)

    def _assert_same(self, model, layers):
        embedding, gru, dense = layers.values()
        ids = np.array([[1, 2, 3, 4]])
        assert np.allclose(model(ids)[0], dense(gru(embedding(ids))[0]), atol=1e-6)
