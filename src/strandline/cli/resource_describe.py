"""`strandline describe`: everything a person asks about one object, on one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import yaml

from strandline.cli.output import print_table, printable
from strandline.cli.resource_output import age, is_cluster_scoped
from strandline.cli.search_table import shorten_candidate
from strandline.ports import Catalog, Resource
from strandline.spec.records import Event, Trial, TrialState
from strandline.spec.v1alpha1 import API_VERSION

if TYPE_CHECKING:
    from strandline.cli.place import Place

_BEST_SHOWN = 5
_EVENTS_SHOWN = 20
_VERSIONS_SHOWN = 10
_PAGE = 1000
_MOST_PAIRS = 24


def describe(place: Place, resource: Resource) -> None:
    """Print the page of one object."""
    now = place.clock.now()
    _print_head(resource, now, place.catalog is None and not is_cluster_scoped(resource.kind))
    _print_block("Spec", resource.spec)
    status = {key: each for key, each in resource.status.items() if key != "conditions"}
    _print_block("Status", status)
    _print_conditions(resource.status.get("conditions", ()), now)
    if place.catalog is not None:
        _print_rows(place.catalog, resource, now)
    _print_events(place.events(resource, _EVENTS_SHOWN), now)


def _print_rows(catalog: Catalog, resource: Resource, now: datetime) -> None:
    """Print what only the catalog knows."""
    if resource.kind == "Search":
        _print_trials(catalog, resource)
    if resource.kind == "Dataset":
        _print_dataset_versions(catalog, resource.name, now)
    if resource.kind == "Model":
        _print_model_versions(catalog, resource.name, now)


def _print_head(resource: Resource, now: datetime, shows_namespace: bool) -> None:
    facts = {
        "Name": resource.name,
        **({"Namespace": resource.namespace} if shows_namespace else {}),
        "Labels": _pairs(resource.labels),
        "Annotations": _pairs(resource.annotations),
        "API Version": API_VERSION,
        "Kind": resource.kind,
        "Generation": str(resource.generation),
        "Created": f"{resource.created_at:%Y-%m-%d %H:%M:%S %Z} ({age(resource.created_at, now)})",
    }
    for name, value in facts.items():
        click.echo(f"{name + ':':<14}{printable(value)}")


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(values.items())) or "<none>"


def _print_block(title: str, value: Mapping[str, Any]) -> None:
    if not value:
        return
    click.echo(f"{title}:")
    # YAML escapes control characters in what came from outside.
    text = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)
    click.echo("".join(f"  {line}\n" for line in text.splitlines()), nl=False)


def _print_conditions(conditions: Sequence[Mapping[str, Any]], now: datetime) -> None:
    if not conditions:
        return
    click.echo("Conditions:")
    rows = [
        (
            f"  {each['type']}",
            each["status"],
            each["reason"],
            age(datetime.fromisoformat(each["lastTransitionTime"]), now),
            each["message"],
        )
        for each in conditions
    ]
    print_table(("  TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"), rows)


def all_trials(catalog: Catalog, uid: str) -> Iterator[Trial]:
    """Iterate over the trials of a search, page by page."""
    after = -1
    while page := catalog.list_trials(uid, limit=_PAGE, after=after):
        yield from page
        after = page[-1].number


def _print_trials(catalog: Catalog, resource: Resource) -> None:
    objective = resource.spec["objectives"][0]
    metric, sign = objective["metric"], -1 if objective.get("goal") == "maximize" else 1
    states: Counter[TrialState] = Counter()
    failures: Counter[str] = Counter()
    best: list[Trial] = []
    for trial in all_trials(catalog, resource.uid):
        states[trial.state] += 1
        if trial.failure:
            failures[trial.failure.kind.value] += 1
        if metric in trial.metrics and trial.state is not TrialState.FAILED:
            best.append(trial)
            best.sort(key=lambda each: sign * each.metrics[metric])
            del best[_BEST_SHOWN:]
    counts = ", ".join(f"{states[state]} {state.value}" for state in TrialState if states[state])
    click.echo(f"{'Trials:':<14}{counts or 'none yet'}")
    if failures:
        said = ", ".join(f"{number} {kind}" for kind, number in failures.most_common())
        click.echo(f"{'Failures:':<14}{said}")
    if best:
        rows = [(f"  {t.number}", t.state, t.metrics[metric], _pairs_of(t)) for t in best]
        print_table(("  TRIAL", "STATE", metric.upper(), "CANDIDATE"), rows)


def _pairs_of(trial: Trial) -> str:
    if len(trial.candidate) > _MOST_PAIRS:  # a cell: `search cell` shows and draws it
        return shorten_candidate(trial.candidate)
    return ", ".join(f"{key}={value}" for key, value in trial.candidate.items())


def _print_dataset_versions(catalog: Catalog, name: str, now: datetime) -> None:
    versions = catalog.list_dataset_versions(name)[-_VERSIONS_SHOWN:]
    if versions:
        click.echo("Versions:")
        rows = [
            (f"  {v.version}", v.items, v.labeled, len(v.labels), v.digest, age(v.created_at, now))
            for v in versions
        ]
        print_table(("  VERSION", "ITEMS", "LABELED", "LABELS", "DIGEST", "AGE"), rows)


def _print_model_versions(catalog: Catalog, name: str, now: datetime) -> None:
    versions = catalog.list_model_versions(name)[-_VERSIONS_SHOWN:]
    if versions:
        click.echo("Versions:")
        rows = [
            (f"  {v.version}", v.dataset, _metrics(v.metrics), v.bundle, age(v.created_at, now))
            for v in versions
        ]
        print_table(("  VERSION", "DATASET", "METRICS", "BUNDLE", "AGE"), rows)


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:.4f}" for name, value in sorted(metrics.items()))


def _print_events(events: Sequence[Event], now: datetime) -> None:
    if not events:
        click.echo(f"{'Events:':<14}<none>")
        return
    click.echo("Events:")
    rows = [(f"  {e.type}", e.reason, age(e.at, now), e.message) for e in events]
    print_table(("  TYPE", "REASON", "AGE", "MESSAGE"), rows)
