"""The chunks of a PNG: check the picture's, and leave the others to nobody.

Pillow stops inflating when the last row is full, so it misses damage that a checksum
shows; and it unpacks texts and profiles, which nothing here needs and which a hostile
file can blow up. PNG (W3C, third edition), sections 5 and 11.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from strandline.spec.errors import UnusableDataError

_SIGNATURE_BYTES = 8
_OVERHEAD_BYTES = 12
"""Length, kind and checksum of a chunk."""
_PICTURE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"})
_CHECKED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})


def chunks_of(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of each whole chunk up to IEND, overhead included."""
    at = _SIGNATURE_BYTES
    while at + _OVERHEAD_BYTES <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + _OVERHEAD_BYTES + length
        if end > len(data):
            return
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end


def picture_chunks(data: bytes) -> bytes:
    """Return the PNG with only the chunks that make its first picture."""
    kept = [data[start:end] for kind, start, end in chunks_of(data) if kind in _PICTURE]
    return data[:_SIGNATURE_BYTES] + b"".join(kept)


def check_png(data: bytes) -> None:
    """Check that the PNG is whole and its picture's checksums match.

    Raises:
        UnusableDataError: it is truncated or damaged.
    """
    ended = False
    for kind, start, end in chunks_of(data):
        if kind in _CHECKED:
            (stored,) = struct.unpack_from(">I", data, end - 4)
            if zlib.crc32(memoryview(data)[start + 4 : end - 4]) != stored:
                raise UnusableDataError("the image is damaged: a checksum does not match")
        ended = kind == b"IEND"
    if not ended:
        raise UnusableDataError("the image is truncated: the file ends too early")


def is_animated_png(data: bytes) -> bool:
    """Return whether this is an APNG, of which the still picture is taken."""
    return any(kind == b"acTL" for kind, _, _ in chunks_of(data))


def end_of_png(data: bytes) -> int:
    """Return where the last chunk ends."""
    return max((end for _, _, end in chunks_of(data)), default=len(data))
