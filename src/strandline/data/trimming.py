"""Find where an image's bytes end, so that nothing foreign behind it is stored.

Whatever stands behind the end of a picture (a script, an archive, a thumbnail of
something else) would be kept and served with it. JPEG: ITU-T T.81, B.1.1; PNG section 5;
GIF89a; RIFF for WebP; the file size field of BMP.
"""

from __future__ import annotations

import struct


def trim_image(data: bytes, media_type: str) -> bytes:
    """Return `data` up to the end of its picture; unchanged where the end cannot be told."""
    find = _ENDS.get(media_type)
    if find is None:
        return data
    try:
        end = find(data)
    except (struct.error, IndexError, ValueError):
        return data
    return data[:end] if 0 < end < len(data) else data


def _end_of_jpeg(data: bytes) -> int:
    at = 2
    while at < len(data):
        at = data.index(b"\xff", at) if data[at] != 0xFF else at
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker == 0xD9:
            return at
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        at += length
        if marker == 0xDA:
            at = _end_of_scan(data, at)
    return at


def _end_of_scan(data: bytes, at: int) -> int:
    """Return where the entropy-coded data end: at a marker that is no restart marker."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            return len(data)
        following = data[at + 1]
        if following != 0 and not 0xD0 <= following <= 0xD7 and following != 0xFF:
            return at
        at += 1 if following == 0xFF else 2


def _end_of_png(data: bytes) -> int:
    at = 8
    while at + 8 <= len(data):
        length: int = struct.unpack_from(">I", data, at)[0]
        at += 12 + length
        if data[at - 8 - length : at - 4 - length] == b"IEND":
            return at
    return len(data)


def _end_of_gif(data: bytes) -> int:
    at = 13 + _gif_colors(data[10])
    while True:
        block = data[at]
        if block == 0x3B:
            return at + 1
        if block == 0x21:
            at += 2
        elif block == 0x2C:
            at += 10 + _gif_colors(data[at + 9]) + 1
        else:
            return len(data)
        while data[at]:
            at += 1 + data[at]
        at += 1


def _gif_colors(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_webp(data: bytes) -> int:
    size: int = struct.unpack_from("<I", data, 4)[0]
    return 8 + size + size % 2


def _end_of_bmp(data: bytes) -> int:
    size: int = struct.unpack_from("<I", data, 2)[0]
    offset: int = struct.unpack_from("<I", data, 10)[0]
    return size if size > offset else len(data)


_ENDS = {
    "image/jpeg": _end_of_jpeg,
    "image/png": _end_of_png,
    "image/gif": _end_of_gif,
    "image/webp": _end_of_webp,
    "image/bmp": _end_of_bmp,
}
