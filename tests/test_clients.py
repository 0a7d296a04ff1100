"""Models that other people trained and serve: imported, their published weights must give their results.

The arrays lie beside the repository, in ``../shared/clients``, one .npz a model with what its own code computed. Tests
are skipped where they are not there.

=========== =============================================================== ==========================================
g2p_en      GRU encoder and decoder, English spelling to phonemes           github.com/Kyubyong/g2p, Apache-2.0
g2pM        ragged bidirectional LSTM, Mandarin characters to pinyin        github.com/kakaobrain/g2pM, Apache-2.0
silero_vad  LSTM over 900 steps of audio, streamed: is there speech?        github.com/snakers4/silero-vad, MIT
rnnoise     three reset-before GRUs with a relu candidate: noise reduction  github.com/xiph/rnnoise, BSD-3
=========== =============================================================== ==========================================
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import scaled_error

from fastrnn import GRU, LSTM, Bidirectional, Dense, Embedding, Session
from fastrnn.interop.keras import from_weights
from fastrnn.interop.torch import load_state_dict

Array = np.ndarray

CLIENTS = Path(__file__).parents[2] / "shared" / "clients"

# scaled_error (relative to the output's size) between float32 programs that sum in different orders
TOLERANCES = {
    "g2p_en": 1e-5,
    "g2pM": 5e-6,
    "silero_vad": 5e-6,
    "silero_vad probability": 2e-6,
    "rnnoise": 1e-5,
    "rnnoise, its own table of tanh": 4e-5,  # which differs from tanh by up to 3.3e-5
}


@cache
def _file(name: str) -> dict[str, Array]:
    with np.load(CLIENTS / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def _load(name: str) -> dict[str, Array]:
    if not (CLIENTS / f"{name}.npz").exists():
        pytest.skip(f"{name}.npz is not in ../shared/clients")
    return _file(name)


NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _from_torch(arrays: Sequence[Array], reverse: Sequence[Array] = ()) -> Any:
    """The layer with PyTorch's weight_ih, weight_hh, bias_ih and bias_hh, of one direction or of two."""
    weights = {f"{name}_l0": array for name, array in zip(NAMES, arrays, strict=True)}
    if reverse:
        weights |= {f"{name}_l0_reverse": array for name, array in zip(NAMES, reverse, strict=True)}
    return load_state_dict(weights)


def _dense(weight: Array, bias: Array, activation: str | None = None) -> Dense:
    """A Dense with PyTorch's parameters."""
    layer = Dense(weight.shape[1], weight.shape[0], activation)
    layer.params.update(W=weight.T, b=bias)
    return layer


def _embedding(weight: Array) -> Embedding:
    layer = Embedding(*weight.shape)
    layer.params["W"] = weight
    return layer


