"""`strandline delete`: remove objects, what only they own, and their running jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from strandline.cli.output import note
from strandline.cli.place import open_place, sleep, start_agent
from strandline.cli.resource_options import (
    filename_option,
    recursive_option,
    selector_option,
    targets_argument,
)
from strandline.spec.errors import NotFoundError, UnavailableError
from strandline.spec.v1alpha1 import KINDS

if TYPE_CHECKING:
    from strandline.compose import Platform
    from strandline.ports import Resource

_STOP_SECONDS = 30.0


@click.command()
@targets_argument
@filename_option
@recursive_option
@selector_option
@click.option("--all", "everything", is_flag=True, help="All objects of the kind.")
@click.option("--ignore-not-found", is_flag=True, help="Not finding is no error.")
@click.option("--wait/--no-wait", default=True, help="Wait until running jobs have stopped.")
@click.option("-o", "--output", type=click.Choice(["text", "name"]), default="text")
def delete(words: tuple[str, ...], ignore_not_found: bool, output: str, **options: Any) -> None:
    """Delete objects and what only they own: trials, versions, events, running jobs."""
    place = open_place()
    found, missing = _doomed(place, words, options)
    for resource in found:
        _delete_one(place, resource, output)
    _stop_jobs(place, found, options["wait"])
    if missing and not ignore_not_found:
        raise NotFoundError("; ".join(missing))
    if not found and not missing:
        note("No resources found")


def _doomed(
    place: Platform, words: Sequence[str], options: dict[str, Any]
) -> tuple[list[Resource], list[str]]:
    from strandline.cli.resource_input import read_documents
    from strandline.cli.resource_names import Target, read_selector, read_targets, resolve

    if options["filenames"]:
        if words:
            raise click.UsageError("give either -f or names, not both")
        documents = read_documents(options["filenames"], options["recursive"])
        named = [Target(d.model.kind, d.model.metadata.name) for d in documents]
        return resolve(place.catalog, named)
    targets = read_targets(words)
    whole_kind = any(target.name is None for target in targets)
    if whole_kind and not (options["everything"] or options["selector"]):
        raise click.UsageError("name the objects to delete, select them with -l, or say --all")
    return resolve(place.catalog, targets, read_selector(options["selector"]))


def _delete_one(place: Platform, resource: Resource, output: str) -> None:
    from strandline.cli.resource_names import shown

    place.catalog.delete_resource(resource.kind, resource.name)
    if output == "name":
        click.echo(shown(resource.kind, resource.name))
    else:
        click.echo(f'{KINDS[resource.kind].names.singular} "{resource.name}" deleted')


def _stop_jobs(place: Platform, deleted: Sequence[Resource], wait: bool) -> None:
    """Have the agent stop jobs of deleted objects; wait until they did."""
    from strandline.adapters.local_jobs import lock_path
    from strandline.adapters.run_lock import is_held

    locks = [lock_path(place.settings.runs_dir, each.kind, each.uid) for each in deleted]
    if not any(map(is_held, locks)):
        return
    start_agent(place)
    deadline = place.clock.monotonic() + _STOP_SECONDS
    while wait and any(map(is_held, locks)):
        if place.clock.monotonic() >= deadline:
            raise UnavailableError("deleted, but a job has not stopped yet; it will be ended")
        sleep(0.2)
