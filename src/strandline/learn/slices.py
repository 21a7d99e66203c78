"""How a model does on each label, with images to look at.

An average hides the one label a user cares about; the images tell why it fails, and
often it is the label that is wrong rather than the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strandline.learn.bootstrap import Bootstrapped
from strandline.learn.curves import threshold_grid
from strandline.learn.metrics import Sample
from strandline.spec.records import Task
from strandline.spec.scorecard import Abstention, Estimate, Example, ExampleOutcome, LabelSlice

EXAMPLES_PER_OUTCOME = 6


def label_slices(
    run: Bootstrapped,
    sample: Sample,
    labels: Sequence[str],
    abstention: Abstention,
    image_digests: Sequence[str],
    sources: Sequence[str | None],
) -> tuple[LabelSlice, ...]:
    """Return one slice a label, in label order.

    Args:
        run: the bootstrap, with `label_precision`, `label_recall`, `label_f1`,
            `label_ap` and `label_auc`.
        image_digests, sources: of each image.
    """
    estimates = _estimates(run, sample)
    thresholds = _thresholds(sample, abstention, len(labels))
    return tuple(
        LabelSlice(
            label=label,
            support=int(sample.truth[:, index].sum()),
            predicted=int(sample.decisions[:, index].sum()),
            threshold=thresholds[index],
            grid=threshold_grid(sample.scores[:, index], sample.truth[:, index]),
            examples=_examples(sample, index, labels, image_digests, sources),
            **{name: each[index] for name, each in estimates.items()},
        )
        for index, label in enumerate(labels)
    )


def _estimates(run: Bootstrapped, sample: Sample) -> dict[str, list[Estimate]]:
    """Return per-label estimates; at 0 or 1 each knows the trials that stand behind it."""
    support = sample.truth.sum(axis=0)
    given = sample.decisions.sum(axis=0)
    either = (sample.truth | sample.decisions).sum(axis=0)
    # So many disjoint (positive, negative) pairs there are, each ranked right or wrong.
    pairs = np.minimum(support, len(sample.truth) - support)
    # Near-duplicates are fewer observations than images.
    share = run.clusters / len(sample.truth)
    return {
        name: run.label_estimates(f"label_{source}", _trials(trials, share))
        for name, source, trials in (
            ("precision", "precision", given),
            ("recall", "recall", support),
            ("f1", "f1", either),
            ("average_precision", "ap", pairs),
            ("auc_roc", "auc", pairs),
        )
    }


def _trials(counts: NDArray[np.int64], share: float) -> list[int]:
    return [max(1, round(int(count) * share)) for count in counts]


def _thresholds(sample: Sample, abstention: Abstention, labels: int) -> Sequence[float | None]:
    if sample.task is Task.MULTICLASS:
        return [None] * labels
    given = abstention.label_thresholds
    return given if len(given) == labels else [0.5] * labels


def _examples(
    sample: Sample,
    label: int,
    labels: Sequence[str],
    image_digests: Sequence[str],
    sources: Sequence[str | None],
) -> tuple[Example, ...]:
    scores = sample.scores[:, label]
    truth, given = sample.truth[:, label], sample.decisions[:, label]
    chosen = {
        ExampleOutcome.RIGHT: _first(truth & given, -scores),
        ExampleOutcome.WRONG: _first(~truth & given, -scores),
        ExampleOutcome.MISSED: _first(truth & ~given, scores),
    }
    return tuple(
        Example(
            image=image_digests[index],
            source=sources[index],
            score=min(1.0, float(scores[index])),
            outcome=outcome,
            truth=_names(sample.truth[index], labels),
            predicted=_names(sample.decisions[index], labels),
        )
        for outcome, indexes in chosen.items()
        for index in indexes
    )


def _first(among: NDArray[np.bool_], key: NDArray[np.float64]) -> list[int]:
    found = np.flatnonzero(among)
    order = np.argsort(key[found], kind="stable")[:EXAMPLES_PER_OUTCOME]
    return [int(index) for index in found[order]]


def _names(flags: NDArray[np.bool_], labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(labels[int(index)] for index in np.flatnonzero(flags))
