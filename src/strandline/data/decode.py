"""Decode one image from untrusted bytes, the same way everywhere.

Import, training, evaluation and prediction all see an image through this function:
uint8 RGB, upright, alpha laid over white. What the bytes claim is checked before it
costs anything: their number first, then format (by content, never by name) and size
from the header, and only then are pixels decoded.

Pillow's format classes are called directly rather than through `Image.open`, whose limit
on pixels is one of the whole process: nothing global is changed here, so that threads
with different limits, and whatever else uses Pillow, stay out of each other's way.
"""

from __future__ import annotations

import io
import struct
import sys
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from strandline.data.png_chunks import check_png, is_animated_png, picture_chunks
from strandline.spec.errors import UnusableDataError

# Pillow warns of rubbish metadata, which is ignored here: the picture counts.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_CLASSES: dict[str, type[Image.Image]] = {
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/gif": GifImageFile,
    "image/webp": WebPImageFile,
    "image/bmp": BmpImageFile,
    "image/tiff": TiffImageFile,
}
MEDIA_TYPES = frozenset(_CLASSES)
_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),
    (b"MM\0+", "image/tiff"),
)
_ORIENTATION_TAG = 0x0112
_TILE_SIDES = (322, 323)
_WHITE = (255, 255, 255, 255)
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_SNIFFED_BYTES = 512
# EXIF orientation (TIFF 6.0, tag 274) to what makes the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one image may cost.

    Attributes:
        max_bytes: largest encoded image.
        max_pixels: width times height; about 7 bytes of memory each while decoding,
            15 where there is transparency.
    """

    max_bytes: int = 50_000_000
    max_pixels: int = 50_000_000


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded image.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, upright.
        media_type: by content, e.g. `image/png`.
        notes: what was done that a person may want to know.
    """

    pixels: NDArray[np.uint8]
    media_type: str
    notes: tuple[str, ...] = ()


_DEFAULT_LIMITS = DecodeLimits()
_ACCEPTED_BEFORE = DecodeLimits(max_bytes=sys.maxsize, max_pixels=sys.maxsize)


def decode_image(data: bytes, limits: DecodeLimits = _DEFAULT_LIMITS) -> DecodedImage:
    """Decode `data` within `limits`.

    16-bit gray is scaled to 8 bits; of several frames or pages the first is taken;
    broken EXIF blocks and colour profiles are ignored; nothing is colour-managed.
    Deterministic and safe to call from several threads.

    Raises:
        UnusableDataError: it is no image we read, is damaged, or is over a limit.
    """
    if not data:
        raise UnusableDataError("the file is empty")
    if len(data) > limits.max_bytes:
        raise UnusableDataError(
            f"the file has {len(data):,} bytes; the limit is {limits.max_bytes:,}"
        )
    media_type = media_type_of(data)
    if media_type is None:
        raise UnusableDataError(_unknown_reason(data))
    if media_type == "image/webp":  # its decoder allocates the canvas when it is made
        _check_size(*_webp_size(data), limits)
    with _open(data, media_type) as image:
        _check_size(*image.size, limits)
        if isinstance(image, TiffImageFile):
            _check_tiles(image, limits)
        if media_type == "image/png":
            check_png(data)
        notes = _frame_notes(image, data, media_type)
        _load(image)
        upright = _UPRIGHT.get(_orientation(image))
        rgb, more = _to_rgb(image)
    if upright is not None:
        rgb = rgb.transpose(upright)
    return DecodedImage(np.asarray(rgb, dtype=np.uint8), media_type, (*notes, *more))


def decode_stored(data: bytes) -> DecodedImage:
    """Decode an image of a dataset, which its import accepted within that dataset's limits.

    Raises:
        UnusableDataError: it is damaged all the same.
    """
    return decode_image(data, _ACCEPTED_BEFORE)


