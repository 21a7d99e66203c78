"""Run the job of an object here and now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from strandline import compose
from strandline.compose import Platform
from strandline.jobs.object_job import Finished, run_object_job
from strandline.ports import Resource

if TYPE_CHECKING:
    from strandline.jobs.train import TrainPlace

Advance = Callable[[int, int], None]
StopRequested = Callable[[], bool]


def train_place(place: Platform, resource: Resource) -> TrainPlace:
    """Return the ports that the job of `resource` works with."""
    from strandline.jobs.train import TrainPlace

    return TrainPlace(
        store=place.store,
        catalog=place.catalog,
        clock=place.clock,
        runner=compose.trial_runner(place, resource.uid),
        groups=compose.group_runner(place, resource.uid),
        open_store=compose.StoreOpener(place.settings.store_url),
        cache_dir=place.settings.cache_dir,
        elsewhere=compose.elsewhere(place.settings),
    )


def run_foreground(
    place: Platform, kind: str, name: str, body: Callable[[Resource], Finished]
) -> None:
    """Run a job here and now, as the only one for its object."""
    resource = place.catalog.get_resource(kind, name)
    with compose.claim_run(place, resource):
        run_object_job(place.catalog, place.clock, kind, name, body, foreground=True)
