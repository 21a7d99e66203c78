"""`strandline apply`: make objects be as the documents say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from strandline.cli.place import open_place
from strandline.cli.resource_options import filename_option, recursive_option

if TYPE_CHECKING:
    from strandline.ports import Resource

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
    place = open_place()
    accepted = place.accept(documents)
    outcomes = [place.apply(document, dry_run != "none") for document in accepted]
    if dry_run == "none":
        place.pick_up([resource for resource, _ in outcomes])
    _print_applied(outcomes, output, " (dry run)" if dry_run != "none" else "")


def _print_applied(outcomes: Sequence[tuple[Resource, str]], form: str, suffix: str) -> None:
    from strandline.cli.resource_names import shown
    from strandline.cli.resource_output import print_documents, to_document

    if form in ("json", "yaml"):
        print_documents(form, [to_document(each) for each, _ in outcomes], single=True)
        return
    for resource, outcome in outcomes:
        name = shown(resource.kind, resource.name)
        click.echo(name if form == "name" else f"{name} {outcome}{suffix}")
