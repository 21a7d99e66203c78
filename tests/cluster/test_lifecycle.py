"""A cluster of the test's own comes up beside any other, and leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import lifecycle
from tests.cluster.binaries import missing
from tests.cluster.site import Site, load
from tests.cluster.traces import traces
from tests.servers.absent import skip_or_fail

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose sockets' addresses are not too long, wherever pytest keeps its own."""
    with tempfile.TemporaryDirectory(prefix="sl-") as folder:
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="a whole cluster needs root")
def test_nothing_is_left_of_a_cluster(short_path: Path) -> None:
    if missing():
        skip_or_fail("not built: run `make cluster-up` once")
    folder = short_path / "cluster"
    identity = Site(folder, "10.0").identity
    before = traces(identity, folder)
    site = lifecycle.up(folder, dies_with_parent=True)
    try:
        assert lifecycle.is_up(load(folder))
        during = traces(identity, folder)
        assert during["links"] - before["links"] == {site.identity}
        assert during["cgroups"]
        assert during["processes"]
        # Only what goes by itself: mounts, filters and namespaces are inside.
        assert during["mounts"] == before["mounts"]
        assert during["packet filters"] == before["packet filters"]
    finally:
        lifecycle.down(folder)
    assert traces(identity, folder) == before
