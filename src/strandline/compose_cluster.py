"""The wiring of the operator of a cluster: a configuration in, something to start out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.caches import Caches
from strandline.adapters.kube.catalog_watch import CatalogWatch
from strandline.adapters.kube.cluster_agent import ClusterAgent
from strandline.adapters.kube.controller import Controller, ControllerSet, Startable
from strandline.adapters.kube.events import EventRecorder
from strandline.adapters.kube.informer import InformerSettings
from strandline.adapters.kube.jobs import KubeJobs, MakeJob
from strandline.adapters.kube.kinds import ObjectRef
from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.pool_watch import PoolWatch
from strandline.adapters.kube.projection import Projection
from strandline.adapters.kube.ray_job_states import RAYJOBS, keep_rayjob
from strandline.adapters.kube.ray_jobs import ByKind, KubeRayJobs
from strandline.adapters.kube.resources import JOBS, Document
from strandline.adapters.sql import Database, is_postgres
from strandline.control.pods import make_job
from strandline.control.pools import judge_pools
from strandline.control.rayjobs import RUN_TRIALS, make_rayjob
from strandline.control.reconcile import reconcile
from strandline.ports import Catalog, Clock, JobExecutor, Resource
from strandline.spec.actions import Placement, PoolView
from strandline.spec.errors import InvalidSpecError
from strandline.spec.namespaces import SCHEMA_PREFIX, catalog_schema, namespace_of
from strandline.spec.operator_config import ExecutionMode, OperatorConfig

REPORTER = "strandline.dev/operator"


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator, ready to be started.

    Attributes:
        agent: attends to one object.
        caches: what it sees of the API.
        running: starts and stops its threads.
        watch: looks at the catalogs; among what `running` starts.
    """

    agent: ClusterAgent
    caches: Caches
    running: ControllerSet
    watch: CatalogWatch
    pools: PoolWatch | None
    events: EventRecorder


def operator(
    config: OperatorConfig,
    api: KubeApi,
    catalog_url: str,
    *,
    instance: str = "operator",
    clock: Clock | None = None,
    metrics: OperatorMetrics | None = None,
    open_catalog: Callable[[str], Catalog] | None = None,
) -> Operator:
    """Wire an operator that keeps its catalogs in the database at `catalog_url`.

    Raises:
        InvalidSpecError: the address names no database, or one that machines cannot share.
    """
    time = clock or SystemClock()
    measured = metrics or OperatorMetrics()
    caches = Caches(
        api,
        time,
        config.namespaces,
        cluster_reads=config.cluster_reads,
        run_types={RAYJOBS: keep_rayjob} if _on_kuberay(config) else None,
        settings=InformerSettings(resync_seconds=config.resync_seconds),
        metrics=measured,
    )
    events = EventRecorder(api, time, controller=REPORTER, instance=instance)
    projection = Projection(api, events, time, config.projection_seconds)
    pools = _pool_watch(config, api, caches, projection, time)
    catalogs = _Catalogs(config, catalog_url, open_catalog)
    agent = ClusterAgent(
        api,
        caches,
        catalogs.open,
        _executors(config, api, caches, time),
        reconcile,
        time,
        events,
        _no_pools if pools is None else pools.views,
        projection,
    )
    controller: Controller[ObjectRef] = Controller(
        "strandline", agent.attend, time, workers=config.workers, metrics=measured
    )
    caches.follow(controller.queue.add)
    watch = CatalogWatch(
        lambda: caches.namespaces() | catalogs.stored(),
        agent.catalog_of,
        controller.queue.add,
        config.projection_seconds,
    )
    beside: list[Startable] = [events, watch, *([] if pools is None else [pools])]
    running = ControllerSet(caches.informers(), [controller], beside)
    return Operator(agent, caches, running, watch, pools, events)


class _Catalogs:
    """The catalogs of all namespaces, in one database, over the same connections."""

    def __init__(
        self, config: OperatorConfig, url: str, opener: Callable[[str], Catalog] | None
    ) -> None:
        self._config = config
        self._opener = opener
        if opener is None and not is_postgres(url):
            raise InvalidSpecError(
                "an operator keeps its catalogs in PostgreSQL: set STRANDLINE_CATALOG to "
                "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
            )
        self._database = None if opener else Database(url, connections=config.workers + 2)

    def open(self, namespace: str) -> Catalog:
        """Open the catalog of a namespace."""
        if self._opener is not None:
            return self._opener(namespace)
        assert self._database is not None
        return self._database.open_catalog(catalog_schema(namespace))

    @functools.cache  # noqa: B019 – lives as long as the process; later ones have objects
    def stored(self) -> frozenset[str]:
        """Return the namespaces that had a catalog when the operator started.

        What was deleted while no operator ran is known there only.
        """
        if self._config.namespaces or self._database is None:
            return frozenset(self._config.namespaces)
        schemas = self._database.schemas(SCHEMA_PREFIX)
        return frozenset(name for each in schemas if (name := namespace_of(each)) is not None)


def _executors(
    config: OperatorConfig, api: KubeApi, caches: Caches, clock: Clock
) -> Callable[[str], JobExecutor]:
    def with_settings(made: Callable[..., Document]) -> MakeJob:
        def make(
            resource: Resource, namespace: str, attempt: int, failures: int, placement: Placement
        ) -> Document:
            settings, execution = config.jobs, config.execution
            return made(resource, namespace, attempt, failures, placement, settings, execution)

        return make

    def executor(namespace: str) -> JobExecutor:
        pods = caches.pods.of(namespace)
        jobs = caches.runs[JOBS.plural].of(namespace)
        plain = KubeJobs(api, namespace, jobs, pods, with_settings(make_job), clock)
        if not _on_kuberay(config):
            return plain
        rayjobs = caches.runs[RAYJOBS.plural].of(namespace)
        on_ray = KubeRayJobs(api, namespace, rayjobs, pods, with_settings(make_rayjob), clock)
        return ByKind(RUN_TRIALS, on_ray, plain)

    return executor


def _on_kuberay(config: OperatorConfig) -> bool:
    return config.execution.mode is ExecutionMode.KUBERAY


def _pool_watch(
    config: OperatorConfig,
    api: KubeApi,
    caches: Caches,
    projection: Projection,
    clock: Clock,
) -> PoolWatch | None:
    if caches.pools is None or caches.nodes is None:
        return None

    def judge(
        pools: Any, nodes: Any, requests: Any, now: datetime
    ) -> Mapping[str, tuple[PoolView, Mapping[str, Any]]]:
        return judge_pools(pools, nodes, requests, config.execution, now)

    return PoolWatch(api, caches.pools, caches.nodes, judge, projection, clock)


def _no_pools() -> Mapping[str, PoolView]:
    return {}
