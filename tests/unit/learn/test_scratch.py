"""Networks trained from nothing: batches, the loop, trials, and what becomes of the best."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from strandline.adapters.files import FileStore
from strandline.cells.registry import FAMILIES
from strandline.data.decode import decode_image
from strandline.learn.scratch.batches import GREY, change, draw_batches
from strandline.learn.scratch.finish import finish_network
from strandline.learn.scratch.fitting import Fitting, learning_rate, normalise
from strandline.learn.scratch.pixels import load_pixels
from strandline.learn.scratch.recipe import read_recipe, scratch_space
from strandline.learn.scratch.trials import ScratchFactory
from strandline.learn.transfer_data import NEVER_SCORED, TransferData, hold_out
from strandline.ports import Assignment, StepReport
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError, UnusableDataError
from strandline.spec.networks import Flips, Schedule
from strandline.spec.records import Scalar, Task
from strandline.spec.search_space import Space
from strandline.testing.coloured_images import LABELS, coloured_data

IMAGES = 48


def make_space(family: str = "nasbench201", **fields: Any) -> Space:
    return Space.model_validate(
        {
            "preset": "cells",
            "family": family,
            "network": {"imageSize": 16, "filters": 4, "cells": 1},
            "schedule": {"epochs": 2, "batchSize": 8, "learningRate": 0.05},
            **fields,
        }
    )


def make_candidate(space: Space, seed: int = 0) -> dict[str, Scalar]:
    return scratch_space(space, len(LABELS)).sample(np.random.default_rng(seed))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TransferData:
    return coloured_data(tmp_path_factory.mktemp("home"), IMAGES)


def make_fitting(space: Space, seed: int = 0, task: Task = Task.MULTICLASS) -> Fitting:
    """A network for images of one colour each, which is easy to learn."""
    rng = np.random.default_rng(1)
    targets = np.arange(64) % 3
    pixels = rng.integers(0, 120, (64, 16, 16, 3), dtype=np.uint8)
    pixels[np.arange(64), :, :, targets] += 120
    truth = targets if task is Task.MULTICLASS else np.eye(3, dtype=np.float32)[targets]
    recipe = read_recipe(space, make_candidate(space))
    return Fitting(recipe, pixels, truth, np.arange(64), task, 3, seed, 1)


# ---------------------------------------------------------------- batches

STILL = Schedule(flips=Flips.NONE, crop=0.0, cutout=0.0)


def test_without_changes_images_stay_as_they_are() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    assert np.array_equal(change(images, STILL, np.random.default_rng(1)), images)


def test_a_shifted_image_is_grey_where_nothing_was() -> None:
    images = np.full((200, 8, 8, 3), 7, np.uint8)
    shifted = change(images, STILL.model_copy(update={"crop": 0.25}), np.random.default_rng(1))
    assert set(np.unique(shifted)) == {7, GREY}
    kept = (shifted == 7).all(axis=3).sum(axis=(1, 2))
    assert kept.min() == 36
    assert kept.max() == 64


def test_the_eight_turns_of_a_square_all_come() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    many = np.repeat(image, 400, axis=0)
    turned = change(many, STILL.model_copy(update={"flips": Flips.DIHEDRAL}), _rng())
    assert len({each.tobytes() for each in turned}) == 8
    mirrored = change(many, STILL.model_copy(update={"flips": Flips.HORIZONTAL}), _rng())
    assert {each.tobytes() for each in mirrored} == {
        image[0].tobytes(),
        np.ascontiguousarray(image[0][:, ::-1]).tobytes(),
    }


def test_cutout_blanks_a_square_that_may_stand_over_the_edge() -> None:
    images = np.full((200, 8, 8, 3), 7, np.uint8)
    cut = change(images, STILL.model_copy(update={"cutout": 0.5}), _rng())
    blank = (cut == GREY).all(axis=3).sum(axis=(1, 2))
    assert blank.max() == 16
    assert 0 < blank.min() < 16


def test_an_epoch_sees_each_image_once_and_the_same_one_again_for_the_same_seed() -> None:
    pixels = np.zeros((20, 4, 4, 3), np.uint8)
    schedule = STILL.model_copy(update={"batch_size": 5})
    first, again = (list(draw_batches(pixels, np.arange(20), schedule, _rng())) for _ in range(2))
    assert sorted(row for batch in first for row in batch.rows.tolist()) == list(range(20))
    assert [b.rows.tolist() for b in first] == [b.rows.tolist() for b in again]


def test_the_thread_that_makes_batches_ends_when_nobody_takes_them() -> None:
    pixels = np.zeros((100, 4, 4, 3), np.uint8)
    schedule = STILL.model_copy(update={"batch_size": 2})
    batches = draw_batches(pixels, np.arange(100), schedule, _rng())
    next(iter(batches))
    batches.close()  # type: ignore[attr-defined]  # a generator
    assert all(thread.name != "batches" for thread in threading.enumerate())


def test_what_goes_wrong_in_that_thread_is_raised_where_batches_are_taken() -> None:
    pixels = np.zeros((3, 4, 4, 3), np.uint8)
    with pytest.raises(IndexError):
        list(draw_batches(pixels, np.arange(9), STILL, _rng()))


def _rng() -> np.random.Generator:
    return np.random.default_rng(3)


# ---------------------------------------------------------------- pixels


def test_pixels_are_resized_as_the_exported_graph_does_and_kept(data: TransferData) -> None:
    pixels = load_pixels(data.open_store, data.images, 16, data.cache_dir)
    assert pixels.shape == (IMAGES, 16, 16, 3)
    whole = decode_image(data.open_store().get(data.images[0])).pixels
    expected = Image.fromarray(whole).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.abs(pixels[0].astype(int) - np.asarray(expected).astype(int)).max() <= 2

    def refuse() -> FileStore:
        raise AssertionError("nothing is to be read again")

    again = load_pixels(refuse, data.images, 16, data.cache_dir)
    assert np.array_equal(again, pixels)


def test_a_damaged_image_ends_the_making_of_pixels_and_leaves_no_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    image = store.put(b"not an image")
    with pytest.raises(UnusableDataError):
        load_pixels(partial(FileStore, tmp_path / "store"), [image], 16, tmp_path / "cache")
    assert [each.suffix for each in (tmp_path / "cache" / "pixels").iterdir()] == [".lock"]


# ---------------------------------------------------------------- recipes


def test_settings_of_network_and_schedule_are_searched_along_with_the_cell() -> None:
    space = make_space(
        parameters=[
            {"name": "learningRate", "type": "float", "min": 0.01, "max": 0.2, "log": True},
            {"name": "batchSize", "type": "ordinal", "values": ["16", "32"]},
            {"name": "flips", "type": "categorical", "values": ["none", "dihedral"]},
            {"name": "filters", "type": "int", "min": 2, "max": 4},
        ]
    )
    candidate = make_candidate(space)
    recipe = read_recipe(space, candidate)
    assert recipe.schedule.learning_rate == candidate["learningRate"]
    assert str(recipe.schedule.batch_size) == candidate["batchSize"]
    assert recipe.schedule.flips.value == candidate["flips"]
    assert recipe.network.filters == candidate["filters"]
    assert "filters" not in recipe.cell


def test_a_setting_that_does_not_exist_is_refused_with_those_that_do() -> None:
    space = make_space(parameters=[{"name": "momentum", "type": "float", "min": 0.1, "max": 0.9}])
    with pytest.raises(InvalidSpecError, match=r"'momentum'.*learningRate"):
        scratch_space(space, 3)


def test_a_value_that_no_schedule_can_have_is_refused() -> None:
    space = make_space(parameters=[{"name": "cutout", "type": "float", "min": 0.5, "max": 2.0}])
    candidate = make_candidate(space) | {"cutout": 1.5}
    with pytest.raises(InvalidSpecError, match="cutout"):
        read_recipe(space, candidate)


def test_what_is_neither_a_decision_nor_a_setting_is_refused() -> None:
    space = make_space()
    with pytest.raises(InvalidSpecError, match="op_9_9"):
        read_recipe(space, make_candidate(space) | {"op_9_9": "none"})


def test_what_a_family_lets_a_cell_state_besides_its_decisions_is_kept() -> None:
    space = make_space("nasnet")
    candidate = make_candidate(space) | {"normal_also": "previous"}
    assert read_recipe(space, candidate).cell["normal_also"] == "previous"


# ---------------------------------------------------------------- the loop


def test_the_rate_rises_and_falls_to_nothing() -> None:
    schedule = Schedule(epochs=10, learning_rate=0.1, warmup_epochs=1.0)
    rates = [learning_rate(schedule, epoch / 10) for epoch in range(101)]
    assert rates[10] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(0.1)
    assert rates[0] < 0.01
    assert rates[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("task", list(Task))
def test_a_network_learns_what_is_easy(task: Task) -> None:
    fitting = make_fitting(make_space(schedule={"epochs": 6, "batchSize": 8}), task=task)
    while not fitting.finished:
        fitting.run_epoch()
    logits = fitting.logits(np.arange(64))
    assert (logits.argmax(axis=1) == np.arange(64) % 3).mean() > 0.9


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_training_from_a_checkpoint_ends_with_the_very_same_weights(family: str) -> None:
    network = {"imageSize": 16, "filters": 2, "cells": 1, "dropPath": 0.2, "auxiliary": True}
    space = make_space(family, network=network)
    whole, first, second = (make_fitting(space) for _ in range(3))
    whole.run_epoch()
    whole.run_epoch()
    first.run_epoch()
    second.load_bytes(first.to_bytes())
    second.run_epoch()
    assert second.to_bytes() == whole.to_bytes()
    assert second.finished


def test_other_seeds_give_other_weights() -> None:
    space = make_space()
    one, other = make_fitting(space), make_fitting(space, seed=1)
    assert one.to_bytes() != other.to_bytes()


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", None])
def test_a_foreign_checkpoint_is_refused(content: bytes | None) -> None:
    if content is None:
        content = make_fitting(make_space(network={"imageSize": 16, "filters": 8})).to_bytes()
    with pytest.raises(CorruptArtifactError):
        make_fitting(make_space()).load_bytes(content)


# ---------------------------------------------------------------- trials


def run(factory: ScratchFactory, candidate: Mapping[str, Scalar]) -> list[StepReport]:
    trainable = factory()
    trainable.reset(Assignment(0, candidate))
    reports = [trainable.step()]
    while not reports[-1].done:
        reports.append(trainable.step())
    return reports


def test_a_trial_reports_every_epoch_and_goes_on_from_any(data: TransferData) -> None:
    space = make_space()
    factory, candidate = ScratchFactory(data, space), make_candidate(space)
    reports = run(factory, candidate)
    assert [report.step for report in reports] == [1, 2]
    assert {"val/log_loss", "val/precision_at_1", "train/loss", "parameters"} <= set(
        reports[0].metrics
    )
    trainable = factory()
    trainable.reset(Assignment(0, candidate, 1, reports[0].checkpoint))
    again = trainable.step()
    assert again.metrics == reports[1].metrics
    assert again.checkpoint == reports[1].checkpoint


def test_a_trial_taken_up_after_its_last_epoch_is_judged_and_not_trained(
    data: TransferData,
) -> None:
    space = make_space()
    factory, candidate = ScratchFactory(data, space), make_candidate(space)
    last = run(factory, candidate)[-1]
    trainable = factory()
    trainable.reset(Assignment(0, candidate, 2, last.checkpoint))
    again = trainable.step()
    assert (again.step, again.done, again.metrics) == (2, True, last.metrics)


def test_latency_is_measured_when_it_is_an_objective(data: TransferData) -> None:
    space = make_space(schedule={"epochs": 1})
    objectives = ("val/log_loss", "latency_ms", "model_bytes")
    report = run(ScratchFactory(data, space, objectives), make_candidate(space))[-1]
    assert report.metrics["latency_ms"] > 0
    assert report.metrics["model_bytes"] > report.metrics["parameters"]
    assert "latency_p95_ms" not in report.metrics


# ---------------------------------------------------------------- the best one


def test_the_graph_of_the_best_network_gives_what_the_network_gives(data: TransferData) -> None:
    space = make_space()
    candidate = make_candidate(space)
    last = run(ScratchFactory(data, space), candidate)[-1]
    finished = finish_network(data, space, candidate, last.checkpoint)
    assert len(finished.out_of_fold_logits) == IMAGES // 4
    session = onnxruntime.InferenceSession(finished.graph.SerializeToString())
    expected = finished.scorer.score(data.images[:6])
    for image, wanted in zip(data.images[:6], expected, strict=True):
        pixels = decode_image(data.open_store().get(image)).pixels[None]
        assert np.allclose(session.run(None, {"images": pixels})[0][0], wanted, atol=1e-4)


@pytest.mark.parametrize("lost", ["all", "the last epoch", "its meaning"])
def test_a_lost_checkpoint_costs_time_alone(data: TransferData, lost: str) -> None:
    space = make_space()
    candidate = make_candidate(space)
    first, last = run(ScratchFactory(data, space, threads=1), candidate)
    given = {"all": None, "the last epoch": first.checkpoint, "its meaning": b"rubbish"}[lost]
    finished = finish_network(data, space, candidate, given)
    calm = finish_network(data, space, candidate, last.checkpoint)
    assert np.array_equal(finished.out_of_fold_logits, calm.out_of_fold_logits)


# ---------------------------------------------------------------- statistics


@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_taken_anew_are_of_the_weights_and_leave_the_training_alone(
    family: str,
) -> None:
    network = {"imageSize": 16, "filters": 4, "cells": 1, "dropPath": 0.3}
    space = make_space(family, network=network)
    calm, settled = make_fitting(space), make_fitting(space)
    for _ in range(2):
        calm.run_epoch()
        settled.run_epoch()
        settled.settle()
    own, other = calm.network.state_dict(), settled.network.state_dict()
    assert calm.loss == settled.loss
    moved = {name for name, each in own.items() if not torch.equal(each, other[name])}
    assert moved
    assert all(".running_" in name or "num_batches" in name for name in moved)
    before = settled.logits(np.arange(64))
    settled.settle()  # with the same weights again
    assert np.array_equal(settled.logits(np.arange(64)), before)


def test_scores_with_new_statistics_are_as_in_training() -> None:
    fitting = make_fitting(make_space(schedule={"epochs": 2, "batchSize": 8, "learningRate": 0.2}))
    fitting.run_epoch()
    old = fitting.logits(np.arange(64))
    fitting.settle()
    new = fitting.logits(np.arange(64))
    fitting.network.train()
    pixels = normalise(fitting._pixels, torch.device("cpu"))
    with torch.no_grad():
        expected = fitting.network(pixels).numpy()  # by the statistics of just these images
    assert np.abs(new - expected).max() < 0.1 * np.abs(old - expected).max()


# ---------------------------------------------------------------- holding out


def test_one_fold_is_held_out_and_the_others_are_learned_from(data: TransferData) -> None:
    folded = replace(data, folds=np.arange(IMAGES) % 4)
    held = hold_out(folded)
    assert held.images == data.images
    assert (held.folds == 0).sum() == IMAGES // 4
    assert (held.folds == NEVER_SCORED).sum() == IMAGES * 3 // 4


def test_at_most_so_many_are_learned_from_and_the_same_ones_again(data: TransferData) -> None:
    held, again = hold_out(data, 10), hold_out(data, 10)
    assert held.images == again.images
    assert (held.folds == NEVER_SCORED).sum() == 10
    truth = dict(zip(data.images, data.targets.tolist(), strict=True))
    assert [truth[image] for image in held.images] == held.targets.tolist()
