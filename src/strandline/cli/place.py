"""Where commands act: the catalog and store of the environment, its agent, and waiting."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

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

    # A Model follows from its versions: there is no job to run.
    if any(not is_settled(r.status, r.generation) for r in resources if r.kind != "Model"):
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

    A Model's versions decide its status, and no job writes it: it is filled in here.
    """
    if resource.kind != "Model":
        return resource
    from dataclasses import replace

    from strandline.adapters.local_agent import observe
    from strandline.control.reconcile import model_status
    from strandline.spec.actions import JobView

    observed = observe(place.catalog, resource, JobView(), place.clock)
    return replace(resource, status=model_status(resource, observed))
