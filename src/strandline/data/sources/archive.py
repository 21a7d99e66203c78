"""A zip of class folders, read without ever writing a file from it.

Nothing the archive says about itself is believed: names never become paths, sizes are
counted while bytes come out, and entries that share bytes are refused.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from strandline.data.sources.entries import (
    Entry,
    Expected,
    Found,
    ReadContext,
    Skipped,
    Warned,
    is_junk,
    refuse,
    refuse_name,
)
from strandline.data.sources.layout import Layout, find_layout
from strandline.spec.errors import UnusableDataError

_CHUNK_BYTES = 1 << 20
# Deflate cannot do better than about 1030:1; no real photograph comes near 200:1.
_LARGEST_RATIO = 200
_SMALLEST_SUSPECT_BYTES = 10_000_000
_DEEPEST_PATH = 32
_MOST_ENTRIES = 5_000_000
_LONGEST_NAME = 1024
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class ZipContent:
    """One entry of an open archive."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    @property
    def is_remote(self) -> bool:
        return False

    @property
    def identity(self) -> str:
        info = self.info
        place = f"{self.archive.filename}:{info.header_offset}"
        return f"zip:{place}:{info.orig_filename}:{info.CRC}:{info.file_size}"

    def read(self, max_bytes: int) -> bytes:
        try:
            with self.archive.open(self.info) as stream:
                return self._read_counting(stream, max_bytes)
        except UnusableDataError:
            raise
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise UnusableDataError(f"the archive's entry is damaged: {error}") from error
        except NotImplementedError as error:
            raise UnusableDataError(f"the archive's entry cannot be unpacked: {error}") from error
        except (OSError, RuntimeError, ValueError) as error:
            raise UnusableDataError(f"the archive's entry cannot be read: {error}") from error

    def _read_counting(self, stream: IO[bytes], max_bytes: int) -> bytes:
        packed = max(1, self.info.compress_size)
        data = bytearray()
        while chunk := stream.read(_CHUNK_BYTES):
            data += chunk
            if len(data) > max_bytes:
                raise UnusableDataError(f"it unpacks to more than {max_bytes:,} bytes")
            if len(data) > _SMALLEST_SUSPECT_BYTES and len(data) > _LARGEST_RATIO * packed:
                raise UnusableDataError("it unpacks to far more than a picture would: a zip bomb")
        return bytes(data)


def read_zip(path: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the images of the archive at `path`."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UnusableDataError(f"{path.name} is not a zip archive, or is cut off: {error}") from (
            error
        )
    with archive:
        infos = archive.infolist()
        if len(infos) > _MOST_ENTRIES:
            raise UnusableDataError(f"{path.name} has more than {_MOST_ENTRIES:,} entries")
        files = [info for info in infos if not info.is_dir()]
        yield Expected(len(files))
        overlapping = _overlapping(infos)
        seen: dict[str, str] = {}
        links: set[str] = set()
        layout = find_layout(PurePosixPath(info.orig_filename) for info in files)
        yield from layout.warnings()
        for info in files:
            yield from _look_at(archive, info, overlapping, seen, links, layout)


def _look_at(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    overlapping: set[int],
    seen: dict[str, str],
    links: set[str],
    layout: Layout,
) -> Iterator[Found]:
    name = info.orig_filename
    path = PurePosixPath(name)
    if is_junk(path.parts):
        yield Skipped()
        return
    reason = _refusal_reason(info, path, overlapping, links)
    if reason is not None:
        yield refuse(name, reason, "UnsafeEntry")
        return
    if name in seen:
        yield refuse(name, "the name stands twice in the archive; the first was kept", "SameName")
        return
    if (other := seen.get(name.casefold())) is not None and other != name:
        yield Warned(f"the names {other!r} and {name!r} differ only in upper and lower case")
    seen[name] = seen[name.casefold()] = name
    refused = refuse_name(name, path.suffix.lower())
    if refused is not None:
        yield refused
        return
    try:
        yield Entry(name, ZipContent(archive, info), *layout.place(path))
    except UnusableDataError as error:
        yield refuse(name, str(error), "BadLabel")


def _refusal_reason(
    info: zipfile.ZipInfo, path: PurePosixPath, overlapping: set[int], links: set[str]
) -> str | None:
    name = info.orig_filename
    special = stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG)
    if special:
        links.add(name.rstrip("/"))
    checks = (
        (
            path.is_absolute() or "\\" in name or ":" in name.split("/")[0],
            "an absolute path or foreign path separators in an archive are refused",
        ),
        (".." in path.parts, "the path leads out of the archive"),
        (
            len(path.parts) > _DEEPEST_PATH or len(name) > _LONGEST_NAME,
            f"the path is deeper than {_DEEPEST_PATH} folders, or very long",
        ),
        (not name.isprintable(), "the name holds control characters"),
        (special, "a symbolic link or special file in an archive is not followed"),
        (
            any(str(parent) in links for parent in path.parents),
            "the path goes through a symbolic link",
        ),
        (info.flag_bits & _ENCRYPTED, "the entry is password-protected"),
        (
            # zipfile unpacks these without a bound: 4 kB can become 3 MB at a stroke.
            info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
            "the entry is packed in another way than deflate, which is not supported",
        ),
        (
            info.header_offset in overlapping,
            "the entry shares its bytes with others: a zip bomb",
        ),
    )
    return next((reason for holds, reason in checks if holds), None)


def _overlapping(infos: list[zipfile.ZipInfo]) -> set[int]:
    """Return the header offsets of entries whose bytes overlap another's."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    found: set[int] = set()
    end, holder = -1, -1
    for info in ordered:
        if info.header_offset < end:
            found |= {holder, info.header_offset}
        stop = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size
        if stop > end:
            end, holder = stop, info.header_offset
    return found
