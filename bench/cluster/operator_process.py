"""The operator as a process, read from outside: /proc, /metrics, the apiserver's audit log."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster.control_plane import ControlPlane
from tests.servers.loopback import free_port

MAIN = Path(__file__).parents[2] / "operators" / "strandline" / "main.py"
USER = "bench-operator"
_MIB = 1 << 20
_QUIET_SECONDS = 15.0
"""Longer than the operator's own look at a job that it started."""
_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Scrape:
    """What /metrics says at one moment.

    Attributes:
        reconciles: ended, by result.
        requests: answered by the API, by code.
        buckets: how many reconciles took at most so many seconds.
        longest, longest_processing: seconds of one reconcile, on the clock and on a processor.
    """

    reconciles: Mapping[str, float]
    requests: Mapping[str, float]
    buckets: Mapping[float, float]
    waiting: float
    working: float
    longest: float
    longest_processing: float

    @property
    def total(self) -> float:
        """Reconciles that ended."""
        return sum(self.reconciles.values())


@dataclass
class OperatorProcess:
    """One life of the operator.

    Attributes:
        rss: resident bytes, sampled twice a second.
    """

    plane: ControlPlane
    catalog: str
    folder: Path
    config: Mapping[str, Any]
    rss: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Start it; return when it leads."""
        self.port = free_port()
        config = {**self.config, "metricsAddress": f"127.0.0.1:{self.port}"}
        file = self.folder / "operator.yaml"
        file.write_text(yaml.safe_dump(config), "utf-8")
        # Every right there is, under a name of its own for the audit log.
        kubeconfig = self.plane.user(USER, "system:masters")
        given = {"KUBECONFIG": str(kubeconfig), "STRANDLINE_CATALOG": self.catalog}
        self.started_at = time.monotonic()
        with (self.folder / "operator.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(MAIN), str(file)],
                stderr=log,
                env={**os.environ, **given, "POD_NAME": "bench", "POD_NAMESPACE": "default"},
            )
        self._stop = Event()
        self._sampler = Thread(target=self._sample, daemon=True)
        self._sampler.start()
        while self._get("readyz") is None or not self._leads():
            assert self._process.poll() is None, "it ended: see operator.log"
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        self._stop.set()
        self._sampler.join()
        assert self._process.returncode == 0, "it did not end well: see operator.log"

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def scrape(self) -> Scrape:
        """Return what it says of itself now."""
        text = self._get("metrics")
        assert text is not None, "it does not answer"
        samples = [
            each for family in text_string_to_metric_families(text) for each in family.samples
        ]

        def by(name: str, label: str) -> dict[str, float]:
            found: dict[str, float] = {}
            for each in samples:
                if each.name == name:
                    key = each.labels[label]
                    found[key] = found.get(key, 0.0) + each.value
            return found

        longest = by("strandline_reconcile_longest_seconds", "clock")
        return Scrape(
            reconciles=by("controller_runtime_reconcile_total", "result"),
            requests=by("rest_client_requests_total", "code"),
            buckets={
                float(bound): count
                for bound, count in by(
                    "controller_runtime_reconcile_time_seconds_bucket", "le"
                ).items()
            },
            waiting=sum(by("workqueue_depth", "name").values()),
            working=sum(by("controller_runtime_active_workers", "controller").values()),
            longest=longest["wall"],
            longest_processing=longest["processor"],
        )

    def wait_idle(self) -> float:
        """Wait until nothing is left to do; return when the last reconcile had ended."""
        end = time.monotonic() + _PATIENCE_SECONDS
        total, since = -1.0, time.monotonic()
        while time.monotonic() < end:
            seen, now = self.scrape(), time.monotonic()
            if seen.total != total or seen.waiting or seen.working:
                total, since = seen.total, now
            elif now - since >= _QUIET_SECONDS:
                return since
            time.sleep(_POLL_SECONDS)
        raise TimeoutError("the operator does not come to rest")

    def memory(self) -> tuple[float, float]:
        """Return median and peak of what was resident, in MiB."""
        return statistics.median(self.rss) / _MIB, max(self.rss) / _MIB

    def forget_memory(self) -> None:
        """Begin to sample anew: a phase of its own."""
        self.rss.clear()

    def _sample(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        file = Path(f"/proc/{self._process.pid}/statm")
        while not self._stop.wait(0.5):
            try:
                self.rss.append(int(file.read_text().split()[1]) * page)
            except (OSError, IndexError):
                return

    def _leads(self) -> bool:
        text = self._get("metrics") or ""
        lines = [each for each in text.splitlines() if each.startswith("leader_election_master")]
        return any(each.endswith(" 1.0") for each in lines)

    def _get(self, page: str) -> str | None:
        try:
            url = f"http://127.0.0.1:{self.port}/{page}"
            with urllib.request.urlopen(url, timeout=60) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return None


class Audit:
    """The requests of the operator, as the apiserver noted them; each is counted once."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0

    def new(self) -> Counter[str]:
        """Return what came since the last call, as `verb resource[/subresource]`."""
        found: Counter[str] = Counter()
        with self._log.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if f'"{USER}"'.encode() in line:
                    found[_what(json.loads(line))] += 1
        return found


def _what(entry: Mapping[str, Any]) -> str:
    place = entry.get("objectRef") or {}
    parts = [place.get("resource", entry["requestURI"]), place.get("subresource")]
    return f"{entry['verb']} {'/'.join(part for part in parts if part)}"
