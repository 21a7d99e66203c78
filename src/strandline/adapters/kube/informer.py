"""A cache of one kind's objects that is never wrong for long.

It lists, then watches from the list's moment. Whatever breaks the watch ends in the same
place: another watch from the last version seen, or, when that version is forgotten (410),
another list, whose keys are compared with those held – so an object that was deleted while
nobody watched is noticed as well. Now and then it lists anew without a reason, because a
watch that silently lost a change is a fault one cannot see.

Handlers are told keys, never documents and never what happened: what they do has to rest
on the present state alone.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

from strandline.adapters.kube.answers import ExpiredError
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.queue import RetryPolicy
from strandline.adapters.kube.resources import (
    Document,
    ObjectKey,
    ResourceType,
    key_of,
    without_managed_fields,
)
from strandline.adapters.kube.watch import Watch
from strandline.ports import Clock
from strandline.spec.errors import StrandlineError

_LOG = logging.getLogger(__name__)
_HEALTHY_SECONDS = 5.0
_JOIN_SECONDS = 10.0
_RECONNECT = RetryPolicy(first_seconds=0.5, longest_seconds=10.0)

Route = Callable[[Document], Iterable[Any]]
Index = Callable[[Document], Iterable[str]]
Enqueue = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class InformerSettings:
    """How an informer keeps itself right.

    Attributes:
        resync_seconds: how often handlers are told every key, changed or not.
        relist_seconds: how often the whole list is read without a reason.
        watch_seconds: shortest time after which a watch is opened anew; at most twice it.
        page_size: objects a page of a list. A page is parsed at once, and its memory is not
            all given back: pages of 500 keep three times as much resident as pages of 100.
        retry: waits after failures; its rate and burst are not used.
    """

    resync_seconds: float = 600.0
    relist_seconds: float = 3600.0
    watch_seconds: float = 240.0
    page_size: int = 100
    retry: RetryPolicy = _RECONNECT


class _Entry(NamedTuple):
    """What is held of an object.

    JSON text takes a fifth of the memory of the same document as dicts; and who gets a
    document gets a new one, so nobody can change the cache.
    """

    version: str
    body: bytes  # without the version: equal bodies mean that nothing of interest changed


class _Subscription(NamedTuple):
    enqueue: Enqueue
    route: Route


class Informer:
    """The objects of one kind, in one namespace or in all; read from any thread."""

    def __init__(
        self,
        api: KubeApi,
        resource: ResourceType,
        clock: Clock,
        *,
        namespace: str | None = None,
        selector: str | None = None,
        keep: Callable[[Document], Document] = without_managed_fields,
        indexes: Mapping[str, Index] | None = None,
        settings: InformerSettings | None = None,
        metrics: OperatorMetrics | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Hold of each object what `keep` returns; it must leave name, namespace and uid.

        A change that `keep` drops is no change: nobody is told.
        """
        self.resource = resource
        self.namespace = namespace
        self._api = api
        self._clock = clock
        self._selector = selector
        self._keep = keep
        self._settings = settings or InformerSettings()
        self._uniform = uniform
        self._lock = Lock()
        self._entries: dict[ObjectKey, _Entry] = {}
        self._index_of = dict(indexes or {})
        self._indexed: dict[str, dict[str, set[ObjectKey]]] = {name: {} for name in self._index_of}
        self._subscriptions: list[_Subscription] = []
        self._version: str | None = None
        self._bytes = 0
        self._listed_at = self._synced_at = clock.monotonic()
        self._failures = 0
        self._watch: Watch | None = None
        self._stop = Event()
        self._synced = Event()
        self._thread = Thread(target=self._run, name=f"informer-{resource.plural}", daemon=True)
        self._follow_metrics(metrics or OperatorMetrics())

    # Reading

    def get(self, key: ObjectKey) -> Document | None:
        """Return a copy of what is held of an object, None when there is none."""
        with self._lock:
            entry = self._entries.get(key)
        return None if entry is None else _unpack(entry)

    def keys(self) -> list[ObjectKey]:
        """Return the keys of all objects."""
        with self._lock:
            return list(self._entries)

    def documents(self) -> Iterator[Document]:
        """Iterate over copies of all objects, one in memory at a time."""
        for key in self.keys():
            document = self.get(key)
            if document is not None:
                yield document

    def by_index(self, index: str, value: str) -> list[ObjectKey]:
        """Return the keys of the objects to which `index` gives `value`, sorted."""
        with self._lock:
            return sorted(self._indexed[index].get(value, ()))

    def __len__(self) -> int:
        """Return how many objects are held."""
        return len(self._entries)

    # Running

    def subscribe(
        self, enqueue: Enqueue, route: Route = lambda document: (key_of(document),)
    ) -> None:
        """Tell `enqueue` the keys that `route` makes of each object that changes.

        Of a changed object both the old and the new state are routed: when a job gets another
        owner, or is deleted, the one that had it is told. Subscribe before `start`.
        """
        self._subscriptions.append(_Subscription(enqueue, route))

    def start(self) -> None:
        """List and watch from now on, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch and wait for the thread; what is held stays readable."""
        self._stop.set()
        with self._lock:
            watch = self._watch
        if watch is not None:
            watch.close()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def wait_synced(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the first complete list; return whether it came in time."""
        return self._synced.wait(timeout_seconds)

    @property
    def synced(self) -> bool:
        """Whether a complete list was read."""
        return self._synced.is_set()

    @property
    def alive(self) -> bool:
        """Whether the thread runs; false before `start` and after `stop`."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = self._clock.monotonic()
            try:
                self.step()
            except ExpiredError as error:
                _LOG.info("%s; listing anew", error)
                self._version = None
            except StrandlineError as error:
                _LOG.warning("%s", error)
            except Exception:
                _LOG.exception("%s cannot be followed", self.resource.plural)
                self._version = None
            self._pause(self._clock.monotonic() - began)

    def step(self) -> None:
        """List when there is need to, then watch until the watch ends."""
        now = self._clock.monotonic()
        if self._version is None or now - self._listed_at >= self._settings.relist_seconds:
            self._relist()
        if self._clock.monotonic() - self._synced_at >= self._settings.resync_seconds:
            self._resync()
        self._follow()

    def _pause(self, ran_seconds: float) -> None:
        """Wait before the next try; longer each time while tries end at once."""
        if ran_seconds >= _HEALTHY_SECONDS:
            self._failures = 0
            return
        self._failures += 1
        self._stop.wait(self._uniform(0.0, self._settings.retry.ceiling_seconds(self._failures)))

    def _relist(self) -> None:
        listing = self._api.list_all(
            self.resource,
            self.namespace,
            self._selector,
            limit=self._settings.page_size,
            keep=self._pack,
        )
        self._lists.inc()
        found = dict(listing.items)
        for key in [key for key in self.keys() if key not in found]:
            self._put(key, None)
        for key, entry in found.items():
            self._put(key, entry)
        self._version = listing.resource_version
        self._listed_at = self._clock.monotonic()
        self._synced.set()

    def _follow(self) -> None:
        assert self._version is not None
        watch = self._api.watch(
            self.resource,
            self._version,
            self.namespace,
            self._selector,
            timeout_seconds=self._watch_seconds(),
        )
        with self._lock:
            self._watch = watch
        if self._stop.is_set():
            watch.close()
        for event in watch:
            version = event.document["metadata"]["resourceVersion"]
            if event.type != "BOOKMARK":
                key, entry = self._pack(event.document)
                self._put(key, None if event.type == "DELETED" else entry)
            self._version = version

    def _watch_seconds(self) -> float:
        """Return how long to watch: until the next resync, and not all informers as long."""
        now = self._clock.monotonic()
        resync = self._synced_at + self._settings.resync_seconds - now
        shortest = self._settings.watch_seconds
        return max(1.0, min(resync, self._uniform(shortest, 2.0 * shortest)))

    def _resync(self) -> None:
        self._synced_at = self._clock.monotonic()
        for document in self.documents():
            self._tell(document)

    # Holding

    def _pack(self, document: Document) -> tuple[ObjectKey, _Entry]:
        version = document["metadata"]["resourceVersion"]
        key = key_of(document)
        kept = self._keep(document)
        kept["metadata"].pop("resourceVersion", None)
        return key, _Entry(version, json.dumps(kept, separators=(",", ":")).encode())

    def _put(self, key: ObjectKey, entry: _Entry | None) -> None:
        """Hold `entry` of `key`, None: nothing; tell handlers when that is a change."""
        with self._lock:
            old = self._entries.get(key)
            if entry is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = entry
            if old is entry or (old and entry and old.body == entry.body):
                return
            before = _unpack(old) if old else None
            after = _unpack(entry) if entry else None
            self._bytes += (len(entry.body) if entry else 0) - (len(old.body) if old else 0)
            self._reindex(key, before, after)
        self._tell(*(document for document in (before, after) if document is not None))

    def _reindex(self, key: ObjectKey, before: Document | None, after: Document | None) -> None:
        for name, values_of in self._index_of.items():
            held = self._indexed[name]
            for value in values_of(before) if before else ():
                keys = held.get(value, set())
                keys.discard(key)
                if not keys:
                    held.pop(value, None)
            for value in values_of(after) if after else ():
                held.setdefault(value, set()).add(key)

    def _tell(self, *states: Document) -> None:
        for enqueue, route in self._subscriptions:
            for target in dict.fromkeys(each for state in states for each in route(state)):
                enqueue(target)

    def _follow_metrics(self, metrics: OperatorMetrics) -> None:
        labels = (self.resource.plural, self.namespace or "")
        self._lists = metrics.lists.labels(*labels)
        metrics.cached_objects.labels(*labels).set_function(lambda: float(len(self._entries)))
        metrics.cached_bytes.labels(*labels).set_function(lambda: float(self._bytes))


def _unpack(entry: _Entry) -> Document:
    document: Document = json.loads(entry.body)
    document["metadata"]["resourceVersion"] = entry.version
    return document
