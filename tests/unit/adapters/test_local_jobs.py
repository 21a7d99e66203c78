"""Jobs on a laptop are really started, watched, stopped and killed here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strandline.adapters import local_jobs
from strandline.adapters.local_jobs import LocalJobs, claim_run, lock_path, log_path
from strandline.adapters.run_lock import is_held, try_lock
from strandline.spec.actions import JobState, JobView
from strandline.spec.errors import ConflictError, InvalidSpecError

UID = "0b9f-1"


class SteppedClock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def pass_time(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def make_jobs(tmp_path: Path, clock: SteppedClock) -> Iterator[Callable[..., LocalJobs]]:
    """Make executors over one folder; whatever still runs is killed at the end."""

    made: list[LocalJobs] = []

    def make(*command: str, owner: str = "me") -> LocalJobs:
        made.append(LocalJobs(tmp_path, owner, lambda kind, name: command, clock))
        return made[-1]

    yield make
    for pid in tmp_path.glob("*/pid"):
        if is_held(pid.parent / "lock"):
            os.killpg(int(pid.read_text()), signal.SIGKILL)
    for child in [child for jobs in made for child in jobs._children.values()]:
        child.wait()


def eventually(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def ended(jobs: LocalJobs) -> JobView:
    eventually(lambda: jobs.view("Search", UID).state is not JobState.RUNNING)
    return jobs.view("Search", UID)


def python(code: str) -> Sequence[str]:
    return (sys.executable, "-c", code)


def test_a_job_runs_and_its_end_is_noted_with_its_last_words(
    make_jobs: Callable[..., LocalJobs], tmp_path: Path
) -> None:
    jobs = make_jobs("/bin/sh", "-c", "echo one; echo two; exit 7")
    assert jobs.view("Search", UID) == JobView()
    assert jobs.start("Search", "a", UID, generation=3)
    view = ended(jobs)
    assert (view.state, view.generation, view.exit_code) == (JobState.ENDED, 3, 7)
    assert (view.failures, view.last_words) == (1, "two")
    assert log_path(tmp_path, "Search", UID).read_text() == "one\ntwo\n"


def test_a_job_that_runs_is_not_started_twice(make_jobs: Callable[..., LocalJobs]) -> None:
    jobs = make_jobs("sleep", "60")
    assert jobs.start("Search", "a", UID, 1)
    assert not jobs.start("Search", "a", UID, 1)
    assert not make_jobs("sleep", "60").start("Search", "a", UID, 1)
    assert jobs.view("Search", UID) == JobView(JobState.RUNNING, 1)
    jobs.stop("Search", UID)
    assert ended(jobs) == JobView()


def test_a_successor_finds_a_job_running_and_later_ended(
    make_jobs: Callable[..., LocalJobs], tmp_path: Path
) -> None:
    first = make_jobs("/bin/sh", "-c", f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    first.start("Search", "a", UID, 2)
    successor = make_jobs("unused")
    assert successor.view("Search", UID) == JobView(JobState.RUNNING, 2)
    (tmp_path / "go").touch()
    ended(first)
    view = successor.view("Search", UID)
    assert (view.state, view.generation) == (JobState.ENDED, 2)


def test_failures_are_counted_over_restarts_and_forgotten_after_a_long_run(
    make_jobs: Callable[..., LocalJobs], clock: SteppedClock
) -> None:
    jobs = make_jobs("false")
    for expected in (1, 2, 3):
        jobs.start("Search", "a", UID, 1)
        assert ended(jobs).failures == expected
    jobs.start("Search", "a", UID, 1)
    clock.pass_time(601)
    assert ended(jobs).failures == 1
    jobs.start("Search", "a", UID, 2)
    assert ended(jobs).failures == 1


def test_children_of_a_job_that_died_unseen_do_not_run_for_ever(
    make_jobs: Callable[..., LocalJobs], tmp_path: Path
) -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "fd = int(os.environ['STRANDLINE_RUN_LOCK_FD'])\n"
        "subprocess.Popen(['sleep', '60'], pass_fds=(fd,))\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    jobs = make_jobs(*python(code))
    jobs.start("Search", "a", UID, 1)
    eventually(lambda: b"ready" in log_path(tmp_path, "Search", UID).read_bytes())
    leader = int((log_path(tmp_path, "Search", UID).parent / "pid").read_text())
    os.kill(leader, signal.SIGKILL)
    (child,) = jobs._children.values()
    child.wait()
    view = ended(make_jobs("unused"))
    assert (view.state, view.exit_code, view.failures) == (JobState.ENDED, None, 1)


def test_a_killed_job_takes_its_children_along(
    make_jobs: Callable[..., LocalJobs], tmp_path: Path
) -> None:
    # The child inherits the lock, so the object would seem to run for ever.
    jobs = make_jobs(
        *python(
            "import os, subprocess, sys, time\n"
            "fd = int(os.environ['STRANDLINE_RUN_LOCK_FD'])\n"
            "child = subprocess.Popen(['sleep', '60'], pass_fds=(fd,))\n"
            "print('ready', flush=True)\n"
            "time.sleep(60)\n"
        )
    )
    jobs.start("Search", "a", UID, 1)
    eventually(lambda: b"ready" in log_path(tmp_path, "Search", UID).read_bytes())
    os.kill(int((log_path(tmp_path, "Search", UID).parent / "pid").read_text()), signal.SIGKILL)
    view = ended(jobs)
    assert view.exit_code == -signal.SIGKILL
    eventually(lambda: not is_held(lock_path(tmp_path, "Search", UID)))


def test_a_job_that_ignores_the_request_is_ended_after_the_grace_time(
    make_jobs: Callable[..., LocalJobs], clock: SteppedClock, tmp_path: Path
) -> None:
    jobs = make_jobs("/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done")
    jobs.start("Search", "a", UID, 1)
    eventually(lambda: b"deaf" in log_path(tmp_path, "Search", UID).read_bytes())
    jobs.stop("Search", UID)
    jobs.stop("Search", UID)
    assert jobs.view("Search", UID).state is JobState.RUNNING
    clock.pass_time(local_jobs.GRACE_SECONDS + 1)
    jobs.stop("Search", UID)
    assert ended(jobs) == JobView()


def test_a_stopped_job_counts_no_failure(make_jobs: Callable[..., LocalJobs]) -> None:
    jobs = make_jobs("sleep", "60")
    jobs.start("Search", "a", UID, 1)
    jobs.stop("Search", UID)
    assert ended(jobs) == JobView()


def test_a_foreground_run_keeps_the_agent_away_and_is_kept_away(
    make_jobs: Callable[..., LocalJobs], tmp_path: Path
) -> None:
    jobs = make_jobs("sleep", "60")
    with claim_run(tmp_path, "Search", "a", UID):
        assert jobs.view("Search", UID) == JobView(JobState.RUNNING)
        assert not jobs.start("Search", "a", UID, 1)
        jobs.stop("Search", UID)  # not ours: left alone
    assert jobs.view("Search", UID) == JobView()
    jobs.start("Search", "a", UID, 1)
    with pytest.raises(ConflictError, match="strandline logs search/a -f"):
        claim_run(tmp_path, "Search", "a", UID).__enter__()
    jobs.stop("Search", UID)
    ended(jobs)


def test_a_job_of_the_agent_has_inherited_the_claim(
    make_jobs: Callable[..., LocalJobs], tmp_path: Path
) -> None:
    jobs = make_jobs(
        *python(
            "from pathlib import Path\n"
            "from strandline.adapters.local_jobs import claim_run\n"
            f"with claim_run(Path({str(tmp_path)!r}), 'Search', 'a', {UID!r}): print('mine')\n"
        )
    )
    jobs.start("Search", "a", UID, 1)
    view = ended(jobs)
    assert (view.exit_code, view.last_words) == (0, "mine")
    assert view.failures == 0


def test_a_claim_ends_with_a_killed_process(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; import time\n"
        "from strandline.adapters.local_jobs import claim_run\n"
        f"with claim_run(Path({str(tmp_path)!r}), 'Search', 'a', {UID!r}):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(python(code), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_held(lock_path(tmp_path, "Search", UID))
        process.kill()
    with claim_run(tmp_path, "Search", "a", UID):
        pass


def test_jobs_of_another_catalog_are_neither_listed_nor_seen_as_ended(
    make_jobs: Callable[..., LocalJobs],
) -> None:
    mine, other = make_jobs("true"), make_jobs("true", owner="other")
    mine.start("Search", "a", UID, 1)
    ended(mine)
    assert list(mine.known()) == [("search", UID)]
    assert list(other.known()) == []
    assert other.view("Search", UID) == JobView()
    mine.forget("search", UID)
    assert list(mine.known()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": 1}', "\x00"])
def test_a_damaged_record_counts_as_none(
    make_jobs: Callable[..., LocalJobs], tmp_path: Path, text: str
) -> None:
    jobs = make_jobs("true")
    folder = lock_path(tmp_path, "Search", UID).parent
    folder.mkdir()
    (folder / "record.json").write_text(text)
    assert jobs.view("Search", UID) == JobView()
    jobs.start("Search", "a", UID, 1)
    assert ended(jobs).exit_code == 0


def test_a_uid_never_becomes_a_path_unchecked(make_jobs: Callable[..., LocalJobs]) -> None:
    for uid in ("../x", "", "a/b", "x" * 65):
        with pytest.raises(InvalidSpecError):
            make_jobs("true").view("Search", uid)


def test_a_long_log_is_set_aside_and_control_characters_are_not_last_words(
    make_jobs: Callable[..., LocalJobs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_jobs, "_MAX_LOG_BYTES", 10)
    jobs = make_jobs("printf", r"first\n\033[31mred\n\n")
    jobs.start("Search", "a", UID, 1)
    assert ended(jobs).last_words == " [31mred"
    jobs.start("Search", "a", UID, 1)
    ended(jobs)
    log = log_path(tmp_path, "Search", UID)
    assert (log.parent / "log.1.txt").read_bytes() == log.read_bytes()


def test_the_record_is_whole_at_any_moment(
    make_jobs: Callable[..., LocalJobs], tmp_path: Path
) -> None:
    jobs = make_jobs("true")
    jobs.start("Search", "a", UID, 1)
    ended(jobs)
    folder = lock_path(tmp_path, "Search", UID).parent
    assert json.loads((folder / "record.json").read_text())["ended_at"]
    assert not list(folder.glob("*.part"))


def test_a_lock_is_free_again_when_its_descriptor_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    assert not is_held(path)
    held = try_lock(path)
    assert held is not None
    assert is_held(path)
    assert try_lock(path) is None
    os.close(held)
    assert not is_held(path)
