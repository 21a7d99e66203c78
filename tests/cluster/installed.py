"""Strandline installed on the whole cluster by Helm, as a platform engineer does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.host_packages import HostPackages
from tests.cluster.kubectl import Kubectl, KubectlError
from tests.deploy.chart import CHART, RELEASE, ROOT, Helm

from strandline.adapters.sql import Database
from strandline.spec.errors import UnavailableError
from strandline.spec.namespaces import catalog_schema
from strandline.spec.records import Trial

Document = dict[str, Any]

PATIENCE_SECONDS = 900.0
SYSTEM, TEAM = "strandline-system", "team-a"
POOL, PRICE = "shared", 0.9
STORAGE_SECRET = "strandline-storage"
SMALL_JOB = {"cpu": "100m", "memory": "2Gi", "scratch": "4Gi"}
"""What jobs ask for where one node of two cores has to do."""
_OPERATOR = "strandline.dev/operator:test"
_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
_LAST_WORDS = 4000
_OURS = {"apiVersion": "strandline.dev/v1alpha1"}


@dataclass
class Installation:
    """A release of the chart, in namespaces of its own.

    Attributes:
        kubeconfig: of whoever installs it and works with it.
        system: namespace of the release.
        team: namespace that people work in.
        storage: the environment of jobs; a laptop with it shares store and catalog server.
        bucket: that the platform's objects are in.
        photos: another one, with what people bring.
    """

    cluster: Cluster
    kubeconfig: Path
    home: Path
    packages: HostPackages
    storage: Mapping[str, str]
    bucket: str
    photos: str
    operator: str
    system: str = SYSTEM
    team: str = TEAM
    values: Document = field(default_factory=dict)

    @classmethod
    def prepare(cls, cluster: Cluster, folder: Path) -> Installation:
        """Make all that the chart is told of: images, namespaces, Secrets."""
        bucket = cluster.s3.make_bucket()
        storage = {
            **cluster.s3.environ,
            "STRANDLINE_STORE": f"s3://{bucket}/objects",
            "STRANDLINE_CATALOG": cluster.postgres.make_database(),
        }
        dockerfile = ROOT / "operators" / "strandline" / "Dockerfile"
        made = cls(
            cluster,
            cluster.kubeconfig,
            folder,
            HostPackages.prepare(cluster, folder / "programs"),
            storage,
            bucket,
            cluster.s3.make_bucket(),
            cluster.images.build(dockerfile, ROOT, _OPERATOR),
        )
        for namespace in (made.system, made.team):
            open_namespace(cluster, namespace, made.packages)
            made.kubectl.apply(storage_secret(namespace, storage))
        made.values = _values(made)
        return made

    def of_one_namespace(self, namespace: str, user: str) -> Installation:
        """Return a release of somebody who is `admin` of a new namespace, and nothing else."""
        open_namespace(self.cluster, namespace, self.packages)
        granted = ("--clusterrole", "admin", "--user", user)
        self.kubectl("create", "rolebinding", user, "-n", namespace, *granted)
        kubeconfig = self.cluster.user(user)
        theirs = replace(self, kubeconfig=kubeconfig, system=namespace, team=namespace)
        theirs.values = {
            **self.values,
            "scope": "namespace",
            "namespaces": [],
            "crds": {"install": False},
            "ray": {"enabled": False},
        }
        theirs.kubectl.apply(storage_secret(namespace, self.storage))
        return theirs

    @property
    def kubectl(self) -> Kubectl:
        """Return kubectl as who installs it."""
        return Kubectl(self.kubeconfig)

    @property
    def helm(self) -> Helm:
        """Return Helm likewise."""
        return Helm(self.home, self.kubeconfig)

    @property
    def dataset(self) -> Document:
        """Return the Dataset `digits`, of the pictures that were brought."""
        spec = {"source": {"uri": f"s3://{self.photos}/"}, "split": {"test": 0.2, "seed": 7}}
        return {**_OURS, "kind": "Dataset", "metadata": {"name": "digits"}, "spec": spec}

    def bring(self, folder: Path) -> None:
        """Upload pictures with a plain client, as class folders."""
        for picture in folder.glob("*/*"):
            name = str(picture.relative_to(folder))
            self.cluster.s3.client.fput_object(self.photos, name, str(picture))

    def download_bundle(self, model: str, target: Path) -> None:
        """Download the Bundle of a model with a plain client, by what its status says."""
        digits = self.get("models", model)["status"]["bundle"].removeprefix("sha256:")
        name = f"objects/{self.team}/objects/{digits[:2]}/{digits[2:]}"
        self.cluster.s3.client.fget_object(self.bucket, name, str(target))

    def operators(self) -> list[Document]:
        """Return the pods of the operator that are not about to go."""
        found = self.pods(self.system, "app.kubernetes.io/component=operator")
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    def install(self) -> None:
        """Install the chart, and wait until everything runs."""
        self._deploy("install", self.values)

    def upgrade(self, **values: Any) -> None:
        """Upgrade to the chart with further values at the top."""
        self._deploy("upgrade", {**self.values, **values})

    def uninstall(self) -> None:
        """Take the release away."""
        self.helm("uninstall", RELEASE, "--namespace", self.system, "--wait")

    def remove(self) -> None:
        """Leave nothing of it in the cluster but the kinds."""
        self.helm("uninstall", RELEASE, "-n", self.system, "--wait", "--ignore-not-found")
        kubectl = self.cluster.kubectl  # a user of one namespace sees no pools
        objects = kubectl("get", "strandline", "-n", self.team, "-o", "name").split()
        for each in objects:  # nobody is there any more to take the finalizers off
            patch = json.dumps({"metadata": {"finalizers": None}})
            kubectl("patch", each, "-n", self.team, "--type=merge", "-p", patch)
        for namespace in {self.system, self.team}:
            self.packages.release(namespace)
            kubectl("delete", "namespace", namespace, "--timeout=180s")

    def remove_kinds(self) -> None:
        """Take the kinds away as well, and with them the objects that are left."""
        self.kubectl("delete", "crd", "--selector", "app.kubernetes.io/part-of=strandline")

    def apply(self, *documents: Mapping[str, Any]) -> None:
        """Apply documents in the team's namespace."""
        self.kubectl.apply(*documents, arguments=("-n", self.team))

    def get(self, kind: str, name: str) -> Document:
        """Return an object of the team."""
        found: Document = self.kubectl.json("get", kind, name, "-n", self.team)
        return found

    def pods(self, namespace: str, selector: str) -> list[Document]:
        """Return the pods with these labels."""
        found = self.kubectl.json("get", "pods", "-n", namespace, "-l", selector)
        pods: list[Document] = found["items"]
        return pods

    def jobs(self) -> list[str]:
        """Return the names of the team's Jobs."""
        found = self.kubectl.json("get", "jobs", "-n", self.team)
        return sorted(each["metadata"]["name"] for each in found["items"])

    def completed(self, search: str) -> int:
        """Return how many trials of a Search are completed, as its status says."""
        status = self.get("searches", search).get("status") or {}
        return int((status.get("trials") or {}).get("completed") or 0)

    def begun(self, search: str) -> int:
        """Return how many trials of a Search have begun, as the catalog knows at once."""
        return len(self.rows(self.get("searches", search)["metadata"]["uid"]))

    def rows(self, uid: str) -> Sequence[Trial]:
        """Return the trials that the catalog has of a Search, be it deleted."""
        with closing(Database(self.storage["STRANDLINE_CATALOG"])) as database:
            return database.open_catalog(catalog_schema(self.team)).list_trials(uid)

    def is_over(self, search: str) -> bool:
        """Return whether a Search is complete."""
        return self._condition("searches", search, "Complete") == "True"

    def drivers(self, search: str) -> list[Document]:
        """Return the pods that have led a Search, or do."""
        return self.pods(self.team, f"strandline.dev/kind=Search,strandline.dev/name={search}")

    def until(self, holds: Callable[[], bool], pause_seconds: float = 1.0) -> None:
        """Wait until it holds; servers that are away are waited for, too.

        Raises:
            AssertionError: it does not come to hold; with all that is known of the cluster.
        """
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if holds():
                    return
            except (KubectlError, UnavailableError):
                pass
            assert time.monotonic() < give_up, self.told()
            time.sleep(pause_seconds)

    def complete(self, kind: str, name: str, condition: str = "Complete") -> Document:
        """Wait until an object has the condition, and return it."""

        def is_so() -> bool:
            assert self._condition(kind, name, "Failed") != "True", self.told()
            return self._condition(kind, name, condition) == "True"

        self.until(is_so)
        return self.get(kind, name)

    def _condition(self, kind: str, name: str, condition: str) -> str:
        status = self.get(kind, name).get("status") or {}
        found = {each["type"]: each["status"] for each in status.get("conditions") or ()}
        return str(found.get(condition, "Unknown"))

    def told(self) -> str:
        """Return what is known of a failure: objects, pods, last words of logs."""
        kubectl = self.cluster.kubectl
        parts = [kubectl("get", "strandline", "-n", self.team, "-o", "yaml")[-_LAST_WORDS:]]
        for namespace in sorted({self.system, self.team}):
            parts.append(kubectl("get", "pods", "-n", namespace, "-o", "wide"))
            for name in kubectl("get", "pods", "-n", namespace, "-o", "name").split():
                parts += [f"== {name}", self._log(namespace, name)]
        return "\n".join(parts)

    def laptop(self, home: Path, *words: str) -> str:
        """Run a command as on a laptop with files of its own, and return what it prints."""
        keys = {name: value for name, value in self.storage.items() if "_S3_" in name}
        done = subprocess.run(
            [sys.executable, "-m", "strandline", *words],
            env={**os.environ, **keys, "STRANDLINE_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _deploy(self, verb: str, values: Document) -> None:
        options = ("--namespace", self.system, "--wait", "--timeout", "270s")
        try:
            self.helm(verb, RELEASE, str(CHART), *options, values=values)
        except Exception as error:
            error.add_note(self.told())
            raise

    def _log(self, namespace: str, pod: str) -> str:
        try:
            return self.kubectl("logs", pod, "-n", namespace, "--tail=30", "--all-containers")
        except KubectlError as error:
            return str(error)


def open_namespace(cluster: Cluster, name: str, packages: HostPackages) -> None:
    """Make a namespace as an administrator does, with our packages to mount."""
    metadata = {"name": name, "labels": _RESTRICTED}
    cluster.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=60s")
    packages.claim(name)


def storage_secret(namespace: str, entries: Mapping[str, str]) -> Document:
    """Return the Secret by which jobs reach store and catalog."""
    metadata = {"name": STORAGE_SECRET, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": entries}


def pool(name: str) -> Document:
    """Return the ComputePool of the one real node, whose workers the chart's Ray has."""
    kubernetes = {"kubernetes.io/os": "linux"}
    worker = {"cpu": 1, "memory": "1Gi", "pricePerHour": PRICE}
    spec = {**worker, "workers": {"min": 1}, "nodeSelector": kubernetes}
    metadata = {"name": name}
    return {**_OURS, "kind": "ComputePool", "metadata": metadata, "spec": spec}


def search(name: str, trials: int, pools: Sequence[str] = (POOL,)) -> Document:
    """Return a Search on `digits`, a trial after the other, whose model has its name."""
    spec = {
        "dataset": {"name": "digits"},
        "space": {"preset": "transfer", "effort": "fast"},
        "budget": {"trials": trials},
        "pools": [{"name": each} for each in pools],
        "seed": 11,
        "model": {"name": name},
    }
    return {**_OURS, "kind": "Search", "metadata": {"name": name}, "spec": spec}


def _values(installation: Installation) -> Document:
    """Return values for one node of two cores: small requests, and storage of our own."""
    packages = installation.packages
    image, tag = _split(packages.image)
    operator, operator_tag = _split(installation.operator)
    volumes = {"extraVolumes": packages.volumes, "extraVolumeMounts": packages.mounts}
    head = {"cpu": "100m", "memory": "1536Mi", "ephemeral-storage": "4Gi"}
    limits = {"memory": "1536Mi", "ephemeral-storage": "4Gi"}
    return {
        "namespaces": [installation.team],
        "operator": {
            "image": {"repository": operator, "tag": operator_tag},
            "resources": {
                "requests": {"cpu": "50m", "memory": "192Mi", "ephemeral-storage": "64Mi"},
                "limits": {"memory": "512Mi", "ephemeral-storage": "256Mi"},
            },
        },
        "jobs": {
            "image": {"repository": image, "tag": tag},
            "resources": dict.fromkeys(("Dataset", "Search", "Training"), SMALL_JOB),
            "env": packages.env,
            "graceSeconds": 10,
            **volumes,
        },
        "storage": {"existingSecret": STORAGE_SECRET},
        "minio": {"enabled": False},
        "postgresql": {"enabled": False},
        "ray": {
            "enabled": True,
            "graceSeconds": 5,
            "scratch": "4Gi",
            "env": packages.env,
            "head": {"resources": {"requests": head, "limits": limits}},
            "pools": [{"name": POOL, "workers": 1, "cpu": 1, "memory": "3Gi"}],
            **volumes,
        },
    }


def _split(image: str) -> tuple[str, str]:
    repository, _, tag = image.rpartition(":")
    return repository, tag
