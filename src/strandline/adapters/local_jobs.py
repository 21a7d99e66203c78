"""Run the jobs of a laptop as processes of their own, findable by whoever comes next.

Each object has a folder `runs/<kind>-<uid>/` with the log, a lock that stands for the
running job, its process id and a small record of attempts. The record is replaced
atomically, so an agent that is killed at any moment leaves a folder from which its
successor goes on: it finds the job running, or finds that it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from strandline.adapters.run_lock import INHERITED_FD, hold, is_held, try_lock
from strandline.durable import replacing
from strandline.ports import Clock
from strandline.spec.actions import JobState, JobView
from strandline.spec.attempts import failures_after
from strandline.spec.errors import InvalidSpecError

JobCommand = Callable[[str, str], Sequence[str]]
"""Makes the command line of the job of (kind, name)."""

GRACE_SECONDS = 20.0
"""From SIGTERM to SIGKILL: long enough for a search to save its running step."""

_MAX_LOG_BYTES = 10_000_000
_LAST_WORDS_BYTES = 4096
_UID = re.compile(r"[A-Za-z0-9-]{1,64}")
# Writes the id before the job's own program starts, so no job runs unnamed.
_LAUNCH = 'echo $$ >"$0" && exec "$@"'


@dataclass(frozen=True, slots=True)
class _Record:
    """What is remembered of an object's job; times are ISO 8601 texts."""

    owner: str
    name: str
    generation: int
    started_at: str
    failures: int = 0
    ended_at: str | None = None
    exit_code: int | None = None
    stop_asked_at: str | None = None


def run_folder(runs_dir: Path, kind: str, uid: str) -> Path:
    """Return the folder of the runs of one object.

    Raises:
        InvalidSpecError: the uid could not be part of a path.
    """
    if not _UID.fullmatch(uid) or not kind.isalpha():
        raise InvalidSpecError(f"{kind} {uid!r} cannot name a folder")
    return runs_dir / f"{kind.lower()}-{uid}"


def log_path(runs_dir: Path, kind: str, uid: str) -> Path:
    """Return the file that holds the log of the object's job."""
    return run_folder(runs_dir, kind, uid) / "log.txt"


def lock_path(runs_dir: Path, kind: str, uid: str) -> Path:
    """Return the lock that whoever runs the object's job holds (`run_lock.hold`)."""
    return run_folder(runs_dir, kind, uid) / "lock"


@contextmanager
def claim_run(runs_dir: Path, kind: str, name: str, uid: str) -> Iterator[None]:
    """Be the one who runs the object's job while the body runs.

    A job that the agent started has inherited the claim; a foreground command makes its
    own, and the agent then leaves the object alone.

    Raises:
        ConflictError: another process runs it now.
    """
    folder = run_folder(runs_dir, kind, uid)
    with hold(folder / "lock", f"{kind.lower()}/{name}") as inherited:
        if not inherited:
            # What an earlier job left says nothing about this run.
            (folder / "record.json").unlink(missing_ok=True)
            (folder / "pid").unlink(missing_ok=True)
        yield


