"""The workers of a search on somebody else's Ray, as whoever started the search planned them.

The plan reaches the driver as text in its environment: a job knows nothing of a cluster but
what is said there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from strandline.spec.errors import InvalidSpecError

POOL_RESOURCE = "pool-"
"""A node of the ComputePool NAME has the Ray resource `pool-NAME`."""

NO_POOL = "any"
"""Stands where a pool's name does when no ComputePool was named."""

UNLIMITED = 1_000_000
"""Of that resource on each node: it says where, other resources say how many."""


@dataclass(frozen=True, slots=True)
class LaneGroup:
    """Alike workers, each of which runs one trial at a time.

    Attributes:
        pool: name of the ComputePool whose nodes they are on, or `NO_POOL`.
        lanes: how many.
        cpus: CPUs of one worker on each of its hosts.
        devices: Ray's names of devices (`GPU`, `TPU`) and how many one worker has on each host.
        hosts: nodes that one worker holds; it runs on the first.
        per_worker: how many of these make up one worker of the ComputePool: one each device.
        hourly_price: what one of these costs an hour; None if nobody said.
    """

    pool: str
    lanes: int
    cpus: float = 1.0
    devices: Mapping[str, float] = field(default_factory=dict)
    hosts: int = 1
    per_worker: int = 1
    hourly_price: float | None = None

    @property
    def compute_pool(self) -> str | None:
        """Name of the ComputePool; None where none was named."""
        return None if self.pool == NO_POOL else self.pool


def write_lanes(groups: Sequence[LaneGroup]) -> str:
    """Return the groups as text for the environment."""
    told = [
        {name: value for name, value in asdict(group).items() if value is not None}
        for group in groups
    ]
    return json.dumps(told, separators=(",", ":"))


def read_lanes(text: str) -> tuple[LaneGroup, ...]:
    """Read what `write_lanes` wrote.

    Raises:
        InvalidSpecError: it is something else.
    """
    try:
        groups = tuple(LaneGroup(**each) for each in json.loads(text or "[]"))
    except (ValueError, TypeError) as error:
        raise InvalidSpecError(f"STRANDLINE_POOLS describes no workers: {error}") from error
    return groups
