"""`kill -9` of processes that write: what a store or catalog acknowledged is there, and whole.

Two writers run at a time and say each write once it is acknowledged. Each is killed at a
moment of its own, drawn from a fixed seed; the next pair goes on where they were.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from tests.servers.s3 import S3Server

from strandline.adapters.sql import open_catalog
from strandline.adapters.stores import open_store
from strandline.ports import Catalog, ObjectStore
from strandline.spec.settings import S3Settings

ROUNDS = 6
METRICS = 20
PREAMBLE = """
import json, random, sys
from itertools import count
from pathlib import Path

def say(what, *details):
    print(json.dumps([what, *details]), flush=True)

url, writer, start, folder = sys.argv[1:]
"""
# Both writers store the same objects and want the same names.
STORE_WRITER = """
from strandline.adapters.stores import open_store
from strandline.spec.errors import AlreadyExistsError
from strandline.spec.settings import load_settings

store = open_store(url, load_settings().s3)
path = Path(folder) / writer
for number in count(int(start)):
    rng = random.Random(number)
    say("object", store.put(rng.randbytes(rng.randrange(200_000))))
    path.write_bytes(rng.randbytes(9_000_000 if number % 7 == 0 else 50_000))
    say("object", store.put_file(path))
    for digest in store.put_all([rng.randbytes(10_000) for _ in range(4)]):
        say("object", digest)
    try:
        store.create(f"shared/{number}", f"{writer} {number} ".encode() * 2_000)
    except AlreadyExistsError:
        pass
    else:
        say("name", number, writer)
    say("number", number)
"""
CATALOG_WRITER = """
from strandline.adapters.sql import open_catalog
from strandline.spec.records import Trial
from strandline.testing.catalog_contract import make_dataset_version

catalog = open_catalog(url)
for number in count(int(start)):
    catalog.apply_resource("Search", f"{writer}-{number}", {"number": number})
    say("resource", f"{writer}-{number}", number)
    catalog.record_trial(Trial(search=writer, number=number, candidate={}, step=number))
    say("trial", writer, number)
    catalog.record_metrics(writer, number, 1, {f"m{n}": float(number) for n in range(20)})
    say("metrics", writer, number)
    added = catalog.add_dataset_version(make_dataset_version(f"{writer}-{number}"))
    say("version", added.version, added.digest)
    while True:
        seen = catalog.read_pointer("count")
        if catalog.swap_pointer("count", seen, str(int(seen or 0) + 1)):
            break
    say("count", int(seen or 0) + 1)
    say("number", number)
