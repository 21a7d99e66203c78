"""Follow objects on the API: as they are, then whenever one changed, until somebody has enough.

One thread a kind lists, watches from the list's moment, and begins anew where a watch
ends: from the last version seen, or, when that one is forgotten (410), with another list that
is compared with what was told before. So nothing is missed for long, and nothing told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Lock, Thread

from strandline.adapters.kube.answers import ExpiredError
from strandline.adapters.kube.kinds import TYPES
from strandline.adapters.kube.objects import KubeObjects, listed
from strandline.adapters.kube.queue import RetryPolicy
from strandline.adapters.kube.refusals import explain
from strandline.adapters.kube.watch import Watch
from strandline.ports import Resource
from strandline.spec.errors import PermissionDeniedError, StrandlineError, UnavailableError

_RECONNECT = RetryPolicy(first_seconds=0.5, longest_seconds=10.0)
_WATCH_SECONDS = 240.0
# An apiserver that has just started refuses what it allows when it has read its roles.
_MOST_DENIED = 5


@dataclass(frozen=True, slots=True)
class Change:
    """News of an object, or that a kind was listed whole.

    Attributes:
        resource: the object as it is, or was last when it is gone; None: all were told.
    """

    resource: Resource | None = None
    gone: bool = False


class Changes:
    """The changes of several kinds; a context manager that ends its threads."""

    def __init__(
        self,
        objects: KubeObjects,
        wanted: Sequence[tuple[str, str | None]],
        say: Callable[[str], None],
        watch_seconds: float = _WATCH_SECONDS,
    ) -> None:
        """Follow each (kind, name or None for all); `say` is told when the API is away."""
        self._objects = objects
        self._wanted = wanted
        self._say = say
        self._watch_seconds = watch_seconds
        self._news: Queue[Change | StrandlineError] = Queue()
        self._stop = Event()
        self._lock = Lock()
        self._watches: set[Watch] = set()
        self._away = False

    def __enter__(self) -> Changes:
        for kind, name in self._wanted:
            follow = Thread(target=self._follow, args=(kind, name), daemon=True)
            follow.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        with self._lock:
            watches = list(self._watches)
        for watch in watches:
            watch.close()

    def next(self, timeout_seconds: float | None = None) -> Change | None:
        """Return the next change; None when none came in time.

        Raises:
            PermissionDeniedError, …: the API refuses it, so that none will come.
        """
        try:
            news = self._news.get(timeout=timeout_seconds)
        except Empty:
            return None
        if isinstance(news, StrandlineError):
            raise explain(news, self._objects.host, self._objects.namespace)
        return news

    def _follow(self, kind: str, name: str | None) -> None:
        known: dict[str, Resource] = {}
        version: str | None = None
        failures = 0
        while not self._stop.is_set():
            try:
                if version is None:
                    version = self._list(kind, name, known)
                version = self._watch(kind, name, version, known)
                failures = 0
            except ExpiredError:
                version = None
            except (UnavailableError, PermissionDeniedError) as error:
                failures += 1
                denied = isinstance(error, PermissionDeniedError)
                if denied and (version is None or failures > _MOST_DENIED):
                    self._news.put(error)
                    return
                self._tell_away(error)
                self._stop.wait(_RECONNECT.ceiling_seconds(failures))
            except StrandlineError as error:
                self._news.put(error)
                return

    def _list(self, kind: str, name: str | None, known: dict[str, Resource]) -> str:
        objects = self._objects
        listing = objects.api.list_all(
            TYPES[kind], objects.scope(kind), fields=_field(name), keep=listed
        )
        found = {each.uid: each for each in listing.items}
        for uid in set(known) - set(found):
            self._news.put(Change(known.pop(uid), gone=True))
        for resource in sorted(found.values(), key=lambda each: each.name):
            self._tell(resource, known)
        self._news.put(Change())
        self._away = False
        return listing.resource_version

    def _watch(self, kind: str, name: str | None, version: str, known: dict[str, Resource]) -> str:
        """Tell what changes; return the version to go on from when the stream ends."""
        objects = self._objects
        watch = objects.api.watch(
            TYPES[kind],
            version,
            objects.scope(kind),
            fields=_field(name),
            timeout_seconds=self._watch_seconds,
        )
        self._away = False
        with self._lock:
            self._watches.add(watch)
        try:
            if self._stop.is_set():
                watch.close()
            for event in watch:
                version = event.document["metadata"]["resourceVersion"]
                if event.type == "BOOKMARK":
                    continue
                resource = listed(event.document)
                if event.type == "DELETED":
                    known.pop(resource.uid, None)
                    self._news.put(Change(resource, gone=True))
                else:
                    self._tell(resource, known)
        finally:
            with self._lock:
                self._watches.discard(watch)
        return version

    def _tell(self, resource: Resource, known: dict[str, Resource]) -> None:
        before = known.get(resource.uid)
        known[resource.uid] = resource
        if before is None or before.resource_version != resource.resource_version:
            self._news.put(Change(resource))

    def _tell_away(self, error: StrandlineError) -> None:
        if not self._away:
            self._away = True
            told = explain(error, self._objects.host, self._objects.namespace)
            self._say(f"{told} – waiting for it")


def _field(name: str | None) -> str | None:
    return None if name is None else f"metadata.name={name}"
