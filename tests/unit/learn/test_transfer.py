from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from strandline.adapters.files import FileStore
from strandline.data.decode import decode_image
from strandline.data.splits import Division
from strandline.learn.calibrate import Calibration
from strandline.learn.cost import CostModel
from strandline.learn.recipe import read_candidate, scaled_resolution
from strandline.learn.refit import finish_graph, fit_and_score, refit
from strandline.learn.transfer import TransferFactory
from strandline.learn.transfer_data import NEVER_SCORED, TransferData, prepare_data, read_targets
from strandline.learn.transfer_space import combined, default_candidates, transfer_space
from strandline.learn.trial_state import FoldScores
from strandline.ports import Assignment, StepReport
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError, UnusableDataError
from strandline.spec.records import Item, Scalar, Split, Task
from strandline.zoo.backbones import EFFORTS, names

LITE0 = "efficientnet-lite0"
LABELS = ("blue", "green", "red")
IMAGES = 24


def _picture(label: int, rng: np.random.Generator) -> bytes:
    pixels = rng.integers(0, 120, (40, 36, 3), dtype=np.uint8)
    pixels[..., 2 - label] += 120
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(autouse=True)
def _one_fold_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strandline.learn.transfer_data._JUDGED_IMAGES", 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TransferData:
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    store = FileStore(home / "store")
    targets = np.arange(IMAGES) % 3
    return TransferData(
        images=tuple(store.put(_picture(label, rng)) for label in targets.tolist()),
        targets=targets,
        folds=np.arange(IMAGES) // 3 % 3,
        task=Task.MULTICLASS,
        labels=LABELS,
        open_store=partial(FileStore, home / "store"),
        cache_dir=home / "cache",
    )


def _with(
    data: TransferData,
    targets: np.ndarray | None = None,
    folds: np.ndarray | None = None,
    task: Task = Task.MULTICLASS,
) -> TransferData:
    return TransferData(
        images=data.images,
        targets=data.targets if targets is None else targets,
        folds=data.folds if folds is None else folds,
        task=task,
        labels=data.labels,
        open_store=data.open_store,
        cache_dir=data.cache_dir,
    )


def _candidate(head: str = "logistic", **changes: Scalar) -> dict[str, Scalar]:
    """A candidate on 32 pixels, which a backbone looks at in a millisecond."""
    ladder = default_candidates("best", [LITE0], Task.MULTICLASS)
    found: dict[str, Scalar] = next(dict(c) for c in ladder if c["head"] == head)
    found.pop("view_training", None)
    if head != "finetune":
        found["backbones"] = LITE0
    return found | {"resolution": 0.125, "views": 1} | changes


def _run(data: TransferData, candidate: Mapping[str, Scalar]) -> list[StepReport]:
    trainable = TransferFactory(data)()
    trainable.reset(Assignment(0, candidate))
    reports = [trainable.step()]
    while not reports[-1].done:
        reports.append(trainable.step())
    return reports


# ---------------------------------------------------------------- the space


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("task", list(Task))
def test_every_first_candidate_is_in_its_space_and_stands_there_once(
    effort: str, task: Task
) -> None:
    space = transfer_space(effort, names(effort), task)
    ladder = default_candidates(effort, names(effort), task)
    for candidate in ladder:
        space.validate(candidate)
    assert len({tuple(sorted(c.items(), key=str)) for c in ladder}) == len(ladder)
    assert ladder[0]["head"] == "logistic"
    assert ladder[0]["views"] == 1


@pytest.mark.parametrize("effort", EFFORTS)
def test_whatever_is_drawn_from_the_space_can_be_read(effort: str, data: TransferData) -> None:
    space = transfer_space(effort, names(effort), Task.MULTICLASS)
    rng = np.random.default_rng(1)
    for _ in range(40):
        candidate = space.sample(rng)
        recipe = read_candidate(candidate, data.cache_dir)
        named = candidate.get("backbones", candidate.get("finetune.backbone"))
        assert "+".join(part.backbone for part in recipe.parts) == named
        assert recipe.each_view == (candidate.get("view_training") == "each")


def test_hyperparameters_exist_only_with_their_head() -> None:
    space = transfer_space("best", [LITE0], Task.MULTICLASS)
    rng = np.random.default_rng(2)
    for _ in range(40):
        candidate = space.sample(rng)
        owners = {name.split(".")[0] for name in candidate if "." in name}
        assert owners == {candidate["head"]}


def test_all_subsets_of_few_backbones_are_tried_and_of_many_only_the_ends() -> None:
    assert combined(["a", "b"]) == ("a", "b", "a+b")
    assert combined(["a", "b", "c", "d"]) == ("a", "b", "c", "d", "a+b+c+d")


