"""How orders reach a lane. Apart from the runner, so that its actor starts light."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from strandline.ports import Assignment

# A lane that got nothing for so long tells the driver, which repeats what was lost.
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a lane is to do next: take up a trial, or (None) its own trial's next step.

    Attributes:
        serial: grows from order to order; one that comes twice is carried out once.
        leave: do nothing any more: the search is over.
    """

    serial: int
    assignment: Assignment | None = None
    leave: bool = False


class Mailbox:
    """One queue a lane; taking waits until there is something. Runs as an async actor.

    What it holds may be lost with its process: the driver keeps every order until it was
    carried out, and gives it again to a lane that says it is waiting.
    """

    def __init__(self) -> None:
        self._queues: dict[int, asyncio.Queue[Order]] = {}

    async def put(self, lane: int, order: Order) -> None:
        """Add an order for `lane`."""
        await self._queue(lane).put(order)

    async def take(self, lane: int) -> Order | None:
        """Wait for the next order of `lane`; None when none comes for long."""
        try:
            return await asyncio.wait_for(self._queue(lane).get(), _PATIENCE_SECONDS)
        except TimeoutError:
            return None

    async def clear(self, lane: int) -> None:
        """Forget the orders of a lane whose worker died.

        A new queue, because a take that the dead worker left waiting would swallow the
        next order of the old one.
        """
        self._queues[lane] = asyncio.Queue()

    def _queue(self, lane: int) -> asyncio.Queue[Order]:
        return self._queues.setdefault(lane, asyncio.Queue())
