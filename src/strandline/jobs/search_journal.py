"""What a search writes down, in the catalog and the store, through losses of the connection.

Each call is durable when it returns. A catalog or store that does not answer is asked again
for a while: what the trials do meanwhile is not lost. If it stays away the search ends, and
whatever was written before is enough to go on from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from strandline.ports import Catalog, Clock, ObjectStore
from strandline.search.journal import History
from strandline.spec.errors import (
    ConflictError,
    CorruptArtifactError,
    NotFoundError,
    UnavailableError,
)
from strandline.spec.records import Trial

PATIENCE_SECONDS = 120.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 15.0
_MAY_PASS = (UnavailableError, ConflictError)
_PAGE = 1000
Result = TypeVar("Result")


class Patience:
    """Does what may fail for a while again, with longer and longer pauses.

    Args:
        seconds: how long; the last error is raised then.
        hurried: asked before each pause; True to give up now, as when a person waits.
    """

    def __init__(
        self,
        clock: Clock,
        seconds: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._sleep = sleep
        self._hurried = hurried

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Return what `work`, which may be done twice, returns.

        Raises:
            UnavailableError, ConflictError: it failed to the end.
        """
        started = self._clock.monotonic()
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return work()
            except _MAY_PASS:
                waited = self._clock.monotonic() - started
                if waited + pause > self._seconds or self._hurried():
                    raise
            self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class _Timeless:
    """The clock of who has no patience."""

    def now(self) -> datetime:
        return datetime.min.replace(tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


class CatalogJournal:
    """`search.journal.Journal` of one search, in the catalog and the store."""

    def __init__(
        self, uid: str, catalog: Catalog, store: ObjectStore, patience: Patience | None = None
    ) -> None:
        self._uid = uid
        self._catalog = catalog
        self._store = store
        self._patience = patience or Patience(_Timeless(), seconds=0.0)

    def trials(self) -> list[Trial]:
        """Read the rows of all trials, by number."""
        trials: list[Trial] = []
        while page := self._patience(
            lambda: self._catalog.list_trials(self._uid, _PAGE, trials[-1].number if trials else -1)
        ):
            trials.extend(page)
        return trials

    def history(self) -> History:
        """Read all that earlier runs left."""
        trials = self.trials()
        metrics = {trial.number: self._metrics(trial.number) for trial in trials}
        return History(trials, metrics, float(self.read_mark("elapsed") or 0.0))

    def record_trial(self, trial: Trial) -> None:
        self._patience(lambda: self._catalog.record_trial(trial))

    def record_metrics(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        self._patience(lambda: self._catalog.record_metrics(self._uid, number, step, metrics))

    def save_checkpoint(self, number: int, step: int, data: bytes) -> None:
        # Named inside, so that two trials' equal checkpoints are still two objects and
        # dropping one never takes the other's.
        digest = self._patience(lambda: self._store.put(self._header(number) + data))
        name = self._checkpoint_name(number)
        old = self._read(name)
        self._swap(name, old, f"{step} {digest}")
        if old is not None and old.split()[1] != digest:
            self._delete(old.split()[1])

    def load_checkpoint(self, number: int) -> tuple[int, bytes] | None:
        pointer = self._read(self._checkpoint_name(number))
        if pointer is None:
            return None
        step, digest = pointer.split()
        try:
            data = self._patience(lambda: self._store.get(digest))
        except (NotFoundError, CorruptArtifactError):
            return None  # the trial starts over: slower, never wrong
        return int(step), data.removeprefix(self._header(number))

    def drop_checkpoint(self, number: int) -> None:
        name = self._checkpoint_name(number)
        pointer = self._read(name)
        if pointer is not None:
            self._swap(name, pointer, None)
            self._delete(pointer.split()[1])

    def record_elapsed(self, seconds: float) -> None:
        self.write_mark("elapsed", f"{seconds:.3f}")

    def read_mark(self, name: str) -> str | None:
        """Return what was written down for the search under this name."""
        return self._read(f"search/{self._uid}/{name}")

    def write_mark(self, name: str, value: str) -> None:
        """Write something down for the search."""
        path = f"search/{self._uid}/{name}"
        self._swap(path, self._read(path), value)

    def _metrics(self, number: int) -> Sequence[tuple[int, Mapping[str, float]]]:
        return self._patience(lambda: self._catalog.list_metrics(self._uid, number))

    def _read(self, name: str) -> str | None:
        return self._patience(lambda: self._catalog.read_pointer(name))

    def _swap(self, name: str, old: str | None, new: str | None) -> None:
        self._patience(lambda: self._catalog.swap_pointer(name, old, new))

    def _delete(self, digest: str) -> None:
        self._patience(lambda: self._store.delete(digest))

    def _checkpoint_name(self, number: int) -> str:
        return f"search/{self._uid}/trial/{number}/checkpoint"

    def _header(self, number: int) -> bytes:
        return f"{self._uid} {number}\n".encode()
