from __future__ import annotations

import numpy as np
import pytest

from strandline.learn.calibrate import (
    Calibration,
    fit_calibration,
    identity_calibration,
    scores_of,
)
from strandline.learn.measure import make_sample, quality_metrics
from strandline.learn.metrics import combine
from strandline.spec.records import Task


def _multiclass_logits(
    seed: int, images: int, labels: int = 8, sharpness: float = 1.0, tilt: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are calibrated exactly at sharpness 1 and tilt 0."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, images)
    separation = 2.5
    logits = rng.normal(size=(images, labels)) + separation * np.eye(labels)[truth]
    return logits * separation * sharpness + tilt * np.linspace(-1, 1, labels), truth


def _multilabel_logits(seed: int, images: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    right = rng.normal(-1.0, 2.0, size=(images, 12))
    truth = rng.random(right.shape) < 1 / (1 + np.exp(-right))
    return right * sharpness, truth.astype(np.float32)


def _ece(scores: np.ndarray, truth: np.ndarray, task: Task) -> float:
    sample = make_sample(scores, truth, task, [str(each) for each in range(scores.shape[1])])
    metric = combine(*quality_metrics(sample))
    return float(metric(np.ones((1, len(scores)), dtype=np.int32))["ece"][0])


@pytest.mark.parametrize(("sharpness", "tilt"), [(0.4, 0.0), (2.5, 0.0), (2.0, 2.0)])
def test_calibrated_scores_err_less_on_unseen_images(sharpness: float, tilt: float) -> None:
    lower = 0
    for seed in range(10):
        logits, truth = _multiclass_logits(seed, 1400, sharpness=sharpness, tilt=tilt)
        fitted = fit_calibration(logits[:1000], truth[:1000], Task.MULTICLASS, seed=seed)
        before = _ece(scores_of(logits[1000:], Task.MULTICLASS), truth[1000:], Task.MULTICLASS)
        after = _ece(fitted.apply(logits[1000:]), truth[1000:], Task.MULTICLASS)
        lower += after < before
    assert lower >= 9


@pytest.mark.parametrize("sharpness", [0.4, 2.5])
def test_multilabel_scores_err_less_on_unseen_images(sharpness: float) -> None:
    lower = 0
    for seed in range(5):
        logits, truth = _multilabel_logits(seed, 700, sharpness)
        fitted = fit_calibration(logits[:500], truth[:500], Task.MULTILABEL, seed=seed)
        before = _ece(scores_of(logits[500:], Task.MULTILABEL), truth[500:], Task.MULTILABEL)
        lower += _ece(fitted.apply(logits[500:]), truth[500:], Task.MULTILABEL) < before
    assert lower == 5


def test_a_known_temperature_is_found() -> None:
    logits, truth = _multiclass_logits(0, 4000, sharpness=3.0)
    fitted = fit_calibration(logits, truth, Task.MULTICLASS)
    assert np.mean(fitted.scale) == pytest.approx(1 / 3, rel=0.1)


def test_a_tilt_toward_some_labels_calls_for_more_than_a_temperature() -> None:
    logits, truth = _multiclass_logits(0, 3000, tilt=3.0)
    fitted = fit_calibration(logits, truth, Task.MULTICLASS)
    assert fitted.method.startswith("vector")
    assert fitted.bias[0] - fitted.bias[-1] == pytest.approx(6.0, abs=1.0)


def test_the_choice_is_never_worse_than_leaving_the_logits_alone() -> None:
    for seed in range(5):
        logits, truth = _multiclass_logits(seed, 60, sharpness=1.0)
        fitted = fit_calibration(logits, truth, Task.MULTICLASS, seed=seed)
        assert fitted.log_loss_before is not None
        assert fitted.log_loss_after is not None
        assert fitted.log_loss_after <= fitted.log_loss_before


def test_logits_without_a_mistake_get_a_finite_temperature() -> None:
    truth = np.arange(40) % 4
    fitted = fit_calibration(5 * np.eye(4)[truth], truth, Task.MULTICLASS)
    assert np.isfinite(fitted.scale).all()
    assert max(fitted.scale) < 20
    multilabel = fit_calibration(10 * np.eye(4)[truth] - 5, np.eye(4)[truth], Task.MULTILABEL)
    assert np.isfinite(multilabel.scale).all()
    assert max(multilabel.scale) < 20


def test_a_rare_label_leans_on_the_others() -> None:
    logits, truth = _multilabel_logits(3, 800, 3.0)
    rare = np.zeros(800, dtype=np.float32)
    rare[:2] = 1.0
    logits[:, 0], truth[:, 0] = np.where(rare, 9.0, -9.0), rare
    fitted = fit_calibration(logits, truth, Task.MULTILABEL)
    assert fitted.scale[0] == pytest.approx(np.median(fitted.scale), rel=1.0)


def test_the_order_of_labels_is_kept_within_a_temperature() -> None:
    logits, truth = _multiclass_logits(0, 300, sharpness=2.0)
    fitted = fit_calibration(logits, truth, Task.MULTICLASS)
    assert min(fitted.scale) > 0
    if fitted.method == "temperature":
        assert (fitted.apply(logits).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_a_single_image_or_cluster_leaves_logits_alone() -> None:
    fitted = fit_calibration(np.ones((3, 2)), np.zeros(3), Task.MULTICLASS, groups=[1, 1, 1])
    assert fitted.method == "identity"
    assert fitted.scale == (1.0, 1.0)


def test_the_same_input_gives_the_same_calibration_and_survives_json() -> None:
    logits, truth = _multiclass_logits(5, 200, sharpness=0.5)
    fitted = fit_calibration(logits, truth, Task.MULTICLASS, seed=3)
    assert fitted == fit_calibration(logits, truth, Task.MULTICLASS, seed=3)
    assert Calibration.model_validate_json(fitted.model_dump_json()) == fitted


def test_identity_is_softmax_or_sigmoid() -> None:
    logits = np.array([[1000.0, 0.0], [0.0, -1000.0]])
    scores = identity_calibration(2, Task.MULTICLASS).apply(logits)
    assert scores == pytest.approx(np.array([[1.0, 0.0], [1.0, 0.0]]))
    scores = identity_calibration(2, Task.MULTILABEL).apply(logits)
    assert scores == pytest.approx(np.array([[1.0, 0.5], [0.5, 0.0]]))


def test_logits_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="did not converge"):
        fit_calibration(np.array([[np.nan, 1.0]]), np.array([0]), Task.MULTICLASS)
