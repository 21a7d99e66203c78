"""How orders reach a lane. Apart from the runner, so that its actor starts light."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from strandline.ports import Assignment


@dataclass(frozen=True, slots=True)
class Order:
    """What a lane is to do next: take up a trial, or (None) its own trial's next step."""

    assignment: Assignment | None = None


class Mailbox:
    """One queue a lane; taking waits until there is something. Runs as an async actor."""

    def __init__(self) -> None:
        self._queues: dict[int, asyncio.Queue[Order]] = {}

    async def put(self, lane: int, order: Order) -> None:
        """Add an order for `lane`."""
        await self._queue(lane).put(order)

    async def take(self, lane: int) -> Order:
        """Wait for the next order of `lane`."""
        return await self._queue(lane).get()

    async def clear(self, lane: int) -> None:
        """Forget the orders of a lane whose worker died.

        A new queue, because a take that the dead worker left waiting would swallow the
        next order of the old one.
        """
        self._queues[lane] = asyncio.Queue()

    def _queue(self, lane: int) -> asyncio.Queue[Order]:
        return self._queues.setdefault(lane, asyncio.Queue())
