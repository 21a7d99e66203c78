"""What thousands of Searches cost the operator: memory, reconciles, requests, seconds.

Run: python bench/cluster/run.py [--searches 2000] [--nodes 1000] (about ten minutes; with
`--searches 50 --nodes 40` one). Needs the programs that `python -m tests.cluster.binaries`
builds, and PostgreSQL. Progress goes to stderr, the table to stdout.

A real apiserver with nodes of kwok in a GPU and a TPU pool, a real PostgreSQL, and the operator
as the process that it is on a cluster, in `execution.mode: kuberay`. What it does not do itself
is done by this process, on the same machine: people apply, KubeRay makes pods, jobs write.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.cluster.fast_kuberay import FastKubeRay
from bench.cluster.operator_process import Audit, OperatorProcess, Scrape
from tests.cluster.binaries import missing
from tests.cluster.control_plane import GARBAGE, ControlPlane, programs
from tests.cluster.kuberay_stand_in import CRD
from tests.cluster.operator_place import DATASET, DEFAULT_JOBS, World, bare_plane
from tests.cluster.simulated import Pool, gpu_pool, simulated_nodes, tpu_pool
from tests.servers.postgres import binaries as postgres_binaries, postgres_server

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.informer import Informer
from strandline.adapters.kube.kinds import COMPUTE_POOLS, TYPES
from strandline.adapters.kube.resources import NODES, Document, key_of
from strandline.adapters.sql import Database
from strandline.jobs.status import change_status
from strandline.spec.conditions import READY, get_condition
from strandline.spec.errors import UnavailableError

NAMESPACE = "bench"
CONFIG = {
    "jobs": {"image": "example.com/strandline:bench"},
    "execution": {"mode": "kuberay"},
    # An apiserver on two cores with all this may keep silent for longer than the usual 15 s.
    "lease": {"durationSeconds": 60},
}
SLICE_HOSTS = 4
TRICKLE = 60
"""Searches that come one by one, when the others are at rest."""
_TRICKLE_SECONDS = 0.5
_THREADS = 4
_PATIENCE_SECONDS = 1800.0
_TOLERATED = {"operator": "Exists", "effect": "NoSchedule"}
POOLS: Mapping[str, Mapping[str, Any]] = {
    "l4": {
        "accelerator": {"kind": "gpu", "count": 1},
        "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
        "tolerations": [{"key": "nvidia.com/gpu", **_TOLERATED}],
        "cpu": 3,
        "memory": "24Gi",
    },
    "v5e": {
        "accelerator": {"kind": "tpu", "count": 4},
        "tpu": {"accelerator": "tpu-v5-lite-podslice", "topology": "4x4"},
        "tolerations": [{"key": "google.com/tpu", **_TOLERATED}],
        "cpu": 24,
        "memory": "180Gi",
    },
}


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase cost.

    Attributes:
        seconds: until the operator was at rest again.
        reconciles, requests: ended, and made by the operator, while it lasted.
        memory: median and peak, MiB.
        longest, longest_processing: seconds of one reconcile since the operator's start.
        over_a_second: reconciles that took longer.
        waits: seconds from each cause to its effect.
    """

    title: str
    seconds: float
    reconciles: float
    errors: float
    requests: Counter[str]
    memory: tuple[float, float]
    longest: float
    longest_processing: float
    over_a_second: float
    waits: Sequence[float] = ()

    def row(self) -> str:
        """Return its row of the table."""
        median, peak = self.memory
        waits = "| |"
        if self.waits:
            waits = f"{statistics.median(self.waits):.2f} s | {_percentile(self.waits, 99):.2f} s |"
        return (
            f"| {self.title} | {self.seconds:.0f} s | {self.reconciles:.0f}"
            f" | {self.reconciles / max(self.seconds, 1e-9):.0f}/s | {self.errors:.0f}"
            f" | {waits} {median:.0f} MiB | {peak:.0f} MiB"
            f" | {self.longest:.2f} s | {self.longest_processing:.2f} s"
            f" | {self.over_a_second:.0f} |"
        )


