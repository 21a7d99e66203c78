"""Opening a catalog: connection settings, and migrations that two processes may start.

SQLite before 3.51.3 can corrupt a write-ahead log under two racing connections, so a
rollback journal is used, every writing transaction is `BEGIN IMMEDIATE` (one writer at a
time, others wait; none reads first and then fails to become a writer), and every commit is
flushed to the disk, with the folder that tells that its journal is gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from strandline.adapters.sql.catalog import SqlCatalog
from strandline.adapters.sql.transactions import READS_ONLY, Transactions, explained
from strandline.spec.errors import InvalidSpecError, MissingExtraError, UnavailableError

# The newest migration; `tests/contract` checks that it is the head of the scripts.
NEWEST_REVISION = "0002"
_KNOWN_REVISIONS = frozenset({"0001", "0002"})
_BUSY_SECONDS = 60.0
_CONNECT_SECONDS = 10
# Any fixed number: the name of the lock that migrating processes share on PostgreSQL.
_MIGRATION_LOCK = 7301_2018


def open_catalog(url: str, schema: str | None = None) -> SqlCatalog:
    """Open the catalog at a SQLAlchemy URL and bring its tables up to date.

    Args:
        schema: of PostgreSQL, made if absent: catalogs in one database that share nothing.

    Raises:
        InvalidSpecError: the URL names no database that is supported, or a catalog
            written by a newer Strandline.
        CorruptArtifactError: the file is damaged or no database.
        MissingExtraError: the driver is not installed.
        UnavailableError: the database does not answer.
    """
    database = Database(url)
    try:
        return database.open_catalog(schema)
    except BaseException:
        database.close()
        raise


class Database:
    """A database whose catalogs share its connections: one a schema, for many namespaces."""

    def __init__(self, url: str, connections: int = 4) -> None:
        self._engine = _make_engine(url, connections)

    def open_catalog(self, schema: str | None = None) -> SqlCatalog:
        """Open the catalog in `schema`; see the function of this name."""
        if schema is not None and self._engine.dialect.name != "postgresql":
            raise InvalidSpecError(
                f"only PostgreSQL keeps catalogs in schemas such as {schema!r}: leave out "
                "STRANDLINE_CATALOG_SCHEMA, or name a PostgreSQL in STRANDLINE_CATALOG"
            )
        try:
            _migrate(self._engine, schema)
        except SQLAlchemyError as error:
            raise explained(error, self._engine) from error
        names = {"schema_translate_map": {None: schema}} if schema is not None else {}
        return SqlCatalog(Transactions(self._engine.execution_options(**names)))

    def schemas(self, prefix: str) -> list[str]:
        """Return the names of the schemas of a PostgreSQL that begin so.

        Raises:
            UnavailableError: the database does not answer.
        """
        query = text("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, :prefix)")
        try:
            with self._engine.begin() as connection:
                return list(connection.execute(query, {"prefix": prefix}).scalars())
        except SQLAlchemyError as error:
            raise explained(error, self._engine) from error

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def is_postgres(url: str) -> bool:
    """Return whether the URL names a PostgreSQL, which machines can share."""
    return url.startswith("postgres")


def _make_engine(url: str, connections: int) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(url, parsed.database)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                pool_size=connections,
                connect_args={
                    "connect_timeout": parsed.query.get("connect_timeout", _CONNECT_SECONDS)
                },
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
    try:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(
            f"the catalog's folder {Path(database).parent} cannot be made: {error.strerror}"
        ) from error
    # Connections are cheap and waiting happens in SQLite, so threads need no queue here.
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, max_overflow=-1)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        assert mode == "delete", f"SQLite keeps its journal in mode {mode}"
        connection.execute("PRAGMA synchronous = EXTRA")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS_ONLY, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _migrate(engine: Engine, schema: str | None) -> None:
    with engine.execution_options(**{READS_ONLY: True}).begin() as connection:
        _enter(connection, schema)
        if _revision(connection) == NEWEST_REVISION:
            return
    # One transaction looks and migrates, under a lock: on SQLite its own, which lets one
    # writer in. So a second process waits and then finds the work done, and a process that
    # is killed leaves the old tables.
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            key = {"key": _MIGRATION_LOCK}
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), key)
        if schema is not None:
            _make_schema(connection, schema)
        _enter(connection, schema)
        found = _revision(connection)
        if found is not None and found not in _KNOWN_REVISIONS:
            raise InvalidSpecError(
                f"the catalog was written by a newer Strandline (schema {found}): upgrade "
                "Strandline, or point STRANDLINE_CATALOG or STRANDLINE_HOME elsewhere"
            )
        if found != NEWEST_REVISION:
            _upgrade(connection)


def _make_schema(connection: Connection, schema: str) -> None:
    """Make the schema unless it is there: who may not make one can be given it."""
    known = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
    if connection.execute(known, {"name": schema}).scalar() is None:
        connection.execute(CreateSchema(schema, if_not_exists=True))


def _enter(connection: Connection, schema: str | None) -> None:
    """Mean `schema`, until the transaction ends, by names that say none."""
    if schema is not None:
        quoted = connection.dialect.identifier_preparer.quote_schema(schema)
        connection.execute(text("SELECT set_config('search_path', :path, true)"), {"path": quoted})


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _upgrade(connection: Connection) -> None:
    # Alembic takes long to import; an up-to-date catalog never needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
