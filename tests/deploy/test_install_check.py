"""The script of `helm test`, run against real servers with the environment of its pod."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.deploy.chart import CHART, ROOT, Rendering, render
from tests.servers.s3 import S3Server

from strandline.adapters.kube.probes import ProbeServer

pytestmark = [pytest.mark.s3, pytest.mark.postgres]


@pytest.fixture
def ready() -> list[bool]:
    """What the operator's check says; append to change it."""
    return [True]


@pytest.fixture
def operator(ready: list[bool]) -> Iterator[str]:
    server = ProbeServer(CollectorRegistry(), ready={"caches": lambda: ready[-1]}, port=0)
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.stop()


def _environment(rendering: Rendering) -> dict[str, str]:
    (container,) = rendering.one("Pod", "strandline-test")["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"]}


def _run(
    s3_server: S3Server, catalog: str, operator: str, home: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHART / "files" / "check_install.py")],
        env={
            **_environment(render({})),
            **s3_server.environ,
            "STRANDLINE_STORE": f"s3://{s3_server.make_bucket()}",
            "STRANDLINE_CATALOG": catalog,
            "STRANDLINE_HOME": str(home),
            "OPERATOR_ADDRESS": operator,
            "PYTHONPATH": str(ROOT / "src"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_passes_where_everything_works(
    s3_server: S3Server, postgres_url: str, operator: str, tmp_path: Path
) -> None:
    done = _run(s3_server, postgres_url, operator, tmp_path)
    assert done.returncode == 0, done.stderr
    for line in ("written, read, removed", "in schema strandline_helm_test", "ok"):
        assert line in done.stdout


@pytest.mark.parametrize("broken", ["catalog", "operator"])
def test_it_fails_where_something_does_not(
    s3_server: S3Server,
    postgres_url: str,
    operator: str,
    ready: list[bool],
    tmp_path: Path,
    broken: str,
) -> None:
    if broken == "operator":
        ready.append(False)
    catalog = f"{postgres_url}_gone" if broken == "catalog" else postgres_url
    assert _run(s3_server, catalog, operator, tmp_path).returncode != 0
