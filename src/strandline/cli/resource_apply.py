"""`strandline apply`: make objects be as the documents say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from strandline.cli.output import note
from strandline.cli.place import open_place, start_agent_for
from strandline.cli.resource_options import filename_option, recursive_option
from strandline.spec.errors import NotFoundError

if TYPE_CHECKING:
    from strandline.compose import Platform
    from strandline.ports import Resource
    from strandline.spec.documents import Document

_FORMS = ("text", "json", "yaml", "name")


@click.command()
@filename_option
@recursive_option
@click.option(
    "--dry-run",
    type=click.Choice(["none", "client", "server"]),
    is_flag=False,
    flag_value="client",
    default="none",
    help="Say what would happen, and change nothing.",
)
@click.option("-o", "--output", default="text", help="text, json, yaml or name.")
def apply(filenames: tuple[str, ...], recursive: bool, dry_run: str, output: str) -> None:
    """Create or change objects to be as the documents say.

    All documents are checked before the first is applied. Datasets are then imported and
    searches run in the background: follow them with `strandline wait` or `logs -f`.
    """
    from strandline.cli.resource_input import read_documents
    from strandline.cli.resource_output import check_form

    check_form(output, _FORMS)
    if not filenames:
        raise click.UsageError("say what to apply: -f FILE, -f DIR or -f - for stdin")
    documents = read_documents(filenames, recursive)
    _note_namespaces(documents)
    place = open_place()
    outcomes = [_apply_one(place, document, dry_run != "none") for document in documents]
    if dry_run == "none":
        start_agent_for(place, [resource for resource, _ in outcomes])
    _print_applied(outcomes, output, " (dry run)" if dry_run != "none" else "")


def _note_namespaces(documents: Sequence[Document]) -> None:
    from strandline.cli.resource_output import is_cluster_scoped

    others = {
        each.model.metadata.namespace
        for each in documents
        if not is_cluster_scoped(each.model.kind)
    } - {"default"}
    if others:
        names = ", ".join(sorted(others))
        note(f"note: a laptop has one namespace only; {names} is taken for it")


def _apply_one(place: Platform, document: Document, dry_run: bool) -> tuple[Resource, str]:
    from strandline.spec.v1alpha1 import to_document

    model = document.model
    wanted = to_document(model)
    metadata = wanted["metadata"]
    arguments: tuple[Any, ...] = (
        model.kind,
        model.metadata.name,
        wanted["spec"],
        metadata["labels"],
        metadata["annotations"],
    )
    if dry_run:
        return _would_apply(place, *arguments)
    return place.catalog.apply_resource(*arguments)


def _would_apply(
    place: Platform,
    kind: str,
    name: str,
    spec: dict[str, Any],
    labels: dict[str, str],
    annotations: dict[str, str],
) -> tuple[Resource, str]:
    from dataclasses import replace

    from strandline.ports import Resource

    try:
        before = place.catalog.get_resource(kind, name)
    except NotFoundError:
        made = Resource(kind, name, "", 1, 0, labels, annotations, spec, {}, place.clock.now())
        return made, "created"
    wanted = replace(before, spec=spec, labels=labels, annotations=annotations)
    same = (dict(before.spec), dict(before.labels), dict(before.annotations)) == (
        spec,
        labels,
        annotations,
    )
    return wanted, "unchanged" if same else "configured"


def _print_applied(outcomes: Sequence[tuple[Resource, str]], form: str, suffix: str) -> None:
    from strandline.cli.resource_names import shown
    from strandline.cli.resource_output import print_documents, to_document

    if form in ("json", "yaml"):
        print_documents(form, [to_document(each) for each, _ in outcomes], single=True)
        return
    for resource, outcome in outcomes:
        name = shown(resource.kind, resource.name)
        click.echo(name if form == "name" else f"{name} {outcome}{suffix}")
