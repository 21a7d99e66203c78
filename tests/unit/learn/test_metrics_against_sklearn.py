"""scikit-learn is the oracle; ours also takes weights and needs numpy only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics as oracle

from strandline.learn import metrics
from strandline.learn.metrics import Sample
from strandline.spec.records import Task


def _multiclass(seed: int, images: int, labels: int, digits: int) -> tuple[Sample, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = np.concatenate([np.arange(labels), rng.integers(0, labels, images - labels)])
    logits = rng.normal(size=(images, labels)) + 2 * np.eye(labels)[classes]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = np.round(scores, digits) + 1e-3
    scores = scores / scores.sum(axis=1, keepdims=True)
    given_labels = np.eye(labels, dtype=bool)[scores.argmax(axis=1)]
    truth = np.eye(labels, dtype=bool)[classes]
    return Sample(scores, truth, given_labels, Task.MULTICLASS), classes


def _multilabel(seed: int, images: int, labels: int, digits: int) -> Sample:
    rng = np.random.default_rng(seed)
    truth = rng.random((images, labels)) < 0.3
    truth[0], truth[1] = True, False
    scores: np.ndarray = np.clip(
        np.round(rng.random((images, labels)) * 0.7 + 0.3 * truth, digits), 0.01, 0.99
    )
    return Sample(scores, truth, scores >= 0.5, Task.MULTILABEL)


def _values(metric: metrics.Metric, images: int) -> dict[str, np.ndarray]:
    found = metric(np.ones((1, images), dtype=np.int32))
    return {name: value[0] for name, value in found.items()}


_SIZES = st.tuples(
    st.integers(0, 10_000), st.integers(8, 60), st.integers(2, 6), st.sampled_from([1, 2, 9])
)


@settings(max_examples=40, deadline=None)
@given(_SIZES)
def test_multiclass_metrics_equal_scikit_learn_also_with_ties(
    size: tuple[int, int, int, int],
) -> None:
    sample, classes = _multiclass(*size)
    found = _values(
        metrics.combine(metrics.ranking_metric(sample), metrics.decision_metrics(sample)),
        len(classes),
    )
    truth, scores, predicted = sample.truth, sample.scores, sample.scores.argmax(axis=1)
    labels = range(truth.shape[1])
    assert found["auc_pr"] == pytest.approx(oracle.average_precision_score(truth, scores))
    assert found["auc_roc"] == pytest.approx(oracle.roc_auc_score(truth, scores, average="macro"))
    assert found["auc_pr_micro"] == pytest.approx(
        oracle.average_precision_score(truth, scores, average="micro")
    )
    assert found["auc_roc_micro"] == pytest.approx(
        oracle.roc_auc_score(truth, scores, average="micro")
    )
    assert found["f1_macro"] == pytest.approx(
        oracle.f1_score(classes, predicted, labels=labels, average="macro", zero_division=0)
    )
    assert metrics.log_losses(sample).mean() == pytest.approx(
        oracle.log_loss(classes, scores, labels=list(labels))
    )


@settings(max_examples=40, deadline=None)
@given(_SIZES)
def test_multilabel_metrics_equal_scikit_learn_also_with_ties(
    size: tuple[int, int, int, int],
) -> None:
    sample = _multilabel(*size)
    found = _values(
        metrics.combine(metrics.ranking_metric(sample), metrics.decision_metrics(sample)),
        len(sample.scores),
    )
    per_label = oracle.average_precision_score(sample.truth, sample.scores, average=None)
    assert found["label_ap"] == pytest.approx(per_label)
    assert found["label_auc"] == pytest.approx(
        oracle.roc_auc_score(sample.truth, sample.scores, average=None)
    )
    for average in ("macro", "micro"):
        assert found[f"f1_{average}"] == pytest.approx(
            oracle.f1_score(sample.truth, sample.decisions, average=average, zero_division=0)
        )
    losses = [
        oracle.log_loss(sample.truth[:, label], sample.scores[:, label], labels=[False, True])
        for label in range(sample.truth.shape[1])
    ]
    assert metrics.log_losses(sample).mean() == pytest.approx(np.mean(losses))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9))
def test_a_weight_counts_as_so_many_copies_of_the_image(seed: int, digits: int) -> None:
    sample = _multilabel(seed, 30, 3, digits)
    weights = np.random.default_rng(seed).integers(0, 4, 30).astype(np.int32)
    copied = np.repeat(np.arange(30), weights)
    again = Sample(
        sample.scores[copied], sample.truth[copied], sample.decisions[copied], sample.task
    )
    edges = np.array([0.3, 0.6])

    def parts(of: Sample) -> metrics.Metric:
        return metrics.combine(
            metrics.ranking_metric(of),
            metrics.decision_metrics(of),
            metrics.ece_metric("ece", of, edges),
            metrics.selection_metric(of.top_score > 0.7, ~of.top_right),
            metrics.mean_metrics({"log_loss": metrics.log_losses(of)}),
        )

    weighted = {name: value[0] for name, value in parts(sample)(weights[None, :]).items()}
    for name, value in _values(parts(again), len(copied)).items():
        assert weighted[name] == pytest.approx(value, nan_ok=True), name


def test_a_label_without_positives_is_undefined_and_left_out_of_the_mean() -> None:
    truth = np.array([[True, False], [False, False], [True, False]])
    scores = np.array([[0.9, 0.2], [0.8, 0.1], [0.7, 0.3]])
    found = _values(metrics.ranking_metric(Sample(scores, truth, truth, Task.MULTILABEL)), 3)
    assert np.isnan(found["label_ap"][1])
    assert np.isnan(found["label_auc"][1])
    assert found["auc_pr"] == pytest.approx((1 + 2 / 3) / 2)


def test_calibration_error_of_scores_that_say_what_they_are_is_zero() -> None:
    scores = np.tile([0.75, 0.25], (4, 1))
    truth = np.eye(2, dtype=bool)[[0, 0, 0, 1]]
    sample = Sample(scores, truth, truth, Task.MULTICLASS)
    assert _values(metrics.ece_metric("ece", sample, np.array([])), 4)["ece"] == 0
    sure = Sample(np.tile([0.95, 0.05], (4, 1)), truth, truth, Task.MULTICLASS)
    assert _values(metrics.ece_metric("ece", sure, np.array([])), 4)["ece"] == pytest.approx(0.2)


def test_bins_hold_equal_masses_and_equal_scores_share_one() -> None:
    edges = metrics.equal_mass_edges(np.arange(100) / 100, 4)
    assert edges == pytest.approx([0.25, 0.5, 0.75])
    assert len(metrics.equal_mass_edges(np.full(50, 0.9), 10)) == 1
