"""The catalog contract over SQLite and PostgreSQL, and what each one promises besides."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from strandline.adapters.sql import Database, SqlCatalog, engine, open_catalog, schema
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError, UnavailableError
from strandline.testing.adoption_contract import AdoptionContract, make_adopted
from strandline.testing.catalog_contract import OpenCatalog, make_event

Opener = Callable[[str], SqlCatalog]


@pytest.fixture
def opener() -> Iterator[Opener]:
    """Open catalogs that are closed when the test ends."""
    opened: list[SqlCatalog] = []

    def open_one(url: str) -> SqlCatalog:
        opened.append(open_catalog(url))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'catalog.sqlite'}"


def open_in_processes(
    url: str, count: int, schema: str | None = None
) -> list[subprocess.CompletedProcess[str]]:
    """Open the catalog from several processes at once."""
    opening = f"open_catalog({url!r}, {schema!r}).close()"
    code = f"from strandline.adapters.sql import open_catalog; {opening}"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    return [
        subprocess.CompletedProcess(each.args, each.wait(), None, each.communicate()[1])
        for each in processes
    ]


class TestSqliteCatalog(AdoptionContract):
    @pytest.fixture
    def open_catalog(self, sqlite_url: str, opener: Opener) -> OpenCatalog:
        return lambda: opener(sqlite_url)


@pytest.mark.postgres
class TestPostgresCatalog(AdoptionContract):
    @pytest.fixture
    def open_catalog(self, postgres_url: str, opener: Opener) -> OpenCatalog:
        return lambda: opener(postgres_url)


@pytest.mark.postgres
class TestCatalogInASchema(AdoptionContract):
    @pytest.fixture
    def open_catalog(self, postgres_url: str) -> Iterator[OpenCatalog]:
        database = Database(postgres_url)
        yield lambda: database.open_catalog("strandline_team-a")
        database.close()


@pytest.mark.postgres
def test_catalogs_in_schemas_of_one_database_share_nothing(
    postgres_url: str, opener: Opener
) -> None:
    one, other = (open_catalog(postgres_url, schema) for schema in ("strandline_a", "strandline_b"))
    plain = opener(postgres_url)
    one.apply_resource("Model", "coast", {"defaultVersion": 1})
    one.swap_pointer("p", None, "one's")
    one.record_event(make_event())
    for catalog in (other, plain):
        assert catalog.resource_versions() == []
        assert catalog.read_pointer("p") is None
        assert catalog.list_events("Search", "quick") == []
    again = open_catalog(postgres_url, "strandline_a")
    assert again.get_resource("Model", "coast").spec == {"defaultVersion": 1}
    for each in (one, other, again):
        each.close()


@pytest.mark.postgres
def test_processes_may_open_a_new_schema_at_once(postgres_url: str) -> None:
    done = open_in_processes(postgres_url, 4, "strandline_new")
    assert [each.stderr for each in done] == [""] * 4


@pytest.mark.postgres
def test_who_may_not_make_a_schema_can_be_given_one(postgres_url: str, opener: Opener) -> None:
    administrator = create_engine(postgres_url)
    with administrator.begin() as connection:
        connection.execute(text("CREATE ROLE tenant LOGIN PASSWORD 'tide'"))
        connection.execute(text("CREATE SCHEMA strandline_given AUTHORIZATION tenant"))
    administrator.dispose()
    tenant = make_url(postgres_url).set(username="tenant", password="tide")
    url = tenant.render_as_string(hide_password=False)
    catalog = open_catalog(url, "strandline_given")
    catalog.apply_resource("Model", "coast", {})
    catalog.close()
    with pytest.raises(UnavailableError, match="permission denied"):
        open_catalog(url, "strandline_taken")


def test_only_postgres_keeps_catalogs_in_schemas(sqlite_url: str) -> None:
    with pytest.raises(InvalidSpecError, match="only PostgreSQL"):
        open_catalog(sqlite_url, "strandline_a")


@pytest.mark.parametrize(
    "where", ["sqlite_url", pytest.param("postgres_url", marks=[pytest.mark.postgres])]
)
def test_a_catalog_of_the_first_release_is_brought_up_to_date(
    where: str, request: pytest.FixtureRequest, opener: Opener
) -> None:
    url = str(request.getfixturevalue(where))
    database = create_engine(url)
    with database.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(engine.__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO resources (kind, name, uid, generation, resource_version, labels, "
                "annotations, spec, status, created_at) VALUES ('Model', 'coast', 'old', 1, 4, "
                "'{}', '{}', '{}', '{}', '2026-06-01 12:00:00')"
            )
        )
    database.dispose()
    catalog = opener(url)
    assert catalog.get_resource("Model", "coast").uid == "old"
    assert differences(url) == []
    row, _ = catalog.adopt_resource(make_adopted(kind="Model", name="coast", uid="new"))
    assert row.uid == "new"


def test_only_the_newest_thousand_events_of_a_resource_are_kept(
    sqlite_url: str, opener: Opener
) -> None:
    catalog = opener(sqlite_url)
    catalog.record_event(make_event(0, name="other"))
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as database:
        row = ("Search", "quick", "Normal", "Started", "filled in", "2026-06-01 12:00:00.000000")
        sql = "INSERT INTO events (kind, name, type, reason, message, at) VALUES (?, ?, ?, ?, ?, ?)"
        database.executemany(sql, [row] * 1000)
    database.close()
    catalog.record_event(make_event(1))
    kept = catalog.list_events("Search", "quick", limit=5000)
    assert len(kept) == 1000
    assert kept[-1].message == "event 1"
    assert len(catalog.list_events("Search", "other")) == 1


def test_sqlite_keeps_a_rollback_journal_and_flushes_each_commit(
    sqlite_url: str, opener: Opener
) -> None:
    catalog = opener(sqlite_url)

    def setting(name: str) -> object:
        return catalog._db.read(lambda db: db.execute(text(f"PRAGMA {name}")).scalar())

    assert setting("journal_mode") == "delete"
    assert setting("synchronous") == 3  # EXTRA: the journal's end is flushed, too
    assert setting("busy_timeout") == 60_000


def test_processes_may_open_a_new_sqlite_catalog_at_once(sqlite_url: str) -> None:
    assert [each.stderr for each in open_in_processes(sqlite_url, 4)] == [""] * 4


@pytest.mark.postgres
def test_processes_may_open_a_new_postgres_catalog_at_once(postgres_url: str) -> None:
    assert [each.stderr for each in open_in_processes(postgres_url, 4)] == [""] * 4


def test_the_newest_revision_is_the_head_of_the_migrations() -> None:
    config = Config()
    folder = Path(engine.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [engine.NEWEST_REVISION]
    known = {script.revision for script in scripts.walk_revisions()}
    assert known == engine._KNOWN_REVISIONS


def differences(url: str) -> list[object]:
    database = create_engine(url)
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, schema.metadata)
    database.dispose()
    return list(found)


def test_migrations_make_the_tables_that_the_code_expects(sqlite_url: str, opener: Opener) -> None:
    opener(sqlite_url)
    assert differences(sqlite_url) == []


@pytest.mark.postgres
def test_migrations_make_the_same_tables_on_postgres(postgres_url: str, opener: Opener) -> None:
    opener(postgres_url)
    assert differences(postgres_url) == []


def test_a_catalog_of_a_newer_strandline_is_refused_and_left_alone(
    sqlite_url: str, opener: Opener
) -> None:
    opener(sqlite_url).close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    before = path.read_bytes()
    with pytest.raises(InvalidSpecError, match=r"newer Strandline \(schema 9999\)"):
        opener(sqlite_url)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_called_damaged(tmp_path: Path, opener: Opener) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"not a database at all " * 100)
    with pytest.raises(CorruptArtifactError, match="restore a backup"):
        opener(f"sqlite:///{tmp_path / 'catalog.sqlite'}")


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path, opener: Opener) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be made"):
        opener(f"sqlite:///{tmp_path / 'file' / 'catalog.sqlite'}")


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/x", "sqlite://", "oracle:///x"])
def test_an_address_of_no_catalog_is_refused(url: str, opener: Opener) -> None:
    with pytest.raises(InvalidSpecError):
        opener(url)


@pytest.mark.parametrize("address", ["user:hush@127.0.0.1:1/x", "u@127.0.0.1:1/x?password=hush"])
def test_a_server_that_does_not_answer_is_named_without_its_password(
    opener: Opener, address: str
) -> None:
    with pytest.raises(UnavailableError) as caught:
        opener(f"postgresql://{address}")
    assert "127.0.0.1:1" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.postgres
def test_a_value_that_postgres_cannot_hold_is_refused(postgres_url: str, opener: Opener) -> None:
    catalog = opener(postgres_url)
    with pytest.raises(InvalidSpecError, match="cannot hold"):
        catalog.record_event(make_event(message="a\0b"))
    with pytest.raises(InvalidSpecError, match="cannot hold"):
        catalog.record_event(make_event(reason="long" * 100))


@pytest.mark.postgres
def test_what_postgres_refuses_is_said_in_its_words(postgres_url: str, opener: Opener) -> None:
    with pytest.raises(UnavailableError, match=r"database .* does not exist"):
        opener(f"{postgres_url}x")
    with pytest.raises(UnavailableError, match="does not support SSL"):
        opener(f"{postgres_url}?sslmode=require")


@pytest.mark.postgres
def test_a_catalog_goes_on_when_the_server_closed_its_connections(
    postgres_url: str, opener: Opener
) -> None:
    catalog, other = opener(postgres_url), opener(postgres_url)
    catalog.swap_pointer("p", None, "kept")
    closed = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert other._db.read(lambda db: db.execute(closed).scalars().all()) == [True]
    assert catalog.read_pointer("p") == "kept"
