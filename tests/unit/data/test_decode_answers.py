"""What a decoding process answers is believed only where an honest one could have said it."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import pytest

from strandline.data.decode import DecodeLimits
from strandline.data.decode_worker import Decoded, Outcome, Undecodable, read_outcome, send_outcome
from strandline.data.fingerprints import FINGERPRINT_BYTES

LIMITS = DecodeLimits(max_bytes=10_000, max_pixels=10_000)
PNG = b"\x89PNG\r\n\x1a\n and so on"
HONEST = Decoded(60, 40, "image/png", ("first of several frames",), bytes(FINGERPRINT_BYTES), PNG)
ANSWER = {
    "width": 60,
    "height": 40,
    "media_type": "image/png",
    "notes": [],
    "fingerprint": base64.b64encode(bytes(FINGERPRINT_BYTES)).decode(),
    "changed": False,
}


@contextmanager
def ends() -> Iterator[tuple[Connection, Connection]]:
    ours, theirs = socket.socketpair()
    with Connection(ours.detach()) as near, Connection(theirs.detach()) as far:
        yield near, far


def read(*messages: bytes) -> Outcome:
    with ends() as (near, far):
        for message in messages:
            far.send_bytes(message)
        return read_outcome(near, LIMITS)


@pytest.mark.parametrize("outcome", [HONEST, Undecodable("the file is empty", "Undecodable")])
def test_an_honest_answer_arrives_as_it_was_sent(outcome: Outcome) -> None:
    with ends() as (near, far):
        send_outcome(far, outcome)
        assert read_outcome(near, LIMITS) == outcome


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"height": -40},
        {"width": 101, "height": 100},
        {"width": float("inf")},
        {"width": "wide"},
        {"media_type": "text/html"},
        {"media_type": None},
        {"fingerprint": "AAAA"},
        {"fingerprint": "no base64"},
        {"notes": None},
        {"notes": ["\x1b[2J"]},
        {"notes": ["x"] * 1000},
    ],
)
def test_an_answer_no_image_can_have_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OSError, match="nonsense"):
        read(json.dumps(ANSWER | wrong).encode())


@pytest.mark.parametrize(
    "message", [b"", b"\xff", b"null", b"[]", b"5", b"{}", b'{"reason": ""}', b"[" * 50_000]
)
def test_an_answer_of_another_form_is_refused(message: bytes) -> None:
    with pytest.raises(OSError, match="nonsense"):
        read(message)


def test_bytes_to_store_of_another_type_than_said_are_refused() -> None:
    with pytest.raises(OSError, match="nonsense"):
        read(json.dumps(ANSWER | {"changed": True}).encode(), b"<html>")


def test_an_answer_without_end_is_not_held() -> None:
    with pytest.raises(OSError, match="bad message length"):
        read(b"x" * 70_000)
