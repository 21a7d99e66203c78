"""Turn the kinds into JSON Schema and CRDs: one definition, every other form generated.

Two dialects come out. JSON Schema 2020-12 (editors, the console's forms) says all that
a schema can say. A CRD must be *structural*: no references, no null-unions, no
`additionalProperties: false`, `type` outside unions; its CEL rules do the rest. Nothing
here reads or writes files.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from strandline.spec.fields import PATTERN_MEANINGS
from strandline.spec.naming import CATEGORY, Column
from strandline.spec.rules import SpecModel
from strandline.spec.v1alpha1 import API_VERSION, KINDS, KindModel

Schema = dict[str, Any]

GROUP, VERSION = API_VERSION.split("/")

INT_OR_STRING = "x-kubernetes-int-or-string"
"""Marks an amount, which is a whole number or text."""

# What a structural schema may not hold, or holds elsewhere. With a format an apiserver does
# not look at the type any more: it takes a list for a date-time.
_NOT_STRUCTURAL = ("additionalProperties", "propertyNames", "anyOf", "format")
_NEITHER_OBJECT_NOR_LIST = {
    "minProperties": 1,
    "maxProperties": 0,
    "minItems": 1,
    "maxItems": 0,
}
# The order in which a person reads a schema; other keys follow as they come.
_KEY_ORDER = ("description", "type", "format", "enum", "pattern", "default", "required")
_API_VERSION_TEXT = "Version of this schema: strandline.dev/v1alpha1."
_KIND_TEXT = "Kind of this object, in CamelCase."


class _Generator(GenerateJsonSchema):
    """Adds what pydantic leaves out: rules, and defaults that a factory makes."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        made: Schema = super().model_schema(schema)
        rules = getattr(schema["cls"], "rules", ())
        if rules:
            made["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message} for rule in rules
            ]
        return made

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        made: Schema = super().default_schema(schema)
        factory: Callable[[], Any] | None = schema.get("default_factory")  # type: ignore[assignment]  # ours take no argument
        if factory is not None:
            made = {**made, "default": _as_written(factory())}
        return made


def _as_written(default: Any) -> Any:
    """Return a default in full: an apiserver checks rules on it before it fills in others."""
    if isinstance(default, SpecModel):
        return default.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(default, list):
        return [_as_written(each) for each in default]
    if isinstance(default, Enum):
        return default.value
    return default


def json_schema_of(model: type[SpecModel]) -> Schema:
    """Return the JSON Schema of `model` with every reference resolved in place."""
    made = model.model_json_schema(by_alias=True, schema_generator=_Generator, mode="validation")
    definitions = made.pop("$defs", {})
    resolved = _resolve(made, definitions)
    assert isinstance(resolved, dict)
    return resolved


