"""What a test gets of a whole cluster, whoever made it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import binaries, services
from tests.cluster.child import Child
from tests.cluster.faults import Faults
from tests.cluster.images import Images
from tests.cluster.kubectl import Kubectl
from tests.cluster.master import Master
from tests.cluster.simulated import Pool, simulated_nodes
from tests.cluster.site import Site
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import S3Server


@dataclass(frozen=True, slots=True)
class Cluster:
    """A whole Kubernetes, and the servers beside it.

    Attributes:
        kubeconfig: of an administrator.
        site: of the cluster that `make cluster-up` makes; None with the user's KUBECONFIG,
            and what needs it then raises RuntimeError (the fixture `own_cluster` skips).
    """

    kubeconfig: Path
    site: Site | None

    @property
    def kubectl(self) -> Kubectl:
        """Return kubectl as the administrator."""
        return Kubectl(self.kubeconfig)

    @property
    def own(self) -> Site:
        """Return the site of a cluster that is ours.

        Raises:
            RuntimeError: it is the user's.
        """
        if self.site is None:
            raise RuntimeError("not with a cluster of KUBECONFIG")
        return self.site

    @property
    def s3(self) -> S3Server:
        """Return the object store: one address and one pair of keys, from tests and pods."""
        return services.s3_server(self.own)

    @property
    def postgres(self) -> PostgresServer:
        """Return the database server; `make_database` gives a URL for tests and pods."""
        return services.postgres_server(self.own)

    @property
    def faults(self) -> Faults:
        """Return what can go wrong."""
        return Faults(self.own)

    @property
    def images(self) -> Images:
        """Return what builds images and puts them on the nodes."""
        return Images(self.site)

    @property
    def helm(self) -> Path:
        """Return the helm binary: built here, or the user's own with the user's cluster."""
        if self.site is None:
            return Path(shutil.which("helm") or "helm")
        return binaries.path("helm")

    @property
    def audit_log(self) -> Path:
        """Return the apiserver's audit log: a line of JSON for each finished request."""
        found = Master(self.own).apiserver.audit_log
        assert found is not None
        return found

    def user(self, name: str, *groups: str) -> Path:
        """Return the kubeconfig of a user who may do nothing yet; RBAC knows the name."""
        return Master(self.own).user(name, *groups)

    def simulated_nodes(self, folder: Path, pools: Sequence[Pool]) -> AbstractContextManager[Child]:
        """Return a context with kwok's nodes in it, see `tests.cluster.simulated`."""
        return simulated_nodes(self.kubectl, folder, pools)

    def mount(self, namespace: str, name: str, folder: Path) -> str:
        """Return a claim in the namespace on a folder of this machine, read by many.

        Pods under "restricted" may not mount a folder directly; a claim they may.
        """
        assert self.own.folder.is_dir()
        assert folder.is_dir(), folder
        self.kubectl.apply(*_claimed(namespace, name, folder))
        return name


def _claimed(namespace: str, name: str, folder: Path) -> list[dict[str, Any]]:
    spec = {
        "accessModes": ["ReadOnlyMany"],
        "storageClassName": "",
        "volumeName": f"{namespace}-{name}",
    }
    size = {"storage": "1Gi"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{name}"},
        "spec": {
            "accessModes": spec["accessModes"],
            "storageClassName": "",
            "capacity": size,
            "claimRef": {"namespace": namespace, "name": name},
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**spec, "resources": {"requests": size}},
    }
    return [volume, claim]
