"""Graphs in the cache folder: made once, whole or not there, by one process at a time.

Layout: `CACHE/graphs/KIND-DIGEST….onnx` and a lock file for each. All of it may be deleted
at any time; what is needed is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import onnx

from strandline.durable import UNFINISHED, replacing
from strandline.spec.errors import CorruptArtifactError

_STALE_SECONDS = 3600.0


def cached_graph(cache_dir: Path, file: str, build: Callable[[], onnx.ModelProto]) -> Path:
    """Return `cache_dir/graphs/file`, built first when it is not there.

    A lock lets one process build while others wait for the result; it ends with its
    holder, so `kill -9` leaves neither a lock nor half a file behind.
    """
    path = cache_dir / "graphs" / file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # One lock a file: building an embedding graph builds the backbone's graph inside.
        with _locked(path.parent / f".{file}.lock"):
            if not path.exists():
                write_atomically(path, build().SerializeToString(deterministic=True))
    return path


def load_graph(path: Path) -> onnx.ModelProto:
    """Read a cached graph.

    Raises:
        CorruptArtifactError: it is no ONNX file any more; the message names it.
    """
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's DecodeError has no public base class
        raise CorruptArtifactError(
            f"{path} cannot be read ({error}): delete it, it is made again when needed"
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path.parent)
    with replacing(path) as stream:
        stream.write(data)


def hash_file(path: Path) -> str:
    """Return the hex SHA-256 of a file, computed once in a process while it is unchanged."""
    status = path.stat()
    return _hash_file(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=100)
def _hash_file(path: Path, size: int, modified_nanoseconds: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # released by the system when the process ends
        yield


def _remove_stale(folder: Path) -> None:
    """Remove what a killed writer left behind."""
    oldest = time.time() - _STALE_SECONDS
    for left in folder.glob(f"{UNFINISHED}*"):
        try:
            if left.stat().st_mtime < oldest:
                left.unlink()
        except FileNotFoundError:
            continue  # another process was quicker
