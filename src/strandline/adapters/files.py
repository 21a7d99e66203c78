"""An object store in a folder: what a laptop keeps its images and bundles in.

Every write goes to a temporary file in the same folder, is flushed to the disk, and is
then linked or renamed to its name; the folder is flushed after that. So a name either
holds the whole object or nothing, whenever the power goes. Leftovers of killed writers
are swept when a store is opened.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from strandline.adapters.object_names import digest_of_key, named_key, object_key
from strandline.spec.errors import (
    AlreadyExistsError,
    CorruptArtifactError,
    NotFoundError,
    UnavailableError,
)
from strandline.spec.records import digest_of

_CHUNK_BYTES = 1 << 20
_STALE_SECONDS = 24 * 3600


class FileStore:
    """`ports.ObjectStore` in the folder `root`, which is created when missing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary = root / "tmp"
        for folder in (root, self._temporary, root / "objects", root / "named"):
            folder.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        if not self._holds(digest, data):
            with self._writing() as (file, path):
                file.write(data)
                self._publish(file, path, self._path(digest), replace=True)
        return digest

    def put_file(self, path: Path) -> str:
        hasher = hashlib.sha256()
        with path.open("rb") as source, self._writing() as (file, temporary):
            while chunk := source.read(_CHUNK_BYTES):
                hasher.update(chunk)
                file.write(chunk)
            digest = f"sha256:{hasher.hexdigest()}"
            if self.size(digest) != file.tell():
                self._publish(file, temporary, self._path(digest), replace=True)
        return digest

    def get(self, digest: str) -> bytes:
        with self.open(digest) as file:
            data = file.read()
        if digest_of(data) != digest:
            raise CorruptArtifactError(
                f"object {digest} is damaged on disk: its bytes no longer match its name; "
                "import or train again to restore it"
            )
        return data

    def read_range(self, digest: str, start: int, length: int) -> bytes:
        with self.open(digest) as file:
            file.seek(start)
            return file.read(length)

    def open(self, digest: str) -> AbstractContextManager[BinaryIO]:
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError:
            raise NotFoundError(f"object {digest} is not in {self.root}") from None

    def size(self, digest: str) -> int | None:
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, digest: str) -> None:
        self._path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        for path in sorted((self.root / "objects").glob("*/*")):
            digest = digest_of_key(path.relative_to(self.root).as_posix())
            if digest is not None:
                yield digest

    def create(self, name: str, data: bytes) -> None:
        with self._writing() as (file, path):
            file.write(data)
            self._publish(file, path, self.root / named_key(name), replace=False)

    def read(self, name: str) -> bytes:
        try:
            return (self.root / named_key(name)).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFoundError(f"{name} is not in {self.root}") from None

    def names(self, prefix: str = "") -> Iterator[str]:
        base = self.root / "named"
        found = (path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file())
        yield from sorted(name for name in found if name.startswith(prefix))

    def presign(self, digest: str, expires: timedelta) -> str:
        if self.size(digest) is None:
            raise NotFoundError(f"object {digest} is not in {self.root}")
        return self._path(digest).absolute().as_uri()

    def _holds(self, digest: str, data: bytes) -> bool:
        """Return whether the object is here and whole, so that storing again mends damage."""
        return self.size(digest) == len(data) and self._path(digest).read_bytes() == data

    def _path(self, digest: str) -> Path:
        return self.root / object_key(digest)

    @contextmanager
    def _writing(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Yield a temporary file that is gone afterwards unless it was published."""
        try:
            handle, name = tempfile.mkstemp(dir=self._temporary)
        except OSError as error:
            raise UnavailableError(f"cannot write to {self.root}: {error.strerror}") from error
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file, path
        except OSError as error:
            raise UnavailableError(f"cannot write to {self.root}: {error.strerror}") from error
        finally:
            path.unlink(missing_ok=True)

    def _publish(self, file: BinaryIO, temporary: Path, target: Path, *, replace: bool) -> None:
        """Give the flushed file its name; create-only unless `replace`."""
        file.flush()
        os.fsync(file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        if replace:
            temporary.replace(target)
        else:
            try:
                os.link(temporary, target)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise AlreadyExistsError(f"{target.name} exists already") from None
        sync_folder(target.parent)

    def _sweep(self) -> None:
        """Remove what killed writers left, but nothing a living one may still hold."""
        old = time.time() - _STALE_SECONDS
        for path in self._temporary.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < old:
                    path.unlink()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
