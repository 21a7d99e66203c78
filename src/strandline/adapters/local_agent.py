"""The operator of a laptop: one background process that carries out what `control` decides.

`apply` starts it; it lists the catalog's objects, reconciles each, runs their jobs and
exits when nothing is left to do. It keeps nothing in memory that matters, so killing it
costs nothing: the next one finds jobs and records where they were.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from strandline.adapters.agent import (
    MOMENT_SECONDS,
    POLL_SECONDS,
    Attendant,
    Reconcile,
    Say,
    list_all,
)
from strandline.adapters.local_jobs import LocalJobs
from strandline.adapters.run_lock import is_held, try_lock
from strandline.ports import Catalog, Clock, Resource
from strandline.spec.actions import ANYWHERE, JobState, JobView, Placement
from strandline.spec.errors import ConflictError, NotFoundError, StrandlineError
from strandline.spec.naming import JOB_KINDS
from strandline.spec.records import Event
from strandline.spec.v1alpha1 import KINDS

_MAX_LOG_BYTES = 1_000_000
# What others wait for comes first: a search sees an import that ended in the same pass.
_ORDER = (*JOB_KINDS, *(kind for kind in KINDS if kind not in JOB_KINDS))


def owner_of(catalog_url: str) -> str:
    """Return the short name that tells this catalog's runs from another's."""
    return hashlib.sha256(catalog_url.encode()).hexdigest()[:12]


def agent_lock(runs_dir: Path, owner: str) -> Path:
    """Return the lock that the running agent of this catalog holds."""
    return runs_dir / f"agent-{owner}.lock"


class _Processes:
    """`LocalJobs` as a `ports.JobExecutor`: everything runs here, whatever its placement."""

    def __init__(self, jobs: LocalJobs, note_end: bool) -> None:
        self._jobs = jobs
        self._note_end = note_end

    def view(self, resource: Resource) -> JobView:
        return self._jobs.view(resource.kind, resource.uid, self._note_end)

    def start(self, resource: Resource, generation: int, placement: Placement = ANYWHERE) -> bool:
        return self._jobs.start(resource.kind, resource.name, resource.uid, generation)

    def stop(self, resource: Resource) -> None:
        self._jobs.stop(resource.kind, resource.uid)


class LocalAgent:
    """Reconciles all objects of a catalog until nothing is left to do."""

    def __init__(
        self, catalog: Catalog, jobs: LocalJobs, reconcile: Reconcile, clock: Clock, say: Say
    ) -> None:
        self._catalog = catalog
        self._jobs = jobs
        self._say = say
        self._attendant, self._onlooker = (
            Attendant(catalog, _Processes(jobs, note_end), reconcile, clock, self._tell)
            for note_end in (True, False)
        )

    def run(self, lock: Path, sleep: Callable[[float], None]) -> bool:
        """Work until nothing is left; False when another agent is at it.

        Whoever adds work writes it first and looks at the lock then; so after letting the
        lock go, one more look at the catalog makes sure that nothing falls between.
        """
        while True:
            held = try_lock(lock)
            if held is None:
                return False
            with open(held, "rb"):  # noqa: PTH123 – takes the descriptor over, to close it
                while (wait := self.run_once()) is not None:
                    sleep(min(wait, POLL_SECONDS))
            if self.run_once(look_only=True) is None:
                return True

    def run_once(self, look_only: bool = False) -> float | None:
        """Reconcile every object once; return when to look again, None when idle.

        With `look_only` nothing is carried out: an answer tells whether anything would be.
        """
        waits: list[float] = []
        for kind in _ORDER:
            for resource in list_all(self._catalog, kind):
                waits += self._attend(resource, look_only)
        waits += self._end_orphans(look_only)
        return min(waits) if waits else None

    def _attend(self, resource: Resource, look_only: bool) -> list[float]:
        try:
            decision = (self._onlooker if look_only else self._attendant).decide(resource)
            waits = [POLL_SECONDS] if decision.job.state is JobState.RUNNING else []
            if look_only:
                return waits + [POLL_SECONDS] * len(decision.actions)
            return waits + self._attendant.carry_out(resource, decision.actions)
        except (ConflictError, NotFoundError):
            return [MOMENT_SECONDS]  # it changed or went away meanwhile: look at it afresh
        except StrandlineError as error:
            self._say(f"{resource.kind} {resource.name}: {error}")
            return [POLL_SECONDS]

    def _tell(self, resource: Resource, event: Event) -> None:
        self._say(f"{resource.kind} {resource.name}: {event.reason}: {event.message}")

    def _end_orphans(self, look_only: bool) -> list[float]:
        """Stop the jobs of objects that are gone, and remove what they left."""
        known = list(self._jobs.known())
        if not known:
            return []
        alive = {r.uid for kind in KINDS for r in list_all(self._catalog, kind)}
        waits = []
        for kind, uid in known:
            if uid in alive:
                continue
            if look_only:
                waits.append(POLL_SECONDS)
            elif self._jobs.view(kind, uid).state is JobState.RUNNING:
                self._jobs.stop(kind, uid)
                waits.append(POLL_SECONDS)
            else:
                self._jobs.forget(kind, uid)
        return waits


def ensure_agent(runs_dir: Path, owner: str, command: Sequence[str]) -> bool:
    """Start the agent, detached, unless one is running; return whether it was started.

    `command` must run `LocalAgent.run` on the same catalog; a second one ends at once.
    """
    if is_held(agent_lock(runs_dir, owner)):
        return False
    runs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = runs_dir / "agent.log"
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(runs_dir / "agent.1.log")
    # The shell ends at once, so the agent is nobody's child and outlives this process.
    detach = '"$@" </dev/null >>"$0" 2>&1 &'
    subprocess.run(  # noqa: S603 – our own command line, no shell text from outside
        ["/bin/sh", "-c", detach, str(log), *command],
        cwd=runs_dir,
        check=True,
        start_new_session=True,
    )
    return True
