"""Rules that hold for whatever the chart renders, over all pairs of its switches."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator

import pytest
from tests.deploy import pod_rules, policies
from tests.deploy.chart import NAMESPACE, Document, Rendering, Values, render
from tests.deploy.combinations import pairwise

from strandline.spec.operator_config import read_operator_config

_SERVERS = ("Deployment", "StatefulSet")
_OF_CLUSTER = ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
_GIVEN_SECRETS = {"mine", "mine-too", "root", "token", "registry"}
_READ = {"get", "list", "watch"}


@pytest.fixture(scope="module")
def renderings() -> list[Rendering]:
    return [render(values) for values in pairwise()]


def test_all_pods_are_what_pod_security_calls_restricted(renderings: list[Rendering]) -> None:
    _hold(renderings, lambda spec, _: pod_rules.breaches_of_restricted(spec))


def test_all_pods_have_limits_a_read_only_image_and_no_secret(
    renderings: list[Rendering],
) -> None:
    _hold(renderings, lambda spec, _: pod_rules.breaches_of_ours(spec))


def test_all_servers_have_probes(renderings: list[Rendering]) -> None:
    def check(spec: Document, name: str) -> Iterable[str]:
        return pod_rules.missing_probes(spec) if name.startswith(_SERVERS) else ()

    _hold(renderings, check)


def test_only_the_operator_gets_a_token_of_the_api(renderings: list[Rendering]) -> None:
    def check(spec: Document, name: str) -> Iterable[str]:
        if spec["automountServiceAccountToken"] != name.endswith("-operator"):
            yield "automountServiceAccountToken"

    _hold(renderings, check)


def test_selectors_find_their_pods_and_no_others(renderings: list[Rendering]) -> None:
    for rendering in renderings:
        pods = dict(rendering.pods())
        for server in rendering.of_kind(*_SERVERS):
            own = f"{server['kind']}/{server['metadata']['name']}"
            assert _selected(pods, server["spec"]["selector"]) == [own], rendering.values
        for service in rendering.of_kind("Service"):
            found = _selected(pods, {"matchLabels": service["spec"]["selector"]})
            assert len(found) == 1, (service["metadata"]["name"], found)
            ports = {p["name"] for c in pods[found[0]]["spec"]["containers"] for p in c["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
        for budget in rendering.of_kind("PodDisruptionBudget"):
            assert len(_selected(pods, budget["spec"]["selector"])) == 1


def test_a_server_has_a_budget_of_disruptions_unless_told_otherwise() -> None:
    rendering = render({"ray": {"enabled": True}})
    servers = {each["metadata"]["name"] for each in rendering.of_kind(*_SERVERS)}
    assert rendering.names("PodDisruptionBudget") == servers


def test_no_right_is_a_wildcard_and_none_reads_secrets(renderings: list[Rendering]) -> None:
    for rendering in renderings:
        for role in rendering.of_kind("Role", "ClusterRole"):
            for rule in role["rules"]:
                words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
                assert not any("*" in word for word in words), role["metadata"]["name"]
                refused = {"secrets", "pods/exec", "pods/attach", "serviceaccounts/token"}
                assert not refused & set(rule["resources"])
                assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_of_the_cluster_the_operator_writes_nothing_but_the_status_of_pools() -> None:
    rendering = render({"namespaces": ["team-a"]})
    role = rendering.one("ClusterRole", f"{NAMESPACE}:strandline-operator", None)
    writes = [rule for rule in role["rules"] if not set(rule["verbs"]) <= _READ]
    assert writes == [
        {
            "apiGroups": ["strandline.dev"],
            "resources": ["computepools/status"],
            "verbs": ["patch"],
        }
    ]


def test_the_namespaced_mode_makes_nothing_outside_its_namespace(
    renderings: list[Rendering],
) -> None:
    for rendering in renderings:
        if rendering.values.get("scope") != "namespace":
            continue
        kinds = {each["kind"] for each in rendering.documents}
        installs = rendering.values.get("crds", {}).get("install", True)
        assert kinds & set(_OF_CLUSTER) == ({"CustomResourceDefinition"} if installs else set())
        spaces = {each["metadata"].get("namespace") for each in rendering.documents}
        assert spaces - {None} == {NAMESPACE}


def test_every_object_says_what_it_belongs_to(renderings: list[Rendering]) -> None:
    for rendering in renderings:
        for each in rendering.documents:
            if each["kind"] == "CustomResourceDefinition":
                continue
            labels = each["metadata"]["labels"]
            assert labels["app.kubernetes.io/name"] == "strandline"
            assert labels["app.kubernetes.io/instance"] == "strandline"
            assert {f"app.kubernetes.io/{name}" for name in ("component", "version")} <= set(labels)
            assert ("namespace" in each["metadata"]) == (each["kind"] not in _OF_CLUSTER)
            assert len(each["metadata"]["name"]) <= 63


def test_nothing_is_made_twice(renderings: list[Rendering]) -> None:
    for rendering in renderings:
        keys = [
            (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
            for each in rendering.documents
        ]
        assert len(keys) == len(set(keys))


def test_what_pods_refer_to_is_there(renderings: list[Rendering]) -> None:
    for rendering in renderings:
        made = {kind: rendering.names(kind) for kind in ("ConfigMap", "Secret", "ServiceAccount")}
        for name, pod in rendering.pods():
            spec = pod["spec"]
            assert _refers_to(spec, "configMap") <= made["ConfigMap"], name
            assert _refers_to(spec, "secret") <= made["Secret"] | _GIVEN_SECRETS, name
            account = spec["serviceAccountName"]
            assert account in made["ServiceAccount"] | {"default", "mine"}, name


def test_a_generated_secret_stands_in_secrets_only(renderings: list[Rendering]) -> None:
    for rendering in renderings:
        secrets = rendering.of_kind("Secret")
        values = {v for each in secrets for v in each["stringData"].values() if _is_random(v)}
        rest = [each for each in rendering.documents if each["kind"] != "Secret"]
        text = json.dumps(rest)
        assert not any(value in text for value in values)


def test_all_secrets_of_one_rendering_agree() -> None:
    rendering = render({"namespaces": ["team-a", "team-b"], "ray": {"enabled": True}})
    copies = [s for s in rendering.of_kind("Secret") if s["metadata"]["name"].endswith("-storage")]
    assert len(copies) == 3
    assert len({json.dumps(copy["stringData"]) for copy in copies}) == 1
    password = rendering.one("Secret", "strandline-postgresql")["stringData"]["password"]
    assert f":{password}@" in copies[0]["stringData"]["STRANDLINE_CATALOG"]
    kept = [s for s in rendering.of_kind("Secret") if "annotations" in s["metadata"]]
    assert {s["metadata"]["namespace"] for s in kept} == {NAMESPACE}


def test_the_operator_reads_the_file_that_the_chart_writes(renderings: list[Rendering]) -> None:
    for rendering in renderings:
        for each in rendering.of_kind("ConfigMap"):
            text = each["data"].get("operator.yaml")
            if text is not None:
                config = read_operator_config(text)
                assert config.cluster_reads == (rendering.values.get("scope") != "namespace")


def test_every_pod_is_isolated_in_both_directions(renderings: list[Rendering]) -> None:
    for rendering in renderings:
        found = rendering.of_kind("NetworkPolicy")
        if not rendering.values.get("networkPolicy", {}).get("enabled", True):
            assert found == []
            continue
        for name, pod in rendering.pods():
            end = policies.End(NAMESPACE, pod["metadata"]["labels"])
            for direction in ("Ingress", "Egress"):
                assert policies.selecting(found, end, direction), (name, direction)


def _hold(renderings: Iterable[Rendering], check: Callable[[Document, str], Iterable[str]]) -> None:
    found: dict[str, Values] = {}
    for rendering in renderings:
        for name, pod in rendering.pods():
            for breach in check(pod["spec"], name):
                found.setdefault(f"{name}: {breach}", rendering.values)
    assert not found, "\n".join(f"{breach}, e.g. with {v}" for breach, v in found.items())


def _selected(pods: dict[str, Document], selector: Document) -> list[str]:
    return [
        name
        for name, pod in pods.items()
        if policies.matches(selector, pod["metadata"].get("labels", {}))
    ]


def _refers_to(spec: Document, kind: str) -> set[str]:
    return set(_references(spec, kind))


def _references(spec: Document, kind: str) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        if kind in volume:
            yield volume[kind].get("name") or volume[kind]["secretName"]
    for container in pod_rules.containers(spec):
        for source in container.get("envFrom", []):
            if f"{kind}Ref" in source:
                yield source[f"{kind}Ref"]["name"]
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get(f"{kind}KeyRef")
            if reference:
                yield reference["name"]


def _is_random(value: str) -> bool:
    return re.fullmatch("[0-9a-f]{32,}", value) is not None
