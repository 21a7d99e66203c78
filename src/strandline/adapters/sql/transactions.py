"""One call, one transaction: what a collision or a lost database becomes to the caller.

Writers collide only on PostgreSQL, where they run side by side; the one that lost starts
again and then sees what the other wrote. SQLite lets one writer in at a time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    TimeoutError as PoolTimeoutError,
)

from strandline.spec.errors import (
    ConflictError,
    CorruptArtifactError,
    InvalidSpecError,
    StrandlineError,
    UnavailableError,
)

# Execution option of connections that only read; see `engine.py`.
READS_ONLY = "strandline_reads_only"
_ATTEMPTS = 40
_LONGEST_PAUSE_SECONDS = 0.25
# serialization_failure and deadlock_detected (PostgreSQL, appendix A)
_LOST_TO_ANOTHER = frozenset({"40001", "40P01"})
Result = TypeVar("Result")


class Transactions:
    """Runs work in transactions of `engine`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        options: dict[str, object] = {READS_ONLY: True}
        if engine.dialect.name == "postgresql":
            # Each statement sees one moment there, in a transaction or not; without one it is
            # one trip to the server in place of three.
            options["isolation_level"] = "AUTOCOMMIT"
        self._reading = engine.execution_options(**options)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Return what `work` reads; it must not write."""
        try:
            with self._reading.begin() as connection:
                return work(connection)
        except (SQLAlchemyError, UnicodeEncodeError) as error:
            raise explained(error, self._engine) from error

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Return what `work` returned, after its changes are durable.

        `work` may run several times, each time in a transaction of its own.
        """
        for attempt in range(_ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except (SQLAlchemyError, UnicodeEncodeError) as error:
                if not _lost_to_another(error):
                    raise explained(error, self._engine) from error
            longest = min(_LONGEST_PAUSE_SECONDS, 0.002 * 2**attempt)
            time.sleep(random.uniform(0, longest))  # noqa: S311 – only spreads the writers
        raise ConflictError("too many writers change the same entry of the catalog: try again")


def explained(error: SQLAlchemyError | UnicodeEncodeError, engine: Engine) -> StrandlineError:
    """Return the error a person or program can act on. Passwords are not shown."""
    where = engine.url.set(query={}).render_as_string()  # `?password=` is one, too
    if isinstance(error, DataError | UnicodeEncodeError):
        reason = error.orig if isinstance(error, DataError) else error.reason
        return InvalidSpecError(f"the catalog cannot hold a value: {_first_line(reason)}")
    if _is_damaged(error):
        return CorruptArtifactError(
            f"the catalog {where} is damaged or no database at all: restore a backup, or move "
            "the file away to begin with an empty catalog"
        )
    if isinstance(error, PoolTimeoutError):
        return UnavailableError(f"the catalog {where} has no connection left: try again")
    reason = error.orig if isinstance(error, DBAPIError) else error
    return UnavailableError(f"the catalog {where} cannot be used: {_first_line(reason)}")


def _lost_to_another(error: Exception) -> bool:
    if isinstance(error, IntegrityError):
        return True
    state = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
    return state in _LOST_TO_ANOTHER


def _is_damaged(error: Exception) -> bool:
    if not isinstance(error, DatabaseError):
        return False
    return getattr(error.orig, "sqlite_errorname", None) in ("SQLITE_NOTADB", "SQLITE_CORRUPT")


def _first_line(reason: object) -> str:
    lines = str(reason).strip().splitlines()
    return lines[0] if lines else "no reason given"
