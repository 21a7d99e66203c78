"""`ports.Catalog` on SQLAlchemy: each call one transaction, durable when it returns."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, Table, delete, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from strandline.adapters.sql import schema
from strandline.ports import Resource
from strandline.spec.errors import ConflictError, NotFoundError, UnavailableError
from strandline.spec.records import DatasetVersion, Event, ModelVersion, Record, Trial

_EVENTS_KEPT = 1000
_CREATE_ATTEMPTS = 20
AnyRecord = TypeVar("AnyRecord", bound=Record)


class SqlCatalog:
    """`ports.Catalog` in the database of `engine`, whose tables are up to date."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    # ------------------------------------------------------------ resources

    def apply_resource(
        self,
        kind: str,
        name: str,
        spec: Mapping[str, Any],
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> tuple[Resource, str]:
        wanted = {
            "spec": dict(spec),
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
        }
        with self._transaction() as db:
            row = db.execute(_of(kind, name).with_for_update()).one_or_none()
            if row is None:
                return _resource(_create_resource(db, kind, name, wanted)), "created"
            if all(getattr(row, field) == value for field, value in wanted.items()):
                return _resource(row), "unchanged"
            changed = {
                **wanted,
                "generation": row.generation + (row.spec != wanted["spec"]),
                "resource_version": row.resource_version + 1,
            }
            db.execute(_update_of(kind, name).values(changed))
            return _resource(db.execute(_of(kind, name)).one()), "configured"

    def get_resource(self, kind: str, name: str) -> Resource:
        with self._transaction() as db:
            row = db.execute(_of(kind, name)).one_or_none()
        return _resource(_found(row, kind, name))

    def list_resources(
        self,
        kind: str,
        selector: Mapping[str, str] | None = None,
        limit: int = 500,
        after: str | None = None,
    ) -> Sequence[Resource]:
        table = schema.resources
        query = select(table).where(table.c.kind == kind)
        for key, value in (selector or {}).items():
            query = query.where(table.c.labels[key].as_string() == value)
        if after is not None:
            query = query.where(table.c.name > after)
        with self._transaction() as db:
            rows = db.execute(query.order_by(table.c.name).limit(limit)).all()
        return [_resource(row) for row in rows]

    def update_status(
        self,
        kind: str,
        name: str,
        status: Mapping[str, Any],
        resource_version: int | None = None,
    ) -> Resource:
        with self._transaction() as db:
            row = _found(db.execute(_of(kind, name).with_for_update()).one_or_none(), kind, name)
            if resource_version is not None and row.resource_version != resource_version:
                raise ConflictError(
                    f"{kind.lower()}/{name} was changed by somebody else: read it again, then retry"
                )
            values = {"status": dict(status), "resource_version": row.resource_version + 1}
            db.execute(_update_of(kind, name).values(values))
            return _resource(db.execute(_of(kind, name)).one())

    def delete_resource(self, kind: str, name: str) -> None:
        with self._transaction() as db:
            row = _found(db.execute(_of(kind, name)).one_or_none(), kind, name)
            _delete_owned(db, kind, name, row.uid)
            table = schema.resources
            db.execute(delete(table).where(table.c.kind == kind, table.c.name == name))

    # ------------------------------------------------------------ events

    def record_event(self, event: Event) -> None:
        table = schema.events
        mine = (table.c.kind == event.kind) & (table.c.name == event.name)
        with self._transaction() as db:
            db.execute(insert(table).values(**event.model_dump()))
            newest = select(table.c.id).where(mine).order_by(table.c.id.desc())
            oldest_kept = db.execute(newest.offset(_EVENTS_KEPT - 1).limit(1)).scalar()
            if oldest_kept is not None:
                db.execute(delete(table).where(mine, table.c.id < oldest_kept))

    def list_events(self, kind: str, name: str, limit: int = 100) -> Sequence[Event]:
        table = schema.events
        query = select(table).where(table.c.kind == kind, table.c.name == name)
        with self._transaction() as db:
            rows = db.execute(query.order_by(table.c.id.desc()).limit(limit)).all()
        return [
            Event(
                kind=row.kind,
                name=row.name,
                type=row.type,
                reason=row.reason,
                message=row.message,
                at=_utc(row.at),
            )
            for row in reversed(rows)
        ]

    # ------------------------------------------------------------ versions

    def add_dataset_version(self, version: DatasetVersion) -> DatasetVersion:
        return self._add_version(schema.dataset_versions, version, version.dataset, version.digest)

    def get_dataset_version(self, dataset: str, version: int | None = None) -> DatasetVersion:
        return self._get_version(schema.dataset_versions, DatasetVersion, dataset, version)

    def list_dataset_versions(self, dataset: str) -> Sequence[DatasetVersion]:
        return self._list_versions(schema.dataset_versions, DatasetVersion, dataset)

    def add_model_version(self, version: ModelVersion) -> ModelVersion:
        return self._add_version(schema.model_versions, version, version.model, version.bundle)

    def get_model_version(self, model: str, version: int | None = None) -> ModelVersion:
        return self._get_version(schema.model_versions, ModelVersion, model, version)

    def list_model_versions(self, model: str) -> Sequence[ModelVersion]:
        return self._list_versions(schema.model_versions, ModelVersion, model)

    def _add_version(self, table: Table, record: AnyRecord, name: str, digest: str) -> AnyRecord:
        owner, _, mark, _ = table.c
        newest = select(table).where(owner == name).order_by(table.c.version.desc()).limit(1)
        for _attempt in range(_CREATE_ATTEMPTS):
            try:
                with self._transaction() as db:
                    row = db.execute(newest).one_or_none()
                    if row is not None and row[2] == digest:
                        return type(record).model_validate(row.record)
                    number = 1 if row is None else row.version + 1
                    numbered = record.model_copy(update={"version": number})
                    values = {
                        owner.name: name,
                        "version": number,
                        mark.name: digest,
                        "record": numbered.model_dump(mode="json"),
                    }
                    db.execute(insert(table).values(values))
                    return numbered
            except IntegrityError:
                continue  # somebody took the number in between: PostgreSQL only
        raise ConflictError(f"too many writers add versions of {name}: try again")

    def _get_version(
        self, table: Table, cls: type[AnyRecord], name: str, version: int | None
    ) -> AnyRecord:
        owner = table.c[0]
        query = select(table.c.record).where(owner == name)
        if version is not None:
            query = query.where(table.c.version == version)
        with self._transaction() as db:
            found = db.execute(query.order_by(table.c.version.desc()).limit(1)).scalar()
        if found is None:
            which = f" version {version}" if version is not None else ""
            raise NotFoundError(
                f"there is no {owner.name} {name!r}{which}; "
                f"`strandline {owner.name}s list` shows what there is"
            )
        return cls.model_validate(found)

    def _list_versions(self, table: Table, cls: type[AnyRecord], name: str) -> Sequence[AnyRecord]:
        query = select(table.c.record).where(table.c[0] == name).order_by(table.c.version)
        with self._transaction() as db:
            return [cls.model_validate(record) for record in db.execute(query).scalars()]

    # ------------------------------------------------------------ trials

    def record_trial(self, trial: Trial) -> None:
        values = {
            "search": trial.search,
            "number": trial.number,
            "state": trial.state.value,
            "record": _finite(trial.model_dump(mode="json")),
        }
        table = schema.trials
        mine = (table.c.search == trial.search) & (table.c.number == trial.number)
        with self._transaction() as db:
            if not db.execute(update(table).where(mine).values(values)).rowcount:
                db.execute(insert(table).values(values))

    def list_trials(self, search: str, limit: int = 1000, after: int = -1) -> Sequence[Trial]:
        table = schema.trials
        query = select(table.c.record).where(table.c.search == search, table.c.number > after)
        with self._transaction() as db:
            records = db.execute(query.order_by(table.c.number).limit(limit)).scalars().all()
        return [Trial.model_validate(record) for record in records]

    def record_metrics(
        self, search: str, number: int, step: int, metrics: Mapping[str, float]
    ) -> None:
        table = schema.metrics
        key = {"search": search, "number": number, "step": step}
        mine = [table.c[name] == value for name, value in key.items()]
        rows = [
            {**key, "metric": metric, "value": value if math.isfinite(value) else None}
            for metric, value in metrics.items()
        ]
        with self._transaction() as db:
            db.execute(delete(table).where(*mine))
            if rows:
                db.execute(insert(table), rows)

    def list_metrics(self, search: str, number: int) -> Sequence[tuple[int, Mapping[str, float]]]:
        table = schema.metrics
        query = select(table).where(table.c.search == search, table.c.number == number)
        steps: dict[int, dict[str, float]] = {}
        with self._transaction() as db:
            for row in db.execute(query.order_by(table.c.step, table.c.metric)):
                value = math.nan if row.value is None else row.value
                steps.setdefault(row.step, {})[row.metric] = value
        return list(steps.items())

    # ------------------------------------------------------------ pointers

    def read_pointer(self, name: str) -> str | None:
        table = schema.pointers
        with self._transaction() as db:
            found: str | None = db.execute(
                select(table.c.value).where(table.c.name == name)
            ).scalar()
        return found

    def swap_pointer(self, name: str, expected: str | None, new: str | None) -> bool:
        table = schema.pointers
        if expected is None:
            return self._create_pointer(name, new)
        mine = (table.c.name == name) & (table.c.value == expected)
        change = delete(table).where(mine)
        with self._transaction() as db:
            done = db.execute(
                change if new is None else update(table).where(mine).values(value=new)
            )
            return bool(done.rowcount)

    def _create_pointer(self, name: str, new: str | None) -> bool:
        if new is None:
            return self.read_pointer(name) is None
        try:
            with self._transaction() as db:
                db.execute(insert(schema.pointers).values(name=name, value=new))
        except IntegrityError:
            return False
        return True

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except DBAPIError as error:
            where = self._engine.url.render_as_string()
            raise UnavailableError(f"the catalog {where} does not answer: {error.orig}") from error


def _of(kind: str, name: str) -> Select[Any]:
    table = schema.resources
    return select(table).where(table.c.kind == kind, table.c.name == name)


def _update_of(kind: str, name: str) -> Any:
    table = schema.resources
    return update(table).where(table.c.kind == kind, table.c.name == name)


def _create_resource(db: Connection, kind: str, name: str, wanted: Mapping[str, Any]) -> Row[Any]:
    values = {
        "kind": kind,
        "name": name,
        "uid": str(uuid.uuid4()),
        "generation": 1,
        "resource_version": 1,
        "status": {},
        "created_at": datetime.now(UTC),
        **wanted,
    }
    db.execute(insert(schema.resources).values(values))
    return db.execute(_of(kind, name)).one()


def _delete_owned(db: Connection, kind: str, name: str, uid: str) -> None:
    """Delete what only this resource owns."""
    events = schema.events
    db.execute(delete(events).where(events.c.kind == kind, events.c.name == name))
    if kind == "Search":
        for table in (schema.trials, schema.metrics):
            db.execute(delete(table).where(table.c.search == uid))
    elif kind == "Dataset":
        versions = schema.dataset_versions
        db.execute(delete(versions).where(versions.c.dataset == name))
    elif kind == "Model":
        versions = schema.model_versions
        db.execute(delete(versions).where(versions.c.model == name))


def _found(row: Row[Any] | None, kind: str, name: str) -> Row[Any]:
    if row is None:
        raise NotFoundError(f"there is no {kind.lower()} {name!r}")
    return row


def _resource(row: Row[Any]) -> Resource:
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
        created_at=_utc(row.created_at),
    )


def _utc(moment: datetime) -> datetime:
    """SQLite gives times back without their zone; all are stored as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """Leave out metrics that JSON cannot hold; the trial's failure tells of them."""
    metrics = record["metrics"]
    kept = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return {**record, "metrics": kept}