def media_type_of(data: bytes) -> str | None:
    """Tell the format by its signature; None when it is none that we read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media for magic, media in _SIGNATURES if data.startswith(magic)), None)


def make_thumbnail(pixels: NDArray[np.uint8], side: int) -> bytes:
    """Return a JPEG whose longer side is at most `side` pixels, without any metadata."""
    image = Image.fromarray(pixels)
    scale = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    if width * height > limits.max_pixels:
        raise UnusableDataError(
            f"the image is {width}×{height}, {width * height:,} pixels; "
            f"the limit is {limits.max_pixels:,}"
        )


def _check_tiles(image: TiffImageFile, limits: DecodeLimits) -> None:
    """Refuse tiles that are larger than an image may be: a whole one is held while decoding."""
    width, length = (image.tag_v2.get(tag, 1) for tag in _TILE_SIDES)
    if not isinstance(width, int) or not isinstance(length, int):
        raise UnusableDataError("the image is damaged: its tiles have no size")
    if width * length > limits.max_pixels:
        raise UnusableDataError(
            f"the image has tiles of {width}×{length}, {width * length:,} pixels; "
            f"the limit is {limits.max_pixels:,}"
        )


def _open(data: bytes, media_type: str) -> Image.Image:
    # Text and profiles in a PNG may unpack to hundreds of megabytes: they are left out.
    stream = io.BytesIO(picture_chunks(data) if media_type == "image/png" else data)
    try:
        return _CLASSES[media_type](stream)  # type: ignore[call-arg]
    except Exception as error:
        # A header from outside can make a plugin raise nearly anything.
        if media_type == "image/png":
            check_png(data)  # knows better where the end is missing
        raise _damage(error) from error


def _load(image: Image.Image) -> None:
    try:
        image.seek(0)
        image.load()
    except Exception as error:
        raise _damage(error) from error


def _damage(error: Exception) -> UnusableDataError:
    """Say what an exception of the decoder means for the person who has the file."""
    text = _one_line(error)
    if isinstance(error, MemoryError):
        return UnusableDataError("the image needs more memory than a worker has")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return UnusableDataError("the image has far too many pixels")
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return UnusableDataError("the image is truncated: the file ends too early")
    return UnusableDataError(f"the image is damaged: {text}")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read the canvas from the header (RFC 9649, sections 2.5 to 2.7)."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        width, height = data[24:27] + b"\0", data[27:30] + b"\0"
        return (
            int.from_bytes(width, "little") + 1,
            int.from_bytes(height, "little") + 1,
        )
    if kind == b"VP8L" and len(data) >= 25:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(data) >= 30:
        width_bits, height_bits = struct.unpack_from("<HH", data, 26)
        return width_bits & 0x3FFF, height_bits & 0x3FFF
    raise UnusableDataError("the image is truncated: the file ends too early")


def _frame_notes(image: Image.Image, data: bytes, media_type: str) -> tuple[str, ...]:
    try:
        several = bool(getattr(image, "is_animated", False))
    except Exception:
        several = False  # what follows the first frame is damaged, and not needed
    if media_type == "image/png":
        several = is_animated_png(data)
    return ("first of several frames",) if several else ()


def _orientation(image: Image.Image) -> int:
    """Return the orientation that is left to apply; Pillow has turned TIFF by itself."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1  # a rubbish EXIF block says nothing
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    if image.mode == "F":
        raise UnusableDataError(
            "32-bit float pixels have no known range: save the image with 8 or 16 bits"
        )
    try:
        if image.mode in _SIXTEEN_BIT_MODES:
            return _scale_sixteen_bit(image), ("16-bit gray scaled to 8 bits",)
        if image.has_transparency_data:
            backdrop = Image.new("RGBA", image.size, _WHITE)
            backdrop.alpha_composite(image.convert("RGBA"))
            return backdrop.convert("RGB"), ("transparency laid over white",)
        return image.convert("RGB"), ()
    except UnusableDataError:
        raise
    except Exception as error:
        raise _damage(error) from error


def _scale_sixteen_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.dtype != np.uint16 and (values.min() < 0 or values.max() > 65535):
        raise UnusableDataError(
            "32-bit pixels have no known range: save the image with 8 or 16 bits"
        )
    scaled = (values.astype(np.uint32) + 128) // 257
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")


def _unknown_reason(data: bytes) -> str:
    head = data[:_SNIFFED_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF and video files are not supported: save the image as JPEG or PNG"
    if b"<svg" in head or (head.startswith(b"<?xml") and b"svg" in data[:4096].lower()):
        return "SVG is a vector format, which is not supported: save the image as PNG"
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "this is a web page or XML, not an image"
    if _looks_like_text(data[:_SNIFFED_BYTES]):
        return "this is text, not an image"
    return "this is not an image of a supported format (JPEG, PNG, GIF, WebP, BMP, TIFF)"


def _looks_like_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(char if char.isprintable() else "?" for char in text)[:200]