def test_an_unknown_effort_or_no_backbone_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="fast, balanced, best"):
        transfer_space("extreme", [LITE0], Task.MULTICLASS)
    with pytest.raises(InvalidSpecError, match="at least one backbone"):
        transfer_space("fast", [], Task.MULTICLASS)


def test_a_candidate_that_lacks_a_parameter_is_refused_by_name(data: TransferData) -> None:
    candidate = _candidate()
    del candidate["scaling"]
    with pytest.raises(InvalidSpecError, match="scaling"):
        read_candidate(candidate, data.cache_dir)


@pytest.mark.parametrize(
    ("native", "scale", "side"),
    [(224, 1.0, 224), (260, 1.0, 260), (260, 1.25, 320), (224, 0.01, 32)],
)
def test_other_resolutions_than_the_native_one_are_multiples_of_the_stride(
    native: int, scale: float, side: int
) -> None:
    assert scaled_resolution(native, scale) == side


# ---------------------------------------------------------------- the data


def _items(count: int, split: Split | None = None, **changes: object) -> list[Item]:
    return [
        Item.model_validate(
            {
                "image": f"sha256:{index:064x}",
                "sources": (f"{index}.png",),
                "labels": (LABELS[index % 3],),
                "split": split,
                "width": 8,
                "height": 8,
                "media_type": "image/png",
                **changes,
            }
        )
        for index in range(count)
    ]


def _prepare(items: Sequence[Item], parts: Sequence[Split | None]) -> TransferData:
    division = Division(tuple(parts))
    store = partial(FileStore, Path("unused"))
    return prepare_data(items, division, Task.MULTICLASS, LABELS, store, Path("unused"), 0)


def test_without_a_validation_split_the_training_part_is_cross_validated() -> None:
    parts = [Split.TEST if index < 10 else Split.TRAIN for index in range(40)]
    prepared = _prepare(_items(40), parts)
    assert len(prepared.images) == 30
    assert prepared.fold_numbers == [0, 1, 2, 3, 4]


def test_a_validation_split_is_what_candidates_are_scored_on() -> None:
    items = _items(12)
    parts = [Split.VALIDATION if index % 4 == 0 else Split.TRAIN for index in range(12)]
    prepared = _prepare(items, parts)
    scored = [prepared.images[i] for i in np.flatnonzero(prepared.folds == 0)]
    assert scored == [items[0].image, items[4].image, items[8].image]
    assert (prepared.folds == NEVER_SCORED).sum() == 9


def test_few_independent_images_make_fewer_folds() -> None:
    assert _prepare(_items(3), [Split.TRAIN] * 3).fold_numbers == [0, 1, 2]


def test_images_that_are_all_near_duplicates_cannot_be_validated() -> None:
    with pytest.raises(UnusableDataError, match="independent"):
        _prepare(_items(6, near_duplicates=1), [Split.TRAIN] * 6)


def test_no_training_image_is_said() -> None:
    with pytest.raises(UnusableDataError, match="training part"):
        _prepare(_items(3), [Split.TEST] * 3)


def test_several_labels_become_a_row_of_zeros_and_ones() -> None:
    items = _items(1, labels=("blue", "red")) + _items(1, labels=())
    targets = read_targets(items, Task.MULTILABEL, LABELS)
    assert targets.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_the_data_travels_to_workers(data: TransferData) -> None:
    there = pickle.loads(pickle.dumps(TransferFactory(data)))
    assert there.data.images == data.images


# ---------------------------------------------------------------- trials


def test_a_trial_scores_one_fold_a_step_and_learns_what_is_there(data: TransferData) -> None:
    reports = _run(data, _candidate())
    assert [report.step for report in reports] == [1, 2, 3]
    assert [report.done for report in reports] == [False, False, True]
    final = reports[-1].metrics
    assert final["val/precision_at_1"] > 0.9
    assert final["val/error"] == pytest.approx(1 - final["val/precision_at_1"])
    assert final["val/auc_pr"] > 0.9
    assert 0 < final["val/log_loss"] < 0.5


def test_a_trial_taken_up_from_its_checkpoint_ends_the_same(data: TransferData) -> None:
    whole = _run(data, _candidate("kernel"))
    trainable = TransferFactory(data)()
    trainable.reset(Assignment(7, _candidate("kernel"), 1, whole[0].checkpoint))
    rest = [trainable.step(), trainable.step()]
    assert [report.step for report in rest] == [2, 3]
    assert dict(rest[-1].metrics) == dict(whole[-1].metrics)


