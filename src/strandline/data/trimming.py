"""Find where an image's bytes end, so that nothing foreign behind it is stored.

Whatever stands behind the end of a picture (a script, an archive, a thumbnail of
something else) would be kept and served with it. JPEG: ITU-T T.81, B.1.1; PNG section 5;
GIF89a; RIFF for WebP; the file size field of BMP; TIFF 6.0, section 2.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from strandline.data.decode import DecodedImage, DecodeLimits, decode_image
from strandline.data.png_chunks import end_of_png
from strandline.spec.errors import UnusableDataError


def without_tail(data: bytes, image: DecodedImage) -> tuple[bytes | None, str, tuple[str, ...]]:
    """Return (bytes to store, None for `data` as it is; their media type; remarks).

    What is cut off must not change the picture; where it would, the picture is saved anew
    as PNG, without loss.
    """
    trimmed = trim_image(data, image.media_type)
    if len(trimmed) == len(data):
        return None, image.media_type, ()
    remark = (f"{len(data) - len(trimmed):,} foreign bytes behind the picture were cut off",)
    if _shows(trimmed, image):
        return trimmed, image.media_type, remark
    buffer = io.BytesIO()
    Image.fromarray(image.pixels).save(buffer, "PNG")
    return buffer.getvalue(), "image/png", (*remark, "saved anew as PNG")


def _shows(data: bytes, image: DecodedImage) -> bool:
    height, width, _ = image.pixels.shape
    try:
        again = decode_image(data, DecodeLimits(len(data), width * height))
    except UnusableDataError:
        return False
    return np.array_equal(again.pixels, image.pixels)


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


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
# Where pixels are, and how many bytes: strips, tiles, old-style JPEG.
_TIFF_EXTENTS = ((273, 279), (324, 325), (513, 514))
_TIFF_SUBDIRECTORIES = (330, 34665, 34853, 40965)
_MOST_DIRECTORIES = 1000


def _end_of_tiff(data: bytes) -> int:
    order = "<" if data[:2] == b"II" else ">"
    magic, first = struct.unpack_from(order + "HI", data, 2)
    if magic != 42:
        return len(data)  # BigTIFF
    end, waiting, seen = 8, [first], {0}
    while waiting and len(seen) < _MOST_DIRECTORIES:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        reached, numbers, following = _tiff_directory(data, at, order)
        for starts, sizes in _TIFF_EXTENTS:
            pairs = zip(numbers.get(starts, ()), numbers.get(sizes, ()), strict=False)
            reached = max([reached, *(start + size for start, size in pairs)])
        end = max(end, reached)
        waiting += [following, *(n for tag in _TIFF_SUBDIRECTORIES for n in numbers.get(tag, ()))]
    return end


def _tiff_directory(
    data: bytes, at: int, order: str
) -> tuple[int, dict[int, tuple[int, ...]], int]:
    """Return (end of the directory and its values, whole numbers by tag, next directory)."""
    (count,) = struct.unpack_from(order + "H", data, at)
    end = at + 2 + 12 * count + 4
    numbers: dict[int, tuple[int, ...]] = {}
    for place in range(at + 2, end - 4, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, place)
        size = _TIFF_SIZES.get(kind, 1) * values
        start = place + 8
        if size > 4:
            (start,) = struct.unpack_from(order + "I", data, place + 8)
            end = max(end, start + size)
        if kind in (3, 4, 13) and start + size <= len(data):
            letter = "H" if kind == 3 else "I"
            numbers[tag] = struct.unpack_from(f"{order}{values}{letter}", data, start)
    (following,) = struct.unpack_from(order + "I", data, at + 2 + 12 * count)
    return end, numbers, following


_ENDS = {
    "image/jpeg": _end_of_jpeg,
    "image/png": end_of_png,
    "image/gif": _end_of_gif,
    "image/webp": _end_of_webp,
    "image/bmp": _end_of_bmp,
    "image/tiff": _end_of_tiff,
}
