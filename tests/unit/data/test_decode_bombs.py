"""Images of a few bytes that claim, somewhere else than in their size, to need gigabytes."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from strandline.data.decode import decode_image
from strandline.spec.errors import UnusableDataError

EXTRA_MB = 64
DECODE = f"""
import resource, sys
from strandline.data.decode import decode_image
from strandline.spec.errors import UnusableDataError

data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_image(data)
    print("decoded")
except UnusableDataError as error:
    print(error)
extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert extra < {EXTRA_MB} * 1024, extra
"""


def tiff(side: int, compression: int, **more: int) -> bytes:
    """Write the head of an RGB TIFF, with hardly any pixels behind it."""
    tags = {256: side, 257: side, 258: 8, 259: compression, 262: 2, 277: 3}
    if "tile" in more:
        tags |= {322: more["tile"], 323: more["tile"]}
        tags |= {324: more.get("at", 8), 325: more.get("size", 10)}
    else:
        tags |= {273: 8, 278: more.get("rows", side), 279: 10}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(68)


def gif_with_a_frame_larger_than_its_screen() -> bytes:
    file = io.BytesIO()
    Image.new("P", (9000, 9000)).save(file, "GIF")
    return file.getvalue()[:6] + struct.pack("<HH", 1, 1) + file.getvalue()[10:]


def webp_with_a_frame_larger_than_its_canvas() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9000, 9000)).save(file, "WEBP", lossless=True)
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(10)
    chunks = b"WEBP" + canvas + file.getvalue()[12:]
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def png_with_a_text_that_unpacks_to(size: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    packed = b"zTXtkey\0\0" + zlib.compress(bytes(size), 9)
    chunk = struct.pack(">I", len(packed) - 4) + packed + struct.pack(">I", zlib.crc32(packed))
    return file.getvalue()[:33] + chunk + file.getvalue()[33:]


CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a TIFF of one huge deflated tile": (lambda: tiff(10, 8, tile=20_000), "tiles of 20000×20000"),
    "a TIFF of one huge LZW tile": (lambda: tiff(10, 5, tile=30_000), "tiles of 30000×30000"),
    "a TIFF of one huge strip": (lambda: tiff(10, 8, rows=4_000_000_000), "damaged"),
    "a GIF": (gif_with_a_frame_larger_than_its_screen, "9000×9000"),
    "a WebP": (webp_with_a_frame_larger_than_its_canvas, "damaged"),
    "a PNG": (lambda: png_with_a_text_that_unpacks_to(300_000_000), "decoded"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in kilobytes there")
@pytest.mark.parametrize("case", CASES)
def test_what_an_image_claims_costs_no_memory(case: str, tmp_path: Path) -> None:
    make, reason = CASES[case]
    (tmp_path / "image").write_bytes(make())
    with (tmp_path / "image").open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", DECODE], stdin=file, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert reason in done.stdout


def test_a_tile_within_the_limit_is_decoded() -> None:
    head = tiff(10, 1, tile=16, at=1000, size=16 * 16 * 3)
    red = head.ljust(1000, b"\0") + b"\xff\0\0" * 256
    assert decode_image(red).pixels.tolist() == [[[255, 0, 0]] * 10] * 10


def test_tiles_without_a_size_are_damage() -> None:
    with pytest.raises(UnusableDataError):
        decode_image(tiff(10, 8, tile=0))
