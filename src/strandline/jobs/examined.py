"""What a training or evaluation must know of its images before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Item, Task

_FEW_IMAGES_A_LABEL = 10


def cluster_of(item: Item) -> str | None:
    """Return what images that are not independent of each other share; None: alone."""
    if item.group is not None:
        return f"group {item.group}"
    return None if item.near_duplicates is None else f"near-duplicates {item.near_duplicates}"


def check_learnable(items: Sequence[Item], labels: Sequence[str], task: Task) -> tuple[str, ...]:
    """Check that there is something to learn; return what a person should know.

    Raises:
        UnusableDataError: fewer than two labels, or no labeled image.
    """
    labeled = [item for item in items if item.labels is not None]
    fewest = 2 if task is Task.MULTICLASS else 1
    if not labeled or len(labels) < fewest:
        raise UnusableDataError(
            f"the dataset has {len(labeled)} labeled images with {len(labels)} different labels; "
            f"training needs at least {fewest} labels: import with one folder a label, or a table"
        )
    counts = {label: sum(label in (item.labels or ()) for item in labeled) for label in labels}
    few = [label for label, count in counts.items() if count < _FEW_IMAGES_A_LABEL]
    notes = []
    if len(labeled) < len(items):
        notes.append(f"{len(labeled)} of {len(items)} images are labeled; the others are not used")
    if few:
        shown = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        notes.append(f"fewer than {_FEW_IMAGES_A_LABEL} images carry {shown}")
    return tuple(notes)
