from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from strandline.learn.heads.contract import TrainingSet
from strandline.learn.heads.kernel import _choose_landmarks, _solve
from strandline.learn.heads.registry import (
    REGISTRY,
    FittedHead,
    HeadChoice,
    find_head,
    fit_head,
    image_weights,
)
from strandline.learn.heads.scaling import KINDS
from strandline.learn.heads.temperature import fit_temperature
from strandline.spec.errors import InvalidSpecError, UnusableDataError
from strandline.spec.records import Task

HEADS = [head.name for head in REGISTRY]
DIM, LABELS = 24, 4
CENTRES = np.random.default_rng(9).gamma(1.0, 2.0, (LABELS, DIM))


def _multiclass(
    seed: int, images: int = 120, labels: int = LABELS
) -> tuple[np.ndarray, np.ndarray]:
    """Features like a ReLU network's: non-negative, clustered by class."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, labels, images)
    features = np.maximum(CENTRES[targets] + rng.normal(0, 1.0, (images, DIM)), 0)
    return features.astype(np.float32), targets


def _multilabel(seed: int, images: int = 150) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, LABELS)) < 0.4).astype(np.float32)
    features = np.maximum(targets @ CENTRES + rng.normal(0, 1.0, (images, DIM)), 0)
    return features.astype(np.float32), targets


def _fit(
    head: str,
    features: np.ndarray,
    targets: np.ndarray,
    task: Task = Task.MULTICLASS,
    scaling: str = "power",
    class_weight: str = "none",
    seed: int = 0,
    **params: Any,
) -> FittedHead:
    rows = features if features.ndim == 3 else features[:, None]
    choice = HeadChoice(head, scaling, class_weight, {**find_head(head).defaults, **params})
    return fit_head(choice, rows, (DIM - 8, 8), targets, task, LABELS, seed)


def _run_onnx(head: FittedHead, features: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(head.to_onnx().SerializeToString())
    logits: np.ndarray = session.run(None, {"features": features})[0]
    return logits


@pytest.mark.parametrize("head", HEADS)
def test_a_head_tells_classes_apart_on_unseen_images(head: str) -> None:
    fitted = _fit(head, *_multiclass(0))
    features, targets = _multiclass(1)
    assert (fitted.logits(features).argmax(axis=1) == targets).mean() > 0.9


@pytest.mark.parametrize("head", HEADS)
def test_a_head_finds_every_label_of_an_image(head: str) -> None:
    fitted = _fit(head, *_multilabel(0), task=Task.MULTILABEL)
    features, targets = _multilabel(1)
    assert ((fitted.logits(features) > 0) == targets).mean() > 0.8


@pytest.mark.parametrize("scaling", KINDS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("task", list(Task))
def test_the_graph_gives_the_logits_of_numpy(task: Task, head: str, scaling: str) -> None:
    make = _multiclass if task is Task.MULTICLASS else _multilabel
    fitted = _fit(head, *make(0), task=task, scaling=scaling)
    unseen = make(1)[0]
    unseen[0] = 0  # an image without any evidence
    np.testing.assert_allclose(_run_onnx(fitted, unseen), fitted.logits(unseen), atol=1e-4)


def test_a_nearly_interpolating_kernel_loses_no_precision_in_its_graph() -> None:
    features, targets = _multiclass(0, images=400)
    fitted = _fit("kernel", features, targets, gamma=0.1, ridge=1e-3)
    unseen = _multiclass(1)[0]
    np.testing.assert_allclose(_run_onnx(fitted, unseen), fitted.logits(unseen), atol=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_a_label_without_training_images_is_the_least_likely(head: str) -> None:
    features, targets = _multiclass(0)
    there = targets != 2
    logits = _fit(head, features[there], targets[there]).logits(_multiclass(1)[0])
    assert logits.shape == (120, LABELS)
    assert np.isfinite(logits).all()
    assert (logits.argmax(axis=1) != 2).all()


@pytest.mark.parametrize("head", HEADS)
def test_a_label_on_no_image_and_one_on_every_image_are_learned_as_such(head: str) -> None:
    features, targets = _multilabel(0)
    targets[:, 0], targets[:, 1] = 0, 1
    logits = _fit(head, features, targets, task=Task.MULTILABEL).logits(_multilabel(1)[0])
    assert np.isfinite(logits).all()
    assert (logits[:, 0] < 0).mean() > 0.99
    assert (logits[:, 1] > 0).mean() > 0.99


@pytest.mark.parametrize("head", HEADS)
def test_one_class_alone_can_be_fitted(head: str) -> None:
    features, targets = _multiclass(0, images=12)
    logits = _fit(head, features, np.full_like(targets, 3)).logits(features)
    assert (logits.argmax(axis=1) == 3).all()


@pytest.mark.parametrize("head", HEADS)
def test_two_images_are_enough_to_fit(head: str) -> None:
    features, _ = _multiclass(0, images=2)
    logits = _fit(head, features, np.array([0, 1])).logits(features)
    assert logits.argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("head", HEADS)
def test_the_same_seed_gives_the_same_logits(head: str) -> None:
    features, targets = _multiclass(0)
    unseen = _multiclass(1)[0]
    first, second = (_fit(head, features, targets, seed=5).logits(unseen) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_another_seed_starts_the_network_elsewhere() -> None:
    features, targets = _multiclass(0)
    first, second = (_fit("mlp", features, targets, seed=seed).logits(features) for seed in (1, 2))
    assert not np.allclose(first, second)


@pytest.mark.parametrize("head", HEADS)
def test_balanced_weights_raise_a_rare_label(head: str) -> None:
    features, targets = _multiclass(0, images=300)
    kept = (targets != 1) | (np.arange(300) % 10 == 0)
    unseen, truth = _multiclass(1, images=300)
    rare = unseen[truth == 1]

    def margin(class_weight: str) -> float:
        fitted = _fit(head, features[kept], targets[kept], class_weight=class_weight)
        scores = np.exp(fitted.logits(rare).astype(np.float64))
        return float((scores[:, 1] / scores.sum(axis=1)).mean())

    assert margin("balanced") > margin("none")


@pytest.mark.parametrize("head", HEADS)
def test_every_view_can_be_a_training_row(head: str) -> None:
    rng = np.random.default_rng(3)
    features, targets = _multiclass(0)
    views = np.maximum(features[:, None] + rng.normal(0, 0.3, (120, 3, DIM)), 0)
    unseen, truth = _multiclass(1)
    fitted = _fit(head, views.astype(np.float32), targets)
    assert (fitted.logits(unseen).argmax(axis=1) == truth).mean() > 0.9


@pytest.mark.parametrize("head", ["kernel", "prototype", "mlp"])
def test_a_head_with_a_temperature_is_as_sure_as_it_is_right(head: str) -> None:
    rng = np.random.default_rng(4)
    targets = rng.integers(0, LABELS, 900)
    features = np.maximum(CENTRES[targets] + rng.normal(0, 6.0, (900, DIM)), 0).astype(np.float32)
    logits = _fit(head, features[:450], targets[:450]).logits(features[450:])
    scores = np.exp(logits.astype(np.float64))
    scores /= scores.sum(axis=1, keepdims=True)
    right = (scores.argmax(axis=1) == targets[450:]).mean()
    assert abs(scores.max(axis=1).mean() - right) < 0.08


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("head", HEADS)
def test_raw_scores_rank_as_the_logits_do_and_are_scores(head: str, task: Task) -> None:
    make = _multiclass if task is Task.MULTICLASS else _multilabel
    fitted = _fit(head, *make(0), task=task)
    logits = fitted.logits(make(1)[0])
    raw = fitted.classifier.raw_scores(logits, task)
    assert raw.min() >= 0
    assert raw.max() <= 1
    if task is Task.MULTICLASS:
        np.testing.assert_allclose(raw.sum(axis=1), 1)
        found = np.take_along_axis(raw, logits.argmax(axis=1)[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(found, raw.max(axis=1))
    else:
        assert (np.diff(raw[np.argsort(logits[:, 0]), 0]) >= 0).all()


def test_raw_scores_of_a_head_without_a_factor_are_those_of_its_logits() -> None:
    fitted = _fit("logistic", *_multiclass(0))
    logits = fitted.logits(_multiclass(1)[0])
    scores = np.exp(logits.astype(np.float64))
    scores /= scores.sum(axis=1, keepdims=True)
    raw = fitted.classifier.raw_scores(logits, Task.MULTICLASS)
    np.testing.assert_allclose(raw, scores, rtol=1e-6)


def test_raw_scores_of_the_kernel_are_what_least_squares_estimate() -> None:
    features, targets = _multiclass(0)
    fitted = _fit("kernel", features, targets, ridge=1e-3)
    raw = fitted.classifier.raw_scores(fitted.logits(features), Task.MULTICLASS)
    # It nearly interpolates: the regression of what it was trained on is the truth itself.
    assert raw[np.arange(len(targets)), targets].min() > 0.9


def test_leaving_an_image_out_in_closed_form_is_fitting_without_it() -> None:
    rng = np.random.default_rng(5)
    features = rng.random((24, 5)).astype(np.float32)  # 12 images of two views
    targets = np.repeat(rng.integers(0, 3, 12), 2)
    weights = np.repeat(rng.uniform(0.5, 1.5, 12), 2)
    everything = TrainingSet(features, targets, weights, Task.MULTICLASS, 3, views=2)
    landmarks = _choose_landmarks(everything, rng)
    solution = _solve(everything, landmarks, 2.0, 0.05)
    left_out, truth = solution.leave_images_out(everything)
    rows = np.arange(24) != 6  # image 3 has the rows 6 and 7
    rows[7] = False
    without = TrainingSet(features[rows], targets[rows], weights[rows], Task.MULTICLASS, 3, views=2)
    # The bias is a mean over all images, which the closed form keeps.
    anew = _solve(without, landmarks, 2.0, 0.05)
    shift = (solution.bias - anew.bias)[None]
    phi = anew.features(features[6:8])
    expected = phi @ anew.weight + anew.bias
    assert truth[3].tolist() == [float(targets[6] == label) for label in range(3)]
    np.testing.assert_allclose(left_out[3], expected.mean(axis=0), atol=3 * np.abs(shift).max())


def test_many_images_are_stood_for_by_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strandline.learn.heads.kernel._MOST_LANDMARKS", 40)
    monkeypatch.setattr("strandline.learn.heads.kernel._CHUNK_ROWS", 64)
    fitted = _fit("kernel", *_multiclass(0, images=300))
    unseen, truth = _multiclass(1)
    assert getattr(fitted.classifier, "landmarks").shape == (40, DIM)  # noqa: B009
    assert (fitted.logits(unseen).argmax(axis=1) == truth).mean() > 0.9


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_the_temperature_undoes_a_factor_on_true_logits(factor: float) -> None:
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 2, (4000, LABELS))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (scores.cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    truth = np.eye(LABELS)[targets]
    found = fit_temperature(logits * factor, truth, Task.MULTICLASS)
    assert found == pytest.approx(1 / factor, rel=0.1)


def test_balanced_weights_give_each_label_the_same_sum() -> None:
    targets = np.array([0, 0, 0, 1, 2, 2])
    weights = image_weights(targets, Task.MULTICLASS, 4, "balanced")
    sums = [weights[targets == label].sum() for label in range(3)]
    assert sums == pytest.approx([2.0, 2.0, 2.0])


def test_an_image_without_labels_weighs_as_much_as_the_mean() -> None:
    targets = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.float32)
    weights = image_weights(targets, Task.MULTILABEL, 2, "balanced")
    assert weights.mean() == pytest.approx(1.0)
    assert weights[3] == pytest.approx(weights[:3].mean())


def test_an_unknown_head_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidSpecError, match="logistic, kernel, prototype, mlp"):
        find_head("forest")


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(UnusableDataError, match="label some"):
        _fit("logistic", np.zeros((0, 1, DIM), np.float32), np.zeros(0, np.int64))
