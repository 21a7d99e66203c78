"""Count, now and then, what the cluster has for each ComputePool, and show it in its status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from threading import Event, Lock, Thread
from typing import Any

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.caches import Cache
from strandline.adapters.kube.kinds import ObjectRef, resource_of
from strandline.adapters.kube.projection import Projection
from strandline.adapters.kube.resources import PODS, Document, uid_of
from strandline.ports import Clock, Resource
from strandline.spec.actions import PoolView
from strandline.spec.errors import ConflictError, NotFoundError, StrandlineError

_LOG = logging.getLogger(__name__)
_JOIN_SECONDS = 10.0
_BUNCH_SECONDS = 2.0  # many nodes that come at once are counted once
_BUSY_SECONDS = 10.0  # between counts while somebody decides by them
_PAGE_SIZE = 100  # pages of 500 pods keep three times as much memory
_HOLDING = "status.phase!=Succeeded,status.phase!=Failed"

Generation = tuple[str, int]
"""Uid and generation of a pool."""

Requests = tuple[str, Mapping[str, Any]]
JudgePools = Callable[
    [Sequence[Resource], Sequence[Document], Iterable[Requests], datetime],
    Mapping[str, tuple[PoolView, Mapping[str, Any]]],
]
"""Makes views and statuses of (pools, nodes, what pods ask for, now), by name."""


class PoolWatch:
    """Knows the pools as of a moment ago; `views` is for decisions."""

    def __init__(
        self,
        api: KubeApi,
        pools: Cache,
        nodes: Cache,
        judge: JudgePools,
        projection: Projection,
        clock: Clock,
        seconds: float = 30.0,
    ) -> None:
        self._api = api
        self._pools = pools
        self._nodes = nodes
        self._judge = judge
        self._projection = projection
        self._clock = clock
        self._seconds = seconds
        self._lock = Lock()
        self._views: Mapping[str, PoolView] | None = None
        self._asked = False
        self._wake = Event()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="pool-watch", daemon=True)
        self._counted: frozenset[Generation] = frozenset()
        for informer in nodes.informers():
            informer.subscribe(lambda _: self._wake.set())
        for informer in pools.informers():
            informer.subscribe(lambda _: self._wake_for_pools())

    def views(self) -> Mapping[str, PoolView]:
        """Return the pools by name; counts them at the first call."""
        self._asked = True
        with self._lock:
            if self._views is None:
                self._views = self._count()
            return self._views

    def look(self) -> None:
        """Count now, and show what changed."""
        found = self._count()
        with self._lock:
            self._views = found

    def start(self) -> None:
        """Count from now on, on a thread of its own; the first time before this returns.

        So no decision waits for it: with thousands of pods it takes seconds.
        """
        self._try_to_look()
        self._thread.start()

    def stop(self) -> None:
        """Count no more, and wait for the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(_BUNCH_SECONDS):
            self._wake.clear()
            self._asked = False
            self._try_to_look()
            if not self._wake.wait(min(_BUSY_SECONDS, self._seconds)) and not self._asked:
                self._wake.wait(max(0.0, self._seconds - _BUSY_SECONDS))

    def _try_to_look(self) -> None:
        try:
            self.look()
        except StrandlineError as error:
            _LOG.warning("pools cannot be counted: %s", error)
        except Exception:
            _LOG.exception("pools cannot be counted")

    def _wake_for_pools(self) -> None:
        """Count when a pool came, went or was edited: not when we wrote what was counted."""
        if self._generations() != self._counted:
            self._wake.set()

    def _generations(self) -> frozenset[Generation]:
        return frozenset(map(_generation, self._documents()))

    def _documents(self) -> list[Document]:
        return [each for i in self._pools.informers() for each in i.documents()]

    def _count(self) -> Mapping[str, PoolView]:
        documents = self._documents()
        self._counted = frozenset(map(_generation, documents))
        if not documents:
            return {}
        nodes = [each for i in self._nodes.informers() for each in i.documents()]
        pools = [resource_of(each) for each in documents]
        judged = self._judge(pools, nodes, self._requests(), self._clock.now())
        for document, pool in zip(documents, pools, strict=True):
            self._show(document, pool, judged[pool.name][1])
        return {name: view for name, (view, _) in judged.items()}

    def _requests(self) -> Iterator[Requests]:
        """Iterate over what each container asks for, where; one page of pods in memory."""
        for page in self._api.list_pages(PODS, fields=_HOLDING, limit=_PAGE_SIZE):
            for pod in page.items:
                node = (pod.get("spec") or {}).get("nodeName")
                if not node:
                    continue
                for container in pod["spec"].get("containers") or ():
                    yield node, (container.get("resources") or {}).get("requests") or {}

    def _show(self, document: Document, pool: Resource, status: Mapping[str, Any]) -> None:
        try:
            ref = ObjectRef("ComputePool", "", pool.name)
            if self._projection.show(ref, document, replace(pool, status=status)) is not None:
                self._wake.set()  # too soon after the last time
        except (ConflictError, NotFoundError):
            _LOG.debug("pool %s changed meanwhile", pool.name)


def _generation(document: Document) -> Generation:
    return uid_of(document), int(document["metadata"].get("generation") or 0)