class TestG2pEn:
    """English spelling to phonemes: an encoder's last state begins a greedy decoder."""

    START, STOP, LONGEST = 2, 3, 20

    def _model(self, z: dict[str, Array]) -> tuple[Embedding, GRU, Embedding, GRU, Dense]:
        names = ("w_ih", "w_hh", "b_ih", "b_hh")
        encoder, decoder = (_from_torch([z[f"{part}_{name}"] for name in names]) for part in ("enc", "dec"))
        return _embedding(z["enc_emb"]), encoder, _embedding(z["dec_emb"]), decoder, _dense(z["fc_w"], z["fc_b"])

    def test_encoder_and_decoder(self, backend):
        z = _load("g2p_en")
        letters, encoder, _, decoder, output = self._model(z)
        for k in range(len(z["words"])):
            encoded, state = encoder(letters(z[f"w{k}_ids"][None]))
            assert scaled_error(encoded, z[f"w{k}_enc_out"]) <= TOLERANCES["g2p_en"]
            decoded, _ = decoder(z[f"w{k}_dec_in"][None], state)
            assert scaled_error(decoded[0], z[f"w{k}_dec_out"]) <= TOLERANCES["g2p_en"]
            assert scaled_error(output(decoded[0]), z[f"w{k}_logits"]) <= TOLERANCES["g2p_en"]

    def test_all_words_in_one_ragged_batch(self, backend):
        z = _load("g2p_en")
        letters, encoder, *_ = self._model(z)
        words = [z[f"w{k}_ids"] for k in range(len(z["words"]))]
        lengths = np.array([len(word) for word in words])
        ids = np.zeros((len(words), lengths.max()), np.int64)
        for row, word in zip(ids, words, strict=True):
            row[: len(word)] = word
        y, state = encoder(letters(ids), lengths=lengths)
        for k, length in enumerate(lengths):
            assert scaled_error(y[k, :length], z[f"w{k}_enc_out"][0]) <= TOLERANCES["g2p_en"]
            assert (state[k] == y[k, length - 1]).all()

    def test_greedy_decoding_gives_its_phonemes(self, backend):
        z = _load("g2p_en")
        letters, encoder, phonemes, decoder, output = self._model(z)
        for k in range(len(z["words"])):
            _, state = encoder(letters(z[f"w{k}_ids"][None]))
            found, last = [], self.START
            while len(found) < self.LONGEST:
                state = decoder.step(phonemes(np.array([last])), state)
                last = int(output(state).argmax())
                if last == self.STOP:
                    break
                found.append(last)
            assert found == z[f"w{k}_phoneme_ids"].tolist(), z["words"][k]


class TestG2pM:
    """Which of its readings has a Mandarin character, in 10 254 sentences of all lengths."""

    def _model(self, z: dict[str, Array]) -> tuple[Embedding, Bidirectional, Dense, Dense]:
        both = _from_torch(*([z[f"w_lstm_{name}_l0{side}"] for name in NAMES] for side in ("", "_reverse")))
        hidden = _dense(z["w_logit_layer_0_weight"], z["w_logit_layer_0_bias"], "relu")
        return (
            _embedding(z["w_embedding_weight"]),
            both,
            hidden,
            _dense(z["w_logit_layer_2_weight"], z["w_logit_layer_2_bias"]),
        )

    def test_a_ragged_batch(self, backend):
        z = _load("g2pM")
        embedding, both, hidden, output = self._model(z)
        lengths = z["b8_lengths"]
        embedded = embedding(z["b8_ids"])
        assert (embedded == z["b8_emb"]).all()
        y, _ = both(embedded, lengths=lengths)
        for k, length in enumerate(lengths):  # beyond a sentence its own code runs on in the padding
            assert scaled_error(y[k, :length], z["b8_out"][k, :length]) <= TOLERANCES["g2pM"]
        logits = output(hidden(y[np.arange(len(y)), z["b8_target"]]))
        assert scaled_error(logits, z["b8_logits"]) <= TOLERANCES["g2pM"]
        alone, _ = both(embedding(z["b1_ids"]))
        assert scaled_error(alone, z["b1_out"]) <= TOLERANCES["g2pM"]

    def test_the_whole_test_set(self, backend):
        z, data = _load("g2pM"), _load("g2pM_testset")
        embedding, both, hidden, output = self._model(z)
        lengths, target = data["lengths"], data["target"]
        begin = np.cumsum(lengths) - lengths
        predicted = np.empty_like(data["label"])
        for rows in np.array_split(np.argsort(lengths, kind="stable"), 10):
            valid = np.arange(lengths[rows].max()) < lengths[rows, None]
            ids = np.zeros(valid.shape, data["flat_ids"].dtype)
            ids[valid] = data["flat_ids"][(begin[rows, None] + np.arange(valid.shape[1]))[valid]]
            y, _ = both(embedding(ids), lengths=lengths[rows])
            predicted[rows] = output(hidden(y[np.arange(len(rows)), target[rows]])).argmax(axis=1)
        assert len(predicted) == 10_254
        assert (predicted == data["own_pred"]).all()
        assert round(100 * float((predicted == data["label"]).mean()), 2) == 97.31


