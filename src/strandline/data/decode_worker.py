"""The process that decodes strangers' images: `python -m strandline.data.decode_worker`.

It gets images over a socket and answers with JSON and raw bytes, never with pickles: a
worker that an image has taken over must not be able to take over the import.
"""

from __future__ import annotations

import base64
import json
import resource
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from strandline.data.decode import DecodeLimits, decode_image
from strandline.data.duplicates import fingerprint
from strandline.data.trimming import trim_image
from strandline.spec.errors import UnusableDataError

# Beside what a worker has when idle: the largest image costs 7 bytes a pixel, twice
# where alpha or rotation needs a copy.
_BYTES_PER_PIXEL = 16
_SPARE_BYTES = 256 * 1024 * 1024
_LONGEST_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a worker found out about one image.

    Attributes:
        stored: the bytes to store when they differ from those given; None: the same.
    """

    width: int
    height: int
    media_type: str
    notes: tuple[str, ...]
    fingerprint: bytes
    stored: bytes | None = None


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Why a worker could not take an image."""

    reason: str
    code: str


Outcome = Decoded | Undecodable


def examine_image(data: bytes, limits: DecodeLimits) -> Outcome:
    """Decode `data` and tell all that an import keeps of it."""
    try:
        image = decode_image(data, limits)
        trimmed = trim_image(data, image.media_type)
        notes = image.notes
        if foreign := len(data) - len(trimmed):
            notes = (*notes, f"{foreign:,} foreign bytes behind the picture were cut off")
        return Decoded(
            width=image.pixels.shape[1],
            height=image.pixels.shape[0],
            media_type=image.media_type,
            notes=notes,
            fingerprint=fingerprint(image.pixels),
            stored=trimmed if foreign else None,
        )
    except UnusableDataError as error:
        return Undecodable(str(error), "Undecodable")
    except MemoryError:
        return Undecodable("the image needs more memory than a worker has", "OutOfMemory")


def send_outcome(connection: Connection, outcome: Outcome) -> None:
    """Answer with one JSON message, and the bytes to store when they changed."""
    if isinstance(outcome, Undecodable):
        answer: dict[str, object] = {"reason": outcome.reason[:2000], "code": outcome.code}
    else:
        answer = {
            "width": outcome.width,
            "height": outcome.height,
            "media_type": outcome.media_type,
            "notes": outcome.notes,
            "fingerprint": base64.b64encode(outcome.fingerprint).decode(),
            "changed": outcome.stored is not None,
        }
    connection.send_bytes(json.dumps(answer).encode())
    if isinstance(outcome, Decoded) and outcome.stored is not None:
        connection.send_bytes(outcome.stored)


def read_outcome(connection: Connection) -> Outcome:
    """Read what `send_outcome` sent.

    Raises:
        EOFError, OSError: the worker is gone, or answers nonsense.
    """
    try:
        answer = json.loads(connection.recv_bytes(_LONGEST_ANSWER))
        if "reason" in answer:
            return Undecodable(str(answer["reason"]), str(answer["code"]))
        return Decoded(
            width=int(answer["width"]),
            height=int(answer["height"]),
            media_type=str(answer["media_type"]),
            notes=tuple(str(note) for note in answer["notes"]),
            fingerprint=base64.b64decode(answer["fingerprint"]),
            stored=connection.recv_bytes() if answer["changed"] else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"the decoding process answers nonsense: {error}") from error


def main(arguments: list[str]) -> None:
    """Decode what comes until the socket is closed."""
    descriptor, max_bytes, max_pixels = (int(each) for each in arguments)
    limits = DecodeLimits(max_bytes=max_bytes, max_pixels=max_pixels)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _limit_memory(limits)
    with Connection(descriptor) as connection:
        while True:
            try:
                data = connection.recv_bytes()
            except (EOFError, OSError):
                return  # the import ended, or was killed
            send_outcome(connection, examine_image(data, limits))


def _limit_memory(limits: DecodeLimits) -> None:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return  # not Linux: the pixel limit alone must do
    idle = int(statm.read_text().split()[0]) * resource.getpagesize()
    allowed = idle + limits.max_pixels * _BYTES_PER_PIXEL + limits.max_bytes + _SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


if __name__ == "__main__":
    main(sys.argv[1:])
