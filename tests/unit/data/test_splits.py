"""Splits: a partition without leaks, stratified, and the same for any order of images."""

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from strandline.data.splits import Division, divide, divide_naively, make_folds
from strandline.data.stratify import make_units
from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Item, Split, Task
from strandline.spec.v1alpha1 import SplitPolicy

TRAIN, VALIDATION, TEST = Split.TRAIN, Split.VALIDATION, Split.TEST


def item(
    number: int,
    *labels: str,
    split: Split | None = None,
    near: int | None = None,
    group: str | None = None,
    labeled: bool = True,
) -> Item:
    return Item(
        image="sha256:" + hashlib.sha256(str(number).encode()).hexdigest(),
        sources=(f"{number}.png",),
        labels=labels if labeled else None,
        split=split,
        near_duplicates=near,
        group=group,
        width=8,
        height=8,
        media_type="image/png",
    )


def many(count: int, labels: str = "ab") -> list[Item]:
    return [item(n, labels[n % len(labels)]) for n in range(count)]


def policy(test: float = 0.2, validation: float = 0.0, seed: int = 0) -> SplitPolicy:
    return SplitPolicy(test=test, validation=validation, seed=seed)


def sizes(division: Division) -> Counter[Split | None]:
    return Counter(division.parts)


@st.composite
def datasets(draw: st.DrawFn) -> list[Item]:
    count = draw(st.integers(1, 40))
    multilabel = draw(st.booleans())
    labels = st.sampled_from("abcdef")
    return [
        item(
            number,
            *(sorted(draw(st.sets(labels, max_size=3))) if multilabel else draw(labels)),
            split=draw(st.sampled_from([None, None, None, TRAIN, VALIDATION, TEST])),
            near=draw(st.none() | st.integers(0, 5)),
            group=draw(st.none() | st.sampled_from(["x", "y", "z"])),
            labeled=draw(st.booleans()) or draw(st.booleans()),
        )
        for number in range(count)
    ]


policies = st.builds(
    policy,
    test=st.sampled_from([0.0, 0.1, 0.2, 0.5]),
    validation=st.sampled_from([0.0, 0.1, 0.3]),
    seed=st.integers(0, 5),
)


@given(items=datasets(), chosen=policies)
def test_every_labeled_image_is_in_one_part_or_set_aside_with_a_reason(
    items: list[Item], chosen: SplitPolicy
) -> None:
    division = divide(items, Task.MULTILABEL, chosen)
    for index, (each, part) in enumerate(zip(items, division.parts, strict=True)):
        assert (index in division.set_aside) == (each.labels is not None and part is None)
    assert all(division.set_aside.values())


@given(items=datasets(), chosen=policies)
def test_near_duplicates_and_groups_never_straddle(items: list[Item], chosen: SplitPolicy) -> None:
    parts = divide(items, Task.MULTILABEL, chosen).parts
    linked: dict[tuple[str, object], set[Split]] = {}
    for each, part in zip(items, parts, strict=True):
        for key in (("near", each.near_duplicates), ("group", each.group)):
            if part is not None and key[1] is not None:
                linked.setdefault(key, set()).add(part)
    assert all(len(found) == 1 for found in linked.values())


@given(items=datasets(), chosen=policies)
def test_a_given_test_split_is_kept_whole_and_other_given_ones_never_move(
    items: list[Item], chosen: SplitPolicy
) -> None:
    for each, part in zip(items, divide(items, Task.MULTILABEL, chosen).parts, strict=True):
        if each.labels is not None and each.split is TEST:
            assert part is TEST
        if each.split is not None:
            assert part in (each.split, None)


@given(items=datasets(), chosen=policies, order=st.randoms(use_true_random=False))
def test_the_division_does_not_depend_on_the_order_of_images(
    items: list[Item], chosen: SplitPolicy, order: random.Random
) -> None:
    mixed = order.sample(items, len(items))
    for split in (divide, divide_naively):
        first, second = (split(each, Task.MULTILABEL, chosen).parts for each in (items, mixed))
        by_image = {each.image: part for each, part in zip(mixed, second, strict=True)}
        assert [by_image[each.image] for each in items] == list(first)


@given(items=datasets(), chosen=policies)
def test_a_label_that_could_be_trained_on_is(items: list[Item], chosen: SplitPolicy) -> None:
    free = [each.model_copy(update={"split": None}) for each in items]
    division = divide(free, Task.MULTILABEL, chosen)
    labels = {label for each in free for label in each.labels or ()}
    trained = {label for i in division.indexes(TRAIN) for label in free[i].labels or ()}
    assert trained == labels


