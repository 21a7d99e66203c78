"""One runner per object among machines: a lock of PostgreSQL that falls with its connection.

A pod on a node that is lost may go on for minutes after its successor started. The
database knows which of the two it still hears: the lock belongs to a connection, and the
server drops it when that ends, or stays silent for longer than its keepalives allow.

A holder loses the lock when the server restarts. It takes it again; when another one was
faster, it must stop, as if it were asked to.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import make_url

from strandline.spec.errors import ConflictError, MissingExtraError, UnavailableError

LOOK_SECONDS = 5.0
"""How often a holder makes sure that it still is one."""

_INSIST_SECONDS = 10.0
_PAUSE_SECONDS = 0.25
_CONNECT_SECONDS = 10
# A silent holder is given up by the server after 30 + 3 · 10 seconds.
_KEEPALIVES = {"idle": 30, "interval": 10, "count": 3}
_SILENT_MILLISECONDS = 30_000


@contextmanager
def claim_run(
    url: str, uid: str, what: str, lost: Callable[[], None] | None = None
) -> Iterator[None]:
    """Be the one who runs the job of the object `uid` while the body runs.

    Args:
        what: the object, as people write it.
        lost: called, once, when somebody else runs it by now; asks this process to stop
            (SIGTERM) if None.

    Raises:
        ConflictError: another process runs it now.
        UnavailableError: the database does not answer.
    """
    claim = _Claim(url, uid)
    if not _insist(claim):
        claim.let_go()
        raise ConflictError(f"{what} is being run by another process")
    over = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(claim, over, lost or _ask_to_stop), name="run-claim", daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        claim.let_go()


def _insist(claim: _Claim) -> bool:
    """Try for a while: the server hears a moment later that a killed holder is gone."""
    deadline = time.monotonic() + _INSIST_SECONDS
    while not claim.take():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def _keep(claim: _Claim, over: threading.Event, lost: Callable[[], None]) -> None:
    while not over.wait(LOOK_SECONDS):
        try:
            if claim.is_held() or claim.take():
                continue
        except UnavailableError:
            continue  # nobody else can take it either
        lost()
        return


def _ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class _Claim:
    """The lock of one object, and the connection that stands for it."""

    def __init__(self, url: str, uid: str) -> None:
        self._address = make_url(url).set(drivername="postgresql").render_as_string(False)
        self._key = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big", signed=True)
        self._connection: Any = None

    def take(self) -> bool:
        """Take the lock over a new connection; False when somebody holds it."""
        self.let_go()
        psycopg = _driver()
        settings = " ".join(f"-c tcp_keepalives_{k}={v}" for k, v in _KEEPALIVES.items())
        try:
            self._connection = psycopg.connect(
                self._address,
                autocommit=True,
                connect_timeout=_CONNECT_SECONDS,
                application_name="strandline run",
                options=settings,
                keepalives_idle=_KEEPALIVES["idle"],
                keepalives_interval=_KEEPALIVES["interval"],
                keepalives_count=_KEEPALIVES["count"],
                tcp_user_timeout=_SILENT_MILLISECONDS,
            )
            row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [self._key])
            if row.fetchone()[0]:
                return True
        except psycopg.Error as error:
            self.let_go()
            raise UnavailableError(f"the catalog's database cannot be used: {error}") from error
        self.let_go()
        return False

    def is_held(self) -> bool:
        """Return whether the connection that holds the lock lives."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except _driver().Error:
            return False
        return True

    def let_go(self) -> None:
        """Close the connection, and so drop the lock."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _driver() -> Any:
    try:
        import psycopg
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "a PostgreSQL catalog needs psycopg: run `pip install 'strandline[postgres]'`"
        ) from error
    return psycopg
