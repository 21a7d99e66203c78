"""What a reconciler sees and what it may ask for: the words between deciding and doing.

`control` decides with these, adapters and operators do; neither imports the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from strandline.spec.records import DatasetVersion, ModelVersion


class JobState(StrEnum):
    """Where the job of an object stands."""

    NONE = "none"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class JobView:
    """The job of an object, as its executor knows it.

    Attributes:
        generation: spec the job was started for; None when somebody else started it.
        exit_code: of an ended job; negative for a signal, None when nobody saw it end.
        failures: runs in a row that ended badly soon after their start.
        ended_at: when it ended, or was found ended.
        last_words: the last line of its log.
        waiting: why a job that was started does not run yet, as condition reason and
            sentence; None when nothing is known to be in its way.
        preempted: it ended because somebody else needed its place (evicted, drained, taken
            by a queue): no failure of its own, it starts again at once.
        look_seconds: when to look again at one that runs though nothing is heard of it; None
            when every change of it is heard of.
    """

    state: JobState = JobState.NONE
    generation: int | None = None
    exit_code: int | None = None
    failures: int = 0
    ended_at: datetime | None = None
    last_words: str = ""
    waiting: tuple[str, str] | None = None
    preempted: bool = False
    look_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DatasetView:
    """The dataset that a search refers to.

    Attributes:
        generation, status: of its resource.
        versions: the versions that exist, oldest first.
    """

    generation: int
    status: Mapping[str, Any]
    versions: Sequence[DatasetVersion] = ()


@dataclass(frozen=True, slots=True)
class SearchView:
    """The search that a training takes its cell from.

    Attributes:
        generation, status: of its resource.
    """

    generation: int
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PoolView:
    """A ComputePool, and what the cluster has for it.

    Attributes:
        spec: of its resource, as a document.
        capacity: workers that would fit into all its nodes were they empty; None when that
            cannot be told yet.
        available: workers that fit into what is free now.
        standing: workers of a Ray that is there already and that searches share; None where
            workers are made for each, or where nobody has said how many there are.
        trouble: why it cannot be used at all; empty if it can.
        own_pods: a job's workers are pods that start with it, so they need room all at once.
    """

    name: str
    spec: Mapping[str, Any]
    capacity: int | None = None
    available: int = 0
    standing: int | None = None
    trouble: str = ""
    own_pods: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything besides the object itself that a decision rests on.

    Attributes:
        dataset: what a Search or Training refers to; None when there is no such Dataset.
        search: what a Training takes its cell from; None when there is no such Search.
        model_versions: versions of a Model, oldest first.
        pools: the ComputePools there are, by name; None where pools mean nothing (a laptop).
    """

    now: datetime
    job: JobView = JobView()
    dataset: DatasetView | None = None
    search: SearchView | None = None
    model_versions: Sequence[ModelVersion] = ()
    pools: Mapping[str, PoolView] | None = None


@dataclass(frozen=True, slots=True)
class PoolShare:
    """The part of an object's work that a pool of machines takes.

    Attributes:
        name: of the ComputePool; its machines are found as Ray resource `pool-NAME`.
        spec: of the ComputePool, as a document.
        workers: how many of its workers are asked for (of TPUs: slices), at least one.
        fewest: the job goes on with so few of them, and never has more than it asked for;
            None when the pool says how far their number may grow.
    """

    name: str
    spec: Mapping[str, Any]
    workers: int
    fewest: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a job runs on a cluster.

    Attributes:
        pools: of its trials, the preferred one first; where the job itself runs if empty.
        driver: whose nodes the job itself runs on (its workers do not count); any if None.
    """

    pools: tuple[PoolShare, ...] = ()
    driver: PoolShare | None = None


ANYWHERE = Placement()
"""No pools: a laptop, or any node of a cluster that takes pods."""


@dataclass(frozen=True, slots=True)
class StartJob:
    """Run the job of the object for this generation of its spec."""

    generation: int
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class StopJob:
    """Stop the job of the object; its state is kept, so that it can go on later."""


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Replace the status of the object."""

    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Reconcile the object again after this time, though nothing may have changed."""

    seconds: float


Action = StartJob | StopJob | WriteStatus | LookAgain