def json_schema(kind: str) -> Schema:
    """Return the JSON Schema (2020-12) of documents of `kind`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://{GROUP}/schemas/{VERSION}/{KINDS[kind].names.singular}.json",
        "title": kind,
        **json_schema_of(KINDS[kind]),
    }


def _resolve(node: Any, definitions: Mapping[str, Schema]) -> Any:
    """Inline references, drop titles, and write `X or null` as an optional X."""
    if isinstance(node, list):
        return [_resolve(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        rest = {key: each for key, each in node.items() if key != "$ref"}
        return _resolve({**target, **rest}, definitions)
    choices = node.get("anyOf", [])
    present = [choice for choice in choices if choice != {"type": "null"}]
    if choices and len(present) == 1:
        rest = {key: each for key, each in node.items() if key not in ("anyOf", "default")}
        return _resolve({**present[0], **rest}, definitions)
    return _ordered(_resolve_keywords(node, definitions))


def _resolve_keywords(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    made: Schema = {}
    for key, each in node.items():
        if key == "properties":
            # By name: a property may itself be called `title` or `default`.
            made[key] = {name: _resolve(sub, definitions) for name, sub in each.items()}
        elif key == "patternProperties":
            # One pattern for all keys: said so that keys breaking it are refused.
            ((pattern, values),) = each.items()
            made["propertyNames"] = {**node.get("propertyNames", {}), "pattern": pattern}
            made["additionalProperties"] = _resolve(values, definitions)
        elif key == "default":
            made[key] = copy.deepcopy(each)
        elif key != "title" and key not in made:
            made[key] = _resolve(each, definitions)
    return made


def _ordered(node: Schema) -> Schema:
    first = {key: node[key] for key in _KEY_ORDER if key in node}
    return {**first, **{key: each for key, each in node.items() if key not in first}}


def structural(node: Schema) -> Schema:
    """Return `node`, a resolved JSON Schema, as Kubernetes takes it in a CRD."""
    made = {key: each for key, each in node.items() if key not in _NOT_STRUCTURAL}
    if node.get(INT_OR_STRING):
        made |= _bounds_of_choices(node["anyOf"])
    elif "anyOf" in node:
        # A setting: number, text or boolean. A union of types cannot be structural; bounds
        # that nothing keeps to leave neither objects nor lists.
        made |= {"x-kubernetes-preserve-unknown-fields": True, **_NEITHER_OBJECT_NOR_LIST}
    if "const" in made:
        made["enum"] = [made.pop("const")]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in made:
            made[bound], made[exclusive] = made[exclusive], True
    if made.get("type") == "integer":
        made["format"] = "int64"
    if "properties" in made:
        made["properties"] = {k: structural(v) for k, v in made["properties"].items()}
    elif isinstance(node.get("additionalProperties"), dict):
        made["additionalProperties"] = structural(node["additionalProperties"])
        if "pattern" in node.get("propertyNames", ()):
            made["x-kubernetes-validations"] = [_rule_of_keys(node["propertyNames"])]
    if "items" in made:
        made["items"] = structural(made["items"])
    return _ordered(made)


def _rule_of_keys(names: Schema) -> dict[str, str]:
    """Ask by CEL what the keys of a map are to be like: a structural schema cannot."""
    pattern = names["pattern"]
    quoted = pattern.replace("\\", "\\\\")
    bound = f" && k.size() <= {names['maxLength']}" if "maxLength" in names else ""
    meaning = PATTERN_MEANINGS.get(pattern, f"text that matches {pattern}")
    return {
        "rule": f"self.all(k, k.matches('{quoted}'){bound})",
        "message": f"every key must be {meaning}",
    }


def _bounds_of_choices(choices: list[Schema]) -> Schema:
    """Take what is asked of a number and of a text to where neither binds the other."""
    return {key: each for choice in choices for key, each in choice.items() if key != "type"}


def crd(kind: str) -> Schema:
    """Return the CustomResourceDefinition (apiextensions.k8s.io/v1) of `kind`."""
    model = KINDS[kind]
    names = model.names
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/part-of": "strandline"},
        },
        "spec": {
            "group": GROUP,
            "scope": names.scope.value,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": names.plural,
                "singular": names.singular,
                "shortNames": list(names.short),
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_printer_column(c) for c in names.columns],
                    "schema": {"openAPIV3Schema": _crd_schema(model)},
                }
            ],
        },
    }


def _crd_schema(model: type[KindModel]) -> Schema:
    whole = json_schema_of(model)
    status = structural(json_schema_of(model.status_model))
    required = [name for name in whole["required"] if name == "spec"]
    return {
        "description": whole["description"],
        "type": "object",
        **({"required": required} if required else {}),
        "properties": {
            "apiVersion": {"type": "string", "description": _API_VERSION_TEXT},
            "kind": {"type": "string", "description": _KIND_TEXT},
            "metadata": _crd_metadata(whole["properties"]["metadata"]),
            "spec": structural(whole["properties"]["spec"]),
            "status": {**status, "description": "What was observed; written by Strandline."},
        },
    }


def _crd_metadata(metadata: Schema) -> Schema:
    """Restrict the name: a CRD may say nothing more about `metadata`, not even describe it."""
    return {
        "type": "object",
        "properties": {"name": structural(metadata["properties"]["name"])},
    }


def _printer_column(column: Column) -> Schema:
    return {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
        "priority": 1 if column.wide else 0,
    }
