"""One file of several members in which every byte is accounted for.

A zip, so that any tool opens it; members are stored, so that nothing can blow up; times,
order and fields are fixed, so that equal contents are equal bytes. Reading parses the
members and then demands that writing them again would give this very file: no gap, extra
field, hidden entry or second directory can differ. The archive comment ends with a SHA-256
over everything before it, so that damage is told from a wrong file.

Layout: APPNOTE.TXT 6.3.10 (PKWARE), sections 4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

from strandline.spec.errors import CorruptArtifactError

FORMAT_VERSION: Final = 1
MAX_BUNDLE_BYTES = 2**31 - 1

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION_NEEDED, _STORED = 20, 0
_FIRST_DAY = 0x21  # 1980-01-01, the earliest that a zip can say
_REGULAR_FILE = 0o100644 << 16
_MADE_ON_UNIX = 3 << 8 | _VERSION_NEEDED
_MAX_MEMBERS = 64
_NAME = re.compile(rb"[a-z0-9]+(?:[-_.][a-z0-9]+)*(?:/[a-z0-9]+(?:[-_.][a-z0-9]+)*)?")
# Fixed for all versions to come: a reader must be able to tell damage from novelty.
_TRAILER = re.compile(rb"strandline-bundle (\d{1,9}) sha256:([0-9a-f]{64})")
_TRAILER_START = b"strandline-bundle %d sha256:"
_SEAL_LENGTH = 64


def write_archive(members: Mapping[str, bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of the archive in pieces; equal members give equal bytes.

    Args:
        members: by name; their order is kept.
    """
    hasher = hashlib.sha256()
    for piece in _unsealed(members):
        hasher.update(piece)
        yield piece
    yield hasher.hexdigest().encode()


def read_archive(data: bytes) -> dict[str, memoryview]:
    """Return the members of an archive without copying them.

    Raises:
        CorruptArtifactError: it is no bundle, is damaged, was made by a newer version, or
            holds anything beside its members.
    """
    _check_seal(data)
    members = _parse(memoryview(data))
    place = 0
    for piece in _unsealed(members):
        # What is no header is a slice of `data` that starts here, as those before agreed.
        if isinstance(piece, bytes) and data[place : place + len(piece)] != piece:
            raise CorruptArtifactError(
                f"the bundle holds bytes at {place} that are no part of its format: "
                "it was not written by Strandline; do not use it"
            )
        place += len(piece)
    if place + _SEAL_LENGTH != len(data):
        raise CorruptArtifactError("the bundle holds bytes behind its end; do not use it")
    return members


def _check_seal(data: bytes) -> None:
    if len(data) > MAX_BUNDLE_BYTES:
        raise CorruptArtifactError(f"the file is larger than a bundle may be ({len(data)} bytes)")
    found = _TRAILER.search(data, max(0, len(data) - 200))
    if not data.startswith(_LOCAL_MAGIC) and not found:
        raise CorruptArtifactError("the file is not a Strandline bundle")
    if not found or found.end() != len(data):
        raise CorruptArtifactError(
            "the bundle is damaged: its end is missing or changed; copy or export it again"
        )
    if hashlib.sha256(memoryview(data)[: found.start(2)]).hexdigest().encode() != found[2]:
        raise CorruptArtifactError(
            "the bundle is damaged: its bytes do not match the SHA-256 at its end; "
            "copy or export it again"
        )
    if int(found[1]) > FORMAT_VERSION:
        raise CorruptArtifactError(
            f"the bundle has format version {int(found[1])}, this Strandline reads up to "
            f"{FORMAT_VERSION}: update Strandline to use it"
        )


def _unsealed(members: Mapping[str, bytes | memoryview]) -> Iterator[bytes | memoryview]:
    directory = []
    place = 0
    for name, content in members.items():
        encoded = name.encode()
        common = (0, _STORED, 0, _FIRST_DAY, zlib.crc32(content), len(content), len(content))
        header = _LOCAL.pack(_LOCAL_MAGIC, _VERSION_NEEDED, *common, len(encoded), 0) + encoded
        directory.append(
            _CENTRAL.pack(
                _CENTRAL_MAGIC,
                *(_MADE_ON_UNIX, _VERSION_NEEDED, *common),
                *(len(encoded), 0, 0, 0, 0, _REGULAR_FILE, place),
            )
            + encoded
        )
        yield header
        yield content
        place += len(header) + len(content)
    listing = b"".join(directory)
    yield listing
    trailer = _TRAILER_START % FORMAT_VERSION
    count = len(directory)
    size = len(trailer) + _SEAL_LENGTH
    yield _END.pack(_END_MAGIC, 0, 0, count, count, len(listing), place, size) + trailer


def _parse(data: memoryview) -> dict[str, memoryview]:
    """Return what the local headers say; `read_archive` checks that nothing else is said."""
    members: dict[str, memoryview] = {}
    place = 0
    while data[place : place + 4] == _LOCAL_MAGIC:
        if len(members) >= _MAX_MEMBERS or len(data) - place < _LOCAL.size:
            raise CorruptArtifactError("the bundle has more members than its format allows")
        fields = _LOCAL.unpack_from(data, place)
        size, name_length = fields[8], fields[9]
        start = place + _LOCAL.size + name_length
        name = bytes(data[place + _LOCAL.size : start])
        if not _NAME.fullmatch(name) or name.decode() in members or len(data) - start < size:
            raise CorruptArtifactError(
                f"the bundle has a member that its format does not allow ({name[:60]!r})"
            )
        members[name.decode()] = data[start : start + size]
        place = start + size
    return members
