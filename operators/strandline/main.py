"""The operator's process: reads its file, stands for election, runs until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import uuid
from pathlib import Path
from threading import Event

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.election import ElectionSettings, LeaseElection
from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.probes import ProbeServer
from strandline.adapters.kube.resources import ObjectKey
from strandline.compose_cluster import operator
from strandline.spec.errors import StrandlineError, outcome_of
from strandline.spec.operator_config import DEFAULT_PATH, read_operator_config
from strandline.spec.settings import load_settings

GRACE_SECONDS = 20.0


def main() -> None:
    """Run the operator; the one argument there may be is the path of its file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PATH
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(path, stop)
    except StrandlineError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(outcome_of(error).exit_code)


def run(path: Path, stop: Event) -> None:
    """Lead or wait to lead until `stop` is set."""
    try:
        config = read_operator_config(path.read_text("utf-8"), str(path))
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror}")
    metrics, clock = OperatorMetrics(), SystemClock()
    api = KubeApi.connect(metrics=metrics)
    pod = os.environ.get("POD_NAME") or socket.gethostname()
    made = operator(config, api, load_settings().catalog_url, instance=pod, metrics=metrics)
    election = LeaseElection(
        api,
        ObjectKey(os.environ.get("POD_NAMESPACE") or api.namespace, config.lease.name),
        f"{pod}_{uuid.uuid4()}",
        clock,
        on_lost=lambda: os._exit(1),
        settings=ElectionSettings(
            config.lease.duration_seconds,
            config.lease.duration_seconds * 2 / 3,
            config.lease.duration_seconds * 2 / 15,
        ),
        metrics=metrics,
    )
    host, _, port = config.metrics_address.rpartition(":")
    probes = ProbeServer(
        metrics.registry,
        health={"threads": made.running.healthy},
        ready={"caches": made.running.synced},
        host=host.strip("[]"),
        port=int(port),
    )
    probes.start()
    made.running.start_informers()
    if election.acquire(stop) and made.running.start_workers(stop):
        stop.wait()
    made.running.stop(GRACE_SECONDS)
    election.release()
    probes.stop()


if __name__ == "__main__":
    main()
