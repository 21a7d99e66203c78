"""Decoding processes: what one image does to its process stays with that image."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strandline.data import decode_pool
from strandline.data.decode import DecodeLimits
from strandline.data.decode_pool import DecodePool
from strandline.data.decode_process import DecodeProcess
from strandline.data.decode_worker import Decoded, Undecodable
from strandline.spec.errors import FailedRunError

LIMITS = DecodeLimits()


def picture(seed: int, side: int = 40) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def slow_picture() -> bytes:
    """A few bytes that take seconds to decode: many pixels, within the limit."""
    file = io.BytesIO()
    Image.new("RGB", (7000, 7000)).save(file, "PNG")
    return file.getvalue()


def pids(pool: DecodePool[int]) -> list[int]:
    return [worker.process.pid for worker in pool._workers]


def test_outcomes_come_in_the_order_of_the_images() -> None:
    images = [(n, picture(n, side=20 + 200 * (n % 3 == 0))) for n in range(25)]
    images[7] = (7, b"no picture")
    with DecodePool[int](3, LIMITS, 20.0) as pool:
        outcomes = list(pool.decode_all(images))
    assert [key for key, _ in outcomes] == list(range(25))
    assert [key for key, found in outcomes if isinstance(found, Undecodable)] == [7]


def test_processes_are_gone_when_the_pool_is_closed() -> None:
    with DecodePool[int](2, LIMITS, 20.0) as pool:
        list(pool.decode_all([(n, picture(n)) for n in range(6)]))
        running = pids(pool)
        assert running
    for pid in running:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_is_killed_costs_no_image() -> None:
    def images(pool: DecodePool[int]) -> Iterator[tuple[int, bytes]]:
        for number in range(30):
            if number in (8, 16):
                for pid in pids(pool):
                    os.kill(pid, signal.SIGKILL)
            yield number, picture(number)

    with DecodePool[int](2, LIMITS, 20.0) as pool:
        outcomes = list(pool.decode_all(images(pool)))
    assert [key for key, _ in outcomes] == list(range(30))
    assert all(isinstance(found, Decoded) for _, found in outcomes)


def test_an_image_that_takes_too_long_is_refused_and_the_rest_goes_on() -> None:
    images = [(0, picture(0)), (1, slow_picture()), *((n, picture(n)) for n in range(2, 8))]
    with DecodePool[int](1, LIMITS, 0.25) as pool:
        outcomes = dict(pool.decode_all(images))
    late = outcomes.pop(1)
    assert isinstance(late, Undecodable)
    assert late.reason == "decoding took longer than 0.25 s"
    assert all(isinstance(found, Decoded) for found in outcomes.values())


def test_a_process_that_hangs_is_replaced() -> None:
    def images(pool: DecodePool[int]) -> Iterator[tuple[int, bytes]]:
        yield 0, picture(0)
        while not any(worker.ready for worker in pool._workers):
            pool._collect()
        for pid in pids(pool):
            os.kill(pid, signal.SIGSTOP)
        yield from ((n, picture(n)) for n in range(1, 5))

    with DecodePool[int](1, LIMITS, 1.0) as pool:
        outcomes = list(pool.decode_all(images(pool)))
    refused = [key for key, found in outcomes if isinstance(found, Undecodable)]
    assert len(refused) == 1
    assert len(outcomes) == 5


def test_an_image_that_kills_its_process_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    deadly = picture(3)
    given = DecodeProcess.give

    def give(process: DecodeProcess, data: bytes) -> None:
        if data == deadly:
            os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.05)
        given(process, data)

    monkeypatch.setattr(DecodeProcess, "give", give)
    monkeypatch.setattr(decode_pool, "_IN_FLIGHT", 1)  # the one given is the one decoded
    images = [(n, deadly if n == 3 else picture(n)) for n in range(8)]
    with DecodePool[int](1, LIMITS, 20.0) as pool:
        outcomes = dict(pool.decode_all(images))
    assert outcomes.pop(3) == Undecodable("the decoder crashed on it", "DecoderCrash")
    assert all(isinstance(found, Decoded) for found in outcomes.values())


def test_processes_that_never_start_are_reported_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode_pool, "_START_SECONDS", 0.0)
    with DecodePool[int](1, LIMITS, 20.0) as pool, pytest.raises(FailedRunError, match="--check"):
        list(pool.decode_all([(0, picture(0))]))


def test_a_process_knows_no_keys_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANDLINE_S3_SECRET_KEY", "hush")
    process = DecodeProcess(LIMITS, 20.0)
    try:
        process.take_ready()
        environ = Path(f"/proc/{process.pid}/environ").read_bytes()
    finally:
        process.stop()
    assert b"hush" not in environ
