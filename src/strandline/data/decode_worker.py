"""The process that decodes strangers' images: `python -m strandline.data.decode_worker`.

It gets images over a socket and answers with JSON and raw bytes, never with pickles: a
worker that an image has taken over must not be able to take over the import.
"""

from __future__ import annotations

import base64
import json
import math
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from strandline.data.decode import MEDIA_TYPES, DecodeLimits, decode_image, media_type_of
from strandline.data.fingerprints import FINGERPRINT_BYTES, fingerprint
from strandline.data.trimming import without_tail
from strandline.spec.errors import UnusableDataError

# Beside what a worker has when idle: the largest image costs 7 bytes a pixel, twice
# where alpha or rotation needs a copy.
_BYTES_PER_PIXEL = 16
_SPARE_BYTES = 256 * 1024 * 1024
_LONGEST_ANSWER = 64 * 1024
_MOST_NOTES = 10
_IMAGE_AT_FAULT = "Undecodable"
READY = b"ready"


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

    @property
    def is_final(self) -> bool:
        """Return whether the image itself is at fault, so that it need not be tried again.

        A crash, a lack of memory or of time may be the machine's that day.
        """
        return self.code == _IMAGE_AT_FAULT


Outcome = Decoded | Undecodable


def examine_image(data: bytes, limits: DecodeLimits) -> Outcome:
    """Decode `data` and tell all that an import keeps of it."""
    try:
        image = decode_image(data, limits)
        stored, media_type, remark = without_tail(data, image)
        return Decoded(
            width=image.pixels.shape[1],
            height=image.pixels.shape[0],
            media_type=media_type,
            notes=(*image.notes, *remark),
            fingerprint=fingerprint(image.pixels),
            stored=stored,
        )
    except UnusableDataError as error:
        return Undecodable(str(error), _IMAGE_AT_FAULT)
    except MemoryError:
        return Undecodable("the image needs more memory than a worker has", "OutOfMemory")
    except Exception as error:  # whatever it is, it costs this image only
        return Undecodable(f"the decoder failed: {type(error).__name__}", "DecoderError")


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


def read_outcome(connection: Connection, limits: DecodeLimits) -> Outcome:
    """Read what `send_outcome` sent, believing no length.

    Raises:
        EOFError, OSError: the worker is gone, or answers nonsense.
    """
    # A picture saved anew as PNG takes at most a little more than its raw pixels.
    largest = max(limits.max_bytes, 4 * limits.max_pixels) + 1_000_000
    try:
        answer = json.loads(connection.recv_bytes(_LONGEST_ANSWER))
        if "reason" in answer:
            return Undecodable(str(answer["reason"]), str(answer["code"]))
        stored = connection.recv_bytes(largest) if answer["changed"] else None
        return _checked(
            Decoded(
                width=int(answer["width"]),
                height=int(answer["height"]),
                media_type=str(answer["media_type"]),
                notes=tuple(str(note) for note in answer["notes"]),
                fingerprint=base64.b64decode(answer["fingerprint"], validate=True),
                stored=stored,
            ),
            limits,
        )
    except (ArithmeticError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OSError(f"the decoding process answers nonsense: {error}") from error


def _checked(found: Decoded, limits: DecodeLimits) -> Decoded:
    """Pass on what an honest worker could have found; raise ValueError for the rest.

    The media type is what browsers are told later, so it must be none but an image's; and
    whoever decodes again relies on the bytes to store being what they are said to be.
    """
    if found.width < 1 or found.height < 1 or found.width * found.height > limits.max_pixels:
        raise ValueError("an impossible size")
    if found.media_type not in MEDIA_TYPES:
        raise ValueError("not the media type of an image")
    if found.stored is not None and media_type_of(found.stored) != found.media_type:
        raise ValueError("the bytes to store are of another type")
    if len(found.fingerprint) != FINGERPRINT_BYTES:
        raise ValueError("not a fingerprint")
    if len(found.notes) > _MOST_NOTES or not all(note.isprintable() for note in found.notes):
        raise ValueError("not notes")
    return found


def main(arguments: list[str]) -> None:
    """Decode what comes until the socket is closed."""
    if arguments == ["--check"]:
        return  # everything could be imported
    descriptor, max_bytes, max_pixels = (int(each) for each in arguments[:3])
    timeout_seconds = float(arguments[3])
    limits = DecodeLimits(max_bytes=max_bytes, max_pixels=max_pixels)
    Image.MAX_IMAGE_PIXELS = None  # this process has limits of its own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _limit_memory(limits)
    with Connection(descriptor) as connection:
        connection.send_bytes(READY)
        _silence()
        while True:
            try:
                data = connection.recv_bytes()
                _limit_time(timeout_seconds)
                send_outcome(connection, examine_image(data, limits))
            except (EOFError, OSError):
                return  # the import ended, or was killed
            data = b""


def _silence() -> None:
    """Keep decoders' chatter about hostile files off the user's terminal."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def _limit_memory(limits: DecodeLimits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return  # not Linux: the pixel limit alone must do
    idle = int(statm.read_text().split()[0]) * resource.getpagesize()
    allowed = idle + limits.max_pixels * _BYTES_PER_PIXEL + limits.max_bytes + _SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


def _limit_time(timeout_seconds: float) -> None:
    """End by itself when decoding hangs and the parent that would end it was killed."""
    seconds = math.ceil(time.process_time() + 2 * timeout_seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1:])
