from __future__ import annotations

import numpy as np
import pytest

from strandline.learn.abstain import NEVER, choose_threshold, fewest_answers, label_thresholds
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Task


def _binary(seed: int, images: int, lift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores [n, 2], truth [n] and each image's true chance of error [n]."""
    rng = np.random.default_rng(seed)
    right = np.clip(1 / (1 + np.exp(-rng.normal(lift, 2.5, images))), 0.5, 1)
    truth = (rng.random(images) > right).astype(np.int64)
    # Over-confident scores: the promise must not depend on calibration.
    shown = right**0.5
    return np.stack([shown, 1 - shown], axis=1), truth, 1 - right


@pytest.mark.parametrize(
    ("images", "lift", "goal"), [(2000, 5.0, 0.01), (1000, 3.0, 0.05), (200, 3.0, 0.1)]
)
def test_the_goal_holds_on_unseen_images_as_often_as_promised(
    images: int, lift: float, goal: float
) -> None:
    unseen, _, chance = _binary(99, 200_000, lift)
    broken, answering = 0, 0
    for seed in range(100):
        scores, truth, _ = _binary(seed, images, lift)
        found = choose_threshold(scores, truth, Task.MULTICLASS, goal, confidence=0.9)
        answers = unseen.max(axis=1) >= found.threshold
        broken += found.supported and bool(chance[answers].mean() > goal)
        answering += found.supported
    # 10 of 100 may break it; 17 or more would have probability 2% if 10% was the truth.
    assert broken <= 16
    assert answering >= 80


def test_a_model_that_is_always_right_answers_always() -> None:
    truth = np.zeros(400, dtype=np.int64)
    scores = np.tile([0.9, 0.1], (400, 1))
    found = choose_threshold(scores, truth, Task.MULTICLASS, 0.01)
    assert found.supported
    assert (found.threshold, found.coverage, found.wrong) == (0.0, 1.0, 0)
    assert found.error_bound <= 0.01


def test_too_few_images_are_told_how_many_it_takes() -> None:
    scores = np.tile([0.999, 0.001], (50, 1))
    found = choose_threshold(scores, np.zeros(50, dtype=np.int64), Task.MULTICLASS, 0.01)
    assert not found.supported
    assert "Too few images: 50" in found.reason
    assert str(fewest_answers(0.01, 0.05)) in found.reason
    assert found.coverage == 1.0


def test_a_model_that_guesses_abstains_and_says_why() -> None:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(4), size=2000)
    found = choose_threshold(scores, rng.integers(0, 4, 2000), Task.MULTICLASS, 0.01)
    assert not found.supported
    assert (found.threshold, found.answered, found.error) == (NEVER, 0, None)
    assert "Too many mistakes" in found.reason


def test_copies_of_an_image_prove_nothing_more() -> None:
    scores = np.tile([0.999, 0.001], (400, 1))
    truth = np.zeros(400, dtype=np.int64)
    alone = choose_threshold(scores, truth, Task.MULTICLASS, 0.01)
    copies = choose_threshold(
        scores, truth, Task.MULTICLASS, 0.01, groups=[index // 8 for index in range(400)]
    )
    assert alone.supported
    assert not copies.supported


def test_one_unlucky_mistake_among_the_surest_does_not_end_everything() -> None:
    scores = np.linspace(0.5, 0.9999, 3000)[::-1]
    truth = np.zeros(3000, dtype=np.int64)
    truth[5] = 1
    found = choose_threshold(np.stack([scores, 1 - scores], axis=1), truth, Task.MULTICLASS, 0.01)
    assert found.supported
    assert found.coverage > 0.95


def test_multilabel_answers_count_the_top_label_only() -> None:
    scores = np.tile([0.9, 0.2, 0.6], (500, 1))
    truth = np.tile([1.0, 1.0, 0.0], (500, 1))
    found = choose_threshold(scores, truth, Task.MULTILABEL, 0.05)
    assert found.supported
    assert found.wrong == 0
    assert len(found.label_thresholds) == 3


def test_label_thresholds_stand_between_separated_scores() -> None:
    truth = np.repeat([[1.0], [0.0]], 100, axis=0)
    scores = np.where(truth > 0, 0.8, 0.2)
    (threshold,) = label_thresholds(scores, truth)
    assert 0.3 < threshold < 0.7


def test_a_rare_label_takes_over_the_common_threshold() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((400, 6)) < 0.3).astype(np.float64)
    scores = np.clip(0.35 + 0.1 * truth + rng.normal(0, 0.05, truth.shape), 0, 1)
    common = label_thresholds(scores, truth)
    truth[:, 0], scores[:, 0] = 0.0, rng.uniform(0.3, 0.36, 400)
    truth[3, 0], scores[3, 0] = 1.0, 0.99
    rare = label_thresholds(scores, truth)
    assert rare[0] == pytest.approx(np.mean(common), abs=0.06)


@pytest.mark.parametrize("goal", [0.0, 1.0, -0.5])
def test_a_goal_outside_zero_and_one_is_refused(goal: float) -> None:
    with pytest.raises(InvalidSpecError, match="between 0 and 1"):
        choose_threshold(np.ones((2, 1)), np.zeros(2), Task.MULTICLASS, goal)
