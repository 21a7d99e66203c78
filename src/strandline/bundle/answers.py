"""From scores to an answer: which labels, or "I don't know"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Record, Task
from strandline.spec.scorecard import Abstention

_RANKED = 5
_GUESSES = 3
_PLAIN_THRESHOLD = 0.5


class LabelScore(Record):
    """A label and its calibrated probability."""

    label: str
    score: float


class Prediction(Record):
    """The answer for one image; `predict -o json` prints exactly these fields (contract v1).

    Attributes:
        source: where the image came from.
        predictions: highest score first. One label an image: the most likely labels, the
            first being the answer. Any number: the labels given, which may be none; when
            the model abstains and gives none, its best guesses.
        abstained: whether the model is too unsure for the goal it was trained with.
        error: why there is no answer; None when there is one.
    """

    source: str
    predictions: tuple[LabelScore, ...] = ()
    abstained: bool = False
    error: str | None = None


class Answerer:
    """Turns the scores of one model into predictions."""

    def __init__(
        self,
        task: Task,
        labels: Sequence[str],
        abstention: Abstention,
        threshold: float | None = None,
    ) -> None:
        """Take over what the model was trained with.

        Args:
            threshold: replaces the abstention threshold and, where an image may have any
                number of labels, the score from which each label is given.

        Raises:
            InvalidSpecError: the threshold is no number between 0 and 1.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise InvalidSpecError(f"the threshold is {threshold}: give one between 0 and 1")
        self._task = task
        self._labels = tuple(labels)
        self._threshold = abstention.threshold if threshold is None else threshold
        self._label_thresholds = np.array(
            (abstention.label_thresholds if threshold is None else ())
            or [_PLAIN_THRESHOLD if threshold is None else threshold] * len(labels)
        )

    def answer(self, scores: NDArray[np.floating], source: str) -> Prediction:
        """Return the prediction for one image's scores [L]."""
        ranked = np.argsort(-scores, kind="stable")
        abstained = bool(scores[ranked[0]] < self._threshold)
        if self._task is Task.MULTICLASS:
            shown = ranked[:_RANKED]
        else:
            shown = ranked[scores[ranked] >= self._label_thresholds[ranked]]
            if abstained and not len(shown):
                shown = ranked[:_GUESSES]
        given = tuple(LabelScore(label=self._labels[i], score=float(scores[i])) for i in shown)
        return Prediction(source=source, predictions=given, abstained=abstained)
