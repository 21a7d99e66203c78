"""An operator on a real apiserver, and a world around it that a test moves step by step.

The world is what a bare control plane lacks: it runs the pods of Jobs and the jobs in them
(which write into the catalog, as real ones do), and collects garbage. It acts between the
operator's looks, so a run is the same each time but for how late the operator's caches are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.cluster.binaries import missing
from tests.cluster.control_plane import ControlPlane, control_plane, programs
from tests.cluster.kubectl import Kubectl
from tests.servers.absent import skip_or_fail

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.kinds import JOB_SELECTOR, NAMESPACED, TYPES, ObjectRef
from strandline.adapters.kube.resources import JOBS, PODS, Document, ObjectKey, key_of
from strandline.adapters.sql import Database, SqlCatalog
from strandline.compose_cluster import Operator, operator
from strandline.jobs.status import change_status
from strandline.ports import Resource
from strandline.spec.attempts import LABEL_ATTEMPT, LABEL_KIND, LABEL_NAME
from strandline.spec.conditions import Why, mark_done
from strandline.spec.errors import ConflictError, NotFoundError, StrandlineError
from strandline.spec.namespaces import catalog_schema
from strandline.spec.operator_config import OperatorConfig
from strandline.spec.records import Trial
from strandline.testing.catalog_contract import make_dataset_version, make_model_version
from strandline.testing.searches import CutOff

CRDS = Path(__file__).parents[2] / "manifests" / "crds"
API_WRITES = frozenset(
    {"create", "apply", "apply_status", "replace", "patch_merge", "patch_json", "delete"}
)
CATALOG_WRITES = frozenset(
    {"adopt_resource", "update_status", "delete_resource", "record_event", "apply_resource"}
)
CONFIG = {"jobs": {"image": "example.com/jobs:test"}}
_WAIT_SECONDS = 120.0

RunJob = Callable[["World", Resource], int | None]
"""Does what the job of an object does and returns its exit code; None: it goes on."""


class ShiftedClock:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def monotonic(self) -> float:
        return time.monotonic() + self.shift.total_seconds()

    def advance(self, seconds: float) -> None:
        self.shift += timedelta(seconds=seconds)


@dataclass
class World:
    """One namespace, its catalog, and all that is not the operator.

    Attributes:
        run: what jobs do, by kind.
        started: every attempt that ever ran, as (kind, name, attempt).
        podless: names of objects whose Jobs get no pod, as under a quota.
    """

    plane: ControlPlane
    namespace: str
    database: Database
    run: Mapping[str, RunJob]
    clock: ShiftedClock = field(default_factory=ShiftedClock)
    started: list[tuple[str, str, int]] = field(default_factory=list)
    podless: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.api = KubeApi.connect(self.plane.kubeconfig)
        self.catalog: SqlCatalog = self.database.open_catalog(catalog_schema(self.namespace))
        self.plane.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        )

    # ------------------------------------------------------------ what a person does

    def apply(self, kind: str, name: str, spec: Mapping[str, Any]) -> Document:
        """Write a document as `kubectl apply` does."""
        metadata = {"name": name, "namespace": self.namespace}
        return self.api.apply(TYPES[kind], {"metadata": metadata, "spec": dict(spec)})

    def get(self, kind: str, name: str) -> Document | None:
        """Return the object as the API has it now."""
        try:
            return self.api.get(TYPES[kind], ObjectKey(self.namespace, name))
        except NotFoundError:
            return None

    def delete(self, kind: str, name: str) -> None:
        """Ask for the object to be deleted."""
        self.api.delete(TYPES[kind], ObjectKey(self.namespace, name))

    def condition(self, kind: str, name: str, type_: str = "Ready") -> tuple[str, str]:
        """Return status and reason of a condition that the API shows; empty ones if none."""
        document = self.get(kind, name) or {}
        for each in (document.get("status") or {}).get("conditions") or ():
            if each["type"] == type_:
                return each["status"], each["reason"]
        return "", ""

    def jobs(self) -> list[Document]:
        """Return the Jobs there are."""
        return list(self.api.list_all(JOBS, self.namespace).items)

    def pods(self) -> list[Document]:
        """Return the pods there are."""
        return list(self.api.list_all(PODS, self.namespace).items)

    # ------------------------------------------------------------ what Kubernetes does

    def step(self) -> None:
        """Move on everything that is not the operator: pods start, or end; garbage goes."""
        owners = {
            document["metadata"]["uid"]
            for kind in NAMESPACED
            for document in self.api.list_all(TYPES[kind], self.namespace).items
        }
        pods = {key_of(pod).name: pod for pod in self.pods()}
        jobs = self.api.list_all(JOBS, self.namespace, JOB_SELECTOR).items
        for job in jobs:
            metadata = job["metadata"]
            orphaned = metadata["ownerReferences"][0]["uid"] not in owners
            if orphaned or "deletionTimestamp" in metadata:
                self._remove_job(job)
            elif not _is_finished(job) and metadata["labels"][LABEL_NAME] not in self.podless:
                self._move_on(job, pods.get(key_of(job).name))

    def _move_on(self, job: Document, pod: Document | None) -> None:
        if pod is None:
            self._start_pod(job)
        else:
            self._end_pod(job)

    def _start_pod(self, job: Document) -> None:
        labels = dict(job["spec"]["template"]["metadata"]["labels"])
        name = job["metadata"]["name"]
        labels["batch.kubernetes.io/job-name"] = name
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
            "spec": job["spec"]["template"]["spec"],
        }
        self.api.create(PODS, pod)
        self._set_status(PODS, job, {"phase": "Running"})
        self._set_status(JOBS, job, {"startTime": self._stamp(), "active": 1})

    def _end_pod(self, job: Document) -> None:
        labels = job["metadata"]["labels"]
        kind, name = labels[LABEL_KIND], labels[LABEL_NAME]
        attempt = (kind, name, int(labels[LABEL_ATTEMPT]))
        if attempt not in self.started:
            self.started.append(attempt)
        code = self.run[kind](self, self.catalog.get_resource(kind, name))
        if code is not None:
            self.end_pod(job, code)

    def end_pod(self, job: Document, code: int, message: str = "the last words") -> None:
        """End the pod of a Job with this exit code, and the Job as its controller would."""
        end = {"exitCode": code, "message": "some words\n" + message if code else ""}
        container = {"name": "job", "image": "", "imageID": "", "ready": False, "restartCount": 0}
        self._set_status(
            PODS,
            job,
            {
                "phase": "Failed" if code else "Succeeded",
                "containerStatuses": [{**container, "state": {"terminated": end}}],
            },
        )
        self.end_job(job, failed=bool(code))

    def end_job(
        self, job: Document, failed: bool, reason: str = "BackoffLimitExceeded", text: str = "x"
    ) -> None:
        """End a Job as its controller would."""
        types = ("FailureTarget", "Failed") if failed else ("SuccessCriteriaMet", "Complete")
        now = self._stamp()
        conditions = [
            {
                "type": type_,
                "status": "True",
                "reason": reason if failed else "CompletionsReached",
                "message": text,
                "lastTransitionTime": now,
                "lastProbeTime": now,
            }
            for type_ in types
        ]
        status: Document = {"conditions": conditions, "active": 0}
        status |= {"failed": 1} if failed else {"succeeded": 1, "completionTime": now}
        there = self.api.get(JOBS, key_of(job)).get("status") or {}
        status["startTime"] = there.get("startTime") or now
        self._set_status(JOBS, job, status)

    def _remove_job(self, job: Document) -> None:
        """Do what the garbage collector does with a Job that is to go, and its pod."""
        with suppress(NotFoundError):
            self.api.delete(PODS, key_of(job), grace_seconds=0)
        if "deletionTimestamp" not in job["metadata"]:
            self.api.delete(JOBS, key_of(job), propagation="Background")
            return
        self.api.patch_merge(JOBS, key_of(job), {"metadata": {"finalizers": None}})

    def _set_status(self, rt: Any, job: Document, status: Mapping[str, Any]) -> None:
        self.api.patch_merge(rt, key_of(job), {"status": status}, subresource="status")

    def _stamp(self) -> str:
        return self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    # ------------------------------------------------------------ the operator

    @contextmanager
    def operator(self, left: list[int] | None = None, **config: Any) -> Iterator[Operator]:
        """Start an operator that only looks when it is asked to, by `turn`.

        Args:
            left: writes that it may do before it is dead; without end if None.
        """
        api: Any = self.api
        catalog: Any = self.catalog
        if left is not None:
            api = CutOff(api, API_WRITES, left)
            catalog = CutOff(catalog, CATALOG_WRITES, left)
        settings = OperatorConfig.model_validate(
            {**CONFIG, "namespaces": [self.namespace], "projectionSeconds": 0.1, **config}
        )
        made = operator(settings, api, "", clock=self.clock, open_catalog=lambda _: catalog)
        made.running.start_informers()
        try:
            for informer in made.caches.informers():
                assert informer.wait_synced(_WAIT_SECONDS)
            yield made
        finally:
            made.running.stop()

    def turn(self, made: Operator) -> None:
        """Let the operator attend to each object once, and let time pass."""
        marks = self.catalog.resource_versions()
        refs = {ObjectRef(mark.kind, self.namespace, mark.name) for mark in marks}
        for cache in made.caches.objects.values():
            kind = cache.resource.kind
            refs |= {ObjectRef(kind, key.namespace, key.name) for key in cache}
        for ref in sorted(refs, key=lambda each: NAMESPACED.index(each.kind)):
            try:
                made.agent.attend(ref)
            except (ConflictError, NotFoundError):
                continue  # it comes again
        self.clock.advance(20)

    def go_on(
        self, made: Operator, until: Callable[[], bool], seconds: float = _WAIT_SECONDS
    ) -> None:
        """Turn operator and world until `until` holds."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"it did not come so far: {self._told()}"
            self.turn(made)
            self.step()
            time.sleep(0.03)  # for the caches

    def _told(self) -> list[Any]:
        return [
            (document["kind"], document["metadata"]["name"], document.get("status"))
            for kind in NAMESPACED
            for document in self.api.list_all(TYPES[kind], self.namespace).items
        ] + [(key_of(job).name, job.get("status")) for job in self.jobs()]


