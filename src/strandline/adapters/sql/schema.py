"""The catalog's tables, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
)

# Autoincrement needs plain INTEGER on SQLite and a wide counter on PostgreSQL.
_BIG = BigInteger().with_variant(Integer, "sqlite")
# PostgreSQL sorts by the locale unless told otherwise; lists promise the order of code points.
_NAME = String(253).with_variant(String(253, collation="C"), "postgresql")

metadata = MetaData(naming_convention={"ix": "ix_%(column_0_label)s", "pk": "pk_%(table_name)s"})

resources = Table(
    "resources",
    metadata,
    Column("kind", String(63), primary_key=True),
    Column("name", _NAME, primary_key=True),
    Column("uid", String(36), nullable=False, unique=True),
    Column("generation", Integer, nullable=False),
    Column("resource_version", _BIG, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("annotations", JSON, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("status", JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    # Whether the uid is that of an object elsewhere, or made here.
    Column("adopted", Boolean, nullable=False, server_default=false()),
)

events = Table(
    "events",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("kind", String(63), nullable=False),
    Column("name", _NAME, nullable=False),
    Column("type", String(32), nullable=False),
    Column("reason", String(128), nullable=False),
    Column("message", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Index("ix_events_object", "kind", "name", "id"),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("dataset", _NAME, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(71), nullable=False),
    Column("record", JSON, nullable=False),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("model", _NAME, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("bundle", String(71), nullable=False),
    Column("record", JSON, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("search", _NAME, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String(32), nullable=False),
    Column("record", JSON, nullable=False),
)

metrics = Table(
    "metrics",
    metadata,
    Column("search", _NAME, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("metric", String(128), primary_key=True),
    Column("value", Float(53), nullable=True),
)

pointers = Table(
    "pointers",
    metadata,
    Column("name", String(512), primary_key=True),
    Column("value", Text, nullable=False),
)

__all__ = [
    "dataset_versions",
    "events",
    "metadata",
    "metrics",
    "model_versions",
    "pointers",
    "resources",
    "trials",
]
