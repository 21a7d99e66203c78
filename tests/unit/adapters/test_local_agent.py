"""The agent as a real background process, killed and replaced at its worst moments."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from strandline.adapters.agent import list_all
from strandline.adapters.clock import SystemClock
from strandline.adapters.local_agent import LocalAgent, agent_lock, ensure_agent, owner_of
from strandline.adapters.local_jobs import LocalJobs, lock_path, run_folder
from strandline.adapters.run_lock import is_held
from strandline.adapters.sql import open_catalog
from strandline.control.backoff import MAX_FAILURES
from strandline.control.reconcile import reconcile
from strandline.ports import Catalog, Resource
from strandline.spec.actions import Action, LookAgain, Observed
from strandline.spec.conditions import SUSPENDED, get_condition, is_settled, is_true
from strandline.spec.errors import UnavailableError
from strandline.spec.records import DatasetVersion, Task

AGENT = """
import os, sys, time
from pathlib import Path
from strandline.adapters.clock import SystemClock
from strandline.adapters.local_agent import LocalAgent, agent_lock
from strandline.adapters.local_jobs import LocalJobs
from strandline.adapters.sql import open_catalog
from strandline.control import backoff
from strandline.control.reconcile import reconcile

backoff.FIRST_DELAY_SECONDS = 0.01
runs, url, job = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
(runs / "agent.over").unlink(missing_ok=True)
(runs / "agent.pid").write_text(str(os.getpid()))
command = lambda kind, name: [sys.executable, "-c", job, str(runs), url, kind, name]
jobs = LocalJobs(runs, "me", command, SystemClock())
agent = LocalAgent(open_catalog(url), jobs, reconcile, SystemClock(), print)
agent.run(agent_lock(runs, "me"), lambda seconds: time.sleep(min(seconds, 0.05)))
(runs / "agent.over").touch()
"""

# Counts in a file to ten, going on where a killed one stopped, then says that it is done.
# At five it waits for the test.
COUNT = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from strandline.adapters.sql import open_catalog
from strandline.jobs.status import change_status
from strandline.spec.conditions import Why, mark_done

runs, url, kind, name = sys.argv[1:]
counted = Path(runs) / f"{name}.count"
while (done := len(counted.read_text().splitlines()) if counted.exists() else 0) < 10:
    with counted.open("a") as out:
        out.write(f"{done}\\n")
    while done >= 5 and not (Path(runs) / "go").exists():
        time.sleep(0.02)
catalog = open_catalog(url)
change_status(catalog, kind, name, lambda r: mark_done(
    r.status, Why("Counted", "To ten.", r.generation, datetime.now(UTC))))
"""

CRASH = "import os; print('about to crash', flush=True); os.abort()"
DIGEST = "sha256:" + "0" * 64
DATASET = {"source": {"uri": "x"}}


class Laptop:
    """One home with its catalog, and an agent that runs the given job."""

    def __init__(self, folder: Path, job: str) -> None:
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.url = f"sqlite:///{folder / 'catalog.sqlite'}"
        self.catalog: Catalog = open_catalog(self.url)
        self.command: Sequence[str] = [sys.executable, "-c", AGENT, str(self.runs), self.url, job]

    def start_agent(self) -> bool:
        (self.runs / "agent.over").unlink(missing_ok=True)
        return ensure_agent(self.runs, "me", self.command)

    def kill_agent(self) -> None:
        eventually((self.runs / "agent.pid").exists)
        os.kill(int((self.runs / "agent.pid").read_text()), signal.SIGKILL)
        eventually(lambda: not is_held(agent_lock(self.runs, "me")))
        (self.runs / "agent.pid").unlink()

    def agent_is_over(self) -> bool:
        return (self.runs / "agent.over").exists()

    def job_id(self, resource: Resource) -> int:
        text = (run_folder(self.runs, resource.kind, resource.uid) / "pid").read_text().strip()
        return int(text) if text else 0

    def job_runs(self, resource: Resource) -> bool:
        return is_held(lock_path(self.runs, resource.kind, resource.uid))

    def counted(self, name: str) -> list[int]:
        path = self.runs / f"{name}.count"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def now(self, resource: Resource) -> Resource:
        return self.catalog.get_resource(resource.kind, resource.name)


def dataset_version(name: str) -> DatasetVersion:
    return DatasetVersion(
        dataset=name,
        version=1,
        digest=DIGEST,
        task=Task.MULTICLASS,
        labels=("a", "b"),
        items_object=DIGEST,
        items=2,
        labeled=2,
        created_at=datetime(2026, 1, 31, tzinfo=UTC),
    )


