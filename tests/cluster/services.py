"""What a cluster serves beside Kubernetes, on the node's address: names, objects, rows."""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import binaries
from tests.cluster.commands import answers
from tests.cluster.component import Component
from tests.cluster.master import Master
from tests.cluster.sandbox import Sandbox
from tests.cluster.site import Site
from tests.servers.postgres import (
    PostgresServer,
    initdb_command,
    server_command as postgres_command,
)
from tests.servers.s3 import S3Server, server_command as s3_command

_S3, _POSTGRES, _DNS_READY = 9000, 5432, 8181
# PostgreSQL refuses root, and no other user gets past the doors above the site's folder.
_POSTGRES_FOLDER = "/run/postgres"
_ORDINARY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")

_STORE_BYTES = 8 << 30  # a sparse file: what is not written takes no place

_COREFILE = """\
.:53 {{
    bind {node}
    errors
    ready {node}:{ready}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
}}
"""


def s3_server(site: Site) -> S3Server:
    """Return the cluster's object store, for the machine and for pods."""
    return S3Server(f"{site.node}:{_S3}", *site.s3_keys)


def postgres_server(site: Site) -> PostgresServer:
    """Return the cluster's database server, for the machine and for pods."""
    return PostgresServer(_POSTGRES, site.postgres_password, site.node)


def prepare(master: Master) -> None:
    """Write the configuration of the name server."""
    site = master.site
    kubeconfig = master.kubeconfig("system:coredns")
    text = _COREFILE.format(node=site.node, ready=_DNS_READY, kubeconfig=kubeconfig)
    (site.folder / "Corefile").write_text(text, "utf-8")


def components(master: Master) -> dict[str, Component]:
    """Return the servers by name."""
    site, sandbox = master.site, master.sandbox
    ready = f"http://{site.node}:{_DNS_READY}/ready"
    coredns = [str(binaries.path("coredns")), "-conf", str(site.folder / "Corefile")]
    s3, postgres = s3_server(site), postgres_server(site)
    minio, env = s3_command(s3, site.of("minio"))
    rows = [*_ORDINARY, *postgres_command(Path(_POSTGRES_FOLDER) / "data", postgres)]
    return {
        "coredns": Component("coredns", sandbox, coredns, lambda: answers(ready)),
        "minio": Component("minio", sandbox, minio, s3.answers, env),
        "postgres": Postgres("postgres", sandbox, rows, postgres.answers),
    }


@dataclass(frozen=True, slots=True)
class Postgres(Component):
    """PostgreSQL, which takes SIGTERM for "when the last client has left"."""

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ask it to end with its clients' connections."""
        Component.stop(self, number)


def make_store_folder(site: Site) -> None:
    """Give MinIO a disk of its own, a file, so that it can be full without the machine being."""
    disk = site.folder / "store.img"
    with disk.open("wb") as file:
        file.truncate(_STORE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(disk)], check=True)
    # Its loop device is freed by the kernel with the namespace that it is mounted in.
    Sandbox(site).run("mount", "-o", "loop", str(disk), str(site.of("minio")))


def store_free_bytes(site: Site) -> int:
    """Return how much is free on MinIO's disk."""
    command = ["stat", "--file-system", "--format=%a %S", str(site.folder / "minio")]
    blocks, size = Sandbox(site).run(*command).split()
    return int(blocks) * int(size)


def make_database_folder(site: Site) -> None:
    """Make PostgreSQL's folder, in which clients from the cluster's network are let in."""
    sandbox, folder = Sandbox(site), site.of("postgres")
    shutil.chown(folder, "nobody", "nogroup")
    sandbox.run("mkdir", "-p", _POSTGRES_FOLDER)
    sandbox.run("mount", "--bind", str(folder), _POSTGRES_FOLDER)
    inside = Path(_POSTGRES_FOLDER)
    (folder / "password").write_text(site.postgres_password, "utf-8")
    shutil.chown(folder / "password", "nobody", "nogroup")
    sandbox.run(*_ORDINARY, *initdb_command(inside / "data", inside / "password"))
    with (folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {site.network} scram-sha-256\n")


def permissions_of_dns() -> list[dict[str, Any]]:
    """Return what lets CoreDNS see Services."""
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]},
    ]
    rules = [{**rule, "verbs": ["list", "watch"]} for rule in rules]
    name = {"name": "system:coredns"}
    api = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", **name}
    user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", **name}
    return [
        {**api, "kind": "ClusterRole", "metadata": name, "rules": rules},
        {
            **api,
            "kind": "ClusterRoleBinding",
            "metadata": name,
            "roleRef": role,
            "subjects": [user],
        },
    ]
