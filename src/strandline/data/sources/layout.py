"""Where folders say what an image is: `cat/a.jpg`, or `train/cat/a.jpg` with given splits.

Both layouts are common, and nothing but the names tells them apart: when all top folders
are called like parts of a split, at least two of them, and no image stands in one of them
directly, they are a split and the folders in them are the labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from strandline.data.sources.entries import IMAGE_SUFFIXES, Warned, clean_labels, is_junk
from strandline.spec.records import Split

SPLITS: dict[str, Split | None] = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "validation": Split.VALIDATION,
    "validate": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "val": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
    "unassigned": None,
    "": None,
}
"""What sources call the parts of a split, in lower case."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the folders of one source are read.

    Attributes:
        split_folders: the top folders that are parts of a split; none in a plain layout.
    """

    split_folders: tuple[str, ...] = ()

    def place(self, relative: PurePosixPath) -> tuple[tuple[str, ...] | None, Split | None]:
        """Return the labels and the split of a file; None where its folders say nothing.

        Raises:
            UnusableDataError: the label cannot be used.
        """
        folders = relative.parts[:-1]
        split = None
        if self.split_folders and folders:
            split, folders = SPLITS[folders[0].lower()], folders[1:]
        return (clean_labels(folders[:1]) or None) if folders else None, split

    def warnings(self) -> Iterable[Warned]:
        """Return what a person should know of how the folders were read."""
        if self.split_folders:
            names = ", ".join(self.split_folders)
            yield Warned(f"the folders {names} are read as parts of a split, not as labels")


def find_layout(files: Iterable[PurePosixPath]) -> Layout:
    """Return the layout of a source, looking at no more names than needed.

    Args:
        files: relative to the source.
    """
    tops: dict[str, None] = {}
    for file in files:
        if is_junk(file.parts) or file.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if len(file.parts) == 1:
            continue
        if not SPLITS.get(file.parts[0].lower()) or len(file.parts) == 2:
            return Layout()
        tops[file.parts[0]] = None
    different = {SPLITS[name.lower()] for name in tops}
    return Layout(tuple(sorted(tops))) if len(different) > 1 else Layout()
