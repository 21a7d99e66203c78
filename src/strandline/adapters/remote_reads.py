"""Read a catalog and a store that only another process can reach, over its stdin and stdout.

That process answers (`answer_reads`): one line of JSON a question, and for each a line with
the length of the answer, then the answer. Nothing can be written so, and nothing is pickled.
`RemoteCatalog` and `RemoteStore` ask, so that whatever reads a catalog and a store works on
one of a cluster as on a laptop's.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, BinaryIO, Protocol, cast

from pydantic import TypeAdapter

from strandline.ports import Catalog, ObjectStore, Resource
from strandline.spec.errors import (
    OUTCOMES,
    CorruptArtifactError,
    InvalidSpecError,
    StrandlineError,
    UnavailableError,
    outcome_of,
)
from strandline.spec.records import DatasetVersion, Event, ModelVersion, Trial, digest_of

GREETING = b"strandline-reads 1\n"
"""What whoever answers says first; another number is another protocol."""

_LONGEST_QUESTION = 1 << 20

_CATALOG: Mapping[str, TypeAdapter[Any]] = {
    "get_resource": TypeAdapter(Resource),
    "list_resources": TypeAdapter(list[Resource]),
    "list_events": TypeAdapter(list[Event]),
    "get_dataset_version": TypeAdapter(DatasetVersion),
    "list_dataset_versions": TypeAdapter(list[DatasetVersion]),
    "get_model_version": TypeAdapter(ModelVersion),
    "list_model_versions": TypeAdapter(list[ModelVersion]),
    "list_trials": TypeAdapter(list[Trial]),
    "list_metrics": TypeAdapter(list[tuple[int, Mapping[str, float]]]),
    "read_pointer": TypeAdapter(str | None),
}
_STORE: Mapping[str, TypeAdapter[Any] | None] = {
    "get": None,  # plain bytes
    "read_range": None,
    "read": None,
    "size": TypeAdapter(int | None),
}


def answer_reads(
    catalog: Catalog, store: ObjectStore, questions: BinaryIO, answers: BinaryIO
) -> None:
    """Answer each line of `questions` until they end."""
    answers.write(GREETING)
    answers.flush()
    while line := questions.readline(_LONGEST_QUESTION):
        try:
            body, head = _answer(catalog, store, json.loads(line)), {}
        except StrandlineError as error:
            body, head = b"", {"error": outcome_of(error).reason, "message": str(error)}
        answers.write(json.dumps({**head, "size": len(body)}).encode() + b"\n")
        answers.write(body)
        answers.flush()


def _answer(catalog: Catalog, store: ObjectStore, question: Mapping[str, Any]) -> bytes:
    name, arguments = question["call"], question["arguments"]
    if name in _STORE:
        found, adapter = getattr(store, name)(*arguments), _STORE[name]
    elif name in _CATALOG:
        found, adapter = getattr(catalog, name)(*arguments), _CATALOG[name]
    else:
        raise InvalidSpecError(f"there is no reading by {name!r}")
    if adapter is None:
        return bytes(found)
    # NaN, which metrics may hold, passes json but not pydantic's own text.
    return json.dumps(adapter.dump_python(found, mode="json")).encode()


class Channel(Protocol):
    """Stdin and stdout of whoever answers."""

    def write(self, data: bytes) -> None:
        """Send bytes. Raises UnavailableError."""

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes. Raises UnavailableError when no more will come."""

    def read_line(self) -> bytes:
        """Return what comes up to the next line feed, with it. Raises UnavailableError."""


class Asking:
    """Asks over a channel, one question at a time, from any thread."""

    def __init__(self, channel: Channel) -> None:
        """Wait for the greeting.

        Raises:
            UnavailableError: something else answers, or an older version.
        """
        self._channel = channel
        self._lock = Lock()
        greeting = channel.read_line()
        if greeting != GREETING:
            raise UnavailableError(
                "the image of the jobs is not of this version, and cannot answer this command line"
            )

    def ask(self, call: str, *arguments: Any) -> bytes:
        """Return the answer to one question.

        Raises:
            StrandlineError: the error that whoever answers had, of its class.
        """
        question = json.dumps({"call": call, "arguments": arguments}).encode() + b"\n"
        with self._lock:
            self._channel.write(question)
            head = json.loads(self._channel.read_line())
            body = self._channel.read(head["size"])
        if "error" in head:
            classes = {outcome.reason: cls for cls, outcome in OUTCOMES.items()}
            raise classes.get(head["error"], StrandlineError)(head["message"])
        return body


class _RemoteCatalog:
    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def __getattr__(self, name: str) -> Any:
        adapter = _CATALOG.get(name)
        if adapter is None:
            raise AttributeError(f"a catalog that is read from afar has no {name}")

        def ask(*arguments: Any, **named: Any) -> Any:
            answer = self._asking.ask(name, *_positional(name, arguments, named))
            return adapter.validate_python(json.loads(answer))

        return ask


# In the order of the port; those left out keep its defaults.
_PARAMETERS: Mapping[str, Sequence[tuple[str, Any]]] = {
    "list_resources": (("kind", None), ("selector", None), ("limit", 500), ("after", None)),
    "list_events": (("kind", None), ("name", None), ("limit", 100)),
    "list_trials": (("search", None), ("limit", 1000), ("after", -1)),
    "get_dataset_version": (("dataset", None), ("version", None)),
    "get_model_version": (("model", None), ("version", None)),
}


def _positional(name: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> Sequence[Any]:
    """Return all arguments by their place: names are of Python, not of the protocol."""
    rest = _PARAMETERS.get(name, ())[len(arguments) :]
    if set(named) - {each for each, _ in rest}:
        raise TypeError(f"{name} has no argument {', '.join(named)}")
    return [*arguments, *(named.get(each, default) for each, default in rest)]


class _RemoteStore:
    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def get(self, digest: str) -> bytes:
        data = self._asking.ask("get", digest)
        if digest_of(data) != digest:
            raise CorruptArtifactError(f"what came for {digest} is something else")
        return data

    def read_range(self, digest: str, start: int, length: int) -> bytes:
        return self._asking.ask("read_range", digest, start, length)

    def read(self, name: str) -> bytes:
        return self._asking.ask("read", name)

    def size(self, digest: str) -> int | None:
        found: int | None = json.loads(self._asking.ask("size", digest))
        return found

    @contextmanager
    def open(self, digest: str) -> Iterator[BinaryIO]:
        yield io.BytesIO(self.get(digest))


def remote_catalog(asking: Asking) -> Catalog:
    """Return a catalog whose reading methods ask; it has no others."""
    return cast("Catalog", _RemoteCatalog(asking))


def remote_store(asking: Asking) -> ObjectStore:
    """Return a store whose reading methods ask; it has no others."""
    return cast("ObjectStore", _RemoteStore(asking))
