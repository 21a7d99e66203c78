"""What goes wrong on a real cluster, on demand; and all well again afterwards."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from minio.error import S3Error
from tests.cluster.component import Component
from tests.cluster.kubectl import Kubectl
from tests.cluster.lifecycle import components
from tests.cluster.master import Master
from tests.cluster.sandbox import Sandbox
from tests.cluster.services import s3_server, store_free_bytes
from tests.cluster.site import NODE, Site
from tests.servers.s3 import S3Server

_LEFT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one cluster; components have the names of their programs.

    These are etcd, kube-apiserver, kube-controller-manager, kube-scheduler, containerd,
    kubelet, kube-proxy, coredns, minio and postgres.
    """

    site: Site

    def component(self, name: str) -> Component:
        """Return a component: it can `stop`, `kill` and `start`."""
        return components(self.site)[name]

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Stop a component while the block runs."""
        component = self.component(name)
        component.stop()
        try:
            yield
        finally:
            component.start()
            self._revive()

    def outage(self, name: str, seconds: float) -> None:
        """Stop a component for so long; return when it serves again."""
        with self.without(name):
            time.sleep(seconds)

    def crash(self, name: str) -> None:
        """Kill a component (SIGKILL), and return when its successor serves."""
        component = self.component(name)
        component.kill()
        component.start()
        self._revive()

    def restart(self, name: str) -> None:
        """Stop a component and start it again."""
        self.outage(name, 0)

    @contextmanager
    def drained(self, node: str = NODE) -> Iterator[None]:
        """Evict all pods of a node, and let none on it while the block runs."""
        kubectl = self._kubectl
        options = ("--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=120s")
        try:
            kubectl("drain", node, *options)
            yield
        finally:
            kubectl("uncordon", node)

    @contextmanager
    def full_store(self) -> Iterator[None]:
        """Leave MinIO no place on its disk while the block runs."""
        sandbox, filler = Sandbox(self.site), str(self.site.folder / "minio" / "filler")
        size = str(store_free_bytes(self.site) - _LEFT_BYTES)
        sandbox.run("fallocate", "--length", size, filler)
        try:
            yield
        finally:
            sandbox.run("rm", filler)
            _wait_for_place(s3_server(self.site))

    def expire_watches(self) -> int:
        """Forget all old revisions, so that watches and lists from them get 410 Gone.

        Only etcd still knows what the apiserver's own cache has kept; so that starts anew.
        Returns the oldest revision that is still known.
        """
        with self.without("kube-apiserver"):
            return Master(self.site).etcd.compact()

    def _revive(self) -> None:
        """Start what a fault made end, as a kubelet or systemd does elsewhere.

        The controller manager does, when the apiserver goes while it starts.
        """
        for component in components(self.site).values():
            if component.died:
                component.start()

    @property
    def _kubectl(self) -> Kubectl:
        return Kubectl(Master(self.site).kubeconfig("admin"))


def _wait_for_place(server: S3Server) -> None:
    """Return when MinIO, which looks at its disk now and then, has seen that there is place."""
    client, bucket, content = server.client, server.make_bucket(), bytes(_LEFT_BYTES)
    while True:
        try:
            client.put_object(bucket, "probe", io.BytesIO(content), len(content))
        except S3Error:
            time.sleep(0.2)
        else:
            client.remove_object(bucket, "probe")
            client.remove_bucket(bucket)
            return
