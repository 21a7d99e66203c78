"""`ports.Catalog` on SQLAlchemy: each call one transaction, durable when it returns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, delete, insert, select, update

from strandline.adapters.sql import schema
from strandline.adapters.sql.rows import (
    adopt,
    as_plain,
    change_row,
    create_row,
    delete_owned,
    equal_json,
    existing,
    resource_of,
    row_of,
    utc,
)
from strandline.adapters.sql.transactions import Transactions
from strandline.ports import Adoption, Resource, ResourceMark
from strandline.spec.errors import ConflictError, NotFoundError
from strandline.spec.records import (
    DatasetVersion,
    Event,
    ModelVersion,
    Record,
    Trial,
)

_EVENTS_KEPT = 1000
AnyRecord = TypeVar("AnyRecord", bound=Record)


class SqlCatalog:
    """`ports.Catalog` in a database whose tables are up to date; see `open_catalog`."""

    def __init__(self, transactions: Transactions) -> None:
        self._db = transactions

    def close(self) -> None:
        """Give the connections back."""
        self._db.close()

    # ------------------------------------------------------------ resources

    def apply_resource(
        self,
        kind: str,
        name: str,
        spec: Mapping[str, Any],
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> tuple[Resource, str]:
        given = {"spec": spec, "labels": labels, "annotations": annotations}
        wanted = {field: as_plain(value) for field, value in given.items() if value is not None}

        def apply(db: Connection) -> tuple[Resource, str]:
            row = db.execute(row_of(kind, name).with_for_update()).one_or_none()
            if row is None:
                return resource_of(create_row(db, kind, name, wanted)), "created"
            if all(equal_json(getattr(row, field), value) for field, value in wanted.items()):
                return resource_of(row), "unchanged"
            changed = {
                **wanted,
                "generation": row.generation + (not equal_json(row.spec, wanted["spec"])),
                "resource_version": row.resource_version + 1,
            }
            return resource_of(change_row(db, kind, name, changed)), "configured"

        return self._db.write(apply)

    def adopt_resource(self, adopted: Resource) -> tuple[Resource, Adoption]:
        return self._db.write(lambda db: adopt(db, adopted))

    def resource_versions(self) -> Sequence[ResourceMark]:
        table = schema.resources
        query = select(table.c.kind, table.c.name, table.c.uid, table.c.resource_version)
        rows = self._db.read(lambda db: db.execute(query).all())
        return [ResourceMark(*row) for row in rows]

    def get_resource(self, kind: str, name: str) -> Resource:
        row = self._db.read(lambda db: db.execute(row_of(kind, name)).one_or_none())
        return resource_of(existing(row, kind, name))

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
        query = query.order_by(table.c.name).limit(limit)
        return [resource_of(row) for row in self._db.read(lambda db: db.execute(query).all())]

    def update_status(
        self,
        kind: str,
        name: str,
        status: Mapping[str, Any],
        resource_version: int | None = None,
    ) -> Resource:
        written = as_plain(status)

        def replace(db: Connection) -> Resource:
            row = existing(
                db.execute(row_of(kind, name).with_for_update()).one_or_none(), kind, name
            )
            if resource_version is not None and row.resource_version != resource_version:
                raise ConflictError(
                    f"{kind.lower()}/{name} was changed by somebody else: read it again, then retry"
                )
            values = {"status": written, "resource_version": row.resource_version + 1}
            return resource_of(change_row(db, kind, name, values))

        return self._db.write(replace)

    def delete_resource(self, kind: str, name: str, uid: str | None = None) -> None:
        def remove(db: Connection) -> None:
            row = existing(
                db.execute(row_of(kind, name).with_for_update()).one_or_none(), kind, name
            )
            if uid not in (None, row.uid):
                raise ConflictError(f"{kind.lower()}/{name} is another one by now")
            delete_owned(db, kind, name, row.uid)
            table = schema.resources
            db.execute(delete(table).where(table.c.kind == kind, table.c.name == name))

        self._db.write(remove)

    # ------------------------------------------------------------ events

    def record_event(self, event: Event) -> None:
        table = schema.events
        mine = (table.c.kind == event.kind) & (table.c.name == event.name)
        values = {**event.model_dump(), "at": utc(event.at)}

        def append(db: Connection) -> None:
            db.execute(insert(table).values(values))
            newest = select(table.c.id).where(mine).order_by(table.c.id.desc())
            oldest_kept = db.execute(newest.offset(_EVENTS_KEPT - 1).limit(1)).scalar()
            if oldest_kept is not None:
                db.execute(delete(table).where(mine, table.c.id < oldest_kept))

        self._db.write(append)

    def list_events(self, kind: str, name: str, limit: int = 100) -> Sequence[Event]:
        table = schema.events
        query = select(table).where(table.c.kind == kind, table.c.name == name)
        query = query.order_by(table.c.id.desc()).limit(limit)
        rows = self._db.read(lambda db: db.execute(query).all())
        return [
            Event(
                kind=row.kind,
                name=row.name,
                type=row.type,
                reason=row.reason,
                message=row.message,
                at=utc(row.at),
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
        fields = _finite(record.model_dump(mode="json"))

        def add(db: Connection) -> AnyRecord:
            row = db.execute(newest).one_or_none()
            if row is not None and row[2] == digest:
                return type(record).model_validate(row.record)
            number = 1 if row is None else row.version + 1
            numbered = {**fields, "version": number}
            values = {owner.name: name, "version": number, mark.name: digest, "record": numbered}
            db.execute(insert(table).values(values))
            return type(record).model_validate(numbered)

        return self._db.write(add)

    def _get_version(
        self, table: Table, cls: type[AnyRecord], name: str, version: int | None
    ) -> AnyRecord:
        owner = table.c[0]
        query = select(table.c.record).where(owner == name)
        if version is not None:
            query = query.where(table.c.version == version)
        query = query.order_by(table.c.version.desc()).limit(1)
        found = self._db.read(lambda db: db.execute(query).scalar())
        if found is None:
            which = f" version {version}" if version is not None else ""
            raise NotFoundError(
                f"there is no {owner.name} {name!r}{which}; "
                f"`strandline {owner.name}s list` shows what there is"
            )
        return cls.model_validate(found)

    def _list_versions(self, table: Table, cls: type[AnyRecord], name: str) -> Sequence[AnyRecord]:
        query = select(table.c.record).where(table.c[0] == name).order_by(table.c.version)
        records = self._db.read(lambda db: db.execute(query).scalars().all())
        return [cls.model_validate(record) for record in records]

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

        def store(db: Connection) -> None:
            if not db.execute(update(table).where(mine).values(values)).rowcount:
                db.execute(insert(table).values(values))

        self._db.write(store)

    def list_trials(self, search: str, limit: int = 1000, after: int = -1) -> Sequence[Trial]:
        table = schema.trials
        query = select(table.c.record).where(table.c.search == search, table.c.number > after)
        query = query.order_by(table.c.number).limit(limit)
        records = self._db.read(lambda db: db.execute(query).scalars().all())
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

        def replace(db: Connection) -> None:
            db.execute(delete(table).where(*mine))
            if rows:
                db.execute(insert(table), rows)

        self._db.write(replace)

    def list_metrics(self, search: str, number: int) -> Sequence[tuple[int, Mapping[str, float]]]:
        table = schema.metrics
        query = select(table).where(table.c.search == search, table.c.number == number)
        query = query.order_by(table.c.step, table.c.metric)
        steps: dict[int, dict[str, float]] = {}
        for row in self._db.read(lambda db: db.execute(query).all()):
            value = math.nan if row.value is None else row.value
            steps.setdefault(row.step, {})[row.metric] = value
        return list(steps.items())

    # ------------------------------------------------------------ pointers

    def read_pointer(self, name: str) -> str | None:
        query = select(schema.pointers.c.value).where(schema.pointers.c.name == name)
        found: str | None = self._db.read(lambda db: db.execute(query).scalar())
        return found

    def swap_pointer(self, name: str, expected: str | None, new: str | None) -> bool:
        table = schema.pointers

        def swap(db: Connection) -> bool:
            query = select(table.c.value).where(table.c.name == name).with_for_update()
            if db.execute(query).scalar() != expected:
                return False
            if new is None:
                db.execute(delete(table).where(table.c.name == name))
            elif expected is None:
                db.execute(insert(table).values(name=name, value=new))
            else:
                db.execute(update(table).where(table.c.name == name).values(value=new))
            return True

        return self._db.write(swap)


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """Leave out metrics that JSON cannot hold; a trial's failure tells of them."""
    if "metrics" not in record:
        return record
    kept = {
        name: value
        for name, value in record["metrics"].items()
        if value is not None and math.isfinite(value)
    }
    return {**record, "metrics": kept}