def _is_finished(job: Document) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(each["type"] in ("Complete", "Failed") for each in conditions)


# ---------------------------------------------------------------- what jobs do


def import_images(world: World, resource: Resource) -> int:
    """Register a version and say so, as an import does."""
    world.catalog.add_dataset_version(make_dataset_version(dataset=resource.name))
    _say_done(world, resource, {"version": 1})
    return 0


def goes_on(world: World, resource: Resource) -> int | None:
    """Run for ever."""
    return None


def search(world: World, resource: Resource) -> int:
    """Run two trials in all and register a model, as a search does; crash at the first time."""
    done = len(world.catalog.list_trials(resource.uid))
    world.catalog.record_trial(Trial(search=resource.uid, number=done, candidate={"x": done}))
    if done == 0:
        return 137
    name = resource.spec["model"]["name"]
    try:
        world.catalog.get_resource("Model", name)
    except NotFoundError:
        world.catalog.apply_resource("Model", name, {})
    world.catalog.add_model_version(make_model_version(model=name, search=resource.uid))
    _say_done(world, resource, {"trials": {"completed": 2}, "model": name, "modelVersion": 1})
    return 0


def train(world: World, resource: Resource) -> int:
    """Say that the network has learned, as a training does."""
    _say_done(world, resource, {})
    return 0


