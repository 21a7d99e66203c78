"""What is generated says the same as the models: to an editor, an apiserver and Python.

`ApiServer` follows what an apiserver does with a custom resource: nulls dropped, defaults
filled in, unknown fields refused (strict field validation), the structural schema, list
types, and the CEL rules, evaluated by a CEL implementation that is none of ours.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import cel
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import ValidationError

from strandline.spec.quantities import parse_cpu, parse_memory
from strandline.spec.rules import SpecModel
from strandline.spec.schema import Schema, crd, json_schema
from strandline.spec.v1alpha1 import API_VERSION, KINDS, ComputePoolSpec

Document = dict[str, Any]


@cache
def _program(rule: str) -> cel.Program:
    return cel.compile(rule)


class ApiServer:
    """Accepts or refuses documents by a schema, the way an apiserver does by a CRD."""

    def __init__(self, schema: Schema, dialect: type[Any]) -> None:
        self._schema = schema
        self._validator = dialect(schema)

    def refusals(self, document: Document) -> list[str]:
        filled = self._fill(self._schema, copy.deepcopy(document))
        found = [error.message for error in self._validator.iter_errors(filled)]
        return found or [*self._deep(self._schema, filled)]

    def _fill(self, schema: Schema, value: Any) -> Any:
        if isinstance(value, list) and "items" in schema:
            return [self._fill(schema["items"], each) for each in value]
        if not isinstance(value, dict) or schema.get("type") != "object":
            return value
        present = {k: v for k, v in value.items() if v is not None}
        if "properties" not in schema:
            return present
        for name, inner in schema["properties"].items():
            if name not in present and "default" in inner:
                present[name] = copy.deepcopy(inner["default"])
            if name in present:
                present[name] = self._fill(inner, present[name])
        return present

    def _deep(self, schema: Schema, value: Any) -> Iterator[str]:
        if isinstance(value, list) and "items" in schema:
            yield from self._repeated(schema, value)
            for each in value:
                yield from self._deep(schema["items"], each)
        if isinstance(value, dict) and "properties" in schema:
            yield from (f"unknown {name}" for name in value if name not in schema["properties"])
            for name, inner in schema["properties"].items():
                if name in value:
                    yield from self._deep(inner, value[name])
        for rule in schema.get("x-kubernetes-validations", ()):
            if not self._holds(rule["rule"], _typed(schema, value)):
                yield str(rule["message"])

    @staticmethod
    def _repeated(schema: Schema, value: list[Any]) -> Iterator[str]:
        match schema.get("x-kubernetes-list-type"):
            case "set":
                identities = value
            case "map":
                keys = schema["x-kubernetes-list-map-keys"]
                identities = [tuple(each.get(key) for key in keys) for each in value]
            case _:
                return
        if len(set(identities)) < len(identities):
            yield "repeated entry"

    @staticmethod
    def _holds(rule: str, value: Any) -> bool:
        context = cel.Context()
        context.add_variable("self", value)
        context.add_function("split", lambda text, by: text.split(by))
        context.add_function("dyn", lambda any_value: any_value)
        context.add_function("sum", sum)
        context.add_function("isSorted", lambda values: values == sorted(values))
        try:
            return _program(rule).execute(context) is True
        except (ValueError, RuntimeError, TypeError, OverflowError):
            return False  # an apiserver refuses when a rule cannot be evaluated


def _typed(schema: Schema, value: Any) -> Any:
    """Give CEL doubles where the schema says number: `1` is a double there."""
    if isinstance(value, list) and "items" in schema:
        return [_typed(schema["items"], each) for each in value]
    if isinstance(value, dict) and "properties" in schema:
        inner = schema["properties"]
        return {k: _typed(inner[k], v) for k, v in value.items() if k in inner}
    if schema.get("type") == "number" and isinstance(value, int):
        return float(value)
    return value


def _openapi(kind: str) -> Schema:
    schema: Schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _python_accepts(document: Document) -> bool:
    try:
        KINDS[document["kind"]].model_validate(document)
    except ValidationError:
        return False
    return True


# ---------------------------------------------------------------- random documents

_TEXTS = ["a", "b", "coast-quick", "val/auc_pr", "10m", "1h30m", "0s", "s3://bucket/x", "lr", "UP"]
_TEXTS += ["4", "500m", "16Gi", "4x4", "2x2x4", "2x4", "tpu-v5-lite-podslice", "tpu-v5p-slice"]
_TEXTS += ["2026-12-31T18:00:00Z", "predict.example.com", "registry.example.com/image:1"]
_TEXTS += ["nvidia.com/gpu", "cloud.google.com/gke-tpu-topology"]


def _values(schema: Schema) -> st.SearchStrategy[Any]:
    """Return a strategy of values that are mostly right, often at an edge."""
    wrong: list[Any] = ["x" * 3000, -1, 0, 1, 2.5, True, [], {}, "", {"unheard": 1}, ["a", "a"]]
    wrong += _TEXTS
    good, bad = _good_values(schema), st.sampled_from(wrong)
    return st.integers(0, 24).flatmap(lambda n: bad if n == 24 else good)


def _good_values(schema: Schema) -> st.SearchStrategy[Any]:
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if schema.get("type") in ("array", "object"):
        return _good_containers(schema)
    if schema.get("type") == "integer":
        low, high = schema.get("minimum", 0), schema.get("maximum", 2**40)
        return st.integers(low, high) | st.sampled_from([low, high, low - 1, high + 1])
    scalars: dict[str | None, list[Any]] = {
        "boolean": [True, False],
        "number": [0, 1, 0.5, 0.2, 1e-4, 3.0, -2.5, 0.79, 1e300, 7],
        "string": [text for text in _TEXTS if re.search(schema.get("pattern", ""), text)],
        None: [1, 0.5, "text", True, None, [1], {"a": 1}, [], {}],
    }
    if "x-kubernetes-int-or-string" in schema:
        return st.sampled_from([0, 1, 4, 9999, 10_000, 0.5, "4", "500m", "1.5", "0", "4Gi", True])
    return st.sampled_from(scalars[schema.get("type")])


def _good_containers(schema: Schema) -> st.SearchStrategy[Any]:
    if schema["type"] == "array":
        top = min(schema.get("maxItems", 4), 4)
        return st.lists(_values(schema["items"]), min_size=0, max_size=top)
    if "properties" in schema:
        return _objects(schema)
    return st.dictionaries(
        st.sampled_from(_TEXTS), _values(schema["additionalProperties"]), max_size=2
    )


def _objects(schema: Schema) -> st.SearchStrategy[Document]:
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {k: _values(v) for k, v in schema["properties"].items() if k in required},
        optional={k: _values(v) for k, v in schema["properties"].items() if k not in required},
    )


@cache
def _specs(kind: str) -> st.SearchStrategy[Any]:
    return _good_values(json_schema(kind)["properties"]["spec"])


@cache
def _server(kind: str) -> ApiServer:
    return ApiServer(json_schema(kind), jsonschema.Draft202012Validator)


@cache
def _crd_server(kind: str) -> ApiServer:
    return ApiServer(_openapi(kind), jsonschema.Draft4Validator)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    kind = draw(st.sampled_from(sorted(KINDS)))
    document = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "a"},
        "spec": draw(_specs(kind)),
    }
    if draw(st.booleans()):
        document[draw(st.sampled_from(["metadata", "spec", "extra"]))] = draw(
            st.sampled_from([None, {"name": "A"}, {"name": "b", "labels": {"a b": "c"}}])
        )
    return document


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_json_schema_and_models_accept_the_same_documents(document: Document) -> None:
    assert _python_accepts(document) == (_server(document["kind"]).refusals(document) == [])


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_crd_and_models_accept_the_same_documents(document: Document) -> None:
    document.pop("extra", None)
    if document.get("metadata") != {"name": "A"}:
        document["metadata"] = {"name": "a"}  # an apiserver checks labels by itself
    server = _crd_server(document["kind"])
    assert _python_accepts(document) == (server.refusals(document) == [])


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
        seen[_python_accepts(document)] += 1

    count()
    assert min(seen.values()) >= 20, seen


# ---------------------------------------------------------------- rules, one by one


def _document(kind: str, spec: Document) -> Document:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "a"}, "spec": spec}


def _tpu(
    topology: str,
    accelerator: str = "tpu-v5-lite-podslice",
    count: int | None = None,
    hosts: int | None = None,
) -> Document:
    per_host = {} if count is None else {"count": count}
    given = {} if hosts is None else {"numOfHosts": hosts}
    return {
        "accelerator": {"kind": "tpu", **per_host},
        "tpu": {"accelerator": accelerator, "topology": topology, **given},
    }


def _parameter(**fields: Any) -> Document:
    return {"space": {"preset": "custom", "parameters": [{"name": "lr", **fields}]}}


RULE_CASES: list[tuple[Document, str | None]] = [
    ({}, None),
    (_parameter(type="float", min=0, max=1), None),
    (_parameter(type="float", min=1, max=1), "min must be below max"),
    (_parameter(type="float", min=0, max=1, log=True), "log parameter needs a min above 0"),
    (_parameter(type="float", min=1e-9, max=1, log=True), None),
    (_parameter(type="float", max=1), "take values; float and int min and max"),
    (_parameter(type="categorical", values=["a"]), None),
    (_parameter(type="categorical", values=["a", "a"]), "twice|repeated"),
    (_parameter(type="categorical", values=["a"], log=True), "log belongs|log parameter"),
    (_parameter(type="categorical", values=["a"], min=1), "take values"),
    (_parameter(type="ordinal", values=["low", "high"]), None),
    (_parameter(type="ordinal", min=1, max=2), "take values"),
    (_parameter(type="ordinal", values=["a"], log=True), "log belongs|log parameter"),
    (_parameter(type="ordinal", values=["a"], step=1), "step belongs"),
    (_parameter(type="float", min=0, max=1, step=0.25), None),
    (_parameter(type="float", min=0, max=1, step=0), "greater than 0|minimum"),
    (_parameter(type="float", min=0.1, max=1, step=0.1, log=True), "step belongs"),
    (_parameter(type="int", min=0, max=9, step=3), None),
    (_parameter(type="int", min=0, max=9, step=1.5), "whole number"),
    (_parameter(type="int", min=1, max=3), None),
    (_parameter(type="int", min=1.5, max=3), "whole numbers"),
    (_parameter(type="int", min=1, max=1e300), "whole numbers"),
    (
        _parameter(type="int", min=1, max=3, when={"parameter": "lr", "values": ["1"]}),
        "condition of itself",
    ),
    (
        _parameter(type="int", min=1, max=3, when={"parameter": "head", "values": ["1"]}),
        "must name a parameter",
    ),
    ({"space": {"preset": "custom"}}, "custom needs at least one"),
    ({"space": {"preset": "transfer", "parameters": []}}, None),
    ({"space": {"backbones": ["a"]}}, None),
    (
        {
            "space": {
                "preset": "custom",
                "backbones": ["a"],
                "parameters": [{"name": "b", "type": "int", "min": 0, "max": 1}],
            }
        },
        "backbones belong to preset transfer",
    ),
    ({"budget": {}}, "needs trials, time or deviceHours"),
    ({"budget": {"trials": 1}}, None),
    ({"budget": {"time": "0h0s"}}, "above 0s"),
    ({"trialTimeout": "0m"}, "trialTimeout must be above 0s"),
    ({"trialTimeout": "90s"}, None),
    ({"pools": [{"name": "a"}, {"name": "a"}]}, "twice|repeated"),
    ({"objectives": [{"metric": "a"}, {"metric": "a", "goal": "minimize"}]}, "twice|repeated"),
]


@pytest.mark.parametrize(("spec", "refusal"), RULE_CASES)
def test_each_rule_says_the_same_in_cel_and_python(spec: Document, refusal: str | None) -> None:
    document = {
        "apiVersion": API_VERSION,
        "kind": "Search",
        "metadata": {"name": "a"},
        "spec": {"dataset": {"name": "coast"}, **spec},
    }
    by_crd = _crd_server("Search").refusals(document)
    if refusal is None:
        assert by_crd == []
        KINDS["Search"].model_validate(document)
        return
    assert any(re.search(refusal, message) for message in by_crd), by_crd
    with pytest.raises(ValidationError, match=refusal):
        KINDS["Search"].model_validate(document)


POOL_CASES: list[tuple[Document, str | None]] = [
    ({}, None),
    ({"accelerator": {"kind": "gpu"}}, None),
    ({"accelerator": {"kind": "gpu", "resource": "amd.com/gpu", "count": 8}}, None),
    ({"accelerator": {"kind": "gpu", "resource": "gpu"}}, "pattern|match"),
    ({"accelerator": {"count": 1}}, "kind cpu has no devices"),
    ({"accelerator": {"kind": "tpu"}}, "belong together"),
    ({"tpu": {"accelerator": "tpu-v6e-slice", "topology": "4x4"}}, "belong together"),
    (_tpu("4x4"), None),
    (_tpu("4x4", hosts=4), None),
    (_tpu("4x4", hosts=2), "numOfHosts is the product"),
    (_tpu("4x4", count=4), None),
    (_tpu("4x4", count=8), "one host of 1, 4 or 8 chips"),
    (_tpu("4x4", count=16), "one host of 1, 4 or 8 chips"),
    (_tpu("1x1"), None),
    (_tpu("2x2"), None),
    (_tpu("2x4", count=8, hosts=1), None),
    (_tpu("2x4", hosts=2), None),
    (_tpu("2x4", count=4, hosts=1), "numOfHosts is the product"),
    (_tpu("3x3"), "one host of 1, 4 or 8 chips"),
    (_tpu("4x4x4"), "two dimensions"),
    (_tpu("4x4x4", "tpu-v5p-slice", hosts=16), None),
    (_tpu("4x4", "tpu-v5p-slice"), "three dimensions"),
    (_tpu("2x2x1", "tpu7x", hosts=1), None),
    (_tpu("4x4", "tpu-v9-slice"), None),
    (_tpu("4by4"), "pattern|match"),
    (
        {**_tpu("4x4"), "nodeSelector": {"cloud.google.com/gke-tpu-topology": "4x4"}},
        "selects the nodes by accelerator and topology",
    ),
    ({"nodeSelector": {"not a key": "a"}}, "every key must be|pattern"),
    ({"nodeSelector": {"key": "not a value"}}, "pattern|match"),
    ({"tolerations": [{}]}, "tolerates every taint"),
    ({"tolerations": [{"operator": "Exists"}]}, None),
    ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, "takes any value"),
    ({"tolerations": [{"key": "a", "tolerationSeconds": 5}]}, "belongs to effect NoExecute"),
    (
        {"tolerations": [{"key": "a", "effect": "NoExecute", "tolerationSeconds": 5}]},
        None,
    ),
    ({"workers": {"min": 2, "max": 1}}, "must not be below min"),
    ({"workers": {"min": 0, "max": 4}}, None),
    ({"cpu": "500m", "memory": "512Mi"}, None),
    ({"cpu": 0.5}, "integer|valid|type"),
    ({"memory": "16"}, "pattern|match"),
]


@pytest.mark.parametrize(("spec", "refusal"), POOL_CASES)
def test_each_rule_of_a_pool_says_the_same_in_cel_and_python(
    spec: Document, refusal: str | None
) -> None:
    document = _document("ComputePool", spec)
    by_crd = _crd_server("ComputePool").refusals(document)
    if refusal is None:
        assert by_crd == []
        KINDS["ComputePool"].model_validate(document)
        return
    assert by_crd
    with pytest.raises(ValidationError, match=refusal):
        KINDS["ComputePool"].model_validate(document)


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
        (_tpu("4x4"), "google.com/tpu", 4, 4),
        (_tpu("1x1"), "google.com/tpu", 1, 1),
        (_tpu("2x4", count=8), "google.com/tpu", 8, 1),
        (_tpu("2x2x4", "tpu-v5p-slice"), "google.com/tpu", 4, 4),
    ],
)
def test_a_pool_knows_devices_and_hosts_of_a_worker(
    spec: Document, resource: str | None, per_host: int, hosts: int
) -> None:
    pool = ComputePoolSpec.model_validate(spec)
    assert (pool.resource, pool.devices_per_host, pool.hosts) == (resource, per_host, hosts)


def test_a_pool_selects_the_nodes_of_its_slice() -> None:
    pool = ComputePoolSpec.model_validate({**_tpu("4x4"), "nodeSelector": {"zone": "a"}})
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


def _labeling(**fields: Any) -> Document:
    return {"dataset": {"name": "coast"}, **fields}


def _models(*models: Document, **fields: Any) -> Document:
    return {"models": [{"name": "coast", **each} for each in models], **fields}


def _batch(**fields: Any) -> Document:
    return {"model": {"name": "coast"}, "output": {"uri": "answers"}, **fields}


_THREE = [{"version": 1, "traffic": 60}, {"version": 2, "traffic": 40}]
OTHER_CASES: list[tuple[str, Document, str | None]] = [
    ("LabelingJob", _labeling(), None),
    ("LabelingJob", _labeling(answers={"min": 6}), "must not be above answers.max"),
    ("LabelingJob", _labeling(answers={"max": 1}), "lower lead, or raise max"),
    ("LabelingJob", _labeling(answers={"max": 1, "lead": 1}), None),
    ("LabelingJob", _labeling(annotators={"names": ["ada"]}), "at least as many annotators"),
    ("LabelingJob", _labeling(annotators={"names": ["ada"], "groups": ["all"]}), None),
    ("LabelingJob", _labeling(annotators={"names": ["ada", "grace"]}), None),
    ("LabelingJob", _labeling(annotators={"names": ["ada"]}, answers={"lead": 1}), None),
    ("LabelingJob", _labeling(lease="0m"), "above 0s"),
    ("LabelingJob", _labeling(extraAnswers=["delete", "delete"]), "twice|repeated"),
    ("LabelingJob", _labeling(extraAnswers=[]), None),
    ("LabelingJob", _labeling(labels=[{"name": "a"}, {"name": "a"}]), "twice|repeated"),
    ("LabelingJob", _labeling(deadline="tomorrow"), "pattern|match"),
    ("Endpoint", _models({}), None),
    ("Endpoint", _models(), "at least 1|too short|non-empty"),
    ("Endpoint", _models({"traffic": 90}), "sum up to 100"),
    ("Endpoint", _models(*_THREE), None),
    ("Endpoint", _models({}, {"version": 2, "shadow": True}), None),
    ("Endpoint", _models({"shadow": True}), "sum up to 100"),
    ("Endpoint", _models({"traffic": 50}, {"traffic": 50}), "stands in models twice"),
    ("Endpoint", _models({"traffic": 50}, {"version": 1, "traffic": 50}), None),
    ("Endpoint", _models({}, replicas={"min": 2}), "raise max"),
    ("Endpoint", _models({}, replicas={"min": 0, "idle": "0s"}), "idle must be above 0s"),
    ("Endpoint", _models({}, rollout={"steps": [5, 25, 50]}), None),
    ("Endpoint", _models({}, rollout={"steps": [50, 5]}), "ascending order"),
    ("Endpoint", _models({}, rollout={"steps": [100]}), "less than or equal to 99|maximum"),
    ("Endpoint", _models({}, rollout={"interval": "0s"}), "interval must be above 0s"),
    ("Endpoint", _models({}, tlsSecret="cert"), "set host too"),
    ("Endpoint", _models({}, tlsSecret="cert", host="gulls.example.com"), None),
    ("BatchPrediction", _batch(), "give one of the two"),
    ("BatchPrediction", _batch(source={"uri": "x"}), None),
    ("BatchPrediction", _batch(dataset={"name": "coast"}), None),
    ("BatchPrediction", _batch(dataset={"name": "a"}, source={"uri": "x"}), "give one of the two"),
    ("BatchPrediction", _batch(source={"uri": "x"}, maxFailedItems=-1), "greater than|minimum"),
    ("Training", {"dataset": {"name": "a"}, "cell": {}}, "a cell is either"),
    ("Training", {"dataset": {"name": "a"}, "cell": {"search": "s"}, "workers": 2}, None),
    (
        "Training",
        {"dataset": {"name": "a"}, "cell": {"family": "darts"}},
        "a cell is either",
    ),
    (
        "Training",
        {"dataset": {"name": "a"}, "cell": {"family": "darts", "genotype": {"a": 1}}},
        None,
    ),
    (
        "Training",
        {"dataset": {"name": "a"}, "cell": {"search": "s"}, "workers": 2, "minWorkers": 3},
        "must not be above workers",
    ),
]


@pytest.mark.parametrize(("kind", "spec", "refusal"), OTHER_CASES)
def test_each_rule_of_other_kinds_says_the_same_in_cel_and_python(
    kind: str, spec: Document, refusal: str | None
) -> None:
    document = _document(kind, spec)
    by_crd = _crd_server(kind).refusals(document)
    if refusal is None:
        assert by_crd == []
        KINDS[kind].model_validate(document)
        return
    assert by_crd
    with pytest.raises(ValidationError, match=refusal):
        KINDS[kind].model_validate(document)


def test_split_shares_must_leave_something_to_train_on() -> None:
    document = {
        "apiVersion": API_VERSION,
        "kind": "Dataset",
        "metadata": {"name": "a"},
        "spec": {"source": {"uri": "x"}, "split": {"validation": 0.5, "test": 0.5}},
    }
    server = _crd_server("Dataset")
    assert any("below 1" in each for each in server.refusals(document))
    assert not _python_accepts(document)
    document["spec"]["split"]["test"] = 0.25  # type: ignore[index]  # a plain document
    assert server.refusals(document) == []
    assert _python_accepts(document)


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
    minimal: dict[str, Document] = {
        "Dataset": {"source": {"uri": "x"}},
        "LabelingJob": {"dataset": {"name": "coast"}},
        "ComputePool": {},
        "Endpoint": {"models": [{"name": "coast"}]},
        "BatchPrediction": {
            "model": {"name": "coast"},
            "source": {"uri": "x"},
            "output": {"uri": "y"},
        },
        "Search": {"dataset": {"name": "coast"}},
        "Training": {"dataset": {"name": "coast"}, "cell": {"search": "cells"}},
        "Model": {},
    }
    document = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "a"},
        "spec": minimal[kind],
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
    for wrong in ({"parallelism": "2"}, {"parallelism": True}, {"suspend": 1}, {"seed": 1.0}):
        document = {**base, "spec": {"dataset": {"name": "b"}, **wrong}}
        assert not _python_accepts(document), wrong


def test_models_can_be_made_in_python_by_field_name() -> None:
    class Sample(SpecModel):
        some_field: int = 1

    assert Sample(some_field=2).model_dump(by_alias=True) == {"someField": 2}
