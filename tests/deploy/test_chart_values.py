"""What values the chart takes, and what it makes of single ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from tests.deploy.chart import (
    CHART,
    NAMESPACE,
    HelmError,
    Rendering,
    default_values,
    render,
    set_value,
)

from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.spec.operator_config import (
    JOB_SETTINGS,
    JOB_SETTINGS_KEY,
    RAY_VERSION,
    OperatorConfig,
    RayPool,
    read_job_settings,
    read_operator_config,
)

_SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
# Maps whose keys are the user's.
_OPEN = re.compile(
    r"(labels|annotations|podLabels|podAnnotations|commonLabels|nodeSelector|affinity|env"
    r"|requests|limits|global)$"
)


def _config(rendering: Rendering) -> OperatorConfig:
    document = rendering.one("ConfigMap", "strandline-operator")
    return read_operator_config(document["data"]["operator.yaml"])


def test_the_defaults_obey_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(_SCHEMA)
    jsonschema.validate(default_values(), _SCHEMA)


def test_every_default_is_described_by_the_schema_and_nothing_else_is() -> None:
    values, described = set(_paths(default_values())), set(_described(_SCHEMA))
    assert values - described == set()
    # Without a default: the amounts of one kind of job, and all that a pool may have.
    assert {path for path in described - values if not path.startswith("ray.pools")} == {
        "global",
        *(f"jobs.resources.BatchPrediction{each}" for each in ("", ".cpu", ".memory", ".scratch")),
    }


def test_a_typing_error_is_refused_wherever_it_is() -> None:
    validator = jsonschema.Draft7Validator(_SCHEMA)
    places = [""] + [path for path in _paths(default_values()) if _is_closed(path)]
    assert len(places) > 40
    for place in places:
        wrong = set_value(default_values(), f"{place}.typo".lstrip("."), 1)
        assert list(validator.iter_errors(wrong)), f"{place}.typo passes"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"operatr": {"workers": 3}}, "operatr"),
        ({"scope": "clster"}, "scope"),
        ({"operator": {"runAsUser": 0}}, "runAsUser"),
        ({"minio": {"resources": {"limits": {"memory": None}}}}, "memory"),
        ({"ray": {"enabled": True, "pools": [{"name": "GPU"}]}}, "pools"),
        ({"minio": {"enabled": False}}, "storage.existingSecret"),
        ({"postgresql": {"existingSecret": "x"}}, "storage.existingSecret must be yours"),
        ({"execution": {"mode": "static"}}, "ray.enabled"),
        ({"execution": {"mode": "attach"}}, "execution.rayAddress"),
        ({"execution": {"rayAddress": "ray:6379"}}, "mode attach"),
        ({"scope": "namespace", "namespaces": ["a"]}, "leave namespaces empty"),
        ({"minio": {"ingress": {"enabled": True}}}, "host"),
        ({"minio": {"httpRoute": {"enabled": True}}}, "parentRefs"),
    ],
)
def test_what_cannot_work_is_refused_with_the_way_out(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HelmError, match=re.escape(message)):
        render(values)


def test_trials_run_in_the_pod_of_the_search_unless_there_is_a_ray() -> None:
    alone = _config(render({})).execution
    assert (alone.mode, alone.ray_address) == ("pod", None)
    static = _config(render({"ray": {"enabled": True}})).execution
    l4 = {"name": "l4", "workers": 3, "cpu": 8, "memory": "32Gi"}
    l4["accelerator"] = {"resource": "nvidia.com/gpu", "count": 2}
    gpus = _config(render({"ray": {"enabled": True, "pools": [l4]}})).execution
    assert gpus.ray_pools == {"l4": RayPool(workers=3, cpus=8, devices=2)}
    assert static.mode == "static"
    assert static.ray_pools == {"cpu": RayPool(workers=1, cpus=2)}
    assert static.ray_address == f"strandline-ray-head.{NAMESPACE}.svc:6379"
    assert static.token_secret is not None
    assert static.token_secret.name == "strandline-ray-token"


def test_commands_that_read_are_told_what_the_operator_is_told_of_jobs() -> None:
    values = {"namespaces": ["team-a"], "jobs": {"env": {"A": "b"}, "priorityClassName": "low"}}
    rendering = render(values)
    found = [
        each
        for each in rendering.documents
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == JOB_SETTINGS
    ]
    assert [each["metadata"]["namespace"] for each in found] == [NAMESPACE, "team-a"]
    for each in found:
        assert read_job_settings(each["data"][JOB_SETTINGS_KEY]) == _config(rendering).jobs


def test_kuberay_is_told_the_version_of_ray_in_the_images() -> None:
    values = {"execution": {"mode": "kuberay", "rayVersion": "2.61.0"}}
    assert _config(render(values)).execution.ray_version == "2.61.0"
    assert _config(render({})).execution.ray_version == RAY_VERSION
    with pytest.raises(HelmError, match="rayVersion"):
        render({"execution": {"rayVersion": "2.61"}})


def test_the_namespaced_mode_looks_after_its_own_namespace() -> None:
    config = _config(render({"scope": "namespace"}))
    assert (config.namespaces, config.cluster_reads) == ([NAMESPACE], False)
    assert _config(render({})).namespaces == []


def test_everything_said_of_jobs_reaches_the_operator() -> None:
    said = {
        "image": {"repository": "registry.example/train", "tag": "2"},
        "serviceAccount": "jobs",
        "env": {"HTTPS_PROXY": "http://proxy:3128"},
        "extraVolumes": [{"name": "env", "persistentVolumeClaim": {"claimName": "env"}}],
        "extraVolumeMounts": [{"name": "env", "mountPath": "/env"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "priorityClassName": "batch",
        "graceSeconds": 7,
        "ttl": "2h",
        "runAsUser": 1000,
        "resources": {"Training": {"cpu": 4, "memory": "8Gi", "scratch": "1Gi"}},
    }
    jobs = _config(render({"jobs": said, "imagePullSecrets": ["registry"]})).jobs
    assert jobs.image == "registry.example/train:2"
    assert jobs.service_account == "jobs"
    assert jobs.image_pull_secrets == ["registry"]
    assert jobs.env == said["env"]
    assert jobs.volumes == said["extraVolumes"]
    assert jobs.volume_mounts == said["extraVolumeMounts"]
    assert jobs.node_selector == said["nodeSelector"]
    assert jobs.tolerations == said["tolerations"]
    assert (jobs.priority_class, jobs.grace_seconds, jobs.ttl) == ("batch", 7, "2h")
    assert jobs.run_as_user == 1000
    assert jobs.resources_of("Training").memory == "8Gi"
    assert jobs.storage_secret == "strandline-storage"


def test_what_is_not_set_is_as_the_operator_itself_would_have_it() -> None:
    config = _config(render({}))
    own = OperatorConfig.model_validate({"jobs": {"image": "x"}})
    for name in ("workers", "resync_seconds", "projection_seconds", "lease"):
        assert getattr(config, name) == getattr(own, name), name
    for name in ("grace_seconds", "ttl", "run_as_user", "storage_secret", "service_account"):
        assert getattr(config.jobs, name) == getattr(own.jobs, name), name


def test_a_worker_offers_its_pool_and_asks_for_its_devices() -> None:
    pools = [
        {
            "name": "l4",
            "workers": 2,
            "cpu": 4,
            "memory": "16Gi",
            "accelerator": {"resource": "nvidia.com/gpu", "count": 2},
        },
        {
            "name": "v5e",
            "workers": 1,
            "cpu": 8,
            "memory": "32Gi",
            "accelerator": {"resource": "google.com/tpu", "count": 4},
        },
    ]
    rendering = render({"ray": {"enabled": True, "pools": pools}})
    gpu = rendering.one("Deployment", "strandline-ray-l4")["spec"]
    worker = gpu["template"]["spec"]["containers"][0]
    assert gpu["replicas"] == 2
    assert {"--num-cpus=4", "--num-gpus=2", '--resources={"pool-l4":1000000}'} <= set(
        worker["args"]
    )
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert worker["resources"]["requests"]["memory"] == "16Gi"
    tpu = rendering.one("Deployment", "strandline-ray-v5e")["spec"]["template"]["spec"]
    arguments = tpu["containers"][0]["args"]
    assert {"--num-gpus=0", '--resources={"TPU":4,"pool-v5e":1000000}'} <= set(arguments)


def test_pods_are_spread_among_their_own_kind_unless_told_otherwise() -> None:
    own = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    other = {**own, "labelSelector": {"matchLabels": {"app": "x"}}}
    rendering = render({"operator": {"topologySpreadConstraints": [own, other]}})
    spec = rendering.one("Deployment", "strandline-operator")["spec"]
    first, second = spec["template"]["spec"]["topologySpreadConstraints"]
    assert first["labelSelector"] == spec["selector"]
    assert second == other


def test_two_operators_avoid_each_other_unless_told_where_to_run() -> None:
    def affinity(values: dict[str, Any]) -> Any:
        deployment = render({"operator": values}).one("Deployment", "strandline-operator")
        return deployment["spec"]["template"]["spec"].get("affinity")

    assert affinity({"replicas": 1}) is None
    assert "podAntiAffinity" in affinity({"replicas": 2})
    assert affinity({"replicas": 2, "affinity": {"nodeAffinity": {}}}) == {"nodeAffinity": {}}


def test_a_changed_configuration_restarts_the_operator_and_nothing_else_does() -> None:
    def template(values: dict[str, Any]) -> Any:
        return render(values).one("Deployment", "strandline-operator")["spec"]["template"]

    assert template({"jobs": {"ttl": "2h"}}) != template({})
    assert template({"minio": {"persistence": {"size": "1Gi"}}}) == template({})


def test_the_job_that_makes_the_bucket_gets_another_name_when_it_does_another_thing() -> None:
    def name(values: dict[str, Any]) -> str:
        (found,) = render(values).names("Job")
        return found

    assert name({"minio": {"bucket": "other"}}) != name({})
    assert name({"jobs": {"ttl": "2h"}}) == name({})


def test_dashboard_and_alerts_ask_for_series_that_the_operator_has() -> None:
    switches = ("serviceMonitor", "prometheusRule", "dashboard")
    rendering = render({"metrics": {name: {"enabled": True} for name in switches}})
    rules = json.dumps(rendering.of_kind("PrometheusRule"))
    board = rendering.one("ConfigMap", "strandline-dashboard")["data"]
    text = rules + json.dumps(json.loads(board["strandline-operator.json"]))
    asked = set(
        re.findall(
            r"\b((?:controller_runtime|workqueue|rest_client|leader_election|strandline_informer)"
            r"_[a-z_]+)[{[(, ]",
            text,
        )
    )
    assert len(asked) >= 9
    assert asked <= set(_series())


def test_a_service_monitor_finds_the_service_of_the_metrics() -> None:
    rendering = render({"metrics": {"serviceMonitor": {"enabled": True}}})
    monitor = rendering.one("ServiceMonitor", "strandline-operator")["spec"]
    service = rendering.one("Service", "strandline-operator")
    wanted = monitor["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in {p["name"] for p in service["spec"]["ports"]}


def test_the_notes_name_the_next_commands() -> None:
    # `helm template` leaves the notes out, so what they are made of is read.
    notes = (CHART / "templates" / "NOTES.txt").read_text("utf-8")
    for command in ("rollout status", "helm test", "kubectl apply -f manifests/samples/"):
        assert command in notes


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    package = (CHART.parents[1] / "pyproject.toml").read_text("utf-8")
    assert f'version = "{chart["appVersion"]}"' in package


def _series() -> Iterator[str]:
    for family in OperatorMetrics().registry.collect():
        if family.type == "counter":
            yield f"{family.name}_total"
        elif family.type == "histogram":
            yield from (f"{family.name}_{end}" for end in ("bucket", "sum", "count"))
        else:
            yield family.name


def _paths(values: dict[str, Any], above: str = "") -> Iterator[str]:
    """Iterate over the dotted paths of all values but those of the user's own maps."""
    for key, value in values.items():
        yield above + key
        if isinstance(value, dict) and not _OPEN.search(key):
            yield from _paths(value, f"{above}{key}.")


def _described(schema: dict[str, Any], above: str = "") -> Iterator[str]:
    if "$ref" in schema:
        schema = _SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    for key, value in schema.get("properties", {}).items():
        yield above + key
        if not _OPEN.search(key):
            yield from _described(value, f"{above}{key}.")


def _is_closed(path: str) -> bool:
    value: Any = default_values()
    for key in path.split("."):
        value = value[key]
    return isinstance(value, dict) and not _OPEN.search(path)
