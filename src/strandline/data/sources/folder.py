"""A folder with one folder a label; images beside those folders are unlabeled.

Deeper folders count for the top one: `cat/2024/a.jpg` is a cat. A single image file is a
source of one unlabeled image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from strandline.data.sources.entries import (
    Entry,
    Expected,
    FileContent,
    Found,
    ReadContext,
    Skipped,
    class_of,
    is_junk,
    refuse,
    refuse_name,
)
from strandline.spec.errors import UnusableDataError


def read_folder(path: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the images below `path`, in the order of their names."""
    root = path.resolve()
    yield Expected(sum(len(files) for _, _, files in os.walk(root, followlinks=False)))
    for folder, folders, files in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted([*files, *_links_to_folders(folder, folders)]):
            file = Path(folder) / name
            yield _look_at(file, PurePosixPath(file.relative_to(root).as_posix()), root)


def read_single_image(path: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the one image that `path` is."""
    yield Entry(path.name, FileContent(path))


def _links_to_folders(folder: str, folders: list[str]) -> list[str]:
    """Take links to folders out of the walk, to be refused by name instead."""
    links = [name for name in folders if (Path(folder) / name).is_symlink()]
    folders[:] = [name for name in folders if name not in links]
    return links


def _look_at(file: Path, relative: PurePosixPath, root: Path) -> Found:
    shown = str(relative).encode("utf-8", "replace").decode()
    if is_junk(relative.parts):
        return Skipped()
    if file.is_symlink():
        if not file.resolve().is_relative_to(root):
            return refuse(shown, "a symbolic link that leads out of the folder", "OutsideSource")
        if file.is_dir():
            return refuse(shown, "a symbolic link to a folder is not followed", "OutsideSource")
    refused = refuse_name(shown, relative.suffix.lower())
    if refused is not None:
        return refused
    try:
        labels = class_of(relative)
    except UnusableDataError as error:
        return refuse(shown, str(error), "BadLabel")
    return Entry(shown, FileContent(file), labels)
