"""Predict files and folders of images: one result each, whatever the files hold.

Decoding runs ahead in threads (Pillow decodes outside Python's lock) while the graph
works, but never further than a few images, so memory does not grow with their number. A
file that cannot be used becomes a result with the reason, and the rest goes on.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from strandline.bundle.answers import Answerer, Prediction
from strandline.bundle.runtime import Predictor
from strandline.bundle.session import Pixels
from strandline.data.cpu import usable_cpus
from strandline.data.decode import DecodeLimits, decode_image
from strandline.data.sources.entries import IMAGE_SUFFIXES, is_junk
from strandline.spec.errors import CorruptArtifactError, UnusableDataError

STDIN = "-"


def predict_paths(
    predictor: Predictor,
    paths: Sequence[str | Path],
    *,
    threshold: float | None = None,
    limits: DecodeLimits | None = None,
    workers: int | None = None,
) -> Iterator[Prediction]:
    """Yield one prediction for each image, in the order of `paths`.

    Args:
        paths: image files; folders, searched with what is in them, in order of names; `-`
            for one image from standard input.
        threshold: replaces the model's own.
        workers: threads that decode; the CPUs this process may use if None.

    Raises:
        InvalidSpecError: the threshold is not between 0 and 1.
    """
    answerer = predictor.answerer(threshold)
    return _predict(predictor, answerer, paths, limits or DecodeLimits(), workers)


def _predict(
    predictor: Predictor,
    answerer: Answerer,
    paths: Sequence[str | Path],
    limits: DecodeLimits,
    workers: int | None,
) -> Iterator[Prediction]:
    for source, decoded in _decode_ahead(_find_images(paths), limits, workers or usable_cpus()):
        try:
            yield answerer.answer(predictor.scores(decoded.result()), source)
        except (UnusableDataError, CorruptArtifactError) as error:
            yield Prediction(source=source, error=str(error))


def _decode_ahead(
    sources: Iterable[str], limits: DecodeLimits, workers: int
) -> Iterator[tuple[str, Future[Pixels]]]:
    """Yield each source with its image being decoded, a few images ahead of the caller."""
    waiting: deque[tuple[str, Future[Pixels]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for source in sources:
            waiting.append((source, pool.submit(_load, source, limits)))
            if len(waiting) > workers:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _load(source: str, limits: DecodeLimits) -> Pixels:
    return decode_image(_read(source, limits.max_bytes), limits).pixels


def _read(source: str, max_bytes: int) -> bytes:
    """Return at most one byte more than allowed, so that a huge file costs nothing."""
    if source == STDIN:
        return sys.stdin.buffer.read(max_bytes + 1)
    try:
        if not stat.S_ISREG(Path(source).stat().st_mode):
            raise UnusableDataError("not a file that can be read: give image files or folders")
        with Path(source).open("rb") as file:
            return file.read(max_bytes + 1)
    except FileNotFoundError:
        raise UnusableDataError("no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnusableDataError(f"cannot be read: {reason}") from error


def _find_images(paths: Sequence[str | Path]) -> Iterator[str]:
    """Yield the named files, and the images in the named folders in order of names."""
    for path in paths:
        name = os.fspath(path)
        if name != STDIN and Path(name).is_dir():
            yield from _walk(name)
        else:
            yield name


def _walk(folder: str) -> Iterator[str]:
    """Yield images below a folder; other files are passed over, unreadable folders named."""
    unreadable: list[str] = []
    # Links to folders are not followed: they may lead in circles.
    for parent, folders, files in os.walk(folder, onerror=lambda e: unreadable.append(e.filename)):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in sorted(files):
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not _is_hidden(name):
                yield str(Path(parent, name))
    yield from unreadable


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or is_junk([name])
