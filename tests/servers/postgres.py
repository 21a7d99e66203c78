"""A real PostgreSQL for tests: the machine's own binaries on a folder of the session."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.servers.loopback import free_port, running

_USER = "strandline"
# Nothing outlives the tests, so nothing need be flushed.
_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server."""

    port: int
    password: str
    host: str = "127.0.0.1"

    def make_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql+psycopg://{_USER}:{self.password}@{self.host}:{self.port}/{name}"

    def answers(self) -> bool:
        """Return whether it takes connections."""
        try:
            psycopg.connect(self._address("postgres"), connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True

    def _address(self, database: str) -> str:
        return make_conninfo(
            host=self.host,
            port=self.port,
            user=_USER,
            password=self.password,
            dbname=database,
        )


def binaries() -> Path | None:
    """Return the folder of `initdb` and `postgres`, the newest; None where there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


@contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """Run a server on loopback that keeps its data below `folder`."""
    server = PostgresServer(free_port(), secrets.token_hex(20))
    options = _as_ordinary_user(folder)
    password = folder / "password"
    password.write_text(server.password)
    data = folder / "data"
    initdb = initdb_command(data, password)
    subprocess.run(initdb, check=True, capture_output=True, **options)
    command = server_command(data, server)
    with running(command, server.answers, folder / "server.log", **options):
        yield server


def initdb_command(data: Path, password: Path) -> list[str]:
    """Return what makes a server's folder, whose user has the password in that file."""
    command = [_program("initdb"), "-D", str(data), "-U", _USER, "--pwfile", str(password)]
    return [*command, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"]


def server_command(data: Path, server: PostgresServer) -> list[str]:
    """Return what runs a server on its folder."""
    command = [_program("postgres"), "-D", str(data), "-p", str(server.port)]
    command += ["-c", f"listen_addresses={server.host}", "-c", "unix_socket_directories="]
    for name, value in _SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    return command


def _program(name: str) -> str:
    bin_dir = binaries()
    assert bin_dir is not None, "the caller checks"
    return str(bin_dir / name)


def _as_ordinary_user(folder: Path) -> dict[str, Any]:
    """Give the folder to an ordinary user when this is root: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    for each in (folder, *folder.parents):
        if each == Path(each.anchor):
            break
        if not each.stat().st_mode & 0o001:
            each.chmod(each.stat().st_mode | 0o001)  # let it pass through
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": folder}
