"""The clusters that tests share: a bare control plane, and a whole Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cluster import control_plane as bare
from tests.cluster.binaries import missing
from tests.cluster.control_plane import ControlPlane
from tests.servers.absent import skip_or_fail


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real apiserver on a real etcd, without nodes; make what you need in a namespace."""
    absent = missing(bare.programs(bare.GARBAGE))
    if absent:
        names = " ".join(absent)
        skip_or_fail(f"not built: run `python -m tests.cluster.binaries {names}`")
    with bare.control_plane(tmp_path_factory.mktemp("control-plane"), bare.GARBAGE) as plane:
        yield plane
