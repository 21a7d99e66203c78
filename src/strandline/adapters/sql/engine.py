"""Opening a catalog: connection settings, and migrations that two processes may start.

SQLite before 3.51.3 can corrupt a write-ahead log under two racing connections, so a
rollback journal is used, every transaction is `BEGIN IMMEDIATE` (one writer at a time,
others wait), and every commit is flushed to the disk.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from strandline.adapters.sql.catalog import SqlCatalog
from strandline.spec.errors import InvalidSpecError, MissingExtraError, UnavailableError

# The newest migration; `tests/contract` checks that it is the head of the scripts.
NEWEST_REVISION = "0001"
_KNOWN_REVISIONS = frozenset({"0001"})
_BUSY_SECONDS = 60.0
# Any fixed number: the name of the lock that migrating processes share on PostgreSQL.
_MIGRATION_LOCK = 7301_2018


def open_catalog(url: str) -> SqlCatalog:
    """Open the catalog at a SQLAlchemy URL and bring its tables up to date.

    Raises:
        InvalidSpecError: the URL names no database that is supported, or a catalog
            written by a newer Strandline.
        MissingExtraError: the driver is not installed.
        UnavailableError: the database does not answer.
    """
    engine = _make_engine(url)
    try:
        _migrate(engine)
    except DBAPIError as error:
        where = engine.url.render_as_string()
        raise UnavailableError(f"the catalog {where} does not answer: {error.orig}") from error
    return SqlCatalog(engine)


def _make_engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(url, parsed.database)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(
                parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_size=4
            )
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "a PostgreSQL catalog needs psycopg: run `pip install 'strandline[postgres]'`"
        ) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise InvalidSpecError(f"the catalog's address is no SQLAlchemy URL: {error}") from error
    raise InvalidSpecError(
        f"a catalog cannot be kept in {parsed.get_backend_name()}: use sqlite:///FILE or "
        "postgresql+psycopg://USER@HOST/DATABASE"
    )


def _sqlite_engine(url: str, database: str | None) -> Engine:
    if not database or database == ":memory:":
        raise InvalidSpecError("a SQLite catalog needs a file: sqlite:////folder/catalog.sqlite")
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _migrate(engine: Engine) -> None:
    if _revision(engine) == NEWEST_REVISION:
        return
    with _migration_lock(engine):
        found = _revision(engine)
        if found is not None and found not in _KNOWN_REVISIONS:
            raise InvalidSpecError(
                f"the catalog was written by a newer Strandline (schema {found}): upgrade "
                "Strandline, or point STRANDLINE_HOME elsewhere"
            )
        if found != NEWEST_REVISION:
            _upgrade(engine)


def _revision(engine: Engine) -> str | None:
    with engine.begin() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _upgrade(engine: Engine) -> None:
    # Alembic takes long to import; an up-to-date catalog never needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[None]:
    """Hold what keeps two processes from migrating at once."""
    if engine.dialect.name == "sqlite":
        with Path(f"{engine.url.database}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