def eventually(condition: Callable[[], bool], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def make_laptop(tmp_path: Path) -> Iterator[Callable[[str], Laptop]]:
    made: list[Laptop] = []

    def make(job: str) -> Laptop:
        made.append(Laptop(tmp_path, job))
        return made[-1]

    yield make
    for laptop in made:
        if is_held(agent_lock(laptop.runs, "me")):
            laptop.kill_agent()
        for pid in laptop.runs.glob("*-*/pid"):
            if is_held(pid.parent / "lock"):
                os.killpg(int(pid.read_text()), signal.SIGKILL)


def test_killed_agents_and_jobs_are_taken_up_where_they_were(
    make_laptop: Callable[[str], Laptop],
) -> None:
    laptop = make_laptop(COUNT)
    dataset, _ = laptop.catalog.apply_resource("Dataset", "coast", DATASET)
    assert laptop.start_agent()
    eventually(lambda: len(laptop.counted("coast")) == 6)
    laptop.kill_agent()
    assert laptop.job_runs(dataset)
    assert laptop.start_agent()
    eventually(lambda: is_held(agent_lock(laptop.runs, "me")))
    assert not laptop.start_agent()
    os.kill(laptop.job_id(dataset), signal.SIGKILL)
    (laptop.runs / "go").touch()
    eventually(lambda: is_settled(laptop.now(dataset).status, 1))
    assert laptop.counted("coast") == list(range(10))
    eventually(laptop.agent_is_over)
    ready = get_condition(laptop.now(dataset).status, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("True", "Counted")
    started = laptop.catalog.list_events("Dataset", "coast")
    assert [event.reason for event in started] == ["JobStarted", "JobStarted"]


def test_a_search_starts_after_its_dataset_and_stops_while_suspended(
    make_laptop: Callable[[str], Laptop],
) -> None:
    laptop = make_laptop(COUNT)
    spec: dict[str, Any] = {"dataset": {"name": "coast"}}
    search, _ = laptop.catalog.apply_resource("Search", "quick", spec)
    laptop.start_agent()
    eventually(laptop.agent_is_over)
    ready = get_condition(laptop.now(search).status, "Ready")
    assert ready is not None
    assert ready["message"] == "There is no dataset coast yet."

    laptop.catalog.add_dataset_version(dataset_version("coast"))
    laptop.start_agent()
    eventually(lambda: len(laptop.counted("quick")) == 6)
    held, _ = laptop.catalog.apply_resource("Search", "quick", {**spec, "suspend": True})
    eventually(lambda: not laptop.job_runs(search))
    eventually(laptop.agent_is_over)
    assert is_true(laptop.now(search).status, SUSPENDED, held.generation)
    assert len(laptop.counted("quick")) == 6
    (laptop.runs / "go").touch()
    laptop.catalog.apply_resource("Search", "quick", spec)
    laptop.start_agent()
    eventually(lambda: is_true(laptop.now(search).status, "Complete", held.generation + 1))
    assert laptop.counted("quick") == list(range(10))


def test_the_job_of_a_deleted_object_is_stopped_and_its_folder_removed(
    make_laptop: Callable[[str], Laptop],
) -> None:
    laptop = make_laptop(COUNT)
    dataset, _ = laptop.catalog.apply_resource("Dataset", "coast", DATASET)
    laptop.start_agent()
    eventually(lambda: len(laptop.counted("coast")) >= 1)
    laptop.catalog.delete_resource("Dataset", "coast")
    folder = run_folder(laptop.runs, "Dataset", dataset.uid)
    eventually(lambda: not folder.exists())
    eventually(laptop.agent_is_over)
    assert len(laptop.counted("coast")) <= 6


def test_a_job_that_keeps_crashing_ends_as_failed_with_its_last_words(
    make_laptop: Callable[[str], Laptop],
) -> None:
    laptop = make_laptop(CRASH)
    dataset, _ = laptop.catalog.apply_resource("Dataset", "coast", DATASET)
    laptop.start_agent()
    eventually(lambda: is_true(laptop.now(dataset).status, "Failed", 1))
    ready = get_condition(laptop.now(dataset).status, "Ready")
    assert ready is not None
    assert ready["reason"] == "BackoffLimitExceeded"
    assert "SIGABRT" in ready["message"]
    assert "about to crash" in ready["message"]
    eventually(laptop.agent_is_over)
    log = run_folder(laptop.runs, "Dataset", dataset.uid) / "log.txt"
    assert log.read_text().count("about to crash") == MAX_FAILURES


def test_work_that_comes_while_the_agent_leaves_is_not_forgotten(tmp_path: Path) -> None:
    catalog = open_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    catalog.apply_resource("Dataset", "coast", DATASET)
    lock = tmp_path / "agent.lock"
    locked: list[bool] = []

    def decide(resource: Resource, observed: Observed) -> Sequence[Action]:
        locked.append(is_held(lock))
        # Something is to do at the very look after the lock was let go, and once after.
        return (LookAgain(0.0),) if len(locked) in (2, 3) else ()

    jobs = LocalJobs(tmp_path / "runs", "me", lambda kind, name: ["true"], SystemClock())
    agent = LocalAgent(catalog, jobs, decide, SystemClock(), print)
    assert agent.run(lock, lambda seconds: None)
    assert locked == [True, False, True, True, False]


def test_an_object_that_cannot_be_reconciled_does_not_stop_the_others(tmp_path: Path) -> None:
    catalog = open_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    for name in ("a", "b"):
        catalog.apply_resource("Dataset", name, DATASET)
    said: list[str] = []

    def decide(resource: Resource, observed: Observed) -> Sequence[Action]:
        if resource.name == "a":
            raise UnavailableError("the store does not answer")
        return reconcile(resource, observed)

    jobs = LocalJobs(tmp_path / "runs", "me", lambda kind, name: ["true"], SystemClock())
    agent = LocalAgent(catalog, jobs, decide, SystemClock(), said.append)
    agent.run_once()
    assert said[0] == "Dataset a: the store does not answer"
    assert "Dataset b: JobStarted" in said[1]
    b = catalog.get_resource("Dataset", "b")
    eventually(lambda: jobs.view("Dataset", b.uid).exit_code == 0)


def test_all_pages_are_listed(tmp_path: Path) -> None:
    catalog = open_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    for number in range(3):
        catalog.apply_resource("Model", f"m{number}", {})
    assert [each.name for each in list_all(catalog, "Model")] == ["m0", "m1", "m2"]
    assert [each.name for each in list_all(catalog, "Model", after="m1")] == ["m2"]


def test_catalogs_are_told_apart() -> None:
    assert owner_of("sqlite:///a") != owner_of("sqlite:///b")
    assert len(owner_of("sqlite:///a")) == 12
