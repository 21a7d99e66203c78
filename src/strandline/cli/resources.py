"""kubectl's habits on the local catalog: apply, get, describe, delete, wait, logs.

The functions here read the command line and print; what is behind each option stands in
the `resource_*` modules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from strandline.cli.completion import complete_names
from strandline.cli.output import note, print_table
from strandline.spec.errors import InvalidSpecError, NotFoundError, UnavailableError
from strandline.spec.v1alpha1 import KINDS

if TYPE_CHECKING:
    from strandline.cli.resource_names import Requirement, Target
    from strandline.compose import Platform
    from strandline.ports import Resource
    from strandline.spec.documents import Document

_APPLY_FORMS = ("text", "json", "yaml", "name")
_GET_FORMS = ("table", "wide", "json", "yaml", "name", "jsonpath")
_STOP_SECONDS = 30.0

sleep: Callable[[float], None] = time.sleep
"""Every wait of these commands goes through here, so that a test decides it."""


def open_place() -> Platform:
    """Open the catalog and store that the environment names."""
    from strandline import compose

    return compose.local()


def _start_agent(place: Platform) -> None:
    from strandline.cli.agent import start_agent

    start_agent(place)


_filename = click.option(
    "-f", "--filename", "filenames", multiple=True, metavar="FILE|DIR|-", help="Documents to read."
)
_recursive = click.option("-R", "--recursive", is_flag=True, help="Read folders in folders too.")
_selector = click.option(
    "-l", "--selector", default=None, help="Labels, e.g. team=birds,stage!=test."
)
_targets = click.argument("words", nargs=-1, metavar="KIND [NAME…] | KIND/NAME…")


# ---------------------------------------------------------------- apply


@click.command()
@_filename
@_recursive
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

    check_form(output, _APPLY_FORMS)
    if not filenames:
        raise click.UsageError("say what to apply: -f FILE, -f DIR or -f - for stdin")
    documents = read_documents(filenames, recursive)
    _note_namespaces(documents)
    place = open_place()
    outcomes = [_apply_one(place, document, dry_run != "none") for document in documents]
    if dry_run == "none" and _needs_agent(resource for resource, _ in outcomes):
        _start_agent(place)
    _print_applied(outcomes, output, " (dry run)" if dry_run != "none" else "")


def _note_namespaces(documents: Sequence[Document]) -> None:
    others = {d.model.metadata.namespace for d in documents} - {"default"}
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


def _needs_agent(resources: Any) -> bool:
    from strandline.spec.conditions import is_settled

    return any(not is_settled(each.status, each.generation) for each in resources)


def _print_applied(outcomes: Sequence[tuple[Resource, str]], form: str, suffix: str) -> None:
    from strandline.cli.resource_names import shown
    from strandline.cli.resource_output import print_documents, to_document

    if form in ("json", "yaml"):
        print_documents(form, [to_document(each) for each, _ in outcomes], single=True)
        return
    for resource, outcome in outcomes:
        name = shown(resource.kind, resource.name)
        click.echo(name if form == "name" else f"{name} {outcome}{suffix}")


# ---------------------------------------------------------------- get


@click.command()
@_targets
@click.option("-o", "--output", default="table", help=", ".join(_GET_FORMS) + "=PATH.")
@_selector
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

    check_form(output, _GET_FORMS)
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
    place: Platform,
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
        found, missing = resolve(place.catalog, targets, requirements)
    else:
        if len(targets) != 1 or targets[0].name:
            raise InvalidSpecError("--limit and --continue take one kind and no names")
        listed = select(place.catalog, targets[0].kind, requirements, after)
        found, missing = list(islice(listed, limit)), []
        if next(listed, None) is not None:
            more = found[-1].name
    current = [_with_current_status(place, each) for each in found]
    return sort_resources(current, options["sort_by"]), missing, more


def _with_current_status(place: Platform, resource: Resource) -> Resource:
    """Fill in a Model's status: its versions decide it, and no job writes it."""
    if resource.kind != "Model":
        return resource
    from dataclasses import replace

    from strandline.adapters.local_agent import observe
    from strandline.control.reconcile import model_status
    from strandline.spec.actions import JobView

    observed = observe(place.catalog, resource, JobView(), place.clock)
    return replace(resource, status=model_status(resource, observed))


def _print_found(
    place: Platform,
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
    place: Platform,
    targets: Sequence[Target],
    requirements: Sequence[Requirement],
    output: str,
    rounds: int | None = None,
) -> None:
    from strandline.cli import resource_output as show
    from strandline.cli.resource_names import resolve
    from strandline.cli.resource_wait import changes

    def look() -> list[Resource]:
        return resolve(place.catalog, targets, requirements)[0]

    prefixed = len({target.kind for target in targets}) > 1
    headed: set[str] = set()
    for changed in changes(look, sleep, rounds):
        if output in ("table", "wide"):
            for kind in dict.fromkeys(each.kind for each in changed):
                rows = [each for each in changed if each.kind == kind]
                now, wide = place.clock.now(), output == "wide"
                show.print_resources(rows, now, wide, prefixed, headings=kind not in headed)
                headed.add(kind)
            continue
        for each in changed:
            _print_found(place, [each], output, True, prefixed, {}, None)


# ---------------------------------------------------------------- describe


@click.command()
@_targets
@_selector
def describe(words: tuple[str, ...], selector: str | None) -> None:
    """Show everything about objects: spec, status, conditions, trials or versions, events."""
    from strandline.cli.resource_describe import describe as describe_one
    from strandline.cli.resource_names import read_selector, read_targets, resolve

    place = open_place()
    targets = read_targets(words)
    found, missing = resolve(place.catalog, targets, read_selector(selector))
    for index, resource in enumerate(found):
        if index:
            click.echo("\n")
        describe_one(place.catalog, _with_current_status(place, resource), place.clock.now())
    if missing:
        raise NotFoundError("; ".join(missing))
    if not found:
        note("No resources found")


