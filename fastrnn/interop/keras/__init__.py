"""Keras's recurrent layers and models as ours, and our weights as Keras's.

None of this needs Keras. Reading files needs h5py, which the extra ``keras`` installs.

=================  =====================================================================================
`from_weights`     what ``layer.get_weights()`` gave, as a layer
`from_layer`       a live Keras layer, or a live model that is a chain of layers
`load`             a ``.keras`` file, a ``.weights.h5`` file, or an ``.h5`` file of Keras 2, as a Sequential
`to_weights`       a layer's parameters, for ``keras_layer.set_weights(...)``
=================  =====================================================================================

Layers here give the whole sequence y and the final state. What a layer with ``return_sequences=False`` gives is
``y[:, -1]``; within a model a `LastStep` takes it.

Examples
--------
>>> import numpy as np
>>> from fastrnn import GRU
>>> from fastrnn.interop import keras
>>> layer = GRU(3, 5, seed=0)
>>> weights = keras.to_weights(layer)
>>> [array.shape for array in weights]
[(3, 15), (5, 15), (2, 15)]
>>> same = keras.from_weights(weights, kind="GRU")
>>> x = np.ones((2, 7, 3), "float32")
>>> bool((same(x)[0] == layer(x)[0]).all())
True
"""

from .configs import from_layer
from .files import load
from .weights import from_weights, to_weights

__all__ = ["from_layer", "from_weights", "load", "to_weights"]
