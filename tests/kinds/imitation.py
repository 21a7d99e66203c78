"""What an apiserver does with a custom resource, followed closely enough to judge documents by.

Nulls dropped, defaults filled in, unknown fields refused (strict field validation), the
structural schema, list types, and the CEL rules, evaluated by a CEL implementation that is
none of ours.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import cel
import jsonschema
from jsonschema import validators

from strandline.spec.schema import INT_OR_STRING, Schema

Document = dict[str, Any]


def _read(value: Any) -> Any:
    """Return what JSON says: 3.0 is 3 there."""
    if isinstance(value, dict):
        return {key: _read(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_read(each) for each in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**63
    return int(value) if whole else value


def _check_pattern(
    _: Any, pattern: str, value: Any, __: Schema
) -> Iterator[jsonschema.ValidationError]:
    """Find `$` at the very end only: Python's own would let a line feed follow."""
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


@cache
def _program(rule: str) -> cel.Program:
    return cel.compile(rule)


class ApiServer:
    """Accepts or refuses documents by a schema, the way an apiserver does by a CRD."""

    def __init__(self, schema: Schema, dialect: type[Any]) -> None:
        self._schema = schema
        self._validator = validators.extend(dialect, {"pattern": _check_pattern})(schema)

    def refusals(self, document: Document) -> list[str]:
        filled = self._fill(self._schema, _read(document))
        found = [error.message for error in self._validator.iter_errors(filled)]
        return found or [*self._deep(self._schema, filled)]

    def _fill(self, schema: Schema, value: Any) -> Any:
        if isinstance(value, list) and "items" in schema:
            return [self._fill(schema["items"], each) for each in value]
        if not isinstance(value, dict) or schema.get("type") != "object":
            return value
        if "properties" not in schema:
            return {k: v for k, v in value.items() if v is not None}
        known = schema["properties"]
        present = {k: v for k, v in value.items() if v is not None or k not in known}
        for name, inner in schema["properties"].items():
            if name not in present and "default" in inner:
                present[name] = copy.deepcopy(inner["default"])
            if name in present:
                present[name] = self._fill(inner, present[name])
        return present

    def _deep(self, schema: Schema, value: Any) -> Iterator[str]:
        if INT_OR_STRING in schema and (isinstance(value, bool | float)):
            yield f"{value!r} is not of type integer or string"
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
