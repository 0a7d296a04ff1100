"""Train a small Keras model and save it with what it predicts: ``python train_keras.py FOLDER``.

For `test_keras_trained.py`, in a process of its own: Keras chooses its backend at import. Writes ``model.keras``,
``model.weights.h5``, ``config.json`` and ``data.npz`` (ids, predicted).
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

N, T, V, H = 64, 12, 9, 8


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((T,), dtype="int32"),
            layers.Embedding(V, 6, mask_zero=True),
            layers.Bidirectional(layers.GRU(H, return_sequences=True)),
            layers.Dropout(0.1),
            layers.LSTM(H, recurrent_activation="hard_sigmoid"),
            layers.BatchNormalization(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    rng = np.random.default_rng(0)
    ids = rng.integers(1, V, (N, T))
    ids[np.arange(T) >= rng.integers(3, T + 1, (N, 1))] = 0
    labels = (ids == 3).sum(axis=1) % 2
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(ids, labels, epochs=3, batch_size=16, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    (folder / "config.json").write_text(model.to_json())
    np.savez(folder / "data.npz", ids=ids, predicted=model.predict(ids, verbose=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
