"""What an image's address in a table may point at: files below one folder, or S3.

A table comes from outside, so its addresses are not believed: they never lead out of the
folder the table belongs to, and nothing but files and `s3://` is ever opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from strandline.data.sources.entries import Content, FileContent, ReadContext, S3Content
from strandline.spec.errors import UnusableDataError

_LONGEST_ADDRESS = 2048
_LOOKED_AT = 50
_USUAL_FOLDERS = ("images", "../images")


@dataclass(frozen=True, slots=True)
class AddressBook:
    """Resolves the addresses of one table.

    Attributes:
        base: folder that relative paths start from, and that no path may leave.
    """

    base: Path
    context: ReadContext

    def resolve(self, address: str) -> Content:
        """Return what `address` names.

        Raises:
            UnusableDataError: it is empty, foreign, leads out, or names nothing.
        """
        if not address or len(address) > _LONGEST_ADDRESS or "\0" in address:
            raise UnusableDataError("no file name is given, or it is very long")
        scheme = address.split("://", 1)[0].lower() if "://" in address else ""
        if scheme in ("s3", "gs"):
            return self._object(address)
        if scheme == "file":
            return self._file(Path(unquote(urlsplit(address).path)))
        if scheme:
            raise UnusableDataError(
                f"{scheme}:// addresses are never opened: download the image first"
            )
        return self._file(Path(address))

    def _file(self, path: Path) -> Content:
        found = _find(self.base, path)
        if found is None:
            raise UnusableDataError(f"there is no such file in {self.base}")
        if not found.is_relative_to(self.base.resolve()):
            raise UnusableDataError(
                f"the path leads out of {self.base}: move the image there, or name the common "
                "folder with --root"
            )
        if not found.is_file():
            raise UnusableDataError(f"there is no such file in {self.base}")
        return FileContent(found)

    def _object(self, address: str) -> Content:
        if address.lower().startswith("gs://"):
            raise UnusableDataError("gs:// is not supported: copy the bucket to S3 or to disk")
        if self.context.s3 is None:
            raise UnusableDataError("s3:// is not set up: set STRANDLINE_S3_ENDPOINT and the keys")
        return S3Content(address, self.context.s3)


def address_book(table: Path, addresses: Iterable[str], context: ReadContext) -> AddressBook:
    """Find the folder in which most of the first `addresses` exist.

    Tried in order: `context.root` alone when given; else the table's own folder, a folder
    named like the table, `images`, `../images`, and the folders beside the table. The
    first of the best wins.
    """
    if context.root is not None:
        return AddressBook(context.root.resolve(), context)
    home = table.resolve().parent
    named = [home / table.stem, *(home / name for name in _USUAL_FOLDERS)]
    with os.scandir(home) as found:  # a folder may hold a million images beside the table
        beside = sorted(Path(each.path) for each in found if each.is_dir(follow_symlinks=False))
    folders = [home, *(path.resolve() for path in [*named, *beside] if path.is_dir())]
    looked_at = [each for each, _ in zip(addresses, range(_LOOKED_AT), strict=False)]
    return AddressBook(max(folders, key=lambda folder: _hits(folder, looked_at)), context)


def _hits(folder: Path, addresses: Iterable[str]) -> int:
    return sum(_exists(folder, address) for address in addresses)


def _exists(folder: Path, address: str) -> bool:
    found = _find(folder, Path(address))
    return found is not None and found.is_relative_to(folder) and found.is_file()


def _find(folder: Path, path: Path) -> Path | None:
    """Return where `path` leads; None where no file can be: a link to itself, a name too long."""
    try:
        found = (folder / path).resolve()
        found.is_file()
    except (OSError, ValueError, RuntimeError):
        return None
    return found
