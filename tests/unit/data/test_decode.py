"""Decoding: the same picture whatever the container, limits before cost, plain reasons."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from strandline.data.decode import DecodeLimits, decode_image, make_thumbnail
from strandline.spec.errors import UnusableDataError

Pixels = NDArray[np.uint8]


def gradient(height: int = 20, width: int = 30) -> Pixels:
    """A picture in which every corner differs, so that a wrong turn shows."""
    down, across = np.mgrid[0:height, 0:width]
    planes = (down * 255 // height, across * 255 // width, np.full_like(down, 90))
    return np.stack(planes, axis=2).astype(np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_very_pixels(kind: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    decoded = decode_image(encode(Image.fromarray(gradient()), kind, **options))
    np.testing.assert_array_equal(decoded.pixels, gradient())
    assert decoded.media_type == f"image/{kind.lower()}"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_as_its_exif_says(orientation: int) -> None:
    stored = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }[orientation](gradient())
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(data).pixels, gradient())


def test_transparency_is_laid_over_white() -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 128))
    pixels = decode_image(encode(image)).pixels
    assert pixels[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(pixels[0, 1], [255, 127, 127], atol=1)


def test_sixteen_bit_gray_is_scaled_not_cut() -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    decoded = decode_image(encode(Image.fromarray(values)))
    np.testing.assert_allclose(decoded.pixels[..., 0].ravel(), np.arange(256), atol=1)
    assert decoded.notes == ("16-bit gray scaled to 8 bits",)


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    pixels = decode_image(encode(red, "JPEG", quality=95)).pixels
    assert pixels[4, 4, 0] > 200
    assert pixels[4, 4, 1:].max() < 60


def test_the_first_of_several_frames_counts() -> None:
    frames = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    decoded = decode_image(data)
    assert decoded.pixels[0, 0].tolist() == [255, 0, 0]
    assert decoded.notes == ("first of several frames",)


def png(width: int, height: int, body: bytes = b"\0") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just a text that somebody renamed", "text"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"%PDF-1.7 \x00\x9f", "not an image of a supported format"),
        (png(60_000, 60_000), "60000×60000"),
        (encode(Image.fromarray(gradient(200, 200)), "JPEG")[:900], "truncated"),
        (encode(Image.fromarray(gradient(200, 200)), "PNG")[:300], "truncated"),
        (encode(Image.fromarray(gradient()).convert("F"), "TIFF"), "32-bit"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_plain_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnusableDataError, match=f"(?i){reason}") as caught:
        decode_image(data)
    assert "\n" not in str(caught.value)


def test_a_png_whose_pixels_were_flipped_is_called_damaged() -> None:
    data = bytearray(encode(Image.fromarray(gradient(64, 64))))
    data[len(data) // 2] ^= 1
    with pytest.raises(UnusableDataError, match="checksum"):
        decode_image(bytes(data))


def test_limits_are_the_callers() -> None:
    data = encode(Image.fromarray(gradient(20, 30)))
    assert decode_image(data, DecodeLimits(max_pixels=600)).pixels.shape == (20, 30, 3)
    with pytest.raises(UnusableDataError, match="the limit is 599"):
        decode_image(data, DecodeLimits(max_pixels=599))
    with pytest.raises(UnusableDataError, match="the limit is 10"):
        decode_image(data, DecodeLimits(max_bytes=10))


def test_a_thumbnail_is_a_small_jpeg_without_metadata() -> None:
    thumbnail = make_thumbnail(gradient(400, 100), 64)
    with Image.open(io.BytesIO(thumbnail)) as image:
        assert max(image.size) == 64
        assert not dict(image.getexif())