HEADING = (
    "| phase | until at rest | reconciles | rate | errors | median | p99 | memory, median | peak "
    "| longest reconcile | of that on a processor, at most | over 1 s |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


class Measured:
    """Takes the measure of phases of one operator's life."""

    def __init__(self, operator: OperatorProcess, audit: Audit) -> None:
        self._operator = operator
        self._audit = audit
        self.last: Scrape | None = None

    def phase(
        self, title: str, began: float, work: Callable[[], Sequence[float]] = lambda: ()
    ) -> Phase:
        """Do `work`, wait until the operator is at rest, and return what that cost."""
        _say(title)
        waits = work()
        ended = self._operator.wait_idle()
        before, after = self.last, self._operator.scrape()
        self.last = after
        memory = self._operator.memory()
        self._operator.forget_memory()
        made = Phase(
            title,
            ended - began,
            after.total - (before.total if before else 0.0),
            _errors(after) - (_errors(before) if before else 0.0),
            self._audit.new(),
            memory,
            after.longest,
            after.longest_processing,
            _over_a_second(after) - (_over_a_second(before) if before else 0.0),
            waits,
        )
        _say(made.row())
        return made


class Bench:
    """The cluster, and what people, KubeRay and jobs do on it."""

    def __init__(
        self,
        world: World,
        kuberay: FastKubeRay,
        operator: OperatorProcess,
        searches: int,
        slices: int,
    ) -> None:
        self.world = world
        self._operator = operator
        self.kuberay = kuberay
        self.names = [f"search-{number:04}" for number in range(searches)]
        # So many as there are slices want one first, spread over all.
        every = max(1, searches // max(1, slices))
        self._on_slices = frozenset(self.names[::every][:slices])
        self._shown: dict[tuple[str, int], float] = {}
        self._informer = Informer(world.api, TYPES["Search"], SystemClock())
        self._informer.subscribe(self._see, lambda document: (_progress(document),))

    def start(self) -> None:
        """Watch from now on."""
        self._informer.start()
        self.kuberay.start()

    def stop(self) -> None:
        """Watch no more."""
        self.kuberay.stop()
        self._informer.stop()

    def apply_all(self) -> list[float]:
        """Apply all Searches; return how long each waited for its RayJob."""
        applied: dict[str, float] = {}
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(lambda name: self._apply(name, applied), self.names))
        _say(f"applied {len(applied)} Searches")
        self._wait(lambda: self.kuberay.taken_up, len(applied))
        return [self.kuberay.seen_at[name] - at for name, at in applied.items()]

    def run_all(self) -> Sequence[float]:
        """Have the pods of all RayJobs made."""
        wanted = self.kuberay.taken_up
        self.kuberay.run()
        self._wait(lambda: self.kuberay.running, wanted)
        _say(f"{self.kuberay.pods} pods")
        return ()

    def trickle(self) -> list[float]:
        """Apply more, one at a time; return how long each waited for its RayJob."""
        applied: dict[str, float] = {}
        before = self.kuberay.taken_up
        for number in range(min(TRICKLE, len(self.names))):
            self._apply(f"late-{number:04}", applied)
            time.sleep(_TRICKLE_SECONDS)
        self._wait(lambda: self.kuberay.taken_up, before + len(applied))
        return [self.kuberay.seen_at[name] - at for name, at in applied.items()]

    def progress(self) -> list[float]:
        """Write into each row what its job would; return how long until the status said so."""
        written: dict[tuple[str, int], float] = {}

        def write(name: str) -> None:
            written[name, 1] = time.monotonic()
            change_status(
                self.world.catalog,
                "Search",
                name,
                lambda row: {**row.status, "trials": {"completed": 1}},
            )

        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(write, self.names))
        self._wait(lambda: sum(each in self._shown for each in written), len(written))
        return [self._shown[each] - at for each, at in written.items()]

    def delete_all(self) -> list[float]:
        """Delete all Searches at once, as `kubectl delete --all`; rows go with them."""
        path = TYPES["Search"].path(NAMESPACE)
        began = time.monotonic()
        rows = self._rows()
        # The apiserver gives no request more than a minute: what is left is asked for again.
        while time.monotonic() - began < _PATIENCE_SECONDS:
            with suppress(UnavailableError):
                self.world.api.call("DELETE", path, timeout_seconds=300)
                break
        self._wait(lambda: rows - self._rows(), rows)
        return [time.monotonic() - began]

    def _rows(self) -> int:
        marks = self.world.catalog.resource_versions()
        return sum(mark.kind == "Search" for mark in marks)

    def _apply(self, name: str, applied: dict[str, float]) -> None:
        wanted = [{"name": "l4", "workers": 1}, {"name": "v5e", "workers": 1}]
        if name in self._on_slices:
            wanted.reverse()
        applied[name] = time.monotonic()
        self.world.apply(
            "Search",
            name,
            {
                "dataset": {"name": "coast"},
                "budget": {"trials": 64},
                "parallelism": 1,
                "pools": wanted,
                "model": {"name": "coast"},
            },
        )

    def _reasons(self) -> Counter[str]:
        return Counter(
            str((get_condition(document.get("status") or {}, READY) or {}).get("reason"))
            for document in self._informer.documents()
        )

    def _see(self, progress: tuple[str, int]) -> None:
        self._shown.setdefault(progress, time.monotonic())

    def _wait(self, so_far: Callable[[], int], wanted: int) -> None:
        end, said = time.monotonic() + _PATIENCE_SECONDS, time.monotonic()
        while (count := so_far()) < wanted:
            if self.kuberay.failure is not None:
                raise self.kuberay.failure
            assert self._operator.alive, "the operator ended: see its log"
            assert time.monotonic() < end, f"{count} of {wanted}, and no more come"
            if time.monotonic() - said > 10.0:
                said = time.monotonic()
                _say(f"  {count} of {wanted}; Searches say {dict(self._reasons())}")
            time.sleep(0.05)


def _progress(document: Mapping[str, Any]) -> tuple[str, int]:
    trials = (document.get("status") or {}).get("trials") or {}
    return document["metadata"]["name"], int(trials.get("completed") or 0)


