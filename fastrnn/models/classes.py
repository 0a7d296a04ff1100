"""What models that choose between classes share, whether of a sequence or of each of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..callbacks import Callback
from ..losses import Accuracy, SoftmaxCrossEntropy
from .estimator import decoded, encoded
from .sequences import SequenceEstimator
from .targets import check_kind, class_weights

Array = np.ndarray


@dataclass(eq=False, repr=False, kw_only=True)
class LabelEstimator(SequenceEstimator):
    """What `SequenceClassifier` and `SequenceTagger` share: classes, their weights, and a logit for each."""

    class_weight: Any = None

    def _fit_classes(
        self,
        X: Any,
        classes: Array,
        numbers: Array,
        targets: Any,
        held_out: Array,
        rng: np.random.Generator,
        *,
        per_step: bool,
        callbacks: tuple[Callback, ...],
    ) -> None:
        """Train; ``numbers`` says of what class each label is, ``targets`` are these numbers laid out like X."""
        found = self._train(
            X,
            targets,
            len(classes),
            SoftmaxCrossEntropy(class_weights(self.class_weight, classes, numbers)),
            held_out,
            rng,
            per_step=per_step,
            metrics={"accuracy": Accuracy()},
            callbacks=callbacks,
        )
        self._finish(X, *found)
        self.classes_ = classes

    def _check_kind(self, labels: Array) -> None:
        """Raise where labels to compare with are of another kind than those of fit."""
        check_kind("y", labels, self.classes_)

    def _likeliest(self, logits: Array) -> Array:
        """The label with the largest of K logits, (N,)."""
        return self.classes_[logits.argmax(axis=1)]

    def _learned(self) -> dict[str, Any]:
        return super()._learned() | {"classes": encoded(self.classes_)}

    def _adopt(self, learned: dict[str, Any]) -> None:
        super()._adopt(learned)
        self.classes_ = decoded(learned["classes"])
        if self.model_.output_size != len(self.classes_):
            raise ValueError(
                f"the network gives {self.model_.output_size} classes, the labels are {len(self.classes_)}"
            )
