"""Divide a dataset into training, validation and test so that the test number is honest.

An image whose near-duplicate was trained on is no test. Groups of near-duplicates, and
groups that the user gave, are therefore never torn apart; splits that the source gives
are honoured, but training images that leak into them are set aside, with the reason. The
division follows from the images and the seed alone: not from their order, nor from the
machine. `docs/reference/splits.md` states the rules for users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from strandline.data.stratify import Unit, make_units, spread
from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Item, Split, Task
from strandline.spec.v1alpha1 import SplitPolicy

# So few images cannot be both learned from and tested on.
_RARE = 2
_LABELS_NAMED = 8
_LABEL_SHOWN = 60
# Of several splits given within one group the later one here is kept.
_PRECEDENCE = (Split.TRAIN, Split.VALIDATION, Split.TEST)


@dataclass(frozen=True, slots=True)
class Division:
    """Which image is in which part.

    Attributes:
        parts: aligned to the items; None for unlabeled images and those set aside.
        set_aside: reason by index, for labeled images that are in no part.
        notes: what a person should know: labels too rare to be tested, leaks, empty parts.
    """

    parts: tuple[Split | None, ...]
    set_aside: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def indexes(self, split: Split) -> NDArray[np.int64]:
        """Return the indexes of the images in `split`, ascending."""
        return np.array([i for i, part in enumerate(self.parts) if part is split], dtype=np.int64)


def divide(items: Sequence[Item], task: Task, policy: SplitPolicy) -> Division:
    """Divide `items`, keeping near-duplicates and user-given groups together.

    A split that the source gives to any labeled image is taken as given, whole; the
    others are filled from the rest, stratified by label.
    """
    return _Divider(items, task, policy, grouped=True).run()


def divide_naively(items: Sequence[Item], task: Task, policy: SplitPolicy) -> Division:
    """Divide `items` as if near-duplicates and groups were unknown, to show what that hides."""
    return _Divider(items, task, policy, grouped=False).run()


def make_folds(
    items: Sequence[Item], indexes: Sequence[int], task: Task, folds: int, seed: int
) -> NDArray[np.int64]:
    """Return the fold 0…folds-1 of each of `indexes`, stratified, groups kept together.

    Raises:
        UnusableDataError: there are fewer independent images than folds.
    """
    units = make_units(items, [int(index) for index in indexes], seed)
    if len(units) < folds:
        raise UnusableDataError(
            f"{len(indexes)} images form {len(units)} independent groups, too few for {folds} "
            "folds of cross-validation: add images that are no near-duplicates of these"
        )
    parts = spread(units, [1 / folds] * folds)
    fold_of = {i: part for unit, part in zip(units, parts, strict=True) for i in unit.members}
    return np.array([fold_of[int(index)] for index in indexes], dtype=np.int64)


class _Divider:
    """One division: who is fixed by the source, then test, then validation."""

    def __init__(
        self, items: Sequence[Item], task: Task, policy: SplitPolicy, *, grouped: bool
    ) -> None:
        self.items = items
        self.task = task
        self.policy = policy
        self.grouped = grouped
        self.set_aside: dict[int, str] = {}
        self.parts: list[Split | None] = [None] * len(items)

    def run(self) -> Division:
        usable = [index for index, item in enumerate(self.items) if self._is_usable(index, item)]
        units, given = self._honour_given(usable)
        chosen = self._fill(units, given)
        for unit, split in zip(units, chosen, strict=True):
            for index in unit.members:
                self.parts[index] = split
        notes = _notes(self.items, self.parts, self.set_aside, self.policy)
        return Division(tuple(self.parts), dict(sorted(self.set_aside.items())), notes)

    def _is_usable(self, index: int, item: Item) -> bool:
        if item.labels is None:
            return False
        if self.task is Task.MULTICLASS and len(item.labels) != 1:
            self.set_aside[index] = (
                f"has {len(item.labels)} labels where exactly one is needed; "
                "label it again or import as multi-label"
            )
            return False
        return True

    def _honour_given(self, usable: Sequence[int]) -> tuple[list[Unit], list[Split | None]]:
        """Return the units without what leaks, and the split that the source gives each."""
        kept: list[int] = []
        given: dict[int, Split | None] = {}
        for unit in make_units(self.items, usable, self.policy.seed, grouped=self.grouped):
            splits = {self.items[i].split for i in unit.members}
            split = next((each for each in reversed(_PRECEDENCE) if each in splits), None)
            for index in unit.members:
                if self.items[index].split in (None, split):
                    kept.append(index)
                    given[index] = split
                else:
                    self.set_aside[index] = self._leak(index, unit, split)
        units = make_units(self.items, kept, self.policy.seed, grouped=self.grouped)
        return units, [given[unit.members[0]] for unit in units]

    def _leak(self, index: int, unit: Unit, split: Split | None) -> str:
        """Return why a training image is set aside, naming the image it leaks into."""
        item = self.items[index]
        others = [self.items[i] for i in unit.members if self.items[i].split is split]
        near = [o for o in others if o.near_duplicates == item.near_duplicates is not None]
        same = [o for o in others if o.group == item.group is not None]
        if near:
            how, other = "near-duplicate of", near[0]
        elif same:
            how, other = f"same group {_shown(item.group or '')} as", same[0]
        else:
            how, other = "linked by groups and near-duplicates to", others[0]
        return (
            f"{how} the {split} image {_shown(other.sources[0] if other.sources else other.image)}"
        )

    def _fill(self, units: Sequence[Unit], given: Sequence[Split | None]) -> list[Split]:
        """Return the split of each unit: test first, so that validation does not move it."""
        chosen = list(given)
        if Split.TEST not in given:
            self._hold_out(units, chosen, Split.TEST, self.policy.test)
        if Split.VALIDATION not in given:
            self._hold_out(units, chosen, Split.VALIDATION, self.policy.validation)
        return [split or Split.TRAIN for split in chosen]

    def _hold_out(
        self, units: Sequence[Unit], chosen: list[Split | None], split: Split, share: float
    ) -> None:
        """Move a stratified share of all images from the undecided units into `split`."""
        total = sum(unit.size for unit in units)
        pool = [i for i, each in enumerate(chosen) if each in (None, Split.TRAIN)]
        images = sum(units[i].size for i in pool)
        if not share or not images:
            return
        part = min(1.0, share * total / images)
        members = [units[i] for i in pool]
        fixed = {at: 0 for at, i in enumerate(pool) if chosen[i] is Split.TRAIN}
        fixed |= dict.fromkeys(_carriers_of_rare(members), 0)
        found = spread(members, [1 - part, part], fixed)
        for at in _needed_for_training(members, found):
            found[at] = 0
        for at, i in enumerate(pool):
            if found[at] == 1:
                chosen[i] = split


def _carriers_of_rare(units: Sequence[Unit]) -> list[int]:
    counts = _label_counts(units)
    return [
        at for at, unit in enumerate(units) if any(counts[each] <= _RARE for each in unit.labels)
    ]


def _needed_for_training(units: Sequence[Unit], parts: Sequence[int]) -> list[int]:
    """Return held-out units to give back, so that training sees every label.

    For each label that only held-out units carry, the smallest of them is given back.
    """
    seen = {
        label for unit, part in zip(units, parts, strict=True) if not part for label in unit.labels
    }
    back: list[int] = []
    held_out = [at for at, part in enumerate(parts) if part]
    for at in sorted(held_out, key=lambda at: (units[at].size, units[at].rank)):
        if not seen.issuperset(units[at].labels):
            seen.update(units[at].labels)
            back.append(at)
    return back


def _label_counts(units: Iterable[Unit]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for unit in units:
        counts.update(unit.labels)
    return counts


# ---------------------------------------------------------------- notes


def _notes(
    items: Sequence[Item],
    parts: Sequence[Split | None],
    set_aside: Mapping[int, str],
    policy: SplitPolicy,
) -> tuple[str, ...]:
    where = {split: _labels_in(items, parts, split) for split in Split}
    sizes = Counter(part for part in parts if part is not None)
    every = where[Split.TRAIN] + where[Split.VALIDATION] + where[Split.TEST]
    unlearned = [label for label in every if not where[Split.TRAIN][label]]
    notes = []
    if set_aside:
        notes.append(f"{len(set_aside)} labeled images are set aside; each has its reason.")
    if unlearned:
        notes.append(
            f"{_named(unlearned)} not in the training split that the source gives: the model "
            "cannot know them. Give some of their images to training."
        )
    if sizes[Split.TEST]:
        notes += _untested_note(every, where[Split.TEST])
    elif policy.test and sizes:
        notes.append(
            f"There are too few images ({sizes.total()}) to hold some out for a test: "
            "nothing can be said about new images. Add labeled images."
        )
    return tuple(notes)


def _untested_note(every: Counter[str], tested: Counter[str]) -> list[str]:
    untested = [label for label in every if not tested[label]]
    if not untested:
        return []
    fewest = min(every[label] for label in untested)
    return [
        f"{_named(untested)} not in the test split (images of a label: from {fewest}): too few "
        "independent images to be learned from and tested on, so the evaluation says nothing "
        "about them. Add images of them."
    ]


def _labels_in(items: Sequence[Item], parts: Sequence[Split | None], split: Split) -> Counter[str]:
    inside = (item for item, part in zip(items, parts, strict=True) if part is split)
    return Counter(label for item in inside for label in item.labels or ())


def _named(labels: Sequence[str]) -> str:
    shown = ", ".join(_shown(label) for label in sorted(labels)[:_LABELS_NAMED])
    more = f" and {len(labels) - _LABELS_NAMED} more" if len(labels) > _LABELS_NAMED else ""
    return f"Label {shown} is" if len(labels) == 1 else f"Labels {shown}{more} are"


def _shown(text: str) -> str:
    clean = "".join(c if c.isprintable() else "�" for c in text)
    return repr(clean if len(clean) <= _LABEL_SHOWN else clean[: _LABEL_SHOWN - 1] + "…")
