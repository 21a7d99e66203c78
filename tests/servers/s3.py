"""A real S3 server for tests: MinIO, built once from its Go module.

`python -m tests.servers.s3` builds it into the user's cache folder (2 to 3 minutes, Go
needed). Its community edition is archived: that is no reason against testing with it,
and `STRANDLINE_TEST_S3_SERVER` names another binary that takes the same arguments.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minio import Minio
from tests.servers.loopback import free_port, running

from strandline.spec.settings import S3Settings

_MODULE = "github.com/minio/minio"
_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server and its administrator's keys."""

    endpoint: str
    access_key: str
    secret_key: str

    @property
    def settings(self) -> S3Settings:
        """Return the settings that reach it."""
        return S3Settings(
            endpoint=self.endpoint,
            region="us-east-1",
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=False,
        )

    @property
    def environ(self) -> dict[str, str]:
        """Return the same for a process's environment."""
        return {
            "STRANDLINE_S3_ENDPOINT": f"http://{self.endpoint}",
            "STRANDLINE_S3_REGION": "us-east-1",
            "STRANDLINE_S3_ACCESS_KEY": self.access_key,
            "STRANDLINE_S3_SECRET_KEY": self.secret_key,
        }

    @property
    def client(self) -> Minio:
        """Return a plain client, for looking behind the adapter's back."""
        return Minio(
            self.endpoint,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region="us-east-1",
            secure=False,
        )

    def answers(self) -> bool:
        """Return whether it serves."""
        url = f"http://{self.endpoint}/minio/health/live"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def make_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"test-{secrets.token_hex(6)}"
        self.client.make_bucket(name)
        return name


def binary() -> Path:
    """Return where the server is, or would be built to."""
    named = os.environ.get("STRANDLINE_TEST_S3_SERVER")
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "strandline-tests" / f"minio-{_VERSION}"


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server on loopback that keeps its objects in `folder`."""
    port = free_port()
    server = S3Server(f"127.0.0.1:{port}", secrets.token_hex(10), secrets.token_hex(20))
    command, env = server_command(server, folder)
    with running(command, server.answers, folder / "server.log", env=env):
        yield server


def server_command(server: S3Server, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return what runs a server that keeps its objects in `folder`, and its environment."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MINIO_ROOT_USER": server.access_key,
        "MINIO_ROOT_PASSWORD": server.secret_key,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    # It makes its folder itself.
    objects = str(folder / "objects")
    return [str(binary()), "server", "--quiet", "--address", server.endpoint, objects], env


def build() -> Path:
    """Build the server unless it is there; return its path.

    Raises:
        FileNotFoundError: Go is not installed.
        subprocess.CalledProcessError: the build failed.
    """
    target = binary()
    if target.exists():
        return target
    go = shutil.which("go")
    if go is None:
        raise FileNotFoundError("Go is needed to build the S3 server of the tests")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        env = {**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"}
        subprocess.run([go, "install", f"{_MODULE}@{_VERSION}"], check=True, env=env)
        (Path(folder) / "minio").replace(target)
    return target


if __name__ == "__main__":
    print(build(), file=sys.stderr)
