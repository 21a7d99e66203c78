"""Settings of all tests, and the servers they share."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tests.servers import postgres, s3
from tests.servers.absent import skip_or_fail
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import S3Server

pytest.register_assert_rewrite("strandline.testing")
_ROOT = Path(__file__).parents[1]

# A loaded machine is slow, not wrong; and a failure must come again when it is looked at.
settings.register_profile("strandline", deadline=None, derandomize=True)
settings.load_profile("strandline")


def pytest_configure() -> None:
    """Let the commands that tests start be interrupted, whoever started the tests.

    A shell without job control has what it puts in the background ignore SIGINT, and every
    process below ignores it, too, unless one in between does not.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together what one process has to run: a file, and all that use the one cluster.

    Not by marks: pytest-xdist 3.8 writes them into names that pytest 9.2 does not read.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "cluster" if _shares_cluster(file) else file

    return ByFile(config, log)


@functools.cache
def _shares_cluster(file: str) -> bool:
    return "pytest.mark.cluster" in (_ROOT / file).read_text("utf-8")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    if not s3.binary().exists():
        skip_or_fail("no S3 server: build it with `python -m tests.servers.s3`")
    with s3.s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """The name of an empty bucket."""
    return s3_server.make_bucket()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A real PostgreSQL."""
    if postgres.binaries() is None:
        skip_or_fail("no PostgreSQL: install the package `postgresql`")
    with postgres.postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres_server.make_database()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data; tests that use it carry the mark `shared_data`."""
    folder = Path(os.environ.get("STRANDLINE_TEST_DATA", _ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no development data: STRANDLINE_TEST_DATA names its folder")
    return folder
