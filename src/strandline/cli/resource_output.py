"""Show objects the way kubectl does: tables from the printer columns, documents, names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from strandline.cli.jsonpath import find, find_one
from strandline.cli.output import print_structured, print_table, printable
from strandline.cli.resource_names import shown
from strandline.ports import Resource
from strandline.spec.errors import InvalidSpecError
from strandline.spec.naming import Column, Scope
from strandline.spec.v1alpha1 import API_VERSION, KINDS

Document = dict[str, Any]

_UNITS = (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def to_document(resource: Resource) -> Document:
    """Return the document of a stored object, as an apiserver would return it."""
    metadata: Document = {
        "name": resource.name,
        **({} if is_cluster_scoped(resource.kind) else {"namespace": resource.namespace}),
        "uid": resource.uid,
        "generation": resource.generation,
        "resourceVersion": str(resource.resource_version),
        "creationTimestamp": _stamp(resource.created_at),
    }
    if resource.labels:
        metadata["labels"] = dict(resource.labels)
    if resource.annotations:
        metadata["annotations"] = dict(resource.annotations)
    document: Document = {
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "metadata": metadata,
        "spec": dict(resource.spec),
    }
    if resource.status:
        document["status"] = dict(resource.status)
    return document


def is_cluster_scoped(kind: str) -> bool:
    """Return whether objects of this kind belong to no namespace."""
    return KINDS[kind].names.scope is Scope.CLUSTER


def to_list(documents: Sequence[Document], more_after: str | None = None) -> Document:
    """Return a List of documents; `more_after` is what `--continue` takes to go on."""
    metadata = {"resourceVersion": ""} | ({"continue": more_after} if more_after else {})
    return {"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": list(documents)}


def check_form(form: str | None, forms: Sequence[str]) -> None:
    """Check the value of `-o`.

    Raises:
        InvalidSpecError: there is no such form.
    """
    name = (form or forms[0]).partition("=")[0]
    if name not in forms:
        raise InvalidSpecError(f"-o {form} is not known: choose among {', '.join(forms)}")


def print_documents(
    form: str, documents: Sequence[Document], single: bool, more_after: str | None = None
) -> None:
    """Print as `json`, `yaml` or `jsonpath=…`: one document, or a List of them."""
    alone = single and len(documents) == 1
    value = documents[0] if alone else to_list(documents, more_after)
    if form.startswith("jsonpath="):
        found = find(form.removeprefix("jsonpath="), value)
        click.echo(" ".join(_plain(each) for each in found))
    else:
        print_structured(value, form)


def print_resources(
    resources: Sequence[Resource],
    now: datetime,
    wide: bool = False,
    prefixed: bool = False,
    headings: bool = True,
) -> None:
    """Print one table a kind; `prefixed` names objects as KIND/NAME."""
    kinds = list(dict.fromkeys(resource.kind for resource in resources))
    for place, kind in enumerate(kinds):
        if place:
            click.echo()
        rows = [
            row_of(resource, now, wide, prefixed) for resource in resources if resource.kind == kind
        ]
        print_rows(headings_of(kind, wide) if headings else None, rows)


def print_rows(headings: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns, with headings or without."""
    if headings is not None:
        print_table(headings, rows)
        return
    print_table(rows[0], rows[1:])


def headings_of(kind: str, wide: bool) -> list[str]:
    """Return the headings of a kind's table."""
    return ["NAME", *(column.name.upper() for column in _columns(kind, wide))]


def row_of(resource: Resource, now: datetime, wide: bool, prefixed: bool) -> list[str]:
    """Return the cells of one object."""
    document = to_document(resource)
    name = shown(resource.kind, resource.name) if prefixed else resource.name
    return [name, *(_cell(column, document, now) for column in _columns(resource.kind, wide))]


def _columns(kind: str, wide: bool) -> list[Column]:
    return [column for column in KINDS[kind].names.columns if wide or not column.wide]


def _cell(column: Column, document: Mapping[str, Any], now: datetime) -> str:
    value = find_one(column.path, document)
    if value is None or value == "":
        return ""
    if column.type == "date":
        return age(datetime.fromisoformat(value), now)
    if column.type == "boolean":
        return str(value).lower()
    if column.type == "number":
        return repr(float(value)).removesuffix(".0")  # the shortest exact form, as Go writes it
    return str(value)


def age(since: datetime, now: datetime) -> str:
    """Return the time passed in its largest unit, two while small: `45s`, `3m12s`, `5d`."""
    seconds = max(0, int((now - since) / timedelta(seconds=1)))
    for place, (unit, size) in enumerate(_UNITS[:-1]):
        if seconds < 2 * size:
            continue
        whole, rest = divmod(seconds, size)
        next_unit, next_size = _UNITS[place + 1]
        extra = rest // next_size if whole < 10 else 0
        return f"{whole}{unit}" + (f"{extra}{next_unit}" if extra else "")
    return f"{seconds}s"


def sort_resources(resources: Sequence[Resource], path: str | None) -> list[Resource]:
    """Return the objects ordered by the value at `path`; those without it come first.

    Raises:
        InvalidSpecError: the path cannot be read, or its values not be compared.
    """
    if not path:
        return list(resources)
    find(path, {})  # a path that cannot be read is wrong for an empty list too
    keyed = [(find_one(path, to_document(each)), each) for each in resources]
    present = [pair for pair in keyed if pair[0] is not None]
    try:
        present.sort(key=lambda pair: pair[0])
    except TypeError:
        raise InvalidSpecError(f"the values at {path} cannot be put in an order") from None
    return [each for value, each in keyed if value is None] + [each for _, each in present]


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return printable(value)
    return json.dumps(value, ensure_ascii=False)


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