def _say_done(world: World, resource: Resource, fields: Mapping[str, Any]) -> None:
    why = Why("JobEnded", "The job ended well.", resource.generation, world.clock.now())
    change_status(
        world.catalog,
        resource.kind,
        resource.name,
        lambda row: {**mark_done(row.status, why), **fields},
    )


@contextmanager
def bare_plane(folder: Path, controllers: tuple[str, ...] = ()) -> Iterator[ControlPlane]:
    """Run a control plane of one's own, with our kinds; a `World` is all that moves it.

    Args:
        controllers: Kubernetes' own that run besides.
    """
    if absent := missing(programs(controllers)):
        names = " ".join(absent)
        skip_or_fail(f"not built: run `python -m tests.cluster.binaries {names}`")
    with control_plane(folder, controllers) as plane:
        install_kinds(plane.kubeconfig)
        yield plane


def install_kinds(kubeconfig: Path) -> None:
    """Install the CRDs and wait until they are served."""
    api, kubectl = KubeApi.connect(kubeconfig), Kubectl(kubeconfig)
    for path in sorted(CRDS.glob("strandline.dev_*.yaml")):
        kubectl("apply", "--server-side", "-f", str(path))
    end = time.monotonic() + _WAIT_SECONDS
    for resource in TYPES.values():
        while True:
            try:
                api.list_all(resource)
                break
            except StrandlineError:
                assert time.monotonic() < end
                time.sleep(0.1)


DATASET = {"source": {"uri": "s3://pictures/coast"}}
SEARCH = {"dataset": {"name": "coast"}, "budget": {"trials": 2}, "model": {"name": "coast"}}
DEFAULT_JOBS: Mapping[str, RunJob] = {"Dataset": import_images, "Search": search}
