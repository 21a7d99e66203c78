"""Events (events.k8s.io/v1) about objects: what a person reads under `kubectl describe`.

The name of an Event is made of what it says and of the occasion, as a job's name or a time, so
saying it again, also after a restart, does nothing. Events are a courtesy: they are written by
a thread of their own at a bounded rate, and dropped rather than waited for.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from threading import Condition, Thread
from typing import Any

from strandline.adapters.kube.answers import TerminatingNamespaceError
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.queue import TokenBucket
from strandline.adapters.kube.resources import EVENTS, Document, ObjectKey
from strandline.ports import Clock
from strandline.spec.errors import AlreadyExistsError, NotFoundError, StrandlineError

_LOG = logging.getLogger(__name__)
_MOST_PENDING = 1_000
_MOST_NOTE = 1024
_MOST_NAME = 253
_JOIN_SECONDS = 5.0
_NO_NAMESPACE = "default"  # where Events about objects of the cluster go


def event_document(
    about: Mapping[str, Any],
    *,
    type: str,  # noqa: A002 – the name of the field
    reason: str,
    note: str,
    action: str,
    controller: str,
    instance: str,
    at: str,
    occasion: str = "",
) -> Document:
    """Return the Event that says `note` of the document `about`.

    `at` is the moment, RFC 3339 with microseconds. Equal words about the same object, on the
    same `occasion`, have the same name.
    """
    metadata = about["metadata"]
    uid = metadata.get("uid", "")
    words = "\0".join((uid, type, reason, note, action, controller, occasion))
    digest = hashlib.sha256(words.encode()).hexdigest()[:16]
    namespace = metadata.get("namespace") or _NO_NAMESPACE
    name = f"{metadata['name'][: _MOST_NAME - 17].rstrip('.-')}.{digest}"
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"namespace": namespace, "name": name},
        "eventTime": at,
        "type": type,
        "reason": reason,
        "note": _shortened(note),
        "action": action,
        "reportingController": controller,
        "reportingInstance": instance,
        "regarding": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "namespace": metadata.get("namespace", ""),
            "name": metadata["name"],
            "uid": uid,
        },
    }


def _shortened(note: str) -> str:
    """Cut `note` to what the API takes, which counts bytes."""
    data = note.encode()
    if len(data) <= _MOST_NOTE:
        return note
    return data[: _MOST_NOTE - 3].decode("utf-8", "ignore") + "…"


class EventRecorder:
    """Writes Events in the background; `record` never waits and never fails."""

    def __init__(
        self,
        api: KubeApi,
        clock: Clock,
        *,
        controller: str,
        instance: str,
        rate: float = 10.0,
        burst: int = 100,
    ) -> None:
        """Name the reporter: `controller` as in `strandline.dev/operator`, `instance` a pod."""
        self._api = api
        self._clock = clock
        self._controller = controller
        self._instance = instance
        self._bucket = TokenBucket(rate, burst, clock)
        self._changed = Condition()
        self._pending: dict[ObjectKey, Document] = {}
        self._writing = False
        self._stopped = False
        self._dropped = 0
        self._thread = Thread(target=self._run, name="events", daemon=True)

    def record(
        self,
        about: Mapping[str, Any],
        reason: str,
        note: str,
        *,
        type: str = "Normal",  # noqa: A002 – the name of the field
        action: str = "Reconcile",
        occasion: str = "",
    ) -> None:
        """Say `note` of the document `about`; `type` is Normal or Warning.

        It is said once however often it is recorded, once for each `occasion`.
        """
        now = self._clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
        document = event_document(
            about,
            type=type,
            reason=reason,
            note=note,
            action=action,
            controller=self._controller,
            instance=self._instance,
            at=now,
            occasion=occasion,
        )
        key = ObjectKey(document["metadata"]["namespace"], document["metadata"]["name"])
        with self._changed:
            if key in self._pending or len(self._pending) < _MOST_PENDING:
                self._pending[key] = document
            else:
                self._dropped += 1
            self._changed.notify_all()

    @property
    def dropped(self) -> int:
        """How many Events were not written: too many at once, or refused."""
        return self._dropped

    def start(self) -> None:
        """Write from now on, on a thread of its own."""
        self._thread.start()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until all is written; return whether that came in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._pending and not self._writing, timeout_seconds
            )

    def stop(self, timeout_seconds: float = _JOIN_SECONDS) -> None:
        """Write what is left, for at most this time, then end."""
        if self._thread.is_alive():
            self.flush(timeout_seconds)
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            key, document = taken
            try:
                with suppress(AlreadyExistsError):  # it was said before
                    self._api.create(EVENTS, document)
            except (NotFoundError, TerminatingNamespaceError):
                self._dropped += 1  # its namespace is gone
            except StrandlineError as error:
                self._dropped += 1
                _LOG.warning("event %s is lost: %s", key, error)
            except Exception:
                self._dropped += 1
                _LOG.exception("event %s is lost", key)
            finally:
                with self._changed:
                    self._writing = False
                    self._changed.notify_all()

    def _take(self) -> tuple[ObjectKey, Document] | None:
        with self._changed:
            while True:
                if self._stopped:
                    return None
                wait = self._bucket.wait_seconds() if self._pending else None
                if self._pending and self._bucket.try_take():
                    key = next(iter(self._pending))
                    self._writing = True
                    return key, self._pending.pop(key)
                self._changed.wait(wait)
