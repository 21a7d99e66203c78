"""Predictions: answers, "I don't know", and no label at all."""

import numpy as np
import pytest

from strandline.bundle.answers import Answerer
from strandline.bundle.runtime import Predictor
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError
from strandline.spec.records import Task
from strandline.spec.scorecard import Abstention
from strandline.testing.bundles import make_bundle, make_pixels


def abstention(threshold: float, *label_thresholds: float) -> Abstention:
    return Abstention(
        goal=0.05,
        threshold=threshold,
        confidence=0.95,
        supported=True,
        reason="",
        coverage=1.0,
        error=0.0,
        error_bound=0.05,
        items=100,
        answered=100,
        wrong=0,
        label_thresholds=label_thresholds,
    )


def answer(
    task: Task, scores: list[float], chosen: Abstention, threshold: float | None = None
) -> tuple[list[str], bool]:
    labels = "abcdefgh"[: len(scores)]
    found = Answerer(task, labels, chosen, threshold).answer(np.array(scores), "x.png")
    assert found.source == "x.png"
    assert found.error is None
    return [each.label for each in found.predictions], found.abstained


def test_one_label_is_answered_with_its_rivals_in_order() -> None:
    assert answer(Task.MULTICLASS, [0.1, 0.7, 0.2], abstention(0.6)) == (["b", "c", "a"], False)


def test_a_low_top_score_abstains() -> None:
    assert answer(Task.MULTICLASS, [0.1, 0.5, 0.4], abstention(0.6)) == (["b", "c", "a"], True)
    assert answer(Task.MULTICLASS, [0.1, 0.6, 0.3], abstention(0.6))[1] is False


def test_a_threshold_given_replaces_the_models_own() -> None:
    assert answer(Task.MULTICLASS, [0.1, 0.5, 0.4], abstention(0.6), 0.5)[1] is False
    assert answer(Task.MULTICLASS, [0.1, 0.7, 0.2], abstention(0.6), 0.8)[1] is True


def test_a_model_that_promises_nothing_abstains_even_at_score_one() -> None:
    assert answer(Task.MULTICLASS, [1.0, 0.0], abstention(1.0 + 1e-6))[1] is True


def test_equal_scores_come_in_the_order_of_labels_and_only_five_are_shown() -> None:
    assert answer(Task.MULTICLASS, [0.125] * 8, abstention(0.0))[0] == list("abcde")


def test_each_label_has_its_own_threshold() -> None:
    chosen = abstention(0.2, 0.9, 0.3, 0.5)
    assert answer(Task.MULTILABEL, [0.8, 0.4, 0.6], chosen) == (["c", "b"], False)


def test_no_label_may_apply() -> None:
    assert answer(Task.MULTILABEL, [0.3, 0.1], abstention(0.2, 0.5, 0.5)) == ([], False)


def test_an_unsure_multilabel_model_tells_its_guesses() -> None:
    chosen = abstention(0.5, 0.5, 0.5, 0.5, 0.5)
    assert answer(Task.MULTILABEL, [0.1, 0.4, 0.3, 0.2], chosen) == (["b", "c", "d"], True)


def test_a_threshold_given_holds_for_every_label() -> None:
    chosen = abstention(0.9, 0.9, 0.9)
    assert answer(Task.MULTILABEL, [0.4, 0.2], chosen, 0.3) == (["a"], False)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_zero_to_one_is_refused(threshold: float) -> None:
    with pytest.raises(InvalidSpecError, match="between 0 and 1"):
        Answerer(Task.MULTICLASS, "ab", abstention(0.5), threshold)


@pytest.mark.parametrize("task", list(Task))
def test_single_images_batches_and_streams_agree(
    task: Task, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = make_bundle(tmp_path_factory.mktemp("bundle") / "b", task)
    predictor = Predictor(path, threads=1)
    images = np.stack([make_pixels(seed) for seed in range(10, 14)])
    batch = predictor.scores(images)
    assert batch.shape == (4, 3)
    single = [predictor.scores(each) for each in images]
    np.testing.assert_allclose(batch, single, atol=1e-6)
    stream = list(predictor.predict_many((str(n), each) for n, each in enumerate(images)))
    assert stream == [predictor.predict(each, str(n)) for n, each in enumerate(images)]
    assert predictor.labels == ("cliff", "dune", "reef")


def test_pixels_of_another_kind_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    predictor = Predictor(make_bundle(tmp_path_factory.mktemp("bundle") / "b"))
    with pytest.raises(ValueError, match="uint8"):
        predictor.scores(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        predictor.scores(np.zeros((4, 4, 3), np.float32))


def test_a_graph_that_fails_on_an_image_is_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    predictor = Predictor(make_bundle(tmp_path_factory.mktemp("bundle") / "b"))
    with pytest.raises(CorruptArtifactError):
        predictor.scores(np.zeros((0, 0, 3), np.uint8))
