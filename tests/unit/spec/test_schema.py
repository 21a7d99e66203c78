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

from strandline.spec.rules import SpecModel
from strandline.spec.schema import Schema, crd, json_schema
from strandline.spec.v1alpha1 import API_VERSION, KINDS

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
        if not isinstance(value, dict) or "properties" not in schema:
            return value
        present = {k: v for k, v in value.items() if v is not None}
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
        try:
            return _program(rule).execute({"self": value}) is True
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
        None: [1, 0.5, "text", True, None, [1], {"a": 1}],
    }
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


def _has_free_settings(value: Any) -> bool:
    """Tell whether settings hold what only Python refuses: a CRD cannot say "scalar"."""
    if isinstance(value, list):
        return any(map(_has_free_settings, value))
    if not isinstance(value, dict):
        return False
    free = [value[name] for name in ("settings", "genotype") if isinstance(value.get(name), dict)]
    if any(
        not isinstance(each, bool | int | float | str) or not key or len(key) > 256
        for inside in free
        for key, each in inside.items()
    ):
        return True
    return any(map(_has_free_settings, value.values()))


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
    if _has_free_settings(document):
        return
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
        assert "type" in node or node.get("x-kubernetes-preserve-unknown-fields"), path
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
