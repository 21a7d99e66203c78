"""A folder with one folder a label; images beside those folders are unlabeled.

Deeper folders count for the top one: `cat/2024/a.jpg` is a cat. Folders of a split may
stand above those of the labels (see `layout`). A single image file is a
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
    is_junk,
    refuse,
    refuse_name,
)
from strandline.data.sources.layout import Layout, find_layout
from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Refusal


def read_folder(path: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the images below `path`, in the order of their names."""
    root = path.resolve()
    yield Expected(sum(isinstance(each, Path) for each in _walk(root, root)))
    files = (each for each in _walk(root, root) if isinstance(each, Path))
    layout = find_layout(_relative(each, root) for each in files)
    yield from layout.warnings()
    for each in _walk(root, root):
        if isinstance(each, Path):
            yield _look_at(each, _relative(each, root), root, layout)
        else:
            yield each


def read_single_image(path: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the one image that `path` is."""
    yield Entry(path.name, FileContent(path))


def _walk(root: Path, start: Path) -> Iterator[Path | Refusal]:
    """Yield the files below `start`, links among them, in order; refuse folders unread.

    `os.walk` would pass over a folder that may not be read, and recurses as deep as the
    folders do.
    """
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda each: each.name)
            folders = [each for each in entries if each.is_dir(follow_symlinks=False)]
        except OSError as error:
            shown = _shown(PurePosixPath(folder.relative_to(root).as_posix()))
            reason = f"the folder cannot be read: {error.strerror or error}"
            yield refuse(shown, reason, "Unreadable")
            continue
        beneath = {each.name for each in folders}
        yield from (folder / each.name for each in entries if each.name not in beneath)
        waiting += [folder / each.name for each in reversed(folders)]


def _relative(file: Path, root: Path) -> PurePosixPath:
    return PurePosixPath(file.relative_to(root).as_posix())


def _shown(relative: PurePosixPath) -> str:
    return str(relative).encode("utf-8", "replace").decode()


def _look_at(file: Path, relative: PurePosixPath, root: Path, layout: Layout) -> Found:
    shown = _shown(relative)
    if is_junk(relative.parts):
        return Skipped()
    reason = _refuse_link(file, root) if file.is_symlink() else None
    if reason is not None:
        return refuse(shown, reason, "OutsideSource")
    refused = refuse_name(shown, relative.suffix.lower())
    if refused is not None:
        return refused
    try:
        labels, split = layout.place(relative)
    except UnusableDataError as error:
        return refuse(shown, str(error), "BadLabel")
    return Entry(shown, FileContent(file), labels, split)


def _refuse_link(link: Path, root: Path) -> str | None:
    try:
        target = link.resolve()
    except (OSError, RuntimeError):
        return "a symbolic link that leads to itself"
    if not target.is_relative_to(root):
        return "a symbolic link that leads out of the folder"
    return "a symbolic link to a folder is not followed" if target.is_dir() else None