@given(items=datasets(), chosen=policies)
def test_a_label_only_outside_training_is_told(items: list[Item], chosen: SplitPolicy) -> None:
    division = divide(items, Task.MULTILABEL, chosen)
    where = {s: {a for i in division.indexes(s) for a in items[i].labels or ()} for s in Split}
    for label in (where[TEST] | where[VALIDATION]) - where[TRAIN]:
        assert any(f"'{label}'" in note and "cannot know" in note for note in division.notes)


@given(
    count=st.integers(1, 200),
    labels=st.sampled_from(["a", "ab", "abcde"]),
    test=st.floats(0.05, 0.5),
    validation=st.floats(0.0, 0.3),
)
def test_every_part_gets_its_share_of_every_label(
    count: int, labels: str, test: float, validation: float
) -> None:
    items = many(count * len(labels), labels)
    division = divide(items, Task.MULTICLASS, policy(test, validation))
    for split, share in ((TEST, test), (VALIDATION, validation)):
        found = Counter(items[i].labels for i in division.indexes(split))
        for label in labels:
            # Rare labels stay in training, and each part may be one image off.
            assert abs(found[(label,)] - share * count) <= 1 or found[(label,)] == 0
            assert found[(label,)] > 0 or share * count < 1.5 or count <= 4


def test_a_hundred_of_each_label_divide_exactly() -> None:
    items = many(300, "abc")
    division = divide(items, Task.MULTICLASS, policy(0.2, 0.1))
    counts = {s: Counter(items[i].labels for i in division.indexes(s)) for s in Split}
    assert [set(counts[s].values()) for s in (TRAIN, VALIDATION, TEST)] == [{70}, {10}, {20}]


def test_the_test_split_does_not_depend_on_the_validation_share() -> None:
    items = many(100)
    without, with_ = (divide(items, Task.MULTICLASS, policy(validation=v)) for v in (0.0, 0.25))
    assert list(without.indexes(TEST)) == list(with_.indexes(TEST))


def test_another_seed_divides_otherwise() -> None:
    items = many(100)
    first, second = (divide(items, Task.MULTICLASS, policy(seed=seed)) for seed in (0, 1))
    assert first.parts != second.parts
    assert sizes(first) == sizes(second)


@pytest.mark.parametrize("rare", [1, 2])
def test_a_label_of_one_or_two_images_is_trained_on_and_told(rare: int) -> None:
    items = [*many(50), *(item(100 + n, "rare") for n in range(rare))]
    division = divide(items, Task.MULTICLASS, policy(0.5, 0.2))
    assert {division.parts[50 + n] for n in range(rare)} == {TRAIN}
    assert "'rare' is not in the test split" in division.notes[0]


def test_a_label_with_one_big_group_is_trained_on() -> None:
    items = [*many(20), *(item(100 + n, "c", near=7) for n in range(10))]
    division = divide(items, Task.MULTICLASS, policy(0.45))
    assert set(division.parts[20:]) == {TRAIN}
    assert any("'c'" in note for note in division.notes)


def test_training_images_that_leak_into_a_given_test_split_are_set_aside() -> None:
    items = [
        item(0, "a", split=TEST, near=3),
        item(1, "a", split=TRAIN, near=3),
        item(2, "a", split=TRAIN),
        item(3, "a", split=TRAIN, group="plane"),
        item(4, "a", split=TEST, group="plane"),
        item(5, "a", near=3),
    ]
    division = divide(items, Task.MULTICLASS, policy())
    assert division.parts == (TEST, None, TRAIN, None, TEST, TEST)
    assert division.set_aside == {
        1: "near-duplicate of the test image '0.png'",
        3: "same group 'plane' as the test image '4.png'",
    }
    assert divide_naively(items, Task.MULTICLASS, policy()).parts[:5] == (
        TEST,
        TRAIN,
        TRAIN,
        TRAIN,
        TEST,
    )


def test_a_leak_over_several_steps_is_set_aside() -> None:
    items = [
        item(0, "a", split=TEST, group="g"),
        item(1, "a", group="g", near=1),
        item(2, "a", split=TRAIN, near=1),
        *(item(n, "a", split=TRAIN) for n in range(3, 9)),
    ]
    division = divide(items, Task.MULTICLASS, policy())
    assert division.parts[:3] == (TEST, TEST, None)
    assert "linked" in division.set_aside[2]


