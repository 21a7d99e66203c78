"""The only wiring: settings in, ports out.

Everything heavy is imported inside the function that needs it, so that `--help` and
predicting stay fast and work without the `train` extra.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from strandline.adapters.clock import SystemClock
from strandline.adapters.sql import is_postgres, open_catalog
from strandline.adapters.stores import open_store
from strandline.data.sources.entries import ReadContext, RemoteObjects
from strandline.ports import (
    Catalog,
    Clock,
    Elsewhere,
    GroupRunner,
    ObjectStore,
    Resource,
    Resources,
    TrialRunner,
)
from strandline.spec.errors import InvalidSpecError, MissingExtraError
from strandline.spec.settings import S3Settings, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strandline.adapters.kube.objects import KubeObjects
    from strandline.adapters.kube.reader_pod import RunIn
    from strandline.spec.operator_config import JobSettings


@dataclass(frozen=True, slots=True)
class Platform:
    """The ports of one place, ready to use."""

    settings: Settings
    store: ObjectStore
    catalog: Catalog
    clock: Clock


def local(settings: Settings | None = None) -> Platform:
    """Open the store and catalog that `settings` (default: the environment) name."""
    chosen = settings or load_settings()
    chosen.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Platform(
        settings=chosen,
        store=open_store(chosen.store_url, chosen.s3),
        catalog=open_catalog(chosen.catalog_url, chosen.catalog_schema),
        clock=SystemClock(),
    )


@dataclass(frozen=True, slots=True)
class ClusterPlatform:
    """A namespace of a cluster, as its user sees it.

    Attributes:
        run_in: runs a command in a pod.
        pinned: the user named it, so that documents of other namespaces are a mistake.
    """

    objects: KubeObjects
    clock: Clock
    run_in: RunIn
    pinned: bool = False


def cluster(
    kubeconfig: Path | None = None, context: str | None = None, namespace: str | None = None
) -> ClusterPlatform:
    """Reach the cluster that a kubeconfig names; what is None is as kubectl has it.

    Raises:
        MissingExtraError: the `cluster` extra is not installed.
        InvalidSpecError: no cluster is named, or the kubeconfig cannot be read.
    """
    require_extra("cluster", ("kubernetes", "prometheus_client"))
    from strandline.adapters.kube.api import KubeApi
    from strandline.adapters.kube.connection import load_configuration
    from strandline.adapters.kube.exec_channel import open_exec
    from strandline.adapters.kube.objects import KubeObjects

    configuration, own = load_configuration(kubeconfig, context)
    api = KubeApi(configuration, own, field_manager="strandline-cli")
    objects = KubeObjects(api, str(configuration.host), namespace or own)
    run_in = partial(open_exec, configuration)
    return ClusterPlatform(objects, SystemClock(), run_in, pinned=namespace is not None)


@contextmanager
def reading(cluster: ClusterPlatform, say: Callable[[str], None]) -> Iterator[Platform]:
    """Read the catalog and the store of a namespace while the body runs; write nothing.

    Only pods reach them, so one is started there, by the rights of whoever asks.

    Raises:
        PermissionDeniedError: those rights do not allow it.
        UnavailableError: the pod does not come to run.
    """
    from strandline.adapters.kube.reader_pod import reader_pod
    from strandline.adapters.remote_reads import Asking, remote_catalog, remote_store

    with reader_pod(cluster.objects, cluster.clock, cluster.run_in, _job_template, say) as channel:
        asking = Asking(channel)
        yield Platform(load_settings(), remote_store(asking), remote_catalog(asking), cluster.clock)


def _job_template(namespace: str, settings: JobSettings) -> dict[str, Any]:
    """Return the pod template of an import's job."""
    from strandline.control.pods import make_job
    from strandline.spec.actions import ANYWHERE
    from strandline.spec.operator_config import Execution

    made = Resource("Dataset", "none", "0" * 8, 1, 0, {}, {}, {}, {}, SystemClock().now())
    job = make_job(made, namespace, 1, 0, ANYWHERE, settings, Execution())
    template: dict[str, Any] = job["spec"]["template"]
    return template


