"""An object store in a folder: what a laptop keeps its images and bundles in.

Every write goes to a temporary file in the same file system, is flushed to the disk, and
is then renamed or linked to its name; the folder is flushed after that. So a name either
holds the whole object or nothing, whenever the power goes. A temporary file is locked as
long as its writer lives: what killed writers left is known by its lock being free, and is
swept when a store is opened.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from strandline.adapters.object_names import (
    check_link_life,
    check_range,
    digest_of_key,
    name_of_key,
    named_key,
    object_key,
)
from strandline.spec.errors import (
    AlreadyExistsError,
    CorruptArtifactError,
    NotFoundError,
    UnavailableError,
    UnusableDataError,
)
from strandline.spec.records import digest_of

_CHUNK_BYTES = 1 << 20
_LIBC = ctypes.CDLL(None, use_errno=True)
_CAN_FLUSH_ALL = hasattr(_LIBC, "syncfs")  # Linux


class FileStore:
    """`ports.ObjectStore` in the folder `root`, which is created when missing.

    The file system must know hard links and `flock`: every local one does.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary = root / "tmp"
        with self._explained("use"):
            for folder in (self._temporary, root / "objects", root / "named"):
                _make_folder(folder)
            self._sweep()

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        if self._holds(digest, data):
            self._flush(digest)
        else:
            self._write(digest, data, flush=True)
        return digest

    def put_all(self, objects: Sequence[bytes]) -> list[str]:
        digests = [digest_of(data) for data in objects]
        for digest, data in zip(digests, objects, strict=True):
            if not self._holds(digest, data):
                self._write(digest, data, flush=not _CAN_FLUSH_ALL)
        if _CAN_FLUSH_ALL:
            with self._explained("write to"):
                _flush_all_below(self.root)
        return digests

    def put_file(self, path: Path) -> str:
        hasher = hashlib.sha256()
        with _source(path) as source, self._writing() as (file, temporary):
            while chunk := source.read(_CHUNK_BYTES):
                hasher.update(chunk)
                file.write(chunk)
            digest = f"sha256:{hasher.hexdigest()}"
            # Also over an object of that name: should that one be damaged, it is mended.
            self._publish(file, temporary, self._path(digest), replace=True)
        return digest

    def get(self, digest: str) -> bytes:
        with self.open(digest) as file, self._explained("read"):
            data = file.read()
        if digest_of(data) != digest:
            raise CorruptArtifactError(
                f"object {digest} is damaged on disk: its bytes no longer match its name; "
                "import or train again to restore it"
            )
        return data

    def read_range(self, digest: str, start: int, length: int) -> bytes:
        check_range(start, length)
        with self.open(digest) as file, self._explained("read"):
            file.seek(start)
            return file.read(length)

    def open(self, digest: str) -> AbstractContextManager[BinaryIO]:
        path = self._path(digest)
        with self._explained("read"):
            try:
                return path.open("rb")
            except FileNotFoundError:
                raise NotFoundError(f"object {digest} is not in {self.root}") from None

    def size(self, digest: str) -> int | None:
        path = self._path(digest)
        with self._explained("read"):
            try:
                return path.stat().st_size
            except FileNotFoundError:
                return None

    def delete(self, digest: str) -> None:
        path = self._path(digest)
        with self._explained("delete from"):
            path.unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        for folder in sorted((self.root / "objects").iterdir()):
            for path in sorted(folder.iterdir()):
                digest = digest_of_key(path.relative_to(self.root).as_posix())
                if digest is not None:
                    yield digest

    def create(self, name: str, data: bytes) -> None:
        target = self._named(name)
        with self._writing() as (file, path):
            file.write(data)
            self._publish(file, path, target, replace=False)

    def read(self, name: str) -> bytes:
        path = self._named(name)
        with self._explained("read"):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                raise NotFoundError(f"{name} is not in {self.root}") from None

    def names(self, prefix: str = "") -> Iterator[str]:
        paths = (self.root / "named").rglob("*")
        names = (name_of_key(path.relative_to(self.root).as_posix()) for path in paths)
        yield from sorted(name for name in names if name is not None and name.startswith(prefix))

    def presign(self, digest: str, expires: timedelta) -> str:
        check_link_life(expires)  # a file's link lives for ever, but callers must not rely on it
        if self.size(digest) is None:
            raise NotFoundError(f"object {digest} is not in {self.root}")
        return self._path(digest).absolute().as_uri()

    def _holds(self, digest: str, data: bytes) -> bool:
        """Return whether the object is here and whole, so that storing again mends damage."""
        if self.size(digest) != len(data):
            return False
        with self.open(digest) as file, self._explained("read"):
            return file.read() == data

    def _flush(self, digest: str) -> None:
        """Flush what another writer may have stored, and not have flushed before it died."""
        path = self._path(digest)
        with self._explained("write to"), path.open("rb") as file:
            os.fsync(file.fileno())
            sync_folder(path.parent)

    def _write(self, digest: str, data: bytes, *, flush: bool) -> None:
        with self._writing() as (file, path):
            file.write(data)
            self._publish(file, path, self._path(digest), replace=True, flush=flush)

    def _path(self, digest: str) -> Path:
        return self.root / object_key(digest)

    def _named(self, name: str) -> Path:
        return self.root / named_key(name)

    @contextmanager
    def _writing(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Yield a temporary file that is gone afterwards unless it was published."""
        with self._explained("write to"):
            file, path = self._open_temporary()
            try:
                with file:
                    yield file, path
            finally:
                path.unlink(missing_ok=True)

    def _open_temporary(self) -> tuple[BinaryIO, Path]:
        """Open a file that is locked, and still there: a sweep may come in between."""
        while True:
            handle, name = tempfile.mkstemp(dir=self._temporary)
            file = os.fdopen(handle, "wb")
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return file, Path(name)
            file.close()

    def _publish(
        self,
        file: BinaryIO,
        temporary: Path,
        target: Path,
        *,
        replace: bool,
        flush: bool = True,
    ) -> None:
        """Give the file its name; create-only unless `replace`, on the disk if `flush`."""
        file.flush()
        if flush:
            os.fsync(file.fileno())
        _make_folder(target.parent, flush=flush)
        if replace:
            temporary.replace(target)
        else:
            try:
                os.link(temporary, target)
            except FileExistsError:
                name = name_of_key(target.relative_to(self.root).as_posix())
                raise AlreadyExistsError(f"{name} is there already and stays as it is") from None
        if flush:
            sync_folder(target.parent)

    def _sweep(self) -> None:
        """Remove what killed writers left, but nothing that a living one holds."""
        for path in self._temporary.iterdir():
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnavailableError(f"cannot {verb} the store in {self.root}: {reason}") from error


@contextmanager
def _source(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise UnusableDataError(f"cannot read {path}: {error.strerror or error}") from error
    with file:
        yield file


def _make_folder(folder: Path, *, flush: bool = True) -> None:
    """Make the folder and those above it, each flushed into the one that holds it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent, flush=flush)
    folder.mkdir(exist_ok=True)
    if flush:
        sync_folder(folder.parent)


def _flush_all_below(folder: Path) -> None:
    """Flush the file system that `folder` is on: one wait for many files and folders."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _LIBC.syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
