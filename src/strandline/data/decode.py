"""Decode one image from untrusted bytes, the same way everywhere.

Import, training, evaluation and prediction all see an image through this function:
uint8 RGB, upright, alpha laid over white. What the bytes claim is checked before it
costs anything: their number first, then format (by content, never by name) and size
from the header, and only then are pixels decoded.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from strandline.spec.errors import UnusableDataError

# Pillow warns at 89 megapixels and refuses at 179, process-wide. The limit below is
# checked before any decoding, is lower, and is the caller's to set.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of rubbish metadata, which is ignored here: the picture counts.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_FORMATS = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
_ORIENTATION_TAG = 0x0112
_WHITE = (255, 255, 255, 255)
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
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
        max_pixels: width times height; about 7 bytes of memory each while decoding.
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


def decode_image(data: bytes, limits: DecodeLimits = _DEFAULT_LIMITS) -> DecodedImage:
    """Decode `data` within `limits`.

    16-bit gray is scaled to 8 bits; of several frames or pages the first is taken;
    broken EXIF blocks and colour profiles are ignored; nothing is colour-managed.

    Raises:
        UnusableDataError: it is no image we read, is damaged, or is over a limit.
    """
    if not data:
        raise UnusableDataError("the file is empty")
    if len(data) > limits.max_bytes:
        raise UnusableDataError(
            f"the file has {len(data):,} bytes; the limit is {limits.max_bytes:,}"
        )
    with _open(data) as image:
        width, height = image.size
        if width * height > limits.max_pixels:
            raise UnusableDataError(
                f"the image is {width}×{height}, {width * height:,} pixels; "
                f"the limit is {limits.max_pixels:,}"
            )
        notes = _frame_notes(image)
        orientation = _orientation(image)
        media_type = _FORMATS[image.format or ""]
        if image.format == "PNG":
            _check_png(data)
        _load(image)
        upright = _UPRIGHT.get(orientation)
        rgb, more = _to_rgb(image)
        if upright is not None:
            rgb = rgb.transpose(upright)
        return DecodedImage(np.asarray(rgb, dtype=np.uint8), media_type, (*notes, *more))


def make_thumbnail(pixels: NDArray[np.uint8], side: int) -> bytes:
    """Return a JPEG whose longer side is at most `side` pixels, without any metadata."""
    image = Image.fromarray(pixels)
    scale = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=tuple(_FORMATS))
    except UnidentifiedImageError:
        raise UnusableDataError(_unknown_reason(data)) from None
    except MemoryError:
        raise UnusableDataError("the image needs more memory than a worker has") from None
    except Exception as error:
        # A header from outside can make a plugin raise nearly anything.
        raise UnusableDataError(f"the image is damaged: {_one_line(error)}") from error


def _check_png(data: bytes) -> None:
    """Check what Pillow does not: the checksums of the pixel data (PNG, section 5.3).

    Its decoder stops when the last row is full, before zlib would notice a wrong byte.
    """
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if kind == b"IDAT":
            (stored,) = struct.unpack(">I", data[end : end + 4].rjust(4, b"\0"))
            if end + 4 > len(data):
                raise UnusableDataError("the image is truncated: the file ends too early")
            if zlib.crc32(memoryview(data)[at + 4 : end]) != stored:
                raise UnusableDataError("the image is damaged: a checksum does not match")
        elif kind == b"IEND":
            return
        at = end + 4


def _load(image: Image.Image) -> None:
    try:
        image.seek(0)
        image.load()
    except MemoryError:
        raise UnusableDataError("the image needs more memory than a worker has") from None
    except Exception as error:
        text = _one_line(error)
        if "truncated" in text or isinstance(error, EOFError):
            raise UnusableDataError("the image is truncated: the file ends too early") from error
        raise UnusableDataError(f"the image is damaged: {text}") from error


def _frame_notes(image: Image.Image) -> tuple[str, ...]:
    try:
        several = bool(getattr(image, "is_animated", False))
    except Exception:
        several = False  # what follows the first frame is damaged, and not needed
    return ("first of several frames",) if several else ()


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1  # a rubbish EXIF block says nothing
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    try:
        if image.mode == "F":
            raise UnusableDataError(
                "32-bit float pixels have no known range: save the image with 8 or 16 bits"
            )
        if image.mode in _SIXTEEN_BIT_MODES:
            return _scale_sixteen_bit(image), ("16-bit gray scaled to 8 bits",)
        if image.has_transparency_data:
            backdrop = Image.new("RGBA", image.size, _WHITE)
            backdrop.alpha_composite(image.convert("RGBA"))
            return backdrop.convert("RGB"), ("transparency laid over white",)
        return image.convert("RGB"), ()
    except UnusableDataError:
        raise
    except MemoryError:
        raise UnusableDataError("the image needs more memory than a worker has") from None
    except Exception as error:
        raise UnusableDataError(f"the image is damaged: {_one_line(error)}") from error


def _scale_sixteen_bit(image: Image.Image) -> Image.Image:
    values = np.clip(np.asarray(image), 0, 65535).astype(np.uint32)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


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