class TestSileroVad:
    """Speech or not, 900 chunks of 32 ms; c grows to 28, which needs an error relative to its size."""

    def _lstm(self, z: dict[str, Array]) -> LSTM:
        return _from_torch([z[name] for name in NAMES])

    def _assert_probability(self, h: Array, z: dict[str, Array]) -> None:
        probability = _dense(z["out_w"], z["out_b"], "sigmoid")(np.maximum(h, 0))[:, 0]
        assert scaled_error(probability, z["prob"]) <= TOLERANCES["silero_vad probability"]

    def test_900_steps_in_one_call(self, backend):
        z = _load("silero_vad")
        h, (last, c) = self._lstm(z)(z["x"], (z["h0"][None], z["c0"][None]))
        assert scaled_error(h, z["h"]) <= TOLERANCES["silero_vad"]
        assert scaled_error(c[0], z["c"][-1]) <= TOLERANCES["silero_vad"]
        assert (last[0] == h[-1]).all()
        self._assert_probability(h, z)

    def test_900_steps_streamed(self, backend):
        z = _load("silero_vad")
        session = Session(self._lstm(z))
        h = np.empty_like(z["h"])
        for t, x_t in enumerate(z["x"]):
            h[t] = session.step(x_t[None])[0]
            if t % 100 == 0:
                assert scaled_error(session.state[1][0], z["c"][t]) <= TOLERANCES["silero_vad"]
        assert scaled_error(h, z["h"]) <= TOLERANCES["silero_vad"]
        self._assert_probability(h, z)


class TestRnnoise:
    """Three GRUs, reset before the product and relu candidates: states reach 17. Weights in Keras's layout."""

    def _gru(self, z: dict[str, Array], name: str) -> GRU:
        weights = [z[f"{name}_{part}"] for part in ("W", "U", "bias")]
        return from_weights(weights, kind="GRU", activation="relu")

    def _dense(self, z: dict[str, Array], name: str, activation: str) -> Dense:
        return _dense(z[f"{name}_W"].T, z[f"{name}_bias"], activation)

    def _run(self, z: dict[str, Array]) -> dict[str, Array]:
        """The whole network over 600 frames."""
        features = z["features"]
        dense = self._dense(z, "input_dense", "tanh")(features)
        vad, _ = self._gru(z, "vad_gru")(dense)
        noise, _ = self._gru(z, "noise_gru")(np.hstack([dense, vad, features]))
        denoise, _ = self._gru(z, "denoise_gru")(np.hstack([vad, noise, features]))
        return {
            "dense": dense,
            "vad_gru": vad,
            "noise_gru": noise,
            "denoise_gru": denoise,
            "gains": self._dense(z, "denoise_output", "sigmoid")(denoise),
            "vad": self._dense(z, "vad_output", "sigmoid")(vad),
        }

    def test_600_frames(self, backend):
        z = _load("rnnoise")
        assert z["denoise_gru_out"].max() > 10
        for name, found in self._run(z).items():
            assert scaled_error(found, z[f"exact_{name}_out"]) <= TOLERANCES["rnnoise"], name
            assert scaled_error(found, z[f"{name}_out"]) <= TOLERANCES["rnnoise, its own table of tanh"], name

    def test_control_reset_after_does_not_pass(self):
        z = _load("rnnoise")
        before = self._gru(z, "denoise_gru")
        after = GRU(before.input_size, before.hidden_size, activation="relu")
        after.params.update(before.params)
        x, expected = z["denoise_gru_in_exact"], z["exact_denoise_gru_out"]
        assert scaled_error(before(x)[0], expected) <= TOLERANCES["rnnoise"]
        assert scaled_error(after(x)[0], expected) > 0.1
