"""Models for what most people do with recurrent networks, with scikit-learn's conventions.

`SequenceClassifier`, `SequenceRegressor` and `SequenceTagger` for sequences of numbers or text, `LanguageModel` for
text, `Forecaster` for time series. Each has ``fit``, ``get_params``, ``save`` and ``load``; scikit-learn clones them,
searches over them and puts them into pipelines, but is not needed.
"""

from .estimator import load
from .forecast import Forecaster
from .language import LanguageModel
from .pooled import SequenceClassifier, SequenceRegressor
from .tagger import SequenceTagger

__all__ = ["Forecaster", "LanguageModel", "SequenceClassifier", "SequenceRegressor", "SequenceTagger", "load"]
