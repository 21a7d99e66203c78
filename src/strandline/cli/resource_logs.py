"""`strandline logs`: what the job of an object said, as it comes."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from strandline.cli.output import printable

_BLOCK = 64 * 1024
_POLL_SECONDS = 0.5


def tail_offset(log: Path, lines: int) -> int:
    """Return where the last `lines` lines begin; 0 when negative or nothing is there."""
    if lines < 0 or not log.exists():
        return 0
    with log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        # A newline at the very end closes the last line; it begins none.
        place, missing = end, lines + 1
        if end and (file.seek(end - 1), file.read(1))[1] != b"\n":
            missing -= 1
        while place > 0:
            start = max(0, place - _BLOCK)
            file.seek(start)
            block = file.read(place - start)
            found = block.count(b"\n")
            if found >= missing:
                for _ in range(missing):
                    block = block[: block.rindex(b"\n")]
                return start + len(block) + 1
            missing, place = missing - found, start
    return 0


def follow_file(
    log: Path, start: int, is_over: Callable[[], bool], sleep: Callable[[float], None]
) -> Iterator[bytes]:
    """Yield what is appended from offset `start` on, until `is_over` and all is said.

    A log that is replaced by a shorter one (rotation) is read from its beginning.
    """
    while True:
        over = is_over()  # asked before reading, so that the last words are not missed
        if log.exists():
            size = log.stat().st_size
            start = 0 if size < start else start
            with log.open("rb") as file:
                file.seek(start)
                while block := file.read(_BLOCK):
                    start += len(block)
                    yield block
        if over:
            return
        sleep(_POLL_SECONDS)


def readable(blocks: Iterable[bytes]) -> Iterator[str]:
    """Decode a log so that it cannot move the cursor of somebody's terminal."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for block in blocks:
        text = decoder.decode(block).replace("\r\n", "\n").replace("\r", "\n")
        yield "".join(char if char in "\n\t" else printable(char) for char in text)
