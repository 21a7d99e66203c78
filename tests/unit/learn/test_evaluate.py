from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as oracle
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from strandline.learn.abstain import choose_threshold
from strandline.learn.calibrate import fit_calibration, scores_of
from strandline.learn.evaluate import evaluate_scores
from strandline.learn.leakage import LeakedScores, count_affected
from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Task
from strandline.spec.scorecard import ExampleOutcome, Scorecard, grid_rows, to_contract
from strandline.testing.scorecards import make_digests, make_logits, make_scorecard


@pytest.fixture(scope="module")
def digits() -> tuple[Scorecard, np.ndarray, np.ndarray]:
    """A logistic regression on real digit images: scorecard, test scores, test truth."""
    images, truth = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(truth))
    images, truth = images[order] / 16, truth[order]
    train, test = np.arange(1300), np.arange(1300, 1797)
    head = LogisticRegression(C=0.3, max_iter=300)
    held_out = cross_val_predict(
        head, images[train], truth[train], cv=5, method="decision_function"
    )
    logits = head.fit(images[train], truth[train]).decision_function(images[test])
    calibration = fit_calibration(held_out, truth[train], Task.MULTICLASS)
    chosen = choose_threshold(
        calibration.apply(held_out), truth[train], Task.MULTICLASS, max_error_rate=0.01
    )
    scores = calibration.apply(logits)
    scorecard = evaluate_scores(
        scores,
        truth[test],
        Task.MULTICLASS,
        [str(digit) for digit in range(10)],
        image_digests=make_digests(len(test)),
        abstention=chosen,
        uncalibrated=scores_of(logits, Task.MULTICLASS),
        resamples=300,
    )
    return scorecard, scores, truth[test]


def test_headline_numbers_are_those_of_scikit_learn(
    digits: tuple[Scorecard, np.ndarray, np.ndarray],
) -> None:
    scorecard, scores, truth = digits
    one_hot = np.eye(10)[truth]
    expected = {
        "precision_at_1": (scores.argmax(axis=1) == truth).mean(),
        "auc_pr": oracle.average_precision_score(one_hot, scores),
        "auc_roc": oracle.roc_auc_score(truth, scores, multi_class="ovr"),
        "log_loss": oracle.log_loss(truth, scores),
        "f1_macro": oracle.f1_score(truth, scores.argmax(axis=1), average="macro"),
    }
    for name, value in expected.items():
        assert scorecard.metrics[name].value == pytest.approx(value), name
    matrix = oracle.confusion_matrix(truth, scores.argmax(axis=1))
    assert np.array(scorecard.confusion).tolist() == matrix.tolist()


def test_every_headline_number_lies_in_an_interval_of_some_width(
    digits: tuple[Scorecard, np.ndarray, np.ndarray],
) -> None:
    for name, each in digits[0].metrics.items():
        assert each.value is not None
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.value <= each.high, name
        assert each.low < each.high, name


def test_calibration_and_the_abstention_goal_hold_on_real_digits(
    digits: tuple[Scorecard, np.ndarray, np.ndarray],
) -> None:
    scorecard = digits[0]
    before = scorecard.calibration.uncalibrated
    assert before is not None
    assert before.ece.value is not None
    assert scorecard.calibration.calibrated.ece.value is not None
    assert scorecard.calibration.calibrated.ece.value < before.ece.value
    assert scorecard.abstention.chosen.supported
    assert scorecard.abstention.holds
    assert scorecard.abstention.coverage.value is not None
    assert scorecard.abstention.coverage.value > 0.5


def test_a_scorecard_survives_json(digits: tuple[Scorecard, np.ndarray, np.ndarray]) -> None:
    assert Scorecard.model_validate_json(digits[0].model_dump_json()) == digits[0]


def test_the_contract_has_the_promised_fields_and_is_plain_json(
    digits: tuple[Scorecard, np.ndarray, np.ndarray],
) -> None:
    printed = json.loads(json.dumps(to_contract(digits[0], "m", "d"), allow_nan=False))
    assert printed["model"] == "m"
    assert printed["dataset"] == "d"
    assert printed["items"] == 497
    for name in ("precision_at_1", "auc_pr", "auc_roc", "log_loss", "ece"):
        assert set(printed["metrics"][name]) == {"value", "low", "high"}
    assert {"threshold", "coverage", "error"} <= set(printed["abstention"])
    assert printed["labels"] == [str(digit) for digit in range(10)]
    assert sum(map(sum, printed["confusion"])) == 497


def test_the_threshold_grid_counts_what_is_answered(
    digits: tuple[Scorecard, np.ndarray, np.ndarray],
) -> None:
    scorecard, scores, truth = digits
    one_hot = np.eye(10, dtype=bool)[truth]
    for row in grid_rows(scorecard.grid):
        answered = scores >= row["threshold"]
        assert row["tp"] == int((answered & one_hot).sum())
        assert row["fp"] == int((answered & ~one_hot).sum())
        assert sum(row[name] or 0 for name in ("tp", "fp", "fn", "tn")) == scores.size
    assert grid_rows(scorecard.grid)[0]["recall"] == 1.0
    assert grid_rows(scorecard.grid)[-1]["precision"] in (None, 1.0)


def test_curves_end_where_everything_is_answered(
    digits: tuple[Scorecard, np.ndarray, np.ndarray],
) -> None:
    scorecard, scores, truth = digits
    assert scorecard.precision_recall.x[-1] == 1.0
    assert scorecard.precision_recall.y[-1] == pytest.approx(0.1)
    assert (scorecard.roc.x[0], scorecard.roc.y[0]) == (0.0, 0.0)
    assert (scorecard.roc.x[-1], scorecard.roc.y[-1]) == (1.0, 1.0)
    wrong = (scores.argmax(axis=1) != truth).mean()
    assert scorecard.abstention.curve.y[-1] == pytest.approx(wrong, abs=1e-6)
    assert len(scorecard.roc.x) <= 201