def test_the_first_step_scores_enough_images_to_judge_by(
    data: TransferData, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _run(data, _candidate())
    monkeypatch.setattr("strandline.learn.transfer_data._JUDGED_IMAGES", 10)  # folds of 9, 9 and 6
    assert data.steps == [[0, 1], [2]]
    reports = _run(data, _candidate())
    assert [report.step for report in reports] == [1, 2]
    assert dict(reports[0].metrics) == dict(whole[1].metrics)
    trainable = TransferFactory(data)()
    trainable.reset(Assignment(0, _candidate(), 1, reports[0].checkpoint))
    assert dict(trainable.step().metrics) == dict(whole[2].metrics)


def test_a_set_smaller_than_that_is_scored_in_one_step(
    data: TransferData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strandline.learn.transfer_data._JUDGED_IMAGES", 1000)
    assert [report.done for report in _run(data, _candidate())] == [True]


def test_a_worker_forgets_the_last_trial(data: TransferData) -> None:
    trainable = TransferFactory(data)()
    trainable.reset(Assignment(0, _candidate()))
    trainable.step()
    trainable.reset(Assignment(1, _candidate("kernel")))
    report = trainable.step()
    assert (report.number, report.step) == (1, 1)
    assert dict(report.metrics) == dict(_run(data, _candidate("kernel"))[0].metrics)


def test_a_checkpoint_of_other_data_is_refused(data: TransferData) -> None:
    trainable = TransferFactory(data)()
    foreign = FoldScores.empty(5, 3).to_bytes()
    for content in (foreign, b"rubbish"):
        with pytest.raises(CorruptArtifactError, match="anew"):
            trainable.reset(Assignment(0, _candidate(), 1, content))


def test_with_a_validation_split_a_trial_has_one_step(data: TransferData) -> None:
    folds = np.where(np.arange(IMAGES) < 15, NEVER_SCORED, 0)
    (report,) = _run(_with(data, folds=folds), _candidate())
    assert report.done
    assert report.metrics["val/precision_at_1"] == 1.0


def test_a_label_that_a_fold_lacks_does_no_harm(data: TransferData) -> None:
    folds = np.where(data.targets == 2, 0, 1)  # all red ones in one fold
    reports = _run(_with(data, folds=folds), _candidate())
    assert reports[0].metrics["val/precision_at_1"] == 0.0
    assert all(np.isfinite(value) for r in reports for value in r.metrics.values())


def test_several_labels_an_image_are_measured_by_mean_average_precision(
    data: TransferData,
) -> None:
    truth = np.eye(3, dtype=np.float32)[data.targets]
    truth[:, 0] = 1 - truth[:, 2]  # blue is on all but the red ones
    several = _with(data, targets=truth, task=Task.MULTILABEL)
    final = _run(several, _candidate("kernel"))[-1].metrics
    assert final["val/auc_pr"] > 0.95
    assert final["val/error"] < 0.2


def test_views_as_rows_and_views_as_a_mean_are_different_trainings(data: TransferData) -> None:
    mean = _run(data, _candidate(views=2, view_training="mean"))[-1].metrics
    each = _run(data, _candidate(views=2, view_training="each"))[-1].metrics
    assert mean["val/precision_at_1"] == each["val/precision_at_1"] == 1.0
    assert mean["val/log_loss"] != each["val/log_loss"]


# ---------------------------------------------------------------- fine-tuning


def _tuned(**changes: Scalar) -> dict[str, Scalar]:
    return _candidate(
        "finetune",
        **{"resolution": 0.3, "finetune.stages": 1, "finetune.epochs": 2} | changes,
    )


def test_fine_tuning_learns_what_is_there(data: TransferData) -> None:
    final = _run(data, _tuned())[-1].metrics
    assert final["val/precision_at_1"] > 0.8
    assert np.isfinite(list(final.values())).all()


def test_fine_tuning_without_a_step_size_is_its_linear_probe(data: TransferData) -> None:
    still = _run(data, _tuned(**{"finetune.learning_rate": 1e-12}))[-1].metrics
    tuned = _run(data, _tuned(**{"finetune.learning_rate": 1e-3}))[-1].metrics
    assert still["val/precision_at_1"] > 0.8
    assert still["val/log_loss"] != pytest.approx(tuned["val/log_loss"], rel=1e-3)


def test_fine_tuning_repeats_itself_with_the_same_seed(data: TransferData) -> None:
    first, second = (_run(data, _tuned(views=2))[-1].metrics for _ in range(2))
    assert first == pytest.approx(second)


def test_fine_tuning_takes_several_labels(data: TransferData) -> None:
    truth = np.eye(3, dtype=np.float32)[data.targets]
    final = _run(_with(data, targets=truth, task=Task.MULTILABEL), _tuned())[-1].metrics
    assert final["val/auc_pr"] > 0.8


def test_the_graph_of_a_fine_tuned_network_gives_what_training_saw(data: TransferData) -> None:
    candidate = _tuned(views=2, **{"finetune.learning_rate": 1e-3})
    refitted = refit(data, candidate)
    expected = refitted.scorer.score(data.images[:3])
    store = data.open_store()
    pixels = np.stack([decode_image(store.get(image)).pixels for image in data.images[:3]])
    session = onnxruntime.InferenceSession(refitted.graph.SerializeToString())
    np.testing.assert_allclose(session.run(None, {"images": pixels})[0], expected, atol=2e-3)


def test_training_is_paid_for_as_often_as_there_are_folds_and_epochs(data: TransferData) -> None:
    cost = CostModel(data, probe=lambda part, of: 0.0)
    short, long = (cost.expected_seconds(_tuned(**{"finetune.epochs": n})) for n in (2, 20))
    assert long == pytest.approx(10 * short)


# ---------------------------------------------------------------- the model


@pytest.mark.parametrize("head", ["logistic", "kernel"])
def test_the_graph_gives_for_an_image_what_training_saw(head: str, data: TransferData) -> None:
    refitted = refit(data, _candidate(head, views=2, view_training="mean"))
    expected = refitted.scorer.score(data.images[:4])
    store = data.open_store()
    pixels = np.stack([decode_image(store.get(image)).pixels for image in data.images[:4]])
    session = onnxruntime.InferenceSession(refitted.graph.SerializeToString())
    found = session.run(None, {"images": pixels})[0]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert any("2 orientations" in note for note in refitted.notes)


def test_out_of_fold_logits_are_those_of_the_trial(data: TransferData) -> None:
    refitted = refit(data, _candidate())
    assert refitted.out_of_fold_images == data.images
    assert refitted.out_of_fold_logits.shape == (IMAGES, 3)
    last = FoldScores.from_bytes(
        _run(data, _candidate())[-1].checkpoint or b"", FoldScores.empty(IMAGES, 3)
    )
    np.testing.assert_allclose(refitted.out_of_fold_logits, last.logits, atol=1e-5)


@pytest.mark.parametrize("task", list(Task))
def test_the_finished_graph_gives_calibrated_scores(task: Task, data: TransferData) -> None:
    targets = data.targets if task is Task.MULTICLASS else np.eye(3, dtype=np.float32)[data.targets]
    refitted = refit(_with(data, targets=targets, task=task), _candidate())
    calibration = Calibration(scale=(0.5, 1.0, 2.0), bias=(0.0, 0.3, -0.2), task=task)
    graph = finish_graph(refitted.graph, calibration, task)
    pixels = decode_image(data.open_store().get(data.images[0])).pixels[None]
    (logits,) = onnxruntime.InferenceSession(refitted.graph.SerializeToString()).run(
        None, {"images": pixels}
    )
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    assert [output.name for output in session.get_outputs()] == ["scores"]
    (scores,) = session.run(None, {"images": pixels})
    np.testing.assert_allclose(scores, calibration.apply(logits), atol=1e-5)


def test_the_other_side_of_a_division_can_be_scored(data: TransferData) -> None:
    half = TransferData(
        images=data.images[:12],
        targets=data.targets[:12],
        folds=data.folds[:12],
        task=data.task,
        labels=data.labels,
        open_store=data.open_store,
        cache_dir=data.cache_dir,
    )
    logits = fit_and_score(half, _candidate(), data.images[12:])
    assert (logits.argmax(axis=1) == data.targets[12:]).all()


def test_a_label_without_images_is_named_in_the_notes(data: TransferData) -> None:
    only_two = _with(data, targets=data.targets % 2)
    assert "no training image has the label red" in refit(only_two, _candidate()).notes


# ---------------------------------------------------------------- cost


def test_only_embeddings_that_are_not_there_cost_time(data: TransferData) -> None:
    _run(data, _candidate())
    cost = CostModel(data, probe=lambda part, of: 0.5)
    assert cost.expected_seconds(_candidate("kernel")) == 0
    dear = _candidate("kernel", resolution=0.25)
    assert cost.expected_seconds(dear) > 0
    assert cost.affordable(_candidate("kernel"), 0.0)
    assert not cost.affordable(dear, 0.1)


def test_images_that_the_evaluation_will_need_are_paid_for_beforehand(data: TransferData) -> None:
    _run(data, _candidate())
    later = [f"sha256:{index:064x}" for index in range(10)]
    cost = CostModel(data, later_images=later, probe=lambda part, of: 0.5)
    assert cost.expected_seconds(_candidate()) > 0


def test_the_probe_measures_the_graph_on_this_machine(data: TransferData) -> None:
    assert CostModel(data).expected_seconds(_candidate(resolution=0.3)) > 0
