"""scikit-learn's own checks of estimators, and its tools, over the models."""

from __future__ import annotations

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone, is_classifier, is_regressor  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import (  # noqa: E402
    check_dataframe_column_names_consistency,
    check_estimator,
)

from fastrnn.models import (  # noqa: E402
    Forecaster,
    LanguageModel,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
)

TEXTS = ["a good film", "good fun", "so good", "a bad film", "bad, just bad", "so bad"] * 6
LABELS = np.array(["yes", "yes", "yes", "no", "no", "no"] * 6)

# What of scikit-learn's checks does not apply, and why: a row of a table is read as a sequence of one number a step.
# float64: rows give the same to 1e-7 whatever the batch, which BLAS in float32 does not promise.
# validation_fraction=0 for the regressor: a check wants noise to be fitted, which early stopping is there to prevent.
CHECKED = [
    SequenceClassifier(hidden=16, dtype="float64"),
    SequenceRegressor(hidden=16, dtype="float64", validation_fraction=0.0),
]
SKIPPED = {
    "check_array_api_input",  # for estimators that take arrays of other libraries; runs on request only
    "check_classifier_data_not_an_array",  # these two skip themselves where pandas is not installed
    "check_regressor_data_not_an_array",
}

# These take data that the checks cannot make. SequenceTagger: y has a label for every step; LanguageModel: X is a text;
# Forecaster: rows are steps in order, not independent samples.
OTHERS = [SequenceTagger(), LanguageModel(), Forecaster()]


@pytest.mark.parametrize("estimator", CHECKED, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.filterwarnings("ignore")
def test_checks_of_scikit_learn(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert len(results) > 45
    wrong = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not wrong
    assert {result["check_name"] for result in results if result["status"] == "skipped"} <= SKIPPED


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor])
def test_names_of_features_are_those_of_fit(kind):
    pytest.importorskip("pandas")
    check_dataframe_column_names_consistency(kind.__name__, kind(hidden=2, epochs=1))


@pytest.mark.parametrize("estimator", [*CHECKED, *OTHERS], ids=lambda estimator: type(estimator).__name__)
def test_clones_have_the_parameters_and_nothing_learned(estimator):
    copy = clone(estimator.set_params(hidden=12))
    assert copy is not estimator and copy.get_params() == estimator.get_params()
    assert not copy.__sklearn_is_fitted__()
    assert sklearn.utils.get_tags(copy).requires_fit


def test_kinds():
    assert is_classifier(SequenceClassifier()) and not is_regressor(SequenceClassifier())
    assert is_regressor(SequenceRegressor()) and not is_classifier(SequenceTagger())
    with pytest.raises(NotFittedError, match="SequenceClassifier has not been fitted"):
        SequenceClassifier().predict(np.zeros((2, 3)))


def test_grid_search_over_texts():
    search = GridSearchCV(
        SequenceClassifier(hidden=8, epochs=15, random_state=0), {"pooling": ["last", "mean"]}, cv=2, n_jobs=2
    )
    search.fit(TEXTS, LABELS)
    assert search.best_score_ > 0.9 and search.best_estimator_.predict(["good"])[0] == "yes"


def test_cross_validation_of_sequences():
    x = np.random.default_rng(0).normal(size=(90, 5, 2))
    y = (x[:, :, 0].sum(axis=1) > 0).astype(int)
    model = SequenceClassifier(hidden=8, epochs=40, learning_rate=0.02, random_state=0)
    assert cross_val_score(model, x, y, cv=3).mean() > 0.8
    ragged = [row[: 3 + k % 3] for k, row in enumerate(x)]
    assert len(cross_val_score(model.set_params(epochs=2), ragged, y, cv=3)) == 3


def test_cross_validation_of_a_tagger():
    x = np.random.default_rng(0).normal(size=(60, 5, 1))
    y = (x[:, :, 0] > 0).astype(int)
    assert (
        cross_val_score(SequenceTagger(hidden=8, epochs=60, learning_rate=0.02, random_state=0), x, y, cv=2).mean()
        > 0.9
    )


def test_a_pipeline():
    x = np.random.default_rng(0).uniform(size=(200, 4))
    model = make_pipeline(StandardScaler(), SequenceRegressor(hidden=16, epochs=60, learning_rate=0.01, random_state=0))
    assert model.fit(x, x.sum(axis=1)).score(x, x.sum(axis=1)) > 0.9


@pytest.mark.parametrize("kind", [Forecaster, LanguageModel])
def test_a_search_over_models_that_score_themselves(kind):
    if kind is Forecaster:
        series = np.sin(np.arange(200) / 3)
        scores = [kind(inputs=n, epochs=1, random_state=0).fit(series[:150]).score(series[100:]) for n in (1, 8)]
    else:
        text = "to be or not to be " * 40
        options = {"hidden": 8, "batch_size": 2, "steps": 16, "random_state": 0}
        scores = [kind(epochs=n, **options).fit(text).score(text) for n in (1, 20)]
    assert scores[1] > scores[0]
