"""Settings of all tests, and the servers they share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

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


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what one process has to run: a file, and all that use the one cluster."""
    for item in items:
        shares_cluster = item.get_closest_marker("cluster") is not None
        group = "cluster" if shares_cluster else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


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
