"""`strandline get` and `describe`: show objects."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from strandline.cli.output import note
from strandline.cli.place import Place, open_place
from strandline.cli.resource_options import selector_option, targets_argument
from strandline.spec.errors import InvalidSpecError, NotFoundError

if TYPE_CHECKING:
    from strandline.cli.resource_names import Requirement, Target
    from strandline.ports import Resource

_FORMS = ("table", "wide", "json", "yaml", "name", "jsonpath")


@click.command()
@targets_argument
@click.option("-o", "--output", default="table", help=", ".join(_FORMS) + "=PATH.")
@selector_option
@click.option("--sort-by", default=None, help="JSONPath to order by, e.g. .metadata.name.")
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Most objects a kind.")
@click.option("--continue", "after", default=None, help="Go on where --limit ended.")
@click.option("-w", "--watch", is_flag=True, help="Go on and print what changes.")
@click.option("--no-headers", is_flag=True, help="Leave out the headings.")
@click.option("--ignore-not-found", is_flag=True, help="Not finding is no error.")
def get(words: tuple[str, ...], output: str, watch: bool, **options: Any) -> None:
    """List objects.

    \b
    strandline get all
    strandline get searches -l team=birds -o wide
    strandline get search/coast-quick -o yaml
    """
    from strandline.cli.resource_names import read_selector, read_targets
    from strandline.cli.resource_output import check_form

    check_form(output, _FORMS)
    targets = read_targets(words)
    requirements = read_selector(options["selector"])
    place = open_place()
    if watch:
        _watch(place, targets, requirements, output)
        return
    found, missing, more = _look(place, targets, requirements, options)
    single = any(target.name for target in targets) and len(targets) == 1
    prefixed = len({target.kind for target in targets}) > 1
    _print_found(place, found, output, single, prefixed, options, more)
    if missing and not options["ignore_not_found"]:
        raise NotFoundError("; ".join(missing))


def _look(
    place: Place,
    targets: Sequence[Target],
    requirements: Sequence[Requirement],
    options: dict[str, Any],
) -> tuple[list[Resource], list[str], str | None]:
    """Return the objects meant, those not there, and where a longer list goes on."""
    from strandline.cli.resource_names import resolve, select
    from strandline.cli.resource_output import sort_resources

    limit, after = options["limit"], options["after"]
    more = None
    if limit is None and after is None:
        found, missing = resolve(place, targets, requirements)
    else:
        if len(targets) != 1 or targets[0].name:
            raise InvalidSpecError("--limit and --continue take one kind and no names")
        listed = select(place, targets[0].kind, requirements, after)
        found, missing = list(islice(listed, limit)), []
        if next(listed, None) is not None:
            more = found[-1].name
    current = [place.current(each) for each in found]
    return sort_resources(current, options["sort_by"]), missing, more


def _print_found(
    place: Place,
    found: Sequence[Resource],
    output: str,
    single: bool,
    prefixed: bool,
    options: dict[str, Any],
    more: str | None,
) -> None:
    from strandline.cli import resource_output as show
    from strandline.cli.resource_names import shown

    if output == "name":
        for each in found:
            click.echo(shown(each.kind, each.name))
    elif output in ("table", "wide"):
        wide, now = output == "wide", place.clock.now()
        show.print_resources(found, now, wide, prefixed, headings=not options["no_headers"])
        if not found:
            note("No resources found")
    elif found or not single:
        show.print_documents(output, [show.to_document(each) for each in found], single, more)
    if more:
        note(f"There is more: go on with --continue {more}")


def _watch(
    place: Place,
    targets: Sequence[Target],
    requirements: Sequence[Requirement],
    output: str,
) -> None:
    from strandline.cli import resource_output as show

    prefixed = len({target.kind for target in targets}) > 1
    headed: set[str] = set()
    for found in place.changes(targets):
        changed = [each for each in found if all(r.accepts(each.labels) for r in requirements)]
        if output in ("table", "wide"):
            for kind in dict.fromkeys(each.kind for each in changed):
                rows = [each for each in changed if each.kind == kind]
                now, wide = place.clock.now(), output == "wide"
                show.print_resources(rows, now, wide, prefixed, headings=kind not in headed)
                headed.add(kind)
            continue
        for each in changed:
            _print_found(place, [each], output, True, prefixed, {}, None)


@click.command()
@targets_argument
@selector_option
def describe(words: tuple[str, ...], selector: str | None) -> None:
    """Show everything about objects: spec, status, conditions, trials or versions, events."""
    from strandline.cli.resource_describe import describe as describe_one
    from strandline.cli.resource_names import read_selector, read_targets, resolve

    place = open_place()
    targets = read_targets(words)
    found, missing = resolve(place, targets, read_selector(selector))
    for index, resource in enumerate(found):
        if index:
            click.echo("\n")
        describe_one(place, place.current(resource))
    if missing:
        raise NotFoundError("; ".join(missing))
    if not found:
        note("No resources found")
