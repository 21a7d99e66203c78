"""Searches whose networks share weights: the bank, the sharing, the children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from strandline.cells.family import Plan
from strandline.cells.registry import FAMILIES, family
from strandline.learn.one_shot.children import draw_children
from strandline.learn.one_shot.relaxed import straight_through
from strandline.learn.one_shot.trials import ChildFactory, SharingFactory
from strandline.learn.scratch.batches import Batch
from strandline.learn.scratch.fitting import seeded
from strandline.learn.transfer_data import TransferData
from strandline.ports import Assignment
from strandline.search.cell_space import cell_space
from strandline.search.darts import Strengths
from strandline.search.enas import EnasSearch
from strandline.search.space import Candidate
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError
from strandline.spec.records import Scalar, Task
from strandline.spec.search_space import Space
from strandline.spec.v1alpha1 import NamedChoice
from strandline.testing.coloured_images import LABELS, coloured_data
from strandline.zoo.cells.registry import MIXABLE, build_network
from strandline.zoo.cells.weight_bank import WeightBank

SMALL: Mapping[str, Any] = {"imageSize": 16, "filters": 4, "cells": 1}
PLAN = Plan(image_size=16, labels=3, filters=4, cells=1)
SETTINGS: Mapping[str, Mapping[str, Scalar]] = {
    "enas": {"epochs": 3, "rewards": 4},
    "darts": {"epochs": 3, "learning_rate": 0.2},
    "darts mixed": {"epochs": 3, "learning_rate": 0.2, "relaxation": "mixed"},
}
RELAXABLE = ("nasbench201", "nasnet", "darts")


def choose(name: str = "enas", **settings: Scalar) -> NamedChoice:
    """Return an algorithm by its name, `darts mixed` being one; few epochs unless told."""
    return NamedChoice(name=name.split()[0], settings={**SETTINGS[name], **settings})


def make_space(name: str = "nasbench201", **fields: Any) -> Space:
    return Space.model_validate(
        {
            "preset": "cells",
            "family": name,
            "network": SMALL,
            "schedule": {"batchSize": 8, "learningRate": 0.05},
            **fields,
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TransferData:
    return coloured_data(tmp_path_factory.mktemp("home"))


def cell(name: str, seed: int) -> Candidate:
    return family(name).sample(np.random.default_rng(seed))


def make_child(name: str, seed: int) -> Any:
    torch.manual_seed(seed)
    return build_network(name, cell(name, seed), PLAN).to(memory_format=torch.channels_last)


def weights(network: Any) -> dict[str, Any]:
    return {name: each.clone() for name, each in network.state_dict().items()}


# ---------------------------------------------------------------- the bank


@pytest.mark.parametrize("name", FAMILIES)
def test_the_first_child_lends_its_own_weights(name: str) -> None:
    bank, child = WeightBank(), make_child(name, 0)
    before = weights(child)
    bank.lend(child)
    assert len(bank) == len(before)
    for tensor, own in zip(child.state_dict().values(), before.values(), strict=True):
        assert torch.equal(tensor, own)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_cell_again_has_the_weights_that_were_learned(name: str) -> None:
    bank = WeightBank()
    first, images = make_child(name, 0), torch.randn(4, 3, 16, 16)
    optimizer = torch.optim.SGD(first.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    bank.lend_velocities(bank.lend(first), optimizer)
    first.train()
    first(images).square().mean().backward()
    optimizer.step()
    torch.manual_seed(5)
    again = build_network(name, cell(name, 0), PLAN)
    bank.lend(again)
    first.eval(), again.eval()
    with torch.no_grad():
        assert torch.allclose(first(images), again(images), atol=1e-6)


def test_children_share_what_they_have_in_common_and_nothing_else() -> None:
    bank = WeightBank()
    base = {**cell("nasbench201", 0), "op_0_1": "nor_conv_3x3", "op_0_2": "nor_conv_1x1"}
    other = {**base, "op_0_2": "nor_conv_3x3"}
    one, two = (build_network("nasbench201", each, PLAN) for each in (base, other))
    bank.lend(one)
    bank.lend(two)
    mine, theirs = one.state_dict(), two.state_dict()
    common = {name for name in mine if "op_0_2" not in name}
    assert all(mine[name].data_ptr() == theirs[name].data_ptr() for name in common)
    apart = mine.keys() & theirs.keys() - common
    assert apart
    assert all(mine[name].data_ptr() != theirs[name].data_ptr() for name in apart)


def test_operations_of_one_shape_at_one_place_are_told_apart() -> None:
    bank = WeightBank()
    base = cell("nasnet", 0)
    place = {"normal_0_first": "current", "normal_0_first_op": "conv_3x3"}
    dilated = {**base, **place, "normal_0_first_op": "dil_conv_3x3"}
    one, two = (build_network("nasnet", each, PLAN) for each in ({**base, **place}, dilated))
    bank.lend(one)
    bank.lend(two)
    mine, theirs = one.state_dict(), two.state_dict()
    name = "cells.0.steps.0.layers.0.weight"
    assert mine[name].shape == theirs[name].shape
    assert mine[name].data_ptr() != theirs[name].data_ptr()


def test_a_bank_that_was_exported_and_taken_up_is_the_same() -> None:
    bank, copy = WeightBank(), WeightBank()
    child = make_child("nasnet", 1)
    optimizer = torch.optim.SGD(child.parameters(), lr=0.1, momentum=0.9)
    bank.lend_velocities(bank.lend(child), optimizer)
    exported = bank.export()
    copy.take_up(exported, torch.device("cpu"))
    assert copy.export().keys() == exported.keys()
    assert all(torch.equal(each, exported[name]) for name, each in copy.export().items())
    with pytest.raises(CorruptArtifactError, match="no entry of shared weights"):
        copy.take_up({"something": torch.zeros(1)}, torch.device("cpu"))


# ---------------------------------------------------------------- the sharing


@pytest.mark.parametrize(
    ("way", "name"),
    [
        *(("enas", each) for each in FAMILIES),
        *(("darts", each) for each in RELAXABLE),
        *(("darts mixed", each) for each in MIXABLE),
    ],
)
def test_every_family_can_share_weights(way: str, name: str, data: TransferData) -> None:
    chosen = choose(way, epochs=1)
    sharing = SharingFactory(data, make_space(name), chosen, threads=1).make()
    sharing.run_epoch()
    assert len(sharing.metrics()) == 2
    assert np.isfinite(list(sharing.metrics().values())).all()
    (child,) = draw_children(sharing.to_bytes(), make_space(name), 3, chosen, 0, 1)
    logits = sharing.logits(sharing.child(child), np.arange(5))
    assert logits.shape == (5, 3)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("way", ["enas", "darts"])
def test_children_with_trained_weights_tell_colours_without_training_of_their_own(
    way: str,
    data: TransferData,
) -> None:
    space = make_space(network={"imageSize": 16, "filters": 8, "cells": 1})
    chosen = choose(way, epochs=30)
    factory = SharingFactory(data, space, chosen, threads=1)
    sharing = factory.make()
    while sharing.epochs_done < sharing.epochs:
        sharing.run_epoch()
    shared = sharing.to_bytes()
    children = draw_children(shared, space, 3, chosen, 0, 8)
    trials = ChildFactory(factory, shared, ("multiply_adds",))()
    scores = []
    for number, child in enumerate(children):
        trials.reset(Assignment(number, child, 0, None))
        report = trials.step()
        assert report.done
        scores.append(report.metrics["val/precision_at_1"])
    assert max(scores) > 0.8, scores
    assert trials.step().metrics["multiply_adds"] > 0


@pytest.mark.parametrize(
    ("way", "name"),
    [("enas", "nasnet"), ("darts", "nasbench201"), ("darts mixed", "nasbench201")],
)
def test_a_sharing_that_was_killed_goes_on_to_the_very_same_weights(
    way: str, name: str, data: TransferData
) -> None:
    space = make_space(name, network={**SMALL, "dropPath": 0.2})
    factory = SharingFactory(data, space, choose(way), threads=1)
    calm = factory()
    calm.reset(Assignment(0, {}, 0, None))
    expected = [calm.step() for _ in range(3)]
    assert [report.done for report in expected] == [False, False, True]
    hit = factory()
    hit.reset(Assignment(0, {}, 0, None))
    first = hit.step()
    hit = factory()
    hit.reset(Assignment(0, {}, 1, first.checkpoint))
    hit.step()
    last = hit.step()
    assert last.metrics == expected[-1].metrics
    one, two = (factory.make(each.checkpoint) for each in (last, expected[-1]))
    assert one.policy.save() == two.policy.save()
    own, other = one._bank.export(), two._bank.export()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    drawn = [
        draw_children(e.checkpoint or b"", space, 3, choose(way), 0, 5)
        for e in (last, expected[-1])
    ]
    assert drawn[0] == drawn[1]


def test_siblings_move_what_they_share_along_the_mean_of_what_they_ask_for(
    data: TransferData,
) -> None:
    space = make_space()
    candidate = {**cell("nasbench201", 0), "op_0_1": "nor_conv_3x3", "op_0_2": "nor_conv_1x1"}
    factory = SharingFactory(data, space, choose(), threads=1)
    one, two = factory.make(), factory.make()
    rows = one._learned[:4]
    once = Batch(rows, one._pixels[rows])
    twice = Batch(np.tile(rows, 2), np.tile(one._pixels[rows], (2, 1, 1, 1)))
    for sharing, count, batch in ((one, 1, once), (two, 2, twice)):
        with seeded(0):
            networks = [sharing._build(candidate) for _ in range(count)]
        sharing._learn(networks, batch, 1.0)
        sharing._learn(networks, batch, 1.5)
    own, other = one._bank.export(), two._bank.export()
    assert own.keys() == other.keys()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learned = [name for name in own if not any(each in name for each in statistics)]
    assert learned
    for name in learned:
        assert torch.allclose(own[name], other[name], atol=1e-6), name


def test_what_only_one_sibling_has_learns_as_much_as_what_all_have(data: TransferData) -> None:
    base = {**cell("nasbench201", 0), "op_0_3": "nor_conv_3x3"}
    other = {**base, "op_0_3": "nor_conv_1x1"}
    sharing = SharingFactory(data, make_space(), choose(), threads=1).make()
    rows = np.concatenate([sharing._learned[:4]] * 4)
    with seeded(0):
        networks = [sharing._build(each) for each in (base, other, other, other)]
    alone = SharingFactory(data, make_space(), choose(), threads=1).make()
    with seeded(0):
        only = alone._build(base)
    sharing._learn(networks, Batch(rows, sharing._pixels[rows]), 1.0)
    alone._learn([only], Batch(rows[:4], alone._pixels[rows[:4]]), 1.0)
    own, theirs = sharing._bank.export(), alone._bank.export()
    names = [name for name in theirs if "velocity/" in name and "[0>3:nor_conv_3x3]" in name]
    assert names
    for name in names:  # but for how the longest gradient of all is cut
        ratio = own[name].norm() / theirs[name].norm()
        assert 0.5 < ratio < 2, name


def test_a_batch_too_small_for_all_siblings_is_divided_by_fewer(data: TransferData) -> None:
    space = make_space(schedule={"batchSize": 4, "learningRate": 0.05})
    sharing = SharingFactory(data, space, choose(siblings=50), threads=1).make()
    sharing.run_epoch()
    assert np.isfinite(sharing.metrics()["train/loss"])


@pytest.mark.parametrize("way", ["enas", "darts", "darts mixed"])
def test_the_policy_is_not_taught_before_the_weights_have_learned(
    way: str, data: TransferData
) -> None:
    chosen = choose(way, epochs=4, warmup=0.5)
    sharing = SharingFactory(data, make_space(), chosen, threads=1).make()
    states = [sharing.policy.save()]
    figures = []
    for _ in range(4):
        sharing.run_epoch()
        states.append(sharing.policy.save())
        figures.append(set(sharing.metrics()))
    assert states[0] == states[1] == states[2] != states[3] != states[4]
    assert [len(each) for each in figures] == [1, 1, 2, 2]


def test_no_other_epoch_begins_when_the_time_is_up(data: TransferData) -> None:
    trial = SharingFactory(data, make_space(), choose(epochs=50), 1e-9, threads=1)()
    trial.reset(Assignment(0, {}, 0, None))
    assert trial.step().done


def test_the_controller_learns_which_operation_is_rewarded() -> None:
    from strandline.search.algorithm import Observation

    space = cell_space("nasbench201", PLAN, ())
    policy = EnasSearch(space, 0, repeats=True)
    for number in range(300):
        candidate = policy.suggest(number, ())
        assert candidate is not None
        convolutions = sum(value == "nor_conv_3x3" for value in candidate.values())
        policy.observe(Observation(number, candidate, convolutions / 6))
    rng = np.random.default_rng(0)
    late = policy.controller.sample(rng, 50)
    share = np.mean([value == "nor_conv_3x3" for each in late for value in each.values()])
    assert share > 0.6


@pytest.mark.parametrize("way", ["enas", "darts"])
def test_several_labels_an_image_are_shared_over_as_well(way: str, data: TransferData) -> None:
    several = replace(
        data,
        task=Task.MULTILABEL,
        targets=np.eye(3, dtype=np.float32)[data.targets],
    )
    sharing = SharingFactory(several, make_space(), choose(way, warmup=0.0), threads=1).make()
    sharing.run_epoch()
    assert all(np.isfinite(list(sharing.metrics().values())))
    if way == "enas":
        assert sharing.metrics()["train/reward"] < 0


def test_what_is_no_checkpoint_and_what_cannot_share_is_refused(data: TransferData) -> None:
    sharing = SharingFactory(data, make_space(), choose(), threads=1).make()
    with pytest.raises(CorruptArtifactError):
        sharing.load_bytes(b"nothing")
    with pytest.raises(CorruptArtifactError):
        draw_children(b"nothing", make_space(), len(LABELS), choose(), 0, 1)
    searched = make_space(
        parameters=[{"name": "learningRate", "type": "float", "min": 0.01, "max": 0.1}]
    )
    with pytest.raises(InvalidSpecError, match="take learningRate out"):
        SharingFactory(data, searched, choose(), threads=1).make()
    with pytest.raises(InvalidSpecError, match="no setting 'depth'"):
        SharingFactory(data, make_space(), choose(depth=3), threads=1).make()


# ---------------------------------------------------------------- differentiable search


@pytest.mark.parametrize(
    ("way", "name", "why"),
    [
        ("darts", "mbconv", "darts cannot relax mbconv"),
        ("darts mixed", "nasnet", "choose nasbench201 or darts"),
    ],
)
def test_cells_that_cannot_be_relaxed_are_refused(
    way: str, name: str, why: str, data: TransferData
) -> None:
    with pytest.raises(InvalidSpecError, match=why):
        SharingFactory(data, make_space(name), choose(way), threads=1).make()


@pytest.mark.parametrize("way", ["darts", "darts mixed"])
def test_strengths_learn_from_images_that_the_weights_never_see(
    way: str, data: TransferData
) -> None:
    sharing = SharingFactory(data, make_space(), choose(way, warmup=0.0), threads=1).make()
    before = {name: each.copy() for name, each in sharing.policy.strengths.weights.items()}
    sharing.run_epoch()
    moved = sharing.policy.strengths.weights
    assert any(not np.array_equal(moved[name], before[name]) for name in before)
    learned, held_out = set(sharing._learned), set(sharing._held_out)
    assert min(len(learned), len(held_out)) > 0
    assert not learned & held_out
    scored = set(np.flatnonzero(data.folds >= 0))
    assert not scored & (learned | held_out)


def test_a_draw_passes_the_gradient_of_its_share_straight_through() -> None:
    strengths = Strengths(cell_space("nasbench201", PLAN, ()), 0, skips=2)
    candidate = strengths.likeliest()
    logits = {
        name: torch.tensor(each, requires_grad=True) for name, each in strengths.weights.items()
    }
    shares = {name: each.softmax(0) for name, each in logits.items()}
    odds = straight_through(shares, strengths, candidate)
    for name, each in odds.items():
        place = strengths.options[name].index(candidate[name])
        assert each.detach().tolist() == [float(n == place) for n in range(5)]
        (gradient,) = torch.autograd.grad(each[place], logits[name], retain_graph=True)
        (expected,) = torch.autograd.grad(shares[name][place], logits[name])
        assert torch.equal(gradient, expected)


def test_the_likeliest_cell_is_the_first_child(data: TransferData) -> None:
    sharing = SharingFactory(data, make_space(), choose("darts"), threads=1).make()
    sharing.run_epoch()
    drawn = draw_children(sharing.to_bytes(), make_space(), 3, choose("darts"), 0, 6)
    assert drawn[0] == sharing.policy.strengths.likeliest()
    assert len(drawn) == 6
