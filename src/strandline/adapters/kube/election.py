"""One leader of several processes, by a Lease (coordination.k8s.io/v1).

No two clocks are compared. A candidate notes by its own clock when it saw the Lease change
last, and takes it when it did not change for as long as it says that it holds. A leader that
could not renew for `renew_deadline_seconds` has lost by its own clock, well before anybody
else may take over; it must then end its process, since no other way is sure to stop every
thread that still believes in it. The same rules as in client-go's `leaderelection`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Condition, Event, Thread
from typing import Any

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.resources import LEASES, Document, ObjectKey
from strandline.ports import Clock
from strandline.spec.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    StrandlineError,
)

_LOG = logging.getLogger(__name__)
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class ElectionSettings:
    """How long leading holds; the defaults are those of Kubernetes' own components.

    Attributes:
        lease_seconds: after this time without a renewal anybody may take over.
        renew_deadline_seconds: after this time without a renewal the leader has lost.
        retry_seconds: time between tries, of a leader to renew and of others to take over.
    """

    lease_seconds: int = 15
    renew_deadline_seconds: float = 10.0
    retry_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not self.lease_seconds > self.renew_deadline_seconds > self.retry_seconds > 0:
            raise InvalidSpecError(
                "a lease must last longer than the deadline for its renewal, and that longer "
                "than the time between two tries"
            )


class LeaseView:
    """What one candidate knows of a Lease, by its own clock."""

    def __init__(self, identity: str, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock
        self._spec: dict[str, Any] | None = None
        self._seen_at = 0.0

    def note(self, spec: dict[str, Any]) -> None:
        """Take in the Lease's `spec` as it is now."""
        if spec != self._spec:
            self._spec = spec
            self._seen_at = self._clock.monotonic()

    def may_take(self) -> bool:
        """Return whether the Lease noted last is ours, free, or was not renewed in time."""
        assert self._spec is not None
        holder = self._spec.get("holderIdentity") or ""
        if holder in ("", self._identity):
            return True
        holds_seconds = float(self._spec.get("leaseDurationSeconds") or 0)
        return self._clock.monotonic() >= self._seen_at + holds_seconds


def next_spec(
    held: dict[str, Any], identity: str, lease_seconds: int, now: datetime
) -> dict[str, Any]:
    """Return the spec of a Lease that `identity` takes or renews, after the spec `held`."""
    ours = held.get("holderIdentity") == identity
    moment = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": lease_seconds,
        "acquireTime": (held.get("acquireTime") if ours else None) or moment,
        "renewTime": moment,
        "leaseTransitions": int(held.get("leaseTransitions") or 0) + (0 if ours else 1),
    }


class LeaseElection:
    """One candidate. `acquire`, then lead until `on_lost`; `release` when done."""

    def __init__(
        self,
        api: KubeApi,
        key: ObjectKey,
        identity: str,
        clock: Clock,
        on_lost: Callable[[], object],
        *,
        settings: ElectionSettings | None = None,
        metrics: OperatorMetrics | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Stand for the Lease `key`; `identity` must differ in every process, also in time.

        `on_lost` is called once, from another thread, and must end the process at once.
        """
        self._api = api
        self._key = key
        self._identity = identity
        self._clock = clock
        self._on_lost = on_lost
        self._settings = settings or ElectionSettings()
        self._uniform = uniform
        self._view = LeaseView(identity, clock)
        self._changed = Condition()
        self._renewed_at: float | None = None
        self._ended = Event()
        self._threads = [
            Thread(target=self._renew, name="lease-renew", daemon=True),
            Thread(target=self._guard, name="lease-guard", daemon=True),
        ]
        gauge = (metrics or OperatorMetrics()).leading.labels(key.name)
        gauge.set_function(lambda: float(self.leading))

    @property
    def leading(self) -> bool:
        """Whether this process leads at this moment, by its own clock."""
        at = self._renewed_at
        deadline = self._settings.renew_deadline_seconds
        return at is not None and self._clock.monotonic() < at + deadline

    def acquire(self, stop: Event) -> bool:
        """Wait until this process leads; False when `stop` came first. Call it once."""
        while not stop.is_set():
            if self.try_once() and self.leading:  # it may have come too late to rely on
                for thread in self._threads:
                    thread.start()
                return True
            stop.wait(self._retry_wait())
        return False

    def try_once(self, timeout_seconds: float | None = None) -> bool:
        """Take or renew the Lease if that is allowed now; return whether it is ours."""
        began = self._clock.monotonic()
        try:
            taken = self._take(timeout_seconds or self._settings.renew_deadline_seconds / 2)
        except (ConflictError, AlreadyExistsError):
            taken = False  # somebody was faster
        except StrandlineError as error:
            _LOG.warning("lease %s: %s", self._key, error)
            taken = False
        with self._changed:
            if taken and not self._ended.is_set():
                # Counted from before the call: others cannot have seen it earlier.
                self._renewed_at = began
                self._changed.notify_all()
        return taken

    def release(self) -> None:
        """Lead no longer, and let another lead without waiting for the Lease to run out.

        Nothing that only a leader may do can be under way any more.
        """
        led = self._renewed_at is not None
        with self._changed:
            self._ended.set()
            self._renewed_at = None
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(self._settings.renew_deadline_seconds)  # no call takes longer
        if led:
            self._give_back()

    def _take(self, timeout_seconds: float) -> bool:
        path = LEASES.path(*self._key)
        try:
            lease = self._api.call("GET", path, timeout_seconds=timeout_seconds)
        except NotFoundError:
            self._write("POST", LEASES.path(self._key.namespace), {}, timeout_seconds)
            return True
        self._view.note(lease.get("spec") or {})
        if not self._view.may_take():
            return False
        self._write("PUT", path, lease, timeout_seconds)
        return True

    def _write(self, method: str, path: str, lease: Document, timeout_seconds: float) -> None:
        held = lease.get("spec") or {}
        spec = next_spec(held, self._identity, self._settings.lease_seconds, self._clock.now())
        if method == "POST":
            spec["leaseTransitions"] = 0
        names = {"namespace": self._key.namespace, "name": self._key.name}
        document = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {**names, **(lease.get("metadata") or {})},  # with the version it had
            "spec": spec,
        }
        written = self._api.call(method, path, document, timeout_seconds=timeout_seconds)
        self._view.note(written["spec"])

    def _renew(self) -> None:
        while not self._ended.wait(self._settings.retry_seconds):
            left = self._deadline() - self._clock.monotonic()
            if left > 0.0:
                self.try_once(min(left, self._settings.renew_deadline_seconds / 2))

    def _guard(self) -> None:
        """Watch the deadline apart from the thread that renews: that one may hang in a call."""
        with self._changed:
            while not self._ended.is_set():
                left = self._deadline() - self._clock.monotonic()
                if left <= 0.0:
                    break
                self._changed.wait(left)
        if not self._ended.is_set():
            self._ended.set()
            _LOG.error("lease %s: not renewed in time; leading no longer", self._key)
            self._on_lost()

    def _deadline(self) -> float:
        at = self._renewed_at
        return self._clock.monotonic() if at is None else at + self._settings.renew_deadline_seconds

    def _retry_wait(self) -> float:
        return self._settings.retry_seconds * (1.0 + self._uniform(0.0, _JITTER))

    def _give_back(self) -> None:
        try:
            lease = self._api.get(LEASES, self._key)
            if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                self._api.replace(LEASES, lease)
        except StrandlineError as error:
            _LOG.warning("lease %s: cannot be given back: %s", self._key, error)
