"""Notice, while a search runs, that its spec was edited, and what that asks for.

Limits are taken up in the middle: nothing that runs is touched. Whatever shapes the search
itself – space, algorithm, parallelism – is taken up after the running steps are over, by an
engine made anew from the trials' rows. What the workers hold, such as the data, and where
they run, only the next run can change.
"""

from __future__ import annotations

from dataclasses import dataclass

from strandline.jobs.status import change_status
from strandline.ports import Catalog, Clock, Resource
from strandline.search.ending import EndReason
from strandline.spec.conditions import TAKEN_UP, Why, mark_working
from strandline.spec.errors import ConflictError, NotFoundError, UnavailableError
from strandline.spec.v1alpha1 import ONE_SHOT, SearchSpec

LOOK_SECONDS = 3.0
_IN_PLACE = frozenset({"budget", "stop", "max_failed_trials", "ttl"})
_REBUILT = frozenset(
    {"space", "algorithm", "early_stopping", "objectives", "parallelism", "trial_timeout"}
)
# Of the space: what trials do, not only which ones there are.
_HELD_BY_WORKERS = ("preset", "family", "network", "schedule", "images")


@dataclass(slots=True)
class SpecWatch:
    """Looks at the spec of one search every few seconds.

    Attributes:
        spec: the newest one; the search is to go by it after an answer that is not None.
    """

    catalog: Catalog
    clock: Clock
    name: str
    uid: str
    spec: SearchSpec
    generation: int | None = None
    looked_at: float = float("-inf")

    def __call__(self) -> SearchSpec | EndReason | None:
        """Return the spec to go on with, a reason to end after the running steps, or None."""
        if self.clock.monotonic() - self.looked_at < LOOK_SECONDS:
            return None
        self.looked_at = self.clock.monotonic()
        try:
            resource = self.catalog.get_resource("Search", self.name)
            if resource.uid != self.uid:
                return EndReason.STOPPED  # deleted, and another made under its name
            return None if resource.generation == self.generation else self._take_up(resource)
        except NotFoundError:
            return EndReason.STOPPED
        except (UnavailableError, ConflictError):
            return None  # later

    def _take_up(self, resource: Resource) -> SearchSpec | EndReason | None:
        """Go by the spec from now on if that is possible, and say so in the status."""
        edited = SearchSpec.model_validate(resource.spec)
        meaning = _meaning(self.spec, edited)
        if meaning not in (EndReason.SUSPENDED, EndReason.STOPPED):
            told = "The search goes on by the edited spec."
            why = Why(TAKEN_UP, told, resource.generation, self.clock.now())
            change_status(self.catalog, "Search", self.name, lambda r: mark_working(r.status, why))
        self.generation, self.spec = resource.generation, edited
        return meaning


def _meaning(before: SearchSpec, now: SearchSpec) -> SearchSpec | EndReason | None:
    if now.suspend:
        return EndReason.SUSPENDED
    edited = {
        name for name in type(now).model_fields if getattr(before, name) != getattr(now, name)
    }
    if not edited:
        return None
    if edited <= _IN_PLACE:
        return now
    same_trials = all(
        getattr(before.space, name) == getattr(now.space, name) for name in _HELD_BY_WORKERS
    )
    if "algorithm" in edited and ONE_SHOT & {before.algorithm.name, now.algorithm.name}:
        same_trials = False  # with shared weights they are scored, not trained
    return EndReason.EDITED if edited <= _IN_PLACE | _REBUILT and same_trials else EndReason.STOPPED
