"""JSON Lines: Vertex AI's import files, single and multi-label, and plain records.

Vertex AI (image classification schemas 1.0.0): `imageGcsUri`, `classificationAnnotation`
or `classificationAnnotations` with `displayName`, and the split under
`dataItemResourceLabels["aiplatform.googleapis.com/ml_use"]`. A plain record has `file`
and `label` or `labels`, optionally `split` and `group`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from strandline.data.sources.addresses import AddressBook, address_book
from strandline.data.sources.entries import (
    Entry,
    Expected,
    Found,
    ReadContext,
    clean_labels,
    clean_text,
    count_lines,
    refuse,
)
from strandline.data.sources.layout import SPLITS
from strandline.spec.errors import UnusableDataError

_LONGEST_LINE = 1_000_000
_PREVIEWED = 200
_ML_USE = "aiplatform.googleapis.com/ml_use"


def read_json_lines(path: Path, context: ReadContext) -> Iterator[Found]:
    """Yield what the lines of the file at `path` name."""
    preview = (_address(_parse(line)) for _, line in islice(_lines(path), _PREVIEWED))
    book = address_book(path, (each for each in preview if each), context)
    yield Expected(count_lines(path))
    for number, line in _lines(path):
        if line.strip():
            yield _entry(line, f"{path.name}:{number}", book)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE + 1):
            number += 1
            whole = line
            while not whole.endswith(b"\n") and (whole := file.readline(_LONGEST_LINE)):
                pass  # the rest of a line that is too long
            yield number, line


def _entry(line: bytes, where: str, book: AddressBook) -> Found:
    try:
        record = _parse(line)
        if record is None:
            raise UnusableDataError("the line is not a JSON object (cut off, or too deep?)")
        address = _address(record)
        if not address:
            raise UnusableDataError("the record names no file (`imageGcsUri` or `file`)")
        labels = clean_labels(_labels(record))
        split = _split(record)
        if split not in SPLITS:
            raise UnusableDataError(f"{split[:40]!r} is no split")
        content = book.resolve(address)
    except UnusableDataError as error:
        return refuse(where, str(error), "BadRow")
    group = record.get("group")
    return Entry(
        clean_text(address),
        content,
        labels or None,
        SPLITS[split],
        clean_text(str(group)) if group is not None else None,
    )


def _parse(line: bytes) -> Mapping[str, Any] | None:
    if len(line) > _LONGEST_LINE:
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _address(record: Mapping[str, Any] | None) -> str:
    found = (record or {}).get("imageGcsUri") or (record or {}).get("file")
    return found if isinstance(found, str) else ""


def _labels(record: Mapping[str, Any]) -> list[str]:
    several = record.get("classificationAnnotations")
    one = record.get("classificationAnnotation")
    annotations = several if isinstance(several, list) else [one] if one else []
    found: list[Any] = [a.get("displayName") for a in annotations if isinstance(a, dict)]
    if isinstance(record.get("label"), str):
        found.append(record["label"])
    if isinstance(record.get("labels"), list):
        found.extend(record["labels"])
    if not all(isinstance(label, str) for label in found):
        raise UnusableDataError("a label is not text")
    return found


def _split(record: Mapping[str, Any]) -> str:
    resource = record.get("dataItemResourceLabels")
    found = resource.get(_ML_USE) if isinstance(resource, dict) else record.get("split")
    return str(found or "").strip().lower()