@dataclass(frozen=True, slots=True)
class StoreOpener:
    """Opens a store anew, in whatever process it was sent to.

    Only the address travels; keys come from that process's own environment.
    """

    url: str

    def __call__(self) -> ObjectStore:
        """Open the store."""
        return open_store(self.url, load_settings().s3)


def open_cache() -> Path:
    """Return the folder for recomputable things of the process that calls."""
    return load_settings().cache_dir


def elsewhere(settings: Settings) -> Elsewhere | None:
    """Return what to know of trials that run on other machines; None when they run on this one."""
    if settings.ray_address is None:
        return None
    cpus = [group.cpus for group in settings.lanes] or [Resources().cpus]
    return Elsewhere(open_cache, threads=max(1, int(min(cpus))))


def read_context(settings: Settings, root: str | None, max_bytes: int) -> ReadContext:
    """Return what the readers of an import may use."""
    return ReadContext(
        root=_folder(root), s3=_Buckets(settings.source_s3 or settings.s3), max_bytes=max_bytes
    )


class _Buckets:
    """`S3Source`, imported when it is first used: most imports never do."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings

    @cached_property
    def _source(self) -> RemoteObjects:
        from strandline.adapters.s3 import S3Source

        return S3Source(self._settings)

    def read_object(self, uri: str, max_bytes: int) -> bytes:
        return self._source.read_object(uri, max_bytes)

    def version_of(self, uri: str) -> str:
        return self._source.version_of(uri)

    def list_objects(self, prefix_uri: str) -> Iterator[tuple[str, int, str]]:
        return self._source.list_objects(prefix_uri)


@contextmanager
def claim_run(platform: Platform, resource: Resource) -> Iterator[None]:
    """Keep every other process from running the job of `resource` while the body runs.

    A lock file tells the processes of one machine apart, and an agent hands it to its job.
    Where machines share the catalog, the database's lock tells the machines apart.

    Raises:
        ConflictError: somebody runs it.
    """
    from strandline.adapters.local_jobs import claim_run as claim_here

    settings = platform.settings
    kind, name, uid = resource.kind, resource.name, resource.uid
    with claim_here(settings.runs_dir, kind, name, uid):
        if not is_postgres(settings.catalog_url):
            yield
            return
        from strandline.adapters.sql.claims import claim_run as claim_everywhere

        with claim_everywhere(settings.catalog_url, uid, f"{kind.lower()}/{name}"):
            yield


def run_folder(platform: Platform, resource: Resource) -> Path:
    """Return where the job of `resource` keeps what is its own."""
    from strandline.adapters.local_jobs import run_folder as folder

    return folder(platform.settings.runs_dir, resource.kind, resource.uid)


def _folder(address: str | None) -> Path | None:
    """Turn `/folder` or `file:///folder` into a path."""
    if address is None:
        return None
    if "://" in address and not address.startswith("file://"):
        raise InvalidSpecError(f"{address!r} cannot be the root of a table: name a folder")
    path = unquote(urlsplit(address).path) if address.startswith("file://") else address
    return Path(path).expanduser()


def trial_runner(platform: Platform, search_uid: str) -> TrialRunner:
    """Return the runner that trains on the Ray of the settings, else on one of its own.

    Raises:
        MissingExtraError: the `train` extra is not installed.
    """
    require_extra("train", ("ray", "torch", "sklearn", "onnx"))
    from strandline.adapters.ray_tune import RayTuneRunner

    settings = platform.settings
    run_dir = settings.runs_dir / f"search-{search_uid}"
    return RayTuneRunner(run_dir, settings.ray_address, settings.lanes)


def group_runner(platform: Platform, training_uid: str) -> GroupRunner:
    """Return the runner of what many workers learn together, where `trial_runner` trains.

    Raises:
        MissingExtraError: the `train` extra is not installed.
    """
    alone = trial_runner(platform, training_uid)
    from strandline.adapters.ray_group import RayGroupRunner

    settings = platform.settings
    return RayGroupRunner(alone, settings.ray_address, settings.lanes)


def require_extra(extra: str, modules: Iterable[str]) -> None:
    """Check that what `extra` installs is there.

    Raises:
        MissingExtraError: it is not; the message says how to install it.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"this needs {', '.join(missing)}, which are not installed: "
            f"run `pip install 'strandline[{extra}]'`"
        )
