"""The seams between what happens and where it happens.

Jobs are written against these Protocols; `compose` chooses the adapters. Each port has
a contract suite in `testing/` that every adapter, and every double, passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from strandline.spec.actions import ANYWHERE, JobView, Placement
from strandline.spec.records import DatasetVersion, Event, Failure, ModelVersion, Scalar, Trial


class Clock(Protocol):
    """Time, injected so that tests decide it."""

    def now(self) -> datetime:
        """Return the current time, timezone-aware UTC."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards."""


class ObjectStore(Protocol):
    """Immutable bytes by content digest, plus a few small named objects.

    Content-addressed puts are idempotent and atomic: an object is there whole or not at
    all, also after `kill -9` in the middle. Reading verifies nothing by itself except in
    `get`, which checks the digest.
    """

    def put(self, data: bytes) -> str:
        """Store `data` and return its digest; storing it again is free."""

    def put_all(self, objects: Sequence[bytes]) -> list[str]:
        """Store many objects at less cost than one by one; return their digests in order.

        All of them survive a power cut once this returns; before that, any may be missing.
        """

    def put_file(self, path: Path) -> str:
        """Store a file in bounded memory and return its digest."""

    def get(self, digest: str) -> bytes:
        """Return the object.

        Raises:
            NotFoundError: it is not here.
            CorruptArtifactError: its bytes do not match the digest.
        """

    def read_range(self, digest: str, start: int, length: int) -> bytes:
        """Return up to `length` bytes from offset `start`; fewer only at the end."""

    def open(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """Open the object for sequential reading in bounded memory."""

    def size(self, digest: str) -> int | None:
        """Return the size in bytes, None when the object is not here."""

    def delete(self, digest: str) -> None:
        """Remove the object; removing what is not there is no error."""

    def digests(self) -> Iterator[str]:
        """Iterate over the digests of all objects, for garbage collection."""

    def create(self, name: str, data: bytes) -> None:
        """Store a small named object, create-only.

        `name` is slash-separated segments of `[A-Za-z0-9._-]`, none starting with a dot.

        Raises:
            AlreadyExistsError: the name is taken (the stored bytes are untouched).
            InvalidSpecError: the name breaks the rule above.
        """

    def read(self, name: str) -> bytes:
        """Return a named object. Raises NotFoundError."""

    def names(self, prefix: str = "") -> Iterator[str]:
        """Iterate over the names under `prefix`, sorted."""

    def presign(self, digest: str, expires: timedelta) -> str:
        """Return a link that reads the object until it expires (`file://` for files)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A stored document of one kind, as an apiserver would keep it.

    Attributes:
        generation: grows when the spec changes.
        resource_version: grows on any change; guards updates.
        adopted: whether the uid is that of an object elsewhere, or was made here.
        namespace: of an object of a cluster; a laptop has one only.
    """

    kind: str
    name: str
    uid: str
    generation: int
    resource_version: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    created_at: datetime
    adopted: bool = False
    namespace: str = "default"


class Adoption(StrEnum):
    """What adopting a document did."""

    CREATED = "created"
    REPLACED = "replaced"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class ResourceMark:
    """Tells whether a resource changed: another `resource_version`, or another uid."""

    kind: str
    name: str
    uid: str
    resource_version: int


class Catalog(Protocol):
    """The metadata database: resources, versions, trials, pointers, events.

    Every call is one transaction that is durable when it returns.
    """

    def apply_resource(
        self,
        kind: str,
        name: str,
        spec: Mapping[str, Any],
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> tuple[Resource, str]:
        """Create or update; the second value is `created`, `configured` or `unchanged`."""

    def adopt_resource(self, adopted: Resource) -> tuple[Resource, Adoption]:
        """Store a document under the uid and generation it has where it comes from.

        The status of a row that is there stays, unless it was of another object: a row under
        another adopted uid goes first, with all it owned. A row that was made here, by a job
        or command, is taken over with its versions. `resource_version` is ignored. What is
        older than the row changes nothing (`STALE`), so a late writer takes nothing back.
        """

    def resource_versions(self) -> Sequence[ResourceMark]:
        """Return what is cheap to know of all resources, to see which ones changed."""

    def get_resource(self, kind: str, name: str) -> Resource:
        """Return the resource. Raises NotFoundError."""

    def list_resources(
        self,
        kind: str,
        selector: Mapping[str, str] | None = None,
        limit: int = 500,
        after: str | None = None,
    ) -> Sequence[Resource]:
        """Return up to `limit` resources by name, those after name `after`."""

    def update_status(
        self,
        kind: str,
        name: str,
        status: Mapping[str, Any],
        resource_version: int | None = None,
    ) -> Resource:
        """Replace the status. Raises NotFoundError, ConflictError (version moved on)."""

    def delete_resource(self, kind: str, name: str, uid: str | None = None) -> None:
        """Delete the resource and what only it owns (trials of a Search or Training, those
        under its uid or `uid/…`; versions of a Dataset or Model; events).
        Raises NotFoundError, ConflictError (it is not the one with this uid)."""

    def record_event(self, event: Event) -> None:
        """Append an event; the oldest go when a resource has more than 1,000."""

    def list_events(self, kind: str, name: str, limit: int = 100) -> Sequence[Event]:
        """Return the newest events, oldest first."""

    def add_dataset_version(self, version: DatasetVersion) -> DatasetVersion:
        """Store it under the next number, ignoring `version.version`.

        When the newest version has the same digest that one is returned instead, so an
        import that changed nothing makes no new version.
        """

    def get_dataset_version(self, dataset: str, version: int | None = None) -> DatasetVersion:
        """Return a version, the newest by default. Raises NotFoundError."""

    def list_dataset_versions(self, dataset: str) -> Sequence[DatasetVersion]:
        """Return all versions, oldest first."""

    def add_model_version(self, version: ModelVersion) -> ModelVersion:
        """Store it under the next number; the same bundle digest again is returned as is."""

    def get_model_version(self, model: str, version: int | None = None) -> ModelVersion:
        """Return a version, the newest by default. Raises NotFoundError."""

    def list_model_versions(self, model: str) -> Sequence[ModelVersion]:
        """Return all versions, oldest first."""

    def record_trial(self, trial: Trial) -> None:
        """Insert or replace the row of (`trial.search`, `trial.number`)."""

    def list_trials(self, search: str, limit: int = 1000, after: int = -1) -> Sequence[Trial]:
        """Return up to `limit` trials by number, those with a number above `after`."""

    def record_metrics(
        self, search: str, number: int, step: int, metrics: Mapping[str, float]
    ) -> None:
        """Store the metrics of one step; the same step again replaces them."""

    def list_metrics(self, search: str, number: int) -> Sequence[tuple[int, Mapping[str, float]]]:
        """Return (step, metrics) of one trial by step."""

    def read_pointer(self, name: str) -> str | None:
        """Return the value of a named pointer, None when it was never set."""

    def swap_pointer(self, name: str, expected: str | None, new: str | None) -> bool:
        """Set the pointer if it still is `expected`; None deletes it. False: it was not."""


# ---------------------------------------------------------------- running jobs


class JobExecutor(Protocol):
    """Runs the jobs of objects: as processes, pods or Ray clusters. Decides nothing.

    It remembers nothing by itself. What it says of a job it reads from where the job is kept
    (`spec.attempts`), so it may be killed after any write, or work beside another one: the
    same calls again end in the same jobs. One executor serves one catalog, thus one namespace.
    """

    def view(self, resource: Resource) -> JobView:
        """Return where the job of the object stands."""

    def start(self, resource: Resource, generation: int, placement: Placement = ANYWHERE) -> bool:
        """Start the job of the object for this generation of its spec.

        False when it was started before: one job an attempt, however often this is called.
        """

    def stop(self, resource: Resource) -> None:
        """Ask the job to stop and return; `view` says RUNNING until it has. Asked again, or
        without a job, it does no harm."""


# ---------------------------------------------------------------- running trials


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is told to run: one trial, from its checkpoint if it has one.

    Attributes:
        number: the trial's number.
        candidate: its parameters.
        start_step: steps that an earlier worker finished and saved.
        checkpoint: what the last step's report had for it; None to start afresh.
        rank, ranks: the worker's place among those that run the trial together, each of which
            gets the trial with a rank of its own.
    """

    number: int
    candidate: Mapping[str, Scalar]
    start_step: int = 0
    checkpoint: bytes | None = None
    rank: int = 0
    ranks: int = 1


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step of a trial brought.

    Attributes:
        step: 1, 2, … the resource used after this step.
        metrics: by name; NaN is a classified failure, not a value.
        done: the trial has no further step.
        seconds: duration of the step.
        checkpoint: bytes to continue from after this step; None when the trial keeps none.
    """

    number: int
    step: int
    metrics: Mapping[str, float]
    done: bool
    seconds: float
    checkpoint: bytes | None = None


class Trainable(Protocol):
    """The body of trials on a warm worker: reset for each new candidate, then stepped."""

    def reset(self, assignment: Assignment) -> None:
        """Forget the last trial and take up this one (from its checkpoint, if any)."""

    def step(self) -> StepReport:
        """Do the next step. Any exception is a failure of this trial alone."""


TrainableFactory = Callable[[], Trainable]
"""Makes the trainable inside a worker, once per worker; must pickle (a dataclass with
`__call__`, or a module-level function)."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one worker needs. `gpus` may be a fraction: several trials share one."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What to know of the workers where they are not on this machine; must pickle.

    Attributes:
        open_cache: returns the folder for recomputable things of whatever process calls it.
        threads: CPUs of one worker.
    """

    open_cache: Callable[[], Path]
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a worker is.

    Attributes:
        pool: name of its ComputePool; None where there are none, as on a laptop.
        hourly_price: what the worker costs an hour; None if nobody said.
    """

    pool: str | None = None
    hourly_price: float | None = None

    def add_cost(self, cost: float | None, seconds: float) -> float | None:
        """Return `cost` and what so many seconds here cost; unchanged where no price is known."""
        if self.hourly_price is None:
            return cost
        return (cost or 0.0) + seconds / 3600 * self.hourly_price


HERE = Workplace()
"""A worker of no pool."""


class TrialSource(Protocol):
    """What a runner asks and tells: the search engine, seen from the workers' side.

    A runner calls these from one thread, in any order of trials.
    """

    def next_assignment(self, place: Workplace = HERE) -> Assignment | None:
        """Return the next trial to start on a worker at `place`, None when there is none now."""

    def finished(self) -> bool:
        """Return whether no assignment will come any more."""

    def report(self, report: StepReport) -> bool:
        """Take a step's result, durably, before returning; True to go on with the trial."""

    def fail(self, number: int, failure: Failure) -> None:
        """Take note that the trial died."""

    def should_stop(self) -> bool:
        """Return whether running trials are to be dropped now (time is up, Ctrl-C)."""


class TrialRunner(Protocol):
    """Executes trials on warm workers; decides nothing."""

    def run(
        self,
        source: TrialSource,
        factory: TrainableFactory,
        resources: Resources,
        parallelism: int,
        step_timeout_seconds: float | None = None,
    ) -> None:
        """Run until `source` is finished or says stop.

        A worker that dies (killed, out of memory) or outlives the step timeout is
        replaced, its trial is reported failed with the right kind, and the rest goes on.
        One that went away with its whole node is reported `LOST`: no fault of the trial's.
        """

    def held(self, parallelism: int) -> AbstractContextManager[None]:
        """Keep what is slow to start from one run to the next, until the block ends.

        Args:
            parallelism: of the widest run to come, as far as it is known.
        """


# ---------------------------------------------------------------- one trial on many workers


@dataclass(frozen=True, slots=True)
class GroupSize:
    """How many workers run one trial together.

    Attributes:
        wanted: as many as this when they are there.
        fewest: with fewer than these it waits.
    """

    wanted: int = 1
    fewest: int = 1


class GroupSource(TrialSource, Protocol):
    """A `TrialSource` that is also told who works on its trial."""

    def workers_changed(self, workers: int, devices: int, waiting: str = "") -> None:
        """Take note of how many workers, and devices of theirs, run the trial from now on.

        Args:
            waiting: what it waits for, as a sentence, while there are none.
        """


class GroupRunner(Protocol):
    """Executes one trial at a time, on a group of workers; decides nothing.

    Each worker makes the trainable, resets it to the trial with a rank of its own, and steps
    it together with the others; it finds `torch.distributed` set up. The report of rank 0
    counts, and it alone need have a checkpoint.
    """

    def run_group(
        self,
        source: GroupSource,
        factory: TrainableFactory,
        resources: Resources,
        size: GroupSize,
        step_timeout_seconds: float | None = None,
    ) -> None:
        """Run until `source` is finished or says stop.

        When a worker goes, the trial is reported failed as by a `TrialRunner`, and what the
        source assigns next is run by those that are left. A group with fewer workers than
        wanted grows after a step when there are more.

        Raises:
            InvalidSpecError: this machine, where no others are, is too small.
        """
