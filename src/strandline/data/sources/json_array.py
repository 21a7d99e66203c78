"""The values of a JSON array, one after the other: an export may be larger than memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from strandline.spec.errors import UnusableDataError

_CHUNK_CHARACTERS = 1 << 16
_LONGEST_VALUE = 1_000_000
_BLANKS = " \t\r\n"


def array_values(path: Path) -> Iterator[Any]:
    """Yield the values of the array that the file at `path` is.

    Raises:
        UnusableDataError: it is no array, or not JSON from there on.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        text = _Text(file)
        if text.next_character() != "[":
            raise UnusableDataError("it does not begin as a list: not valid JSON, or no list")
        text.skip()
        if text.next_character() == "]":
            return
        while True:
            yield text.value()
            follows = text.next_character()
            text.skip()
            if follows == "]":
                return
            if follows != ",":
                where = "cut off" if not follows else f"{follows!r} follows"
                raise UnusableDataError(f"not valid JSON: {where} where a comma is meant")


class _Text:
    """The text of a file, of which only the part being read is held."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._held = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    def next_character(self) -> str:
        """Return the next one that is no blank, empty at the end, and stay before it."""
        while True:
            while self._at < len(self._held):
                if self._held[self._at] not in _BLANKS:
                    return self._held[self._at]
                self._at += 1
            if not self._read_on():
                return ""

    def skip(self) -> None:
        """Go past the character that stands there."""
        self._at += 1

    def value(self) -> Any:
        """Return the value that begins here, and go past it."""
        self.next_character()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._held, self._at)
                if end < len(self._held) or self._ended:  # else a number may go on
                    self._at = end
                    return found
                problem = ""
            except (ValueError, RecursionError) as error:
                problem = str(error)
            if len(self._held) - self._at > _LONGEST_VALUE:
                raise UnusableDataError(
                    f"not valid JSON, or an element of more than {_LONGEST_VALUE:,} characters"
                )
            if not self._read_on() and problem:
                raise UnusableDataError(f"not valid JSON: {problem}")

    def _read_on(self) -> bool:
        chunk = self._file.read(_CHUNK_CHARACTERS)
        self._held = self._held[self._at :] + chunk
        self._at = 0
        self._ended = not chunk
        return not self._ended
