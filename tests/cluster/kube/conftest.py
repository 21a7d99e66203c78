"""A namespace of its own for each test, on an apiserver that these tests stop and start."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from tests.cluster import control_plane as bare
from tests.cluster.binaries import missing
from tests.cluster.control_plane import ControlPlane
from tests.servers.absent import skip_or_fail
from tests.servers.relay import Relay, relay

from strandline.adapters.kube.api import KubeApi
from strandline.testing.kube_objects import make_namespace

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An apiserver of our own, without controllers: other tests would miss it while it is down."""
    absent = missing(bare.programs())
    if absent:
        names = " ".join(absent)
        skip_or_fail(f"not built: run `python -m tests.cluster.binaries {names}`")
    with bare.control_plane(tmp_path_factory.mktemp("kube-runtime")) as plane:
        yield plane


@pytest.fixture
def api(control_plane: ControlPlane) -> Iterator[KubeApi]:
    """The API as its administrator."""
    connected = KubeApi.connect(control_plane.kubeconfig)
    yield connected
    connected.close()


@pytest.fixture
def namespace(api: KubeApi) -> str:
    """An empty namespace."""
    return make_namespace(api, f"test-{next(_NUMBERS)}")


@pytest.fixture
def wire(control_plane: ControlPlane) -> Iterator[Relay]:
    """A network to the apiserver that can be cut."""
    url = urlsplit(control_plane.url)
    with relay((str(url.hostname), int(url.port or 443))) as running:
        yield running


@pytest.fixture
def far_api(control_plane: ControlPlane, wire: Relay, tmp_path: Path) -> Iterator[KubeApi]:
    """The API as seen over `wire`."""
    document = yaml.safe_load(control_plane.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{wire.port}"
    kubeconfig = tmp_path / "far.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(document))
    connected = KubeApi.connect(kubeconfig, timeout_seconds=5.0)
    yield connected
    connected.close()
