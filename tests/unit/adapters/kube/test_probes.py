from __future__ import annotations

from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.probes import ProbeServer


def broken() -> bool:
    raise RuntimeError("gone")


@pytest.fixture
def server() -> Iterator[ProbeServer]:
    metrics = OperatorMetrics()
    metrics.requests.labels("200", "GET", "here").inc()
    checks = {"caches": lambda: False, "broken": broken, "fine": lambda: True}
    running = ProbeServer(metrics.registry, health={"workers": lambda: True}, ready=checks, port=0)
    running.start()
    yield running
    running.stop()


def read(server: ProbeServer, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_served_under_the_names_of_controller_runtime(server: ProbeServer) -> None:
    code, text = read(server, "/metrics?whatever")
    assert code == 200
    assert 'rest_client_requests_total{code="200",host="here",method="GET"} 1.0' in text
    assert "_created" not in text


def test_a_probe_tells_which_check_fails(server: ProbeServer) -> None:
    assert read(server, "/healthz") == (200, "[+]workers ok\nok")
    code, text = read(server, "/readyz")
    assert code == 500
    assert text == "[-]caches failed\n[-]broken failed\n[+]fine ok\nfailed"


def test_other_paths_are_not_found(server: ProbeServer) -> None:
    assert read(server, "/debug")[0] == 404
