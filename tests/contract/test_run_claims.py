"""One run an object among machines that share a PostgreSQL, whatever happens to them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy.engine import make_url

from strandline.adapters.sql import claims
from strandline.adapters.sql.claims import claim_run
from strandline.spec.errors import ConflictError, UnavailableError

pytestmark = pytest.mark.postgres

HOLDER = """
import sys, time
from strandline.adapters.sql.claims import claim_run
with claim_run(sys.argv[1], "uid-1", "search/quick"):
    print("held", flush=True)
    time.sleep(600)
"""


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(claims, "_INSIST_SECONDS", 0.0)


@pytest.fixture
def server(postgres_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection that sees, and ends, those of others."""
    address = make_url(postgres_url).set(drivername="postgresql").render_as_string(False)
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


def end_connections(server: psycopg.Connection[tuple[object, ...]]) -> None:
    server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def holders(server: psycopg.Connection[tuple[object, ...]]) -> list[object]:
    """Return the process ids of the connections that hold a claim."""
    found = server.execute(
        "SELECT pid FROM pg_locks JOIN pg_database ON database = pg_database.oid "
        "WHERE locktype = 'advisory' AND datname = current_database()"
    )
    return [pid for (pid,) in found.fetchall()]


def test_a_run_keeps_others_of_its_object_out_and_nobody_else(postgres_url: str) -> None:
    with claim_run(postgres_url, "uid-1", "search/quick"):
        with (
            pytest.raises(ConflictError, match="search/quick is being run"),
            claim_run(postgres_url, "uid-1", "search/quick"),
        ):
            pass
        with claim_run(postgres_url, "uid-2", "search/other"):
            pass
    with claim_run(postgres_url, "uid-1", "search/quick"):
        pass


def test_a_claim_falls_with_a_killed_holder(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_INSIST_SECONDS", 60.0)
    command = [sys.executable, "-c", HOLDER, postgres_url]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with claim_run(postgres_url, "uid-1", "search/quick"):
        pass


def test_a_holder_takes_its_claim_again_after_the_server_dropped_it(
    postgres_url: str, server: psycopg.Connection[tuple[object, ...]]
) -> None:
    lost = threading.Event()
    with claim_run(postgres_url, "uid-1", "search/quick", lost.set):
        before = holders(server)
        end_connections(server)
        eventually(lambda: len(holders(server)) == 1 and holders(server) != before)
        with (
            pytest.raises(ConflictError),
            claim_run(postgres_url, "uid-1", "search/quick"),
        ):
            pass
    assert not lost.is_set()
    eventually(lambda: holders(server) == [])


def test_a_holder_that_was_overtaken_is_told(
    postgres_url: str,
    server: psycopg.Connection[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "LOOK_SECONDS", 1.0)
    lost = threading.Event()
    with claim_run(postgres_url, "uid-1", "search/quick", lost.set):
        monkeypatch.setattr(claims, "_INSIST_SECONDS", 60.0)
        # In one statement, so that no look of the holder comes between.
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        successor = claims._Claim(postgres_url, "uid-1")
        while not successor.take():
            pass
        assert lost.wait(60)
        successor.let_go()


def test_a_database_that_does_not_answer_is_no_claim() -> None:
    with (
        pytest.raises(UnavailableError) as caught,
        claim_run("postgresql://user:hush@127.0.0.1:1/x", "uid-1", "search/quick"),
    ):
        pass
    assert "hush" not in str(caught.value)
