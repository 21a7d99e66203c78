"""Random documents made from the schemas: mostly right, often at an edge."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError
from tests.kinds.cases import CASES, MINIMAL

from strandline.spec.schema import Schema, json_schema, json_schema_of
from strandline.spec.v1alpha1 import API_VERSION, KINDS, KindModel

Document = dict[str, Any]

_TEXTS = ["a", "b", "coast-quick", "val/auc_pr", "10m", "1h30m", "0s", "s3://bucket/x", "lr", "UP"]
_TEXTS += ["4", "500m", "16Gi", "4x4", "2x2x4", "2x4", "tpu-v5-lite-podslice", "tpu-v5p-slice"]
_TEXTS += ["2026-12-31T18:00:00Z", "predict.example.com", "registry.example.com/image:1"]
_TEXTS += ["nvidia.com/gpu", "cloud.google.com/gke-tpu-topology"]


def _values(schema: Schema) -> st.SearchStrategy[Any]:
    """Return a strategy of values that are mostly right, often at an edge."""
    wrong: list[Any] = ["x" * 3000, -1, 0, 1, 2.5, True, [], {}, "", {"unheard": 1}, ["a", "a"]]
    wrong += [*_TEXTS, "a\n", "größe 🐦", 3.0, 2**62, -(2**62), 1e-320, [None], {"a": None}]
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
    return _good_values(_spec_schema(kind))


@cache
def _spec_schema(kind: str) -> Schema:
    schema: Schema = json_schema(kind)["properties"]["spec"]
    return schema


@cache
def statuses(kind: str) -> st.SearchStrategy[Document]:
    """Return random statuses of a kind."""
    return _good_values(json_schema_of(KINDS[kind].status_model))


@cache
def _accepted(kind: str) -> st.SearchStrategy[Document]:
    known = [spec for each, spec, refusal in CASES if each == kind and refusal is None]
    return st.sampled_from([MINIMAL[kind], *known])


@st.composite
def _mutations(draw: st.DrawFn, kind: str) -> Document:
    """Draw a spec that is accepted, but for one to three fields anywhere in it."""
    spec = copy.deepcopy(draw(_accepted(kind)))
    for _ in range(draw(st.integers(1, 3))):
        schema, place = _spec_schema(kind), spec
        while True:
            name = draw(st.sampled_from(sorted(schema["properties"])))
            schema = schema["properties"][name]
            inner = place.get(name)
            if "properties" not in schema or not isinstance(inner, dict) or draw(st.booleans()):
                break
            place = inner
        match draw(st.integers(0, 9)):
            case 9:
                place[_snake_case(name)] = draw(_values(schema))
            case 8:
                place.pop(name, None)
            case _:
                place[name] = draw(_values(schema))
    return spec


def _snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", name)


def parse(document: Document) -> KindModel | None:
    """Return the document as its model, None when that refuses it."""
    model = KINDS[document["kind"]]
    try:
        return model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError:
        return None


@st.composite
def documents(draw: st.DrawFn, kind: str | None = None) -> Document:
    """Draw a document of this kind, or of any."""
    kind = kind or draw(st.sampled_from(sorted(KINDS)))
    document = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "a"},
        "spec": draw(_mutations(kind) if draw(st.booleans()) else _specs(kind)),
    }
    if draw(st.integers(0, 3)) == 3:
        document[draw(st.sampled_from(["metadata", "spec", "extra"]))] = draw(
            st.sampled_from([None, {"name": "A"}, {"name": "b", "labels": {"a b": "c"}}])
        )
    return document