# ---------------------------------------------------------------- delete


@click.command()
@_targets
@_filename
@_recursive
@_selector
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
    _start_agent(place)
    deadline = place.clock.monotonic() + _STOP_SECONDS
    while wait and any(map(is_held, locks)):
        if place.clock.monotonic() >= deadline:
            raise UnavailableError("deleted, but a job has not stopped yet; it will be ended")
        sleep(0.2)


# ---------------------------------------------------------------- wait


@click.command()
@_targets
@_selector
@click.option("--all", "everything", is_flag=True, help="All objects of the kind.")
@click.option(
    "--for",
    "goal_text",
    required=True,
    metavar="GOAL",
    help="condition=Complete, condition=Ready=False, delete or jsonpath='{.path}'=value.",
)
@click.option("--timeout", default="30s", show_default=True, help="0 looks once, -1 a week.")
def wait(
    words: tuple[str, ...],
    selector: str | None,
    everything: bool,
    goal_text: str,
    timeout: str,
) -> None:
    """Wait until objects are as asked; exit 1 when they are not in time.

    Waiting for Complete or Ready ends at once, with exit code 12, when the object failed.
    """
    from strandline.cli.resource_names import read_selector, read_targets
    from strandline.cli.resource_wait import read_goal, read_timeout, wait_for

    goal, limit = read_goal(goal_text), read_timeout(timeout) or timedelta(0)
    place = open_place()
    targets = _awaited(place, read_targets(words), read_selector(selector), everything)
    if not goal.deletion:
        _start_agent_for(place, targets)
    deadline = place.clock.monotonic() + limit.total_seconds()
    for target in targets:
        wait_for(place.catalog, target, goal, deadline, place.clock, sleep)
        click.echo(f"{target} {'deleted' if goal.deletion else 'condition met'}")


def _awaited(
    place: Platform,
    targets: Sequence[Target],
    requirements: Sequence[Requirement],
    everything: bool,
) -> list[Target]:
    from strandline.cli.resource_names import Target, select

    if any(target.name is None for target in targets) and not (requirements or everything):
        raise click.UsageError("name the objects to wait for, select them with -l, or say --all")
    awaited: list[Target] = []
    for target in targets:
        if target.name is not None:
            awaited.append(target)
            continue
        listed = select(place.catalog, target.kind, requirements)
        awaited += [Target(each.kind, each.name) for each in listed]
    return awaited


def _start_agent_for(place: Platform, targets: Sequence[Target]) -> None:
    """Pick up what a killed agent or job left behind."""
    from strandline.cli.resource_names import resolve

    found, missing = resolve(place.catalog, targets)
    if missing:
        raise NotFoundError("; ".join(missing))
    if _needs_agent(each for each in found if each.kind != "Model"):
        _start_agent(place)


# ---------------------------------------------------------------- logs


@click.command()
@click.argument("word", metavar="KIND/NAME", shell_complete=complete_names("Search"))
@click.option("-f", "--follow", "follow_it", is_flag=True, help="Go on until the job is over.")
@click.option("--tail", "lines", type=int, default=-1, help="Last lines only; -1: all.")
@click.option("-p", "--previous", is_flag=True, help="The older part of a long log.")
def logs(word: str, follow_it: bool, lines: int, previous: bool) -> None:
    """Print what the job of an object said: `strandline logs search/coast-quick -f`."""
    from strandline.adapters.local_jobs import log_path
    from strandline.cli.resource_logs import follow, readable, tail_offset
    from strandline.cli.resource_names import Target, find_kind, read_targets

    target = read_targets([word])[0] if "/" in word else Target(find_kind("search"), word)
    if target.name is None or target.kind == "Model":
        raise InvalidSpecError("logs are of one job: write search/NAME or dataset/NAME")
    place = open_place()
    resource = place.catalog.get_resource(target.kind, target.name)
    log = log_path(place.settings.runs_dir, resource.kind, resource.uid)
    if previous:
        log = log.with_name("log.1.txt")
    if not log.exists():
        note(f"{target} has no log yet")
    over = (lambda: _is_over(place, resource)) if follow_it else (lambda: True)
    for text in readable(follow(log, tail_offset(log, lines), over, sleep)):
        click.echo(text, nl=False)


def _is_over(place: Platform, resource: Resource) -> bool:
    """Return whether no further word will come: no job, and none to come by itself."""
    from strandline.adapters.local_jobs import lock_path
    from strandline.adapters.run_lock import is_held
    from strandline.spec.conditions import SUSPENDED, is_settled, is_true

    if is_held(lock_path(place.settings.runs_dir, resource.kind, resource.uid)):
        return False
    try:
        now = place.catalog.get_resource(resource.kind, resource.name)
    except NotFoundError:
        return True
    return is_settled(now.status, now.generation) or is_true(now.status, SUSPENDED)


@click.command("api-resources")
def api_resources() -> None:
    """List the kinds, their short names and what they are."""
    rows = [
        (m.names.plural, ",".join(m.names.short), kind, (m.__doc__ or "").splitlines()[0])
        for kind, m in KINDS.items()
    ]
    print_table(("NAME", "SHORTNAMES", "KIND", "MEANING"), rows)


COMMANDS: tuple[click.Command, ...] = (apply, get, describe, delete, wait, logs, api_resources)
