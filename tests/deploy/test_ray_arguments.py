"""The chart's command lines of Ray, read by Ray's own command."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.deploy.chart import NAMESPACE, Document, render

_VALUES: Document = {
    "ray": {
        "enabled": True,
        "pools": [
            {"name": "cpu", "workers": 1, "cpu": 2, "memory": "4Gi"},
            {
                "name": "v5e",
                "workers": 1,
                "cpu": 8,
                "memory": "32Gi",
                "accelerator": {"resource": "google.com/tpu", "count": 4},
            },
        ],
    }
}


@pytest.fixture(scope="module")
def started() -> dict[str, dict[str, Any]]:
    """What `ray start` understands, by name of the Deployment."""
    from ray.scripts.scripts import start

    found = {}
    for each in render(_VALUES).of_kind("Deployment"):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        if container["name"] == "ray":
            assert container["command"][:2] == ["ray", "start"]
            words = [*container["command"][2:], *container["args"]]
            found[each["metadata"]["name"]] = start.make_context("start", words).params
    return found


def test_the_head_serves_the_others_and_runs_no_trials(started: dict[str, dict[str, Any]]) -> None:
    head = started["strandline-ray-head"]
    assert (head["head"], head["port"], head["num_cpus"], head["num_gpus"]) == (True, 6379, 0, 0)
    assert head["include_dashboard"] is False


def test_workers_join_it_with_their_pool(started: dict[str, dict[str, Any]]) -> None:
    worker = started["strandline-ray-cpu"]
    assert worker["head"] is False
    assert worker["address"] == f"strandline-ray-head.{NAMESPACE}.svc:6379"
    assert worker["num_cpus"] == 2
    assert json.loads(worker["resources"]) == {"pool-cpu": 1_000_000}
    slice_ = started["strandline-ray-v5e"]
    assert json.loads(slice_["resources"]) == {"pool-v5e": 1_000_000, "TPU": 4}


def test_all_of_them_stay_and_write_where_they_may(started: dict[str, dict[str, Any]]) -> None:
    assert len(started) == 3
    for each in started.values():
        assert each["block"] is True
        assert each["temp_dir"] == "/tmp/ray"
        assert each["node_manager_port"] == 6380
        assert each["node_ip_address"] == "$(POD_IP)"
