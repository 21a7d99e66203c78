"""A Ray of our own on this machine: quick to start, silent, and gone afterwards.

`ray.init` starts daemons that a search has no use for (an API server, an autoscaler, a
log monitor: half of the time it takes), keeps its token in the home directory, and
leaves a folder behind when the process is killed. Here the daemons stay away, the token
lives in this process's environment, and the folder is locked while its owner lives, so
that the next start can sweep what a killed one left. The kernel ends Ray's processes
with the driver (Ray asks for that itself: PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import fcntl
import importlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from strandline.adapters.ray_driver_node import driver_node
from strandline.ports import Resources
from strandline.spec.errors import UnavailableError

# Read by Ray when it is imported or a controller is made, so set before either.
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "30",
    "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "600",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray.exceptions import RayError  # noqa: E402

logging.getLogger("ray").setLevel(logging.ERROR)
JOINED = "auto"
"""Address of the Ray that this host is a node of already."""

_PREFIX = "strandline-ray-"
_LOCK_NAME = "owner.lock"
_OBJECT_STORE_BYTES = 128 * 1024 * 1024
# A folder without a lock file this young may be one that is just being made.
_YOUNG_SECONDS = 60.0


@contextmanager
def ray_session(address: str | None, resources: Resources, parallelism: int) -> Iterator[None]:
    """Join a Ray, or run one here that leaves nothing behind.

    A Ray that this process has joined already is used as it is, and goes on afterwards.

    Args:
        address: None for a Ray of our own; `auto` for the one that this host is a node of;
            HOST:PORT for one elsewhere, in which this host becomes a node without devices.

    Raises:
        UnavailableError: it does not answer.
    """
    if ray.is_initialized():
        yield
        return
    with ExitStack() as stack:
        settings = stack.enter_context(_place(address, resources, parallelism))
        stack.callback(sys.stdout.flush)
        stack.callback(ray.shutdown)
        with _answering():
            with _without_extra_daemons():
                ray.init(
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                    **settings,
                )
            yield


class HeldRay:
    """A Ray for several runs, one after the other, started by the first that needs it.

    One of our own that is too small for a run is replaced, and so is one that a run failed on.

    Args:
        address: as of `ray_session`.
        parallelism: of the widest run to come, as far as it is known.
    """

    def __init__(self, address: str | None, parallelism: int) -> None:
        self._address = address
        self._parallelism = parallelism
        self._open = ExitStack()
        self._room = Resources(cpus=0.0)

    @contextmanager
    def session(self, resources: Resources, parallelism: int) -> Iterator[None]:
        """As `ray_session`, but the Ray stays until `close`."""
        wanted = replace(resources, cpus=resources.cpus * parallelism)
        if wanted.cpus > self._room.cpus or wanted.gpus > self._room.gpus:
            self.close()
            width = max(parallelism, self._parallelism)
            self._open.enter_context(ray_session(self._address, resources, width))
            self._room = replace(wanted, cpus=resources.cpus * width)
        try:
            with _answering():
                yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the Ray, or leave it, if one was started."""
        self._room = Resources(cpus=0.0)
        self._open.close()


@contextmanager
def _answering() -> Iterator[None]:
    """Raise as `UnavailableError` what Ray raises when it is gone."""
    try:
        yield
    except (ConnectionError, RayError) as error:
        raise UnavailableError(f"Ray does not answer: {error}") from error


@contextmanager
def _place(
    address: str | None, resources: Resources, parallelism: int
) -> Iterator[Mapping[str, Any]]:
    """Prepare this host, and give what `ray.init` is to be told."""
    if address == JOINED:
        yield {"address": address}
        return
    with _session_folder() as folder:
        if address is None:
            # Ray keeps the first token it read as long as the process lives.
            if "RAY_AUTH_TOKEN_PATH" not in os.environ:
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            yield {"address": "local", **_own_ray(folder, resources, parallelism)}
        else:
            with driver_node(address, folder, _OBJECT_STORE_BYTES):
                yield {"address": address, "_temp_dir": str(folder)}


def _own_ray(folder: Path, resources: Resources, parallelism: int) -> dict[str, Any]:
    return {
        "num_cpus": max(1, round(resources.cpus * parallelism)),
        "num_gpus": None if resources.gpus else 0,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": str(folder),
    }


@contextmanager
def _session_folder() -> Iterator[Path]:
    """Make a folder for one Ray, after sweeping those that killed processes left.

    Not below STRANDLINE_HOME: socket paths have a limit of 107 bytes.
    """
    sweep_stale_folders(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with (folder / _LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep_stale_folders(root: Path) -> None:
    """Remove the folders of Rays whose process is gone; those of others stay."""
    for folder in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            if folder.is_symlink() or found.st_uid != os.getuid():
                continue
            lock_path = folder / _LOCK_NAME
            if not lock_path.exists():
                if time.time() - found.st_mtime > _YOUNG_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            with lock_path.open("r") as lock:
                if _owner_is_gone(lock):
                    shutil.rmtree(folder, ignore_errors=True)


def _owner_is_gone(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _without_extra_daemons() -> Iterator[None]:
    """Start the next Ray here without API server, autoscaler and log monitor.

    Ray has no public switch for these in `ray.init` (`ray start` has two of them), so
    its internals are replaced while it starts; one that moved is left as it is, which
    costs seconds and nothing else.
    """
    with ExitStack() as stack:
        for module, name, replace in (
            ("ray._private.parameter", "RayParams", _lean_parameters),
            ("ray._private.services", "start_api_server", _no_api_server),
        ):
            with suppress(ImportError, AttributeError):
                owner = importlib.import_module(module)
                original = getattr(owner, name)
                stack.callback(setattr, owner, name, original)
                setattr(owner, name, replace(original))
        yield


def _lean_parameters(original: Callable[..., Any]) -> Callable[..., Any]:
    def make(*values: Any, **named: Any) -> Any:
        parameters = original(*values, **named)
        parameters.no_monitor = True
        parameters.include_log_monitor = False
        return parameters

    return make


def _no_api_server(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values, **named: ("", None)
