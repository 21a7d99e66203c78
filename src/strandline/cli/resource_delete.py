"""`strandline delete`: remove objects, what only they own, and their running jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from strandline.cli.output import note
from strandline.cli.place import Place, open_place
from strandline.cli.resource_options import (
    filename_option,
    recursive_option,
    selector_option,
    targets_argument,
)
from strandline.spec.errors import NotFoundError
from strandline.spec.v1alpha1 import KINDS

if TYPE_CHECKING:
    from strandline.ports import Resource


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
    place.finish_deletion(found, options["wait"])
    if missing and not ignore_not_found:
        raise NotFoundError("; ".join(missing))
    if not found and not missing:
        note("No resources found")


def _doomed(
    place: Place, words: Sequence[str], options: dict[str, Any]
) -> tuple[list[Resource], list[str]]:
    from strandline.cli.resource_input import read_documents
    from strandline.cli.resource_names import Target, read_selector, read_targets, resolve

    if options["filenames"]:
        if words:
            raise click.UsageError("give either -f or names, not both")
        documents = read_documents(options["filenames"], options["recursive"])
        place.accept(documents, here=True)
        named = [Target(d.model.kind, d.model.metadata.name) for d in documents]
        return resolve(place, named)
    targets = read_targets(words)
    whole_kind = any(target.name is None for target in targets)
    if whole_kind and not (options["everything"] or options["selector"]):
        raise click.UsageError("name the objects to delete, select them with -l, or say --all")
    return resolve(place, targets, read_selector(options["selector"]))


def _delete_one(place: Place, resource: Resource, output: str) -> None:
    from strandline.cli.resource_names import shown

    place.delete(resource)
    if output == "name":
        click.echo(shown(resource.kind, resource.name))
    else:
        click.echo(f'{KINDS[resource.kind].names.singular} "{resource.name}" deleted')
