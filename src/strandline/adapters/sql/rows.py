"""Rows of the table of resources: read, made and changed inside a transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, or_, select, update

from strandline.adapters.sql import schema
from strandline.ports import Adoption, Resource
from strandline.spec.errors import InvalidSpecError, NotFoundError
from strandline.spec.records import canonical_json


def row_of(kind: str, name: str) -> Select[Any]:
    """Return the query of one row."""
    table = schema.resources
    return select(table).where(table.c.kind == kind, table.c.name == name)


def create_row(db: Connection, kind: str, name: str, wanted: Mapping[str, Any]) -> Row[Any]:
    """Insert a row of `wanted` and what a new one has besides."""
    values = {
        "kind": kind,
        "name": name,
        "uid": str(uuid.uuid4()),
        "generation": 1,
        "resource_version": 1,
        "labels": {},
        "annotations": {},
        "status": {},
        "created_at": datetime.now(UTC),
        **wanted,
    }
    db.execute(insert(schema.resources).values(values))
    return db.execute(row_of(kind, name)).one()


def change_row(db: Connection, kind: str, name: str, values: Mapping[str, Any]) -> Row[Any]:
    """Change these columns and return the row as it is then."""
    table = schema.resources
    db.execute(update(table).where(table.c.kind == kind, table.c.name == name).values(values))
    return db.execute(row_of(kind, name)).one()


def delete_owned(db: Connection, kind: str, name: str, uid: str) -> None:
    """Delete what only this resource owns."""
    events = schema.events
    db.execute(delete(events).where(events.c.kind == kind, events.c.name == name))
    if kind in ("Search", "Training"):
        for table in (schema.trials, schema.metrics):
            owned = or_(
                table.c.search == uid, table.c.search.startswith(f"{uid}/", autoescape=True)
            )
            db.execute(delete(table).where(owned))
    elif kind == "Dataset":
        versions = schema.dataset_versions
        db.execute(delete(versions).where(versions.c.dataset == name))
    elif kind == "Model":
        versions = schema.model_versions
        db.execute(delete(versions).where(versions.c.model == name))


def existing(row: Row[Any] | None, kind: str, name: str) -> Row[Any]:
    """Return the row. Raises NotFoundError: there is none."""
    if row is None:
        raise NotFoundError(f"there is no {kind.lower()} {name!r}")
    return row


def resource_of(row: Row[Any]) -> Resource:
    """Return the resource that a row stands for."""
    return Resource(
        kind=row.kind,
        name=row.name,
        uid=row.uid,
        generation=row.generation,
        resource_version=row.resource_version,
        labels=row.labels,
        annotations=row.annotations,
        spec=row.spec,
        status=row.status,
        created_at=utc(row.created_at),
        adopted=row.adopted,
    )


def utc(moment: datetime) -> datetime:
    """SQLite forgets the zone of a time, so all are stored as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def as_plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document as JSON gives it back: lists for tuples, and nothing shared.

    Raises:
        InvalidSpecError: it holds a number that JSON cannot hold (NaN, infinity).
    """
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(document), allow_nan=False))
    except ValueError as error:
        raise InvalidSpecError(f"the catalog cannot hold a document: {error}") from error
    return plain


def equal_json(one: Any, other: Any) -> bool:
    """Compare as JSON does: in Python `True == 1`."""
    return canonical_json(one) == canonical_json(other)


def adopt(db: Connection, adopted: Resource) -> tuple[Resource, Adoption]:
    """Do what `ports.Catalog.adopt_resource` promises, in this transaction."""
    kind, name = adopted.kind, adopted.name
    row = db.execute(row_of(kind, name).with_for_update()).one_or_none()
    spec, labels, notes = (
        as_plain(each) for each in (adopted.spec, adopted.labels, adopted.annotations)
    )
    wanted = {
        "uid": adopted.uid,
        "generation": adopted.generation,
        "spec": spec,
        "labels": labels,
        "annotations": notes,
    }
    anew = {**wanted, "status": {}, "adopted": True, "created_at": utc(adopted.created_at)}
    if row is None:
        return resource_of(create_row(db, kind, name, anew)), Adoption.CREATED
    if row.uid != adopted.uid:
        if row.adopted and utc(row.created_at) > utc(adopted.created_at):
            return resource_of(row), Adoption.STALE
        _delete_others(db, row)
        anew["resource_version"] = row.resource_version + 1
        return resource_of(change_row(db, kind, name, anew)), Adoption.REPLACED
    if row.generation > adopted.generation:
        return resource_of(row), Adoption.STALE
    if all(equal_json(getattr(row, column), value) for column, value in wanted.items()):
        return resource_of(row), Adoption.UNCHANGED
    wanted["resource_version"] = row.resource_version + 1
    return resource_of(change_row(db, kind, name, wanted)), Adoption.CONFIGURED


def _delete_others(db: Connection, row: Row[Any]) -> None:
    """Delete what the object owned that had this row before.

    Versions belong to a name. Those of a row that was made here are of this very object: a
    job registered them before the object was made for them.
    """
    if row.adopted or row.kind not in ("Dataset", "Model"):
        delete_owned(db, row.kind, row.name, row.uid)
