"""Connections that are lost again and again, with the answer to a call or before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from strandline.ports import Clock
from strandline.spec.errors import UnavailableError


@dataclass(slots=True)
class Outage:
    """What several ports of one process share: when their connections are lost.

    Attributes:
        every: so many calls come through between two outages.
        seconds: that one lasts.
        count: outages so far.
    """

    clock: Clock
    every: int
    seconds: float
    until: float = field(default=float("-inf"), init=False)
    calls: int = field(default=0, init=False)
    count: int = field(default=0, init=False)


class Flaky:
    """Stands before a port; the call that an outage begins with was every other time carried out.

    Its answer is lost then, as when a connection breaks on the way back.
    """

    def __init__(self, port: Any, outage: Outage) -> None:
        self._port, self._outage = port, outage

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if not callable(attribute):
            return attribute

        def call(*values: Any, **named: Any) -> Any:
            outage, now = self._outage, self._outage.clock.monotonic()
            if now < outage.until:
                raise UnavailableError("the connection is lost")
            outage.calls += 1
            if outage.calls % outage.every == 0:
                outage.until = now + outage.seconds
                outage.count += 1
                if outage.count % 2 == 0:
                    attribute(*values, **named)
                raise UnavailableError("the connection is lost")
            return attribute(*values, **named)

        return call
