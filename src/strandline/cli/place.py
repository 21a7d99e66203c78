"""Where commands act: the catalog and store of the environment, its agent, and waiting."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from strandline.spec.naming import JOB_KINDS

if TYPE_CHECKING:
    from strandline.compose import Platform
    from strandline.ports import Resource


def open_place() -> Platform:
    """Open the catalog and store that the environment names."""
    from strandline import compose

    return compose.local()


def start_agent_for(place: Platform, resources: Iterable[Resource]) -> None:
    """Have the agent run when any of these objects has something left to do."""
    from strandline.spec.conditions import is_settled

    # What has no job follows from what is there: see `with_current_status`.
    jobs = [each for each in resources if each.kind in JOB_KINDS]
    if any(not is_settled(each.status, each.generation) for each in jobs):
        start_agent(place)


def start_agent(place: Platform) -> None:
    """Start the agent of this place unless it runs."""
    from strandline.cli.agent import start_agent as start

    start(place)


def sleep(seconds: float) -> None:
    """Wait; every pause of the resource commands goes through here."""
    time.sleep(seconds)


def with_current_status(place: Platform, resource: Resource) -> Resource:
    """Return the object with the status it has now.

    The status of an object without a job follows from what is there, and nobody writes it:
    it is filled in here.
    """
    if resource.kind in JOB_KINDS:
        return resource
    from dataclasses import replace

    from strandline.adapters.agent import observe
    from strandline.control.followed import followed_status
    from strandline.spec.actions import JobView

    observed = observe(place.catalog, resource, JobView(), place.clock)
    status = followed_status(resource, observed)
    return resource if status is None else replace(resource, status=status)
