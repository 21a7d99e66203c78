"""Parse the documents a person writes into typed kinds, saying exactly what is wrong.

Every problem of every document is reported at once, with file, document, line, field and
what to do, because mending a file one error at a time is what people hate about YAML.
What `get -o yaml` prints is accepted again: fields that only the system sets are dropped.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from strandline.spec.errors import InvalidSpecError
from strandline.spec.fields import PATTERN_MEANINGS
from strandline.spec.schema import INT_OR_STRING, Schema, json_schema_of
from strandline.spec.v1alpha1 import API_VERSION, KINDS, Kind
from strandline.spec.yaml_text import read_yaml

_SYSTEM_FIELDS = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Document:
    """A typed document and where it came from.

    Attributes:
        source: file name, or `stdin`.
        index: its place in the source, from 1.
        folder: where relative paths in it start; None where there is none.
    """

    model: Kind
    source: str
    index: int
    folder: Path | None = None


def parse_documents(text: str | bytes, source: str = "stdin") -> list[Document]:
    """Parse all documents of a YAML (or JSON) text.

    Raises:
        InvalidSpecError: some document is wrong; the message lists every problem.
    """
    documents: list[Document] = []
    problems: list[str] = []
    for index, found in enumerate(read_yaml(text, source), start=1):
        for item, path in _items(found.data):
            try:
                documents.append(Document(parse_document(item), source, index))
            except _DocumentError as error:
                problems += [
                    f"{source}, document {index}, line {found.line_of([*path, *p.path])}: {p.text}"
                    for p in error.problems
                ]
    if problems:
        hidden = len(problems) - _MAX_PROBLEMS
        more = [f"… and {hidden} more problems"] if hidden > 0 else []
        raise InvalidSpecError("\n".join([*problems[:_MAX_PROBLEMS], *more]))
    return documents


def parse_document(data: Any) -> Kind:
    """Turn the plain data of one document into its kind.

    Raises:
        InvalidSpecError: it breaks its schema; the message names each field.
    """
    model = KINDS[_kind_of(data)]
    try:
        # By alias alone: Python's names of fields are no names in documents.
        return model.model_validate(_without_system_fields(data), by_alias=True, by_name=False)
    except ValidationError as error:
        problems = {(p := _problem(model, each)).path: p for each in reversed(error.errors())}
        raise _DocumentError(list(reversed(problems.values()))) from None


@dataclass(frozen=True, slots=True)
class _Problem:
    path: tuple[str | int, ...]
    text: str


class _DocumentError(InvalidSpecError):
    def __init__(self, problems: Sequence[_Problem]) -> None:
        super().__init__("; ".join(problem.text for problem in problems))
        self.problems = problems


def _items(data: Any) -> Iterator[tuple[Any, tuple[str | int, ...]]]:
    """Yield a document, or the documents in a List (what `get -o yaml` prints)."""
    if isinstance(data, Mapping) and (data.get("apiVersion"), data.get("kind")) == ("v1", "List"):
        items = data.get("items")
        if isinstance(items, list):
            yield from ((item, ("items", place)) for place, item in enumerate(items))
            return
    yield data, ()


def _kind_of(data: Any) -> str:
    if not isinstance(data, Mapping):
        raise _refusal((), "a document is an object with apiVersion, kind, metadata and spec")
    version, kind = data.get("apiVersion"), data.get("kind")
    if kind is None or version is None:
        missing = "apiVersion" if version is None else "kind"
        raise _refusal((), f"{missing} is missing: start with `apiVersion: {API_VERSION}`")
    if version != API_VERSION:
        raise _refusal(
            ("apiVersion",), f"apiVersion is {version!r}; this program knows {API_VERSION}"
        )
    if not isinstance(kind, str) or kind not in KINDS:
        near = _guess(kind, KINDS) or f"; known are {', '.join(KINDS)}"
        raise _refusal(("kind",), f"kind {kind!r} is not known{near}")
    return kind


def _refusal(path: tuple[str | int, ...], text: str) -> _DocumentError:
    return _DocumentError([_Problem(path, text)])


def _without_system_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in data.items() if key != "status"}
    metadata = kept.get("metadata")
    if isinstance(metadata, Mapping):
        metadata = {k: v for k, v in metadata.items() if k not in _SYSTEM_FIELDS}
        notes = metadata.get("annotations")
        if isinstance(notes, Mapping):
            metadata["annotations"] = {k: v for k, v in notes.items() if k != _LAST_APPLIED}
        kept["metadata"] = metadata
    return kept


def _problem(model: type[Kind], error: ErrorDetails) -> _Problem:
    path = _document_path(model, error["loc"])
    field = _shown(path)
    match error["type"]:
        case "missing":
            return _Problem(path[:-1], f"{field} is missing: add it")
        case "extra_forbidden":
            return _Problem(path, f"{field} is not a field{_nearest_field(model, path)}")
        case "value_error":
            text = error["msg"].removeprefix("Value error, ")
        case "string_pattern_mismatch":
            pattern = str(error["ctx"]["pattern"])
            meaning = PATTERN_MEANINGS.get(pattern, f"text that matches {pattern}")
            text = f"it must be {meaning}, but it is {_quoted(error['input'])}"
        case "string_type" if isinstance(error["input"], bool | int | float):
            text = f"it must be text, but YAML reads it as {error['input']!r}: put it in quotes"
        case _ if _is_setting(model, path):
            text = f"it must be a number, text, true or false, but it is {_quoted(error['input'])}"
        case _:
            text = f"{_lower(error['msg'])}, but it is {_quoted(error['input'])}"
    return _Problem(path, f"{field}: {text}" if field else text)


def _is_setting(model: type[Kind], path: Sequence[str | int]) -> bool:
    schema: Schema | None = _schema(model)
    for step in path:
        schema = _below(schema, step) if schema else None
    return schema is not None and "anyOf" in schema and INT_OR_STRING not in schema


def _document_path(model: type[Kind], loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """Leave out what pydantic adds to a location: branches of a union, `[key]` of a map."""
    path: list[str | int] = []
    schema: Schema | None = _schema(model)
    for step in loc:
        if schema is None or step == "[key]":
            break
        path.append(step)
        schema = _below(schema, step)
        if schema is not None and "anyOf" in schema:
            break
    return tuple(path)


@cache
def _schema(model: type[Kind]) -> Schema:
    return json_schema_of(model)


def _below(schema: Schema, step: str | int) -> Schema | None:
    found = schema.get("items") if isinstance(step, int) else schema.get("properties", {}).get(step)
    if found is None and isinstance(schema.get("additionalProperties"), dict):
        found = schema["additionalProperties"]
    return found


def _nearest_field(model: type[Kind], path: Sequence[str | int]) -> str:
    schema: Schema | None = _schema(model)
    for step in path[:-1]:
        schema = _below(schema, step) if schema else None
    fields = list(schema.get("properties", {})) if schema else []
    guess = _guess(path[-1], fields)
    return guess or f"; fields here are {', '.join(fields)}"


def _guess(word: object, known: Mapping[str, Any] | Sequence[str]) -> str:
    near = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f": did you mean {near[0]}?" if near else ""


def _shown(path: Sequence[str | int]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
