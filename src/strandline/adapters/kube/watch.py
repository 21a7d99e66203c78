"""A stream of changes that another thread may end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from urllib3.exceptions import HTTPError

from strandline.adapters.kube.answers import error_of
from strandline.adapters.kube.resources import Document
from strandline.spec.errors import UnavailableError


class WatchEvent(NamedTuple):
    """One change.

    Attributes:
        type: ADDED, MODIFIED, DELETED, or BOOKMARK, which only tells how far the watch is.
        document: the object after it; of a DELETED one its last state.
    """

    type: str
    document: Document


class Watch:
    """The changes of one watch, in their order; iterate over it once."""

    def __init__(self, answer: Any, what: str) -> None:
        """Read from `answer`, an unread answer of urllib3; `what` names it in errors."""
        self._answer = answer
        self._what = what
        self._closed = False

    def __iter__(self) -> Iterator[WatchEvent]:
        """Iterate until the server or `close` ends the stream.

        Raises:
            ExpiredError: the moment it started from is forgotten: list anew.
            UnavailableError: the connection broke; watch again from the last version seen.
        """
        try:
            for line in self._lines():
                yield self._event_of(line)
        # A socket that is shut down under a reader fails in many ways, all of them meant.
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            if not self._closed:
                raise UnavailableError(f"{self._what}: the stream broke: {error}") from error
        finally:
            self._answer.close()

    def close(self) -> None:
        """End the stream, from any thread; whoever reads it comes to its end at once."""
        self._closed = True
        with suppress(OSError, ValueError, RuntimeError, AttributeError, TypeError):
            self._answer.shutdown()

    def _lines(self) -> Iterator[bytes]:
        rest = bytearray()
        for chunk in self._answer.stream(1 << 16, decode_content=True):
            rest += chunk
            if b"\n" not in chunk:
                continue
            *lines, tail = bytes(rest).split(b"\n")
            rest = bytearray(tail)
            yield from filter(None, lines)

    def _event_of(self, line: bytes) -> WatchEvent:
        event = json.loads(line)
        if event["type"] == "ERROR":
            status = event["object"]
            raise error_of(int(status.get("code") or 500), status, self._what)
        return WatchEvent(event["type"], event["object"])
