"""From imported images to an immutable dataset version with a digest.

The digest is over the task, the labels and the items, sorted by image; it depends on
neither the order of files nor the time nor the machine. The manifest of items is an
object like any other, so equal versions share it, and versions that overlap share their
images.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from strandline.data.duplicates import group_near_duplicates
from strandline.ports import ObjectStore
from strandline.spec.records import (
    DatasetVersion,
    Item,
    Split,
    Task,
    canonical_json,
    digest_of,
)
from strandline.spec.v1alpha1 import TaskChoice

_WARNINGS_A_KIND = 100


@dataclass(frozen=True, slots=True)
class Imported:
    """One entry of a source whose image is in the store.

    Attributes:
        fingerprint: for finding near-duplicates.
    """

    image: str
    source: str
    labels: tuple[str, ...] | None
    split: Split | None
    group: str | None
    width: int
    height: int
    media_type: str
    notes: tuple[str, ...]
    fingerprint: bytes


@dataclass(slots=True)
class Assembly:
    """The items of a version, and what assembling them showed."""

    items: list[Item]
    task: Task
    labels: tuple[str, ...]
    exact_duplicates: int
    near_duplicate_groups: int
    warnings: list[str] = field(default_factory=list)


def assemble(entries: Sequence[Imported], task: TaskChoice) -> Assembly:
    """Merge entries of the same image, settle the task, and group near-duplicates.

    In single-label data an image with two different labels is a contradiction: it is
    kept, unlabeled, and reported. In multi-label data its labels are united.
    """
    warnings: list[str] = []
    settled = _settle_task(entries, task)
    by_image: dict[str, list[Imported]] = defaultdict(list)
    for entry in entries:
        by_image[entry.image].append(entry)
    images = sorted(by_image)
    fingerprints = [by_image[image][0].fingerprint for image in images]
    groups = group_near_duplicates(fingerprints)
    items = [
        _merge(by_image[image], group, settled, warnings)
        for image, group in zip(images, groups, strict=True)
    ]
    labels = tuple(sorted({label for item in items for label in item.labels or ()}))
    warnings.extend(_lookalikes(labels))
    return Assembly(
        items=items,
        task=settled,
        labels=labels,
        exact_duplicates=len(entries) - len(images),
        near_duplicate_groups=len({group for group in groups if group is not None}),
        warnings=_bounded(warnings),
    )


def write_items(store: ObjectStore, items: Sequence[Item]) -> str:
    """Store the manifest (JSON Lines, one item a line) and return its digest."""
    return store.put(b"".join(canonical_json(_plain(item)) + b"\n" for item in items))


def read_items(store: ObjectStore, version: DatasetVersion) -> list[Item]:
    """Read the items of a version, sorted by image digest.

    Raises:
        NotFoundError, CorruptArtifactError: the manifest is not in the store, or damaged.
    """
    manifest = store.get(version.items_object)
    return [Item.model_validate_json(line) for line in manifest.splitlines()]


def version_digest(task: Task, labels: Sequence[str], items: Sequence[Item]) -> str:
    """Return the digest that names this data on every machine."""
    content = {
        "task": task.value,
        "labels": list(labels),
        "items": [_plain(item) for item in items],
    }
    return digest_of(canonical_json(content))


def _plain(item: Item) -> dict[str, object]:
    return item.model_dump(mode="json", exclude_defaults=True)


def _settle_task(entries: Iterable[Imported], task: TaskChoice) -> Task:
    if task is not TaskChoice.AUTO:
        return Task(task.value)
    several = any(len(entry.labels or ()) > 1 for entry in entries)
    return Task.MULTILABEL if several else Task.MULTICLASS


def _merge(entries: Sequence[Imported], group: int | None, task: Task, warnings: list[str]) -> Item:
    first = entries[0]
    said = {entry.labels for entry in entries if entry.labels is not None}
    united = tuple(sorted({label for labels in said for label in labels}))
    labels: tuple[str, ...] | None = united if said else None
    names = " = ".join(sorted({entry.source for entry in entries})[:4])
    if task is Task.MULTICLASS and len(united) > 1:
        warnings.append(
            f"{names}: the same image has the labels {', '.join(united)}; kept without a label"
        )
        labels = None
    splits = sorted({entry.split for entry in entries if entry.split is not None})
    if len(splits) > 1:
        warnings.append(f"{names}: the same image is in {' and '.join(splits)}; counted as test")
    user_groups = sorted({entry.group for entry in entries if entry.group is not None})
    if len(user_groups) > 1:
        warnings.append(f"{names}: the same image is in several groups; {user_groups[0]} counts")
    return Item(
        image=first.image,
        sources=tuple(sorted({entry.source for entry in entries})),
        labels=labels,
        split=_strictest(splits),
        group=user_groups[0] if user_groups else None,
        near_duplicates=group,
        width=first.width,
        height=first.height,
        media_type=first.media_type,
        notes=first.notes,
    )


def _strictest(splits: Sequence[Split]) -> Split | None:
    """Return the split that keeps a contradiction from leaking into training."""
    for split in (Split.TEST, Split.VALIDATION, Split.TRAIN):
        if split in splits:
            return split
    return None


def _lookalikes(labels: Sequence[str]) -> list[str]:
    """Warn of labels that people would hardly tell apart."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[_skeleton(label)].append(label)
    return [
        f"the labels {', '.join(ascii(label) for label in group)} look alike: "
        "are they meant to be different?"
        for group in alike.values()
        if len(group) > 1
    ]


# The letters of other alphabets that look like Latin ones most often (Unicode TR 39).
_CONFUSABLE = str.maketrans("аеорсухіАВЕКМНОРСТХαο", "aeopcyxiABEKMHOPCTXao")


def _skeleton(label: str) -> str:
    import unicodedata

    normal = unicodedata.normalize("NFKC", label)
    visible = "".join(c for c in normal if unicodedata.category(c) not in ("Cf", "Cc"))
    return " ".join(visible.translate(_CONFUSABLE).casefold().split())


def _bounded(warnings: list[str]) -> list[str]:
    """Keep the first of each kind when thousands of images have the same trouble."""
    if len(warnings) <= _WARNINGS_A_KIND:
        return warnings
    more = len(warnings) - _WARNINGS_A_KIND
    return [*warnings[:_WARNINGS_A_KIND], f"{more} more warnings of this kind"]


def count_labels(items: Iterable[Item]) -> Counter[str]:
    """Count the images that carry each label."""
    return Counter(label for item in items for label in item.labels or ())
