"""What is generated says the same as the models: to an editor, an apiserver and Python.

`ApiServer` imitates one; `tests/contract/test_crds_on_an_apiserver.py` asks a real one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError
from tests.kinds.cases import CASES, MINIMAL, Document, document_of, tpu
from tests.kinds.imitation import ApiServer
from tests.kinds.random_documents import documents, parse

from strandline.spec.quantities import parse_cpu, parse_memory
from strandline.spec.rules import SpecModel
from strandline.spec.schema import Schema, crd, json_schema
from strandline.spec.v1alpha1 import API_VERSION, KINDS, ComputePoolSpec


def _openapi(kind: str) -> Schema:
    schema: Schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@cache
def _server(kind: str) -> ApiServer:
    return ApiServer(json_schema(kind), jsonschema.Draft202012Validator)


@cache
def _crd_server(kind: str) -> ApiServer:
    return ApiServer(_openapi(kind), jsonschema.Draft4Validator)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_json_schema_and_models_accept_the_same_documents(document: Document) -> None:
    assert (parse(document) is not None) == (_server(document["kind"]).refusals(document) == [])


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_crd_and_models_accept_the_same_documents(document: Document) -> None:
    document.pop("extra", None)
    if document.get("metadata") != {"name": "A"}:
        document["metadata"] = {"name": "a"}  # an apiserver checks labels by itself
    server = _crd_server(document["kind"])
    assert (parse(document) is not None) == (server.refusals(document) == [])


def test_the_random_documents_are_of_both_sorts() -> None:
    """Without this, the two properties above could hold because all are refused."""
    seen = {True: 0, False: 0}

    @settings(
        max_examples=100,
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(documents())
    def count(document: Document) -> None:
        seen[parse(document) is not None] += 1

    count()
    assert min(seen.values()) >= 20, seen


# ---------------------------------------------------------------- rules, one by one


@pytest.mark.parametrize(("kind", "spec", "refusal"), CASES)
def test_each_rule_says_the_same_in_cel_and_python(
    kind: str, spec: Document, refusal: str | None
) -> None:
    document = document_of(kind, spec)
    by_crd = _crd_server(kind).refusals(document)
    if refusal is None:
        assert by_crd == []
        KINDS[kind].model_validate(document)
        return
    assert any(re.search(refusal, message) for message in by_crd), by_crd
    with pytest.raises(ValidationError, match=refusal):
        KINDS[kind].model_validate(document)


def _rules_of(schema: Schema) -> Iterator[str]:
    for _, node in _nodes(schema):
        yield from (rule["message"] for rule in node.get("x-kubernetes-validations", ()))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_rule_has_a_case_that_breaks_it(kind: str) -> None:
    wanted = [refusal for each, _, refusal in CASES if each == kind and refusal]
    for message in set(_rules_of(_openapi(kind)["properties"]["spec"])):
        assert any(re.search(refusal, message) for refusal in wanted), message


@pytest.mark.parametrize(
    ("spec", "resource", "per_host", "hosts"),
    [
        ({}, None, 0, 1),
        ({"accelerator": {"kind": "gpu"}}, "nvidia.com/gpu", 1, 1),
        (
            {"accelerator": {"kind": "gpu", "resource": "amd.com/gpu", "count": 2}},
            "amd.com/gpu",
            2,
            1,
        ),
        (tpu("4x4"), "google.com/tpu", 4, 4),
        (tpu("1x1"), "google.com/tpu", 1, 1),
        (tpu("2x4", count=8), "google.com/tpu", 8, 1),
        (tpu("2x2x4", "tpu-v5p-slice"), "google.com/tpu", 4, 4),
    ],
)
def test_a_pool_knows_devices_and_hosts_of_a_worker(
    spec: Document, resource: str | None, per_host: int, hosts: int
) -> None:
    pool = ComputePoolSpec.model_validate(spec)
    assert (pool.resource, pool.devices_per_host, pool.hosts) == (resource, per_host, hosts)


def test_a_pool_selects_the_nodes_of_its_slice() -> None:
    pool = ComputePoolSpec.model_validate({**tpu("4x4"), "nodeSelector": {"zone": "a"}})
    assert pool.selector == {
        "zone": "a",
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }


@pytest.mark.parametrize(
    ("text", "cores"), [(4, 4.0), ("4", 4.0), ("500m", 0.5), ("1.5", 1.5), ("0.25", 0.25)]
)
def test_cpu_is_read_as_kubernetes_writes_it(text: int | str, cores: float) -> None:
    assert parse_cpu(text) == cores


@pytest.mark.parametrize(("text", "size"), [("1Ki", 1024), ("1.5Gi", 3 * 2**29), ("2M", 2_000_000)])
def test_memory_is_read_as_kubernetes_writes_it(text: str, size: int) -> None:
    assert parse_memory(text) == size


def test_amounts_without_their_unit_are_refused() -> None:
    for call in (lambda: parse_memory("16"), lambda: parse_cpu("4Gi"), lambda: parse_cpu("x")):
        with pytest.raises(ValueError, match="write it like"):
            call()


# ---------------------------------------------------------------- structural-ness


def _nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _nodes(schema[key], f"{path}[]")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_crds_are_structural(kind: str) -> None:
    """The rules of "Specifying a structural schema" in the Kubernetes documentation."""
    forbidden = {"$ref", "$defs", "definitions", "anyOf", "oneOf", "allOf", "not", "const"}
    forbidden |= {"title", "patternProperties", "propertyNames", "uniqueItems", "nullable"}
    for path, node in _nodes(_openapi(kind)):
        assert not forbidden & set(node), path
        untyped = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string")
        assert ("type" in node) != any(node.get(each) for each in untyped), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert isinstance(node.get("exclusiveMinimum", True), bool), path
        assert isinstance(node.get("exclusiveMaximum", True), bool), path


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_metadata_says_no_more_than_an_apiserver_allows(kind: str) -> None:
    """apiextensions-apiserver refuses a CRD that describes metadata or more than the name."""
    metadata = _openapi(kind)["properties"]["metadata"]
    assert set(metadata) == {"type", "properties"}
    assert set(metadata["properties"]) == {"name"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_field_is_described(kind: str) -> None:
    for path, node in _nodes(_openapi(kind)):
        if path and path != ".metadata" and not path.endswith("[]"):
            assert len(node.get("description", "")) > 5, path


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_defaults_are_valid_and_complete_what_python_fills_in(kind: str) -> None:
    document = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "a"},
        "spec": MINIMAL[kind],
    }
    server = _crd_server(kind)
    assert server.refusals(document) == []
    by_server = server._fill(_openapi(kind), document)["spec"]
    by_python = (
        KINDS[kind]
        .model_validate(document)
        .model_dump(mode="json", by_alias=True, exclude_none=True)["spec"]
    )
    assert by_server == by_python


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_defaults_keep_the_rules_by_themselves(kind: str) -> None:
    """apiextensions-apiserver evaluates rules on a default before nested ones are filled in."""
    server = _crd_server(kind)
    checked = 0
    for path, node in _nodes(_openapi(kind)):
        if "default" in node:
            checked += 1
            assert list(server._deep(node, node["default"])) == [], path
    assert checked >= 3


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_crds_carry_what_operators_expect(kind: str) -> None:
    made = crd(kind)
    names, version = made["spec"]["names"], made["spec"]["versions"][0]
    assert made["metadata"]["name"] == f"{names['plural']}.strandline.dev"
    assert names["categories"] == ["strandline"]
    assert names["shortNames"]
    assert version["subresources"] == {"status": {}}
    conditions = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"][
        "conditions"
    ]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert {c["name"] for c in version["additionalPrinterColumns"]} >= {"Ready", "Reason", "Age"}


def test_numbers_that_json_cannot_hold_are_refused() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValidationError):
            KINDS["Search"].model_validate(
                {
                    "apiVersion": API_VERSION,
                    "kind": "Search",
                    "metadata": {"name": "a"},
                    "spec": {"dataset": {"name": "b"}, "stop": {"goal": value}},
                }
            )


def test_scalars_are_not_turned_into_other_types() -> None:
    base = {"apiVersion": API_VERSION, "kind": "Search", "metadata": {"name": "a"}}
    for wrong in ({"parallelism": "2"}, {"parallelism": True}, {"suspend": 1}, {"seed": 1.5}):
        document = {**base, "spec": {"dataset": {"name": "b"}, **wrong}}
        assert parse(document) is None, wrong


def test_models_can_be_made_in_python_by_field_name() -> None:
    class Sample(SpecModel):
        some_field: int = 1

    assert Sample(some_field=2).model_dump(by_alias=True) == {"someField": 2}