def test_rows_without_a_split_fill_the_splits_that_are_not_given() -> None:
    given_train = [item(n, "ab"[n % 2], split=TRAIN) for n in range(80)]
    free = [item(n, "ab"[n % 2]) for n in range(80, 100)]
    division = divide([*given_train, *free], Task.MULTICLASS, policy(0.1))
    assert sizes(division) == {TRAIN: 90, TEST: 10}
    given_test = [each.model_copy(update={"split": TEST}) for each in given_train[:4]]
    division = divide([*given_test, *free], Task.MULTICLASS, policy(0.25, 0.25))
    assert sizes(division) == {TEST: 4, VALIDATION: 6, TRAIN: 14}


def test_unlabeled_images_are_in_no_part_and_wrongly_labeled_ones_have_a_reason() -> None:
    items = [*many(10), item(90, labeled=False), item(91, "a", "b"), item(92)]
    division = divide(items, Task.MULTICLASS, policy())
    assert division.parts[10:] == (None, None, None)
    assert set(division.set_aside) == {11, 12}
    assert "multi-label" in division.set_aside[11]
    assert divide(items, Task.MULTILABEL, policy()).parts[11:] != (None, None)


def test_too_few_images_for_a_test_are_told() -> None:
    division = divide([item(0, "a")], Task.MULTICLASS, policy())
    assert division.parts == (TRAIN,)
    assert "too few images" in division.notes[0]
    assert divide([], Task.MULTICLASS, policy()) == Division(())


def test_many_rare_labels_make_one_short_note_without_control_characters() -> None:
    items = [*many(50), *(item(100 + n, f"\x1b[31m{n}" + "x" * 5000) for n in range(100))]
    (note,) = divide(items, Task.MULTICLASS, policy()).notes
    assert "and 92 more" in note
    assert len(note) < 1000
    assert note.isprintable()


@given(items=datasets(), folds=st.integers(2, 5), seed=st.integers(0, 3))
def test_folds_are_a_partition_in_which_no_group_straddles(
    items: list[Item], folds: int, seed: int
) -> None:
    indexes = list(range(0, len(items), 2))
    if len(make_units(items, indexes, seed)) < folds:
        with pytest.raises(UnusableDataError, match="independent"):
            make_folds(items, indexes, Task.MULTILABEL, folds, seed)
        return
    found = make_folds(items, indexes, Task.MULTILABEL, folds, seed)
    assert found.shape == (len(indexes),)
    assert set(found.tolist()) == set(range(folds))
    fold_of: dict[tuple[str, object], set[int]] = {}
    for index, fold in zip(indexes, found.tolist(), strict=True):
        for key in (("n", items[index].near_duplicates), ("g", items[index].group)):
            if key[1] is not None:
                fold_of.setdefault(key, set()).add(fold)
    assert all(len(each) == 1 for each in fold_of.values())


def test_folds_are_balanced_by_label_and_independent_of_order() -> None:
    items = many(60, "abc")
    found = make_folds(items, range(60), Task.MULTICLASS, 5, 0)
    for label in range(3):
        assert Counter(found[label::3].tolist()) == dict.fromkeys(range(5), 4)
    mixed = random.Random(1).sample(range(60), 60)
    again = make_folds(items, mixed, Task.MULTICLASS, 5, 0)
    assert np.array_equal(again, found[mixed])


def test_multilabel_shares_hold_for_every_label() -> None:
    rng = random.Random(0)
    items = [item(n, *sorted(rng.sample("abcdefgh", rng.randint(1, 4)))) for n in range(1000)]
    division = divide(items, Task.MULTILABEL, policy(0.2, 0.1))
    every = Counter(label for each in items for label in each.labels or ())
    for split, share in ((TEST, 0.2), (VALIDATION, 0.1)):
        found = Counter(label for i in division.indexes(split) for label in items[i].labels or ())
        assert all(abs(found[label] / every[label] - share) < 0.02 for label in every)
        assert abs(len(division.indexes(split)) / 1000 - share) < 0.02


def test_large_groups_do_not_upset_the_shares() -> None:
    items = [item(n, "ab"[n % 2], near=n // 6) for n in range(600)]
    division = divide(items, Task.MULTICLASS, policy(0.2))
    assert abs(len(division.indexes(TEST)) - 120) <= 6


def test_a_division_of_many_images_takes_steps_in_proportion() -> None:
    def steps(items: Sequence[Item]) -> int:
        import sys

        count = 0

        def trace(*_: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(trace)
        try:
            divide(items, Task.MULTICLASS, policy())
        finally:
            sys.setprofile(None)
        return count

    counts = [steps(many(n, "abcdefghij")) for n in (500, 1000, 2000)]
    assert all(later < 2.5 * earlier for earlier, later in pairwise(counts))
