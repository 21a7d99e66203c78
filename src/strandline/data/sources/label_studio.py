"""Label Studio's JSON and JSON-MIN exports of image classification (Choices) projects.

In a JSON export each task has `data` with the image's address and `annotations`, whose
`result` entries of type `choices` hold the labels; the newest annotation that was not
cancelled counts. In JSON-MIN the task is flat, and a choice is a text or
`{"choices": […]}`. Addresses that Label Studio made itself (`/data/upload/…`,
`/data/local-files/?d=…`) are looked for below the export's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from strandline.data.sources.addresses import AddressBook, address_book
from strandline.data.sources.entries import (
    Entry,
    Expected,
    Found,
    ReadContext,
    clean_labels,
    clean_text,
    refuse,
)
from strandline.data.sources.json_array import array_values
from strandline.spec.errors import UnusableDataError

_PREVIEWED = 200
_UPLOADS = "/data/upload/"
_LOCAL_FILES = "/data/local-files/"
_MIN_FIELDS = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}


def read_label_studio(path: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the tasks of the export at `path`."""
    count, addresses = _look_through(path)
    yield Expected(count)
    book = address_book(path, addresses, context)
    number = 0
    try:
        for task in array_values(path):
            number += 1
            yield _entry(task, f"{path.name}: task {number}", book)
    except UnusableDataError as error:
        where = f"{path.name}: behind task {number}" if number else path.name
        yield refuse(where, f"the rest of the export cannot be read: {error}", "BadTask")


def _look_through(path: Path) -> tuple[int, list[str]]:
    """Count the tasks, and return the addresses of the first ones.

    Raises:
        UnusableDataError: there is no task at all.
    """
    count = 0
    addresses: list[str] = []
    try:
        for task in array_values(path):
            count += 1
            if count <= _PREVIEWED and isinstance(task, dict):
                addresses.append(_address(task))
    except UnusableDataError as error:
        if not count:
            raise UnusableDataError(
                f"{path.name} is no Label Studio export, which is a list of tasks: {error}"
            ) from error
    return count, [each for each in addresses if each]


def _entry(task: Any, where: str, book: AddressBook) -> Found:
    try:
        if not isinstance(task, dict):
            raise UnusableDataError("the task is not a JSON object")
        address = _address(task)
        if not address:
            raise UnusableDataError("the task names no image")
        choices = _choices(task)
        labels = clean_labels(choices) if choices is not None else None
        content = book.resolve(address)
    except UnusableDataError as error:
        return refuse(where, str(error), "BadTask")
    return Entry(clean_text(address), content, labels)


def _address(task: Mapping[str, Any]) -> str:
    data = task["data"] if isinstance(task.get("data"), dict) else task
    found = data.get("image") or next(
        (
            value
            for name, value in data.items()
            if name not in _MIN_FIELDS and isinstance(value, str) and "/" in value
        ),
        "",
    )
    return _own_address(found) if isinstance(found, str) else ""


def _own_address(address: str) -> str:
    """Turn an address of Label Studio's own server into a path below the export."""
    if address.startswith(_LOCAL_FILES):
        return parse_qs(urlsplit(address).query).get("d", [""])[0]
    return address.removeprefix(_UPLOADS) if address.startswith(_UPLOADS) else address


def _choices(task: Mapping[str, Any]) -> list[str] | None:
    """Return the labels, None when nobody has answered."""
    if "annotations" not in task and "data" not in task:
        return _flat_choices(task)
    annotations = task.get("annotations")
    answered = [
        annotation
        for annotation in (annotations if isinstance(annotations, list) else [])
        if isinstance(annotation, dict) and not annotation.get("was_cancelled")
    ]
    if not answered:
        return None
    results = answered[-1].get("result")
    found: list[str] = []
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and isinstance(value.get("choices"), list):
            found.extend(str(choice) for choice in value["choices"])
    return found or None


def _flat_choices(task: Mapping[str, Any]) -> list[str] | None:
    for name, value in task.items():
        if name in _MIN_FIELDS or name == "image":
            continue
        if isinstance(value, dict) and isinstance(value.get("choices"), list):
            return [str(choice) for choice in value["choices"]]
        if isinstance(value, str) and name in ("choice", "label", "class"):
            return [value]
    return None