"""
pytestmark = pytest.mark.slow


class Writers:
    """Runs pairs of writers and kills them; remembers all that they said."""

    def __init__(self, script: str, url: str, folder: Path, environ: dict[str, str]) -> None:
        self._script = PREAMBLE + script
        self._url = url
        self._folder = folder
        self._environ = {**os.environ, **environ}
        self._rng = random.Random(9)
        self.said: list[list[Any]] = []

    def of(self, what: str) -> list[list[Any]]:
        """What was said of one kind."""
        return [details for kind, *details in self.said if kind == what]

    def run_and_kill(self) -> None:
        """Let two writers start together and kill each at its moment."""
        start = max((number for (number,) in self.of("number")), default=-1) + 1
        pair = [self._start(writer, start) for writer in ("one", "two")]
        for process in pair:  # both are at work once each has written something
            self._hear(_open(process.stdout).readline())
        time.sleep(self._rng.uniform(0, 0.4))
        for process in self._rng.sample(pair, 2):
            time.sleep(self._rng.uniform(0, 0.05))
            os.kill(process.pid, signal.SIGKILL)
        for process in pair:
            with _open(process.stdout) as said, _open(process.stderr) as complaints:
                for line in said:
                    self._hear(line)
                assert process.wait() == -signal.SIGKILL, complaints.read()

    def _start(self, writer: str, start: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", self._script, self._url, writer, str(start), str(self._folder)],
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _hear(self, line: str) -> None:
        assert line, "a writer ended before it wrote anything"
        self.said.append(json.loads(line))


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def check_store(store: ObjectStore, writers: Writers) -> None:
    """Compare what the writers said with what is there."""
    stored = set(store.digests())
    acknowledged = {digest for (digest,) in writers.of("object")}
    assert acknowledged <= stored
    for digest in stored:
        store.get(digest)  # whole, whether it was acknowledged or not
    winners = [number for number, _ in writers.of("name")]
    assert len(set(winners)) == len(winners), "two writers created one name"
    kept = {int(name.removeprefix("shared/")): store.read(name) for name in store.names()}
    for number, data in kept.items():
        assert data in {f"{writer} {number} ".encode() * 2_000 for writer in ("one", "two")}
    for number, writer in writers.of("name"):
        assert kept[number].startswith(f"{writer} ".encode())


def test_files_keep_what_they_acknowledged(tmp_path: Path) -> None:
    url = (tmp_path / "store").as_uri()
    writers = Writers(STORE_WRITER, url, tmp_path, {})
    for _ in range(ROUNDS):
        writers.run_and_kill()
        check_store(open_store(url, S3Settings()), writers)
        assert list((tmp_path / "store" / "tmp").iterdir()) == []


@pytest.mark.s3
def test_a_bucket_keeps_what_it_acknowledged(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    url = f"s3://{s3_bucket}/store"
    writers = Writers(STORE_WRITER, url, tmp_path, s3_server.environ)
    for _ in range(ROUNDS):
        writers.run_and_kill()
    check_store(open_store(url, s3_server.settings), writers)


def check_catalog(catalog: Catalog, writers: Writers) -> None:
    """Compare what the writers said with what is there."""
    resources = catalog.list_resources("Search", limit=10**6)
    specs = {each.name: each.spec for each in resources}
    assert all(specs[name] == {"number": number} for name, number in writers.of("resource"))
    for writer in ("one", "two"):
        trials = {each.number: each.step for each in catalog.list_trials(writer, limit=10**6)}
        said = [number for who, number in writers.of("trial") if who == writer]
        assert all(trials[number] == number for number in said)
        for number in trials:
            metrics = catalog.list_metrics(writer, number)
            if metrics or ["metrics", writer, number] in writers.said:
                assert metrics == [(1, {f"m{n}": float(number) for n in range(METRICS)})]
    versions = {each.version: each.digest for each in catalog.list_dataset_versions("coast")}
    assert sorted(versions) == list(range(1, len(versions) + 1))
    assert all(versions[number] == digest for number, digest in writers.of("version"))
    counted = [value for (value,) in writers.of("count")]
    assert len(set(counted)) == len(counted), "one increment was acknowledged twice"
    last = int(catalog.read_pointer("count") or 0)
    assert max(counted) <= last <= len(counted) + 2 * ROUNDS


def kill_writers_of(url: str, folder: Path) -> Iterator[Writers]:
    """Kill pairs of writers of the catalog; yield after each."""
    writers = Writers(CATALOG_WRITER, url, folder, {})
    for _ in range(ROUNDS):
        writers.run_and_kill()
        yield writers


def check_catalog_at(url: str, writers: Writers) -> None:
    """Open the catalog, as the next process would, and check it."""
    catalog = open_catalog(url)
    try:
        check_catalog(catalog, writers)
    finally:
        catalog.close()


def test_sqlite_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    for writers in kill_writers_of(url, tmp_path):
        check_catalog_at(url, writers)
        database = sqlite3.connect(tmp_path / "catalog.sqlite")
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        database.close()


@pytest.mark.postgres
def test_postgres_keeps_what_it_acknowledged(postgres_url: str, tmp_path: Path) -> None:
    for writers in kill_writers_of(postgres_url, tmp_path):
        check_catalog_at(postgres_url, writers)