def measure(plane: ControlPlane, catalog: str, folder: Path, searches: int, nodes: int) -> None:
    """Run all phases and print the table."""
    slices = nodes // 2 // SLICE_HOSTS
    pools = [gpu_pool("l4", nodes - slices * SLICE_HOSTS, gpus=8)]
    pools.append(tpu_pool("v5e", slices * SLICE_HOSTS))
    database = Database(catalog)
    audit = Audit(plane.audit_log)
    operator = OperatorProcess(plane, catalog, folder, CONFIG)
    _say(f"{nodes} nodes")
    with simulated_nodes(plane.kubectl, folder, pools):
        world = World(plane, NAMESPACE, database, DEFAULT_JOBS)
        kuberay = FastKubeRay(world.api, _names(pools))
        bench = Bench(world, kuberay, operator, searches, slices)
        _untaint(world.api, pools)
        for name, spec in POOLS.items():
            world.api.apply(COMPUTE_POOLS, {"metadata": {"name": name}, "spec": dict(spec)})
        bench.start()
        began = time.monotonic()
        operator.start()
        phases = list(_first_life(bench, Measured(operator, audit), began))
        operator.stop()
        audit.new()
        began = time.monotonic()
        operator.start()
        phases += _second_life(bench, Measured(operator, audit), began)
        operator.stop()
        bench.stop()
    database.close()
    _print(phases, searches, nodes)


def _first_life(bench: Bench, measured: Measured, began: float) -> Iterator[Phase]:
    count = len(bench.names)
    world = bench.world
    yield measured.phase("start, nothing there", began)

    def import_dataset() -> Sequence[float]:
        world.apply("Dataset", "coast", DATASET)
        while world.condition("Dataset", "coast")[0] != "True":
            world.step()
            time.sleep(0.2)
        return ()

    yield measured.phase("a Dataset", time.monotonic(), import_dataset)
    yield measured.phase(f"apply {count} at once → RayJob", time.monotonic(), bench.apply_all)
    yield measured.phase("their clusters come up", time.monotonic(), bench.run_all)


def _second_life(bench: Bench, measured: Measured, began: float) -> Iterator[Phase]:
    yield measured.phase("restart, all there", began)
    yield measured.phase(f"one each {_TRICKLE_SECONDS} s → RayJob", time.monotonic(), bench.trickle)
    yield measured.phase("all jobs report at once → status", time.monotonic(), bench.progress)
    yield measured.phase("delete all at once → rows gone", time.monotonic(), bench.delete_all)


def _print(phases: Sequence[Phase], searches: int, nodes: int) -> None:
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{searches} Searches, {nodes} nodes, {os.cpu_count()} cores, load {load}\n")
    print(HEADING)
    for phase in phases:
        print(phase.row())
    print("\n| phase | API requests | of which |\n|---|---|---|")
    for phase in phases:
        parts = ", ".join(f"{count} {what}" for what, count in phase.requests.most_common(8))
        print(f"| {phase.title} | {phase.requests.total()} | {parts} |")


def _untaint(api: KubeApi, pools: Sequence[Pool]) -> None:
    """Take off what tells that a node is not ready, as the controller of nodes does."""

    def untaint(node: Document) -> None:
        api.patch_merge(NODES, key_of(node), {"spec": {"taints": node["spec"]["taints"]}})

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(untaint, (node for pool in pools for node in pool.nodes())))


def _names(pools: Sequence[Pool]) -> dict[str, list[str]]:
    return {pool.name: [node["metadata"]["name"] for node in pool.nodes()] for pool in pools}


def _errors(scrape: Scrape) -> float:
    return scrape.reconciles.get("error", 0.0)


def _over_a_second(scrape: Scrape) -> float:
    return scrape.buckets[float("inf")] - scrape.buckets[1.0]


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


@contextmanager
def _place(folder: Path) -> Iterator[tuple[ControlPlane, str]]:
    """Run a control plane with our kinds and KubeRay's, and a database."""
    (folder / "postgres").mkdir()
    with (
        bare_plane(folder / "plane", GARBAGE) as plane,
        postgres_server(folder / "postgres") as server,
    ):
        plane.kubectl.apply(CRD)
        plane.kubectl("wait", "--for=condition=Established", "crd/rayjobs.ray.io")
        yield plane, server.make_database()


def main() -> None:
    """Measure, where everything is there that this needs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=1000)
    given = parser.parse_args()
    if missing([*programs(GARBAGE), "kwok"]) or postgres_binaries() is None:
        print("skipped: it needs PostgreSQL, and what `python -m tests.cluster.binaries` builds")
        return
    with tempfile.TemporaryDirectory() as name, _place(Path(name)) as (plane, catalog):
        try:
            measure(plane, catalog, Path(name), given.searches, given.nodes)
        except BaseException:
            log = Path(name) / "operator.log"
            sys.stderr.write(log.read_text("utf-8")[-4000:] if log.exists() else "")
            raise


if __name__ == "__main__":
    main()