class LocalJobs:
    """Starts, watches and stops the jobs of one catalog's objects.

    Attributes:
        owner: tells the catalog apart from others that share the runs folder.
    """

    def __init__(self, runs_dir: Path, owner: str, command: JobCommand, clock: Clock) -> None:
        self.owner = owner
        self._runs_dir = runs_dir
        self._command = command
        self._clock = clock
        self._children: dict[Path, subprocess.Popen[bytes]] = {}

    def view(self, kind: str, uid: str, note_end: bool = True) -> JobView:
        """Return where the job stands; with `note_end`, write down that it has just ended."""
        folder = run_folder(self._runs_dir, kind, uid)
        record = _read_record(folder)
        child = self._children.get(folder)
        exit_code = None if child is None else child.poll()
        if child is not None and exit_code is None:
            return JobView(JobState.RUNNING, record.generation if record else None)
        if is_held(folder / "lock"):
            if exit_code is not None or _leader_is_gone(folder):
                # What a dead job left behind holds its lock, and would for ever.
                _signal_group(folder, signal.SIGKILL)
            ours = record is not None and record.ended_at is None
            return JobView(JobState.RUNNING, record.generation if record and ours else None)
        if record is None or record.owner != self.owner:
            return JobView()
        if record.ended_at is None:
            record = self._ended(record, exit_code)
            if note_end:
                _write_record(folder, record)
                self._children.pop(folder, None)
        if record.stop_asked_at is not None:
            return JobView()
        assert record.ended_at is not None
        return JobView(
            JobState.ENDED,
            record.generation,
            record.exit_code,
            record.failures,
            datetime.fromisoformat(record.ended_at),
            _last_words(folder / "log.txt"),
        )

    def start(self, kind: str, name: str, uid: str, generation: int) -> bool:
        """Start the job in a session of its own; False when it is running already."""
        folder = run_folder(self._runs_dir, kind, uid)
        lock = try_lock(folder / "lock")
        if lock is None:
            return False
        try:
            before = _read_record(folder)
            again = before is not None and before.generation == generation
            failures = before.failures if before and again else 0
            now = self._clock.now().isoformat()
            _write_record(folder, _Record(self.owner, name, generation, now, failures))
            (folder / "pid").unlink(missing_ok=True)
            self._children[folder] = _launch(folder, self._command(kind, name), lock)
        finally:
            os.close(lock)  # the job's copy of the descriptor goes on holding it
        return True

    def stop(self, kind: str, uid: str) -> None:
        """Ask the job to stop; asked again after the grace time, end it."""
        folder = run_folder(self._runs_dir, kind, uid)
        record = _read_record(folder)
        if record is None or record.ended_at is not None or not is_held(folder / "lock"):
            return
        now = self._clock.now()
        if record.stop_asked_at is None:
            _write_record(folder, replace(record, stop_asked_at=now.isoformat()))
            _signal_group(folder, signal.SIGTERM)
        elif now - datetime.fromisoformat(record.stop_asked_at) > timedelta(seconds=GRACE_SECONDS):
            _signal_group(folder, signal.SIGKILL)

    def known(self) -> Iterator[tuple[str, str]]:
        """Iterate over (kind in lower case, uid) of the jobs of this catalog's objects."""
        if not self._runs_dir.is_dir():
            return
        for folder in sorted(self._runs_dir.iterdir()):
            kind, _, uid = folder.name.partition("-")
            if kind.isalpha() and _UID.fullmatch(uid):
                record = _read_record(folder)
                if record is not None and record.owner == self.owner:
                    yield kind, uid

    def forget(self, kind: str, uid: str) -> None:
        """Remove the folder of a deleted object whose job has ended."""
        folder = run_folder(self._runs_dir, kind, uid)
        self._children.pop(folder, None)
        shutil.rmtree(folder, ignore_errors=True)

    def _ended(self, record: _Record, exit_code: int | None) -> _Record:
        now = self._clock.now()
        started = datetime.fromisoformat(record.started_at)
        failures = failures_after(record.failures, exit_code, started, now)
        return replace(record, ended_at=now.isoformat(), exit_code=exit_code, failures=failures)


def _launch(folder: Path, command: Sequence[str], lock: int) -> subprocess.Popen[bytes]:
    log = folder / "log.txt"
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(folder / "log.1.txt")
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603 – our own command line, no shell text from outside
            ["/bin/sh", "-c", _LAUNCH, str(folder / "pid"), *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, INHERITED_FD: str(lock)},
            pass_fds=(lock,),
            start_new_session=True,
        )


def _leader_is_gone(folder: Path) -> bool:
    process_id = _read_process_id(folder)
    if process_id is None:
        return False  # not launched yet, or a foreground run
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _read_process_id(folder: Path) -> int | None:
    try:
        process_id = int((folder / "pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return process_id if process_id > 1 else None


def _signal_group(folder: Path, number: signal.Signals) -> None:
    """Signal the job and its children. Its lock must be held: then the id is still its own."""
    process_id = _read_process_id(folder)
    if process_id is not None:  # else not launched yet: asked again at the next look
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process_id, number)


def _read_record(folder: Path) -> _Record | None:
    try:
        fields: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        return _Record(**fields)
    except (OSError, ValueError, TypeError):
        return None


def _write_record(folder: Path, record: _Record) -> None:
    with replacing(folder / "record.json") as out:
        out.write(json.dumps(asdict(record)).encode())


def _last_words(log: Path) -> str:
    """Return the last line of the log that says something, printable and short."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_WORDS_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    spoken = [line.strip() for line in lines if line.strip()]
    text = spoken[-1][-300:] if spoken else ""
    return "".join(char if char.isprintable() else " " for char in text)
