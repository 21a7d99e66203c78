"""Notice what jobs wrote into the catalogs: one cheap query a namespace, again and again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

from strandline.adapters.kube.kinds import NAMESPACED, ObjectRef
from strandline.ports import Catalog
from strandline.spec.errors import StrandlineError

_LOG = logging.getLogger(__name__)
_JOIN_SECONDS = 10.0


class CatalogWatch:
    """Tells `enqueue` the objects whose rows changed; at its first look, all of them."""

    def __init__(
        self,
        namespaces: Callable[[], set[str]],
        catalog_of: Callable[[str], Catalog],
        enqueue: Callable[[ObjectRef], object],
        seconds: float,
    ) -> None:
        """Look every `seconds` at the catalogs of `namespaces`."""
        self._namespaces = namespaces
        self._catalog_of = catalog_of
        self._enqueue = enqueue
        self._seconds = seconds
        self._seen: dict[ObjectRef, tuple[str, int]] = {}
        self._stop = Event()
        self._thread = Thread(target=self._run, name="catalog-watch", daemon=True)

    def look(self) -> None:
        """Look at every catalog once."""
        for namespace in sorted(self._namespaces() | {ref.namespace for ref in self._seen}):
            try:
                self._look_at(namespace)
            except StrandlineError as error:
                _LOG.warning("the catalog of %s: %s", namespace, error)

    def start(self) -> None:
        """Look from now on, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and wait for the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception:
                _LOG.exception("the catalogs cannot be looked at")
            self._stop.wait(self._seconds)

    def _look_at(self, namespace: str) -> None:
        marks = self._catalog_of(namespace).resource_versions()
        now = {
            ObjectRef(mark.kind, namespace, mark.name): (mark.uid, mark.resource_version)
            for mark in marks
            if mark.kind in NAMESPACED
        }
        for ref, state in now.items():
            if self._seen.get(ref) != state:
                self._seen[ref] = state
                self._enqueue(ref)
        gone = [ref for ref in self._seen if ref.namespace == namespace and ref not in now]
        for ref in gone:
            del self._seen[ref]