def test_examples_are_marked_right_wrong_or_missed(
    digits: tuple[Scorecard, np.ndarray, np.ndarray],
) -> None:
    seen = set()
    for each in digits[0].slices:
        scores = [e.score for e in each.examples if e.outcome is ExampleOutcome.RIGHT]
        assert scores == sorted(scores, reverse=True)
        for example in each.examples:
            seen.add(example.outcome)
            has, given = each.label in example.truth, each.label in example.predicted
            assert (has, given) == {
                ExampleOutcome.RIGHT: (True, True),
                ExampleOutcome.WRONG: (False, True),
                ExampleOutcome.MISSED: (True, False),
            }[example.outcome]
    assert seen == set(ExampleOutcome)


def test_the_same_input_and_seed_give_the_same_scorecard() -> None:
    assert make_scorecard(seed=4) == make_scorecard(seed=4)


def test_multilabel_reports_what_belongs_to_it() -> None:
    scorecard = make_scorecard(Task.MULTILABEL, labels=("a", "b", "c", "d"), items=200)
    names = set(scorecard.metrics)
    assert {"mean_average_precision", "subset_accuracy", "f1_macro", "f1_micro"} <= names
    assert scorecard.metrics["mean_average_precision"] == scorecard.metrics["auc_pr"]
    for row, each in zip(scorecard.confusion, scorecard.slices, strict=True):
        assert sum(row) == 200
        assert row[0] + row[2] == each.support
        assert row[0] + row[1] == each.predicted
        assert each.threshold is not None
    assert scorecard.co_occurrence is not None
    assert scorecard.co_occurrence[0][0] == scorecard.confusion[0][0]


def test_a_perfect_model_is_not_certain_to_stay_so() -> None:
    scorecard = make_scorecard(items=60, skill=9.0)
    for name in ("precision_at_1", "auc_pr", "auc_roc", "f1_macro"):
        found = scorecard.metrics[name]
        assert found.value == 1.0
        assert found.low is not None
        assert found.low < 0.96
    recall = scorecard.slices[0].recall
    assert recall.low == pytest.approx(0.8316, abs=1e-3)


def test_a_label_no_test_image_carries_is_undefined_and_noted() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]] * 20)
    chosen = make_scorecard().abstention.chosen
    scorecard = evaluate_scores(
        scores,
        np.array([0, 1] * 20),
        Task.MULTICLASS,
        ["a", "b", "never"],
        image_digests=make_digests(40),
        abstention=chosen,
        resamples=20,
    )
    assert scorecard.slices[2].average_precision.value is None
    assert scorecard.metrics["auc_pr"].value == 1.0
    assert any("“never”" in note for note in scorecard.notes)
    assert any("Only 40 test images" in note for note in scorecard.notes)
    json.dumps(to_contract(scorecard, "m", "d"), allow_nan=False)


def test_leakage_left_in_shows_as_inflation_between_paired_evaluations() -> None:
    logits, truth = make_logits(Task.MULTICLASS, 3, 200, skill=1.2)
    remembered = logits + 4 * np.eye(3)[truth] * (np.arange(200) < 60)[:, None]
    scorecard = make_scorecard(
        items=200,
        skill=1.2,
        leaked=LeakedScores(
            scores_of(remembered, Task.MULTICLASS), truth, make_digests(200), affected=60
        ),
    )
    assert scorecard.leakage is not None
    assert scorecard.leakage.affected == 60
    for name in ("precision_at_1", "auc_pr", "log_loss"):
        found = scorecard.leakage.inflation[name]
        assert found.low is not None
        assert found.low > 0, name


def test_near_duplicates_are_counted_once_and_noted() -> None:
    scorecard = make_scorecard(items=120, groups=[index // 4 for index in range(120)])
    assert scorecard.clusters == 30
    assert any("30 independent ones" in note for note in scorecard.notes)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((0, 2)), "no labeled test image"),
        (np.array([[np.nan, 0.5]]), "not a number between"),
        (np.array([[1.5, 0.5]]), "not a number between"),
        (np.array([[0.5, 0.2, 0.3]]), "1×3"),
    ],
)
def test_unusable_scores_are_refused_with_what_to_do(scores: np.ndarray, message: str) -> None:
    with pytest.raises(UnusableDataError, match=message):
        evaluate_scores(
            scores,
            np.zeros(len(scores), dtype=np.int64),
            Task.MULTICLASS,
            ["a", "b"],
            image_digests=make_digests(len(scores)),
            abstention=make_scorecard().abstention.chosen,
        )


def test_a_label_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(UnusableDataError, match="does not know"):
        evaluate_scores(
            np.full((2, 2), 0.5),
            np.array([0, 2]),
            Task.MULTICLASS,
            ["a", "b"],
            image_digests=make_digests(2),
            abstention=make_scorecard().abstention.chosen,
        )


def test_calibration_error_of_calibrated_scores_may_be_none_at_all() -> None:
    scorecard = make_scorecard(items=300, skill=1.5, resamples=200)
    before = scorecard.calibration.uncalibrated
    assert scorecard.metrics["ece"].low == 0.0
    assert before is not None
    assert before.ece.low is not None
    assert before.ece.low > 0


def test_an_image_alone_is_no_leak() -> None:
    assert count_affected([None, 1, 2], [None, 1, 1, 3, None]) == 2
