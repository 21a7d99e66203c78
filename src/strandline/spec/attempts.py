"""What is kept about the jobs of an object on a cluster, and where: on the jobs themselves.

Each start of a job is an attempt with a number. The object that stands for it there (a
Job, a RayJob) is named by it, so starting twice makes one, and carries what must be known
later as labels and annotations: then there is no record that could disagree with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from strandline.spec.actions import JobState, JobView

LABEL_KIND = "strandline.dev/kind"
LABEL_NAME = "strandline.dev/name"
LABEL_UID = "strandline.dev/uid"
LABEL_ATTEMPT = "strandline.dev/attempt"
ANNOTATION_GENERATION = "strandline.dev/generation"
ANNOTATION_FAILURES = "strandline.dev/failures"
"""Runs in a row that ended badly before this one, for the same generation."""

ANNOTATION_STOPPED = "strandline.dev/stopped"
"""Why it was asked to stop; then its end says nothing about the object."""

LONG_RUN = timedelta(minutes=10)
"""A job that ran so long before it ended badly starts counting its failures anew."""

_FREE = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of an object's job, as found.

    Attributes:
        number: 1, 2, …
        generation: of the spec it was started for.
        failures_before: runs in a row that ended badly before it.
        ended: whether nothing of it runs any more.
        stopped: it was asked to stop.
        exit_code: of its end; None when nobody saw it, or while it runs.
        preempted, waiting, last_words: as in `JobView`.
    """

    number: int
    generation: int
    failures_before: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ended: bool = False
    stopped: bool = False
    exit_code: int | None = None
    preempted: bool = False
    waiting: tuple[str, str] | None = None
    last_words: str = ""


def job_name(kind: str, name: str, uid: str, attempt: int, longest: int = 63) -> str:
    """Return the name of an attempt: a DNS label that tells people what it is.

    Example:
        `job_name("Search", "coast", "3f2a9c1b-…", 2)` is `search-coast-3f2a9c1b-2`.
    """
    head, tail = f"{kind.lower()}-{name}", f"-{_FREE.sub('', uid.lower())[:8]}-{attempt}"
    return head[: longest - len(tail)].rstrip("-") + tail


def failures_after(
    before: int, exit_code: int | None, started_at: datetime | None, ended_at: datetime | None
) -> int:
    """Return how many runs in a row have ended badly once this one ended so."""
    if exit_code == 0:
        return before
    if started_at and ended_at and ended_at - started_at >= LONG_RUN:
        return 1
    return before + 1


def view_attempts(attempts: Sequence[Attempt]) -> JobView:
    """Return where the job stands that was attempted so.

    An attempt that still runs counts before later ones: nothing starts beside it.
    """
    running = [each for each in attempts if not each.ended]
    if running:
        first = min(running, key=lambda each: each.number)
        return JobView(JobState.RUNNING, first.generation, waiting=first.waiting)
    if not attempts:
        return JobView()
    last = max(attempts, key=lambda each: each.number)
    if last.stopped:
        return JobView()
    return JobView(
        JobState.ENDED,
        last.generation,
        last.exit_code,
        _failures(last),
        last.ended_at,
        last.last_words,
        preempted=last.preempted,
    )


def next_attempt(attempts: Sequence[Attempt], generation: int) -> tuple[int, int]:
    """Return the number of the next attempt, and the failures in a row before it."""
    if not attempts:
        return 1, 0
    last = max(attempts, key=lambda each: each.number)
    counts = last.generation == generation and not last.stopped
    return last.number + 1, _failures(last) if counts else 0


def _failures(last: Attempt) -> int:
    if last.preempted:
        return last.failures_before
    return failures_after(last.failures_before, last.exit_code, last.started_at, last.ended_at)
