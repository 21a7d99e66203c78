"""The apiserver that tests of one module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cluster import control_plane as bare
from tests.cluster.binaries import missing
from tests.cluster.control_plane import ControlPlane
from tests.servers.absent import skip_or_fail


@pytest.fixture(scope="module")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real apiserver without controllers: what is made stays as it was made.

    One a module, as CRDs that were made just now may take minutes to go.
    """
    absent = missing(bare.programs())
    if absent:
        skip_or_fail(f"not built: run `python -m tests.cluster.binaries {' '.join(absent)}`")
    with bare.control_plane(tmp_path_factory.mktemp("apiserver")) as plane:
        yield plane
