"""The operator with real jobs: each Job's command is run as a process, with its environment.

There is no kubelet, but the command, the variables, the Secret and the volumes of home are
those of the Job's own document. So what a job is told is enough, and nothing else is needed.
"""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.cluster.operator_place import World, bare_plane
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import S3Server

from strandline.adapters.kube.resources import SECRETS, Document, ObjectKey
from strandline.adapters.sql import Database
from strandline.adapters.stores import open_store
from strandline.bundle.format import open_bundle
from strandline.ports import Resource
from strandline.spec.settings import load_settings

pytestmark = [pytest.mark.apiserver, pytest.mark.postgres, pytest.mark.slow]

NAMESPACE = "team-a"


class Kubelet:
    """Runs the command of a Job as a process of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.said: list[str] = []

    def __call__(self, world: World, resource: Resource) -> int:
        (job,) = [
            each
            for each in world.jobs()
            if each["metadata"]["labels"]["strandline.dev/uid"] == resource.uid
            and not (each.get("status") or {}).get("conditions")
        ]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        done = subprocess.run(
            container["command"],
            env=self._environment(world, job, container),
            capture_output=True,
            text=True,
        )
        self.said.append(done.stdout + done.stderr)
        return done.returncode

    def _environment(self, world: World, job: Document, container: Any) -> dict[str, str]:
        """Return the variables that the container would have, and the PATH of this machine."""
        home = self._folder / job["metadata"]["name"]
        # An image has our commands in its PATH; who runs the tests may not.
        commands = str(Path(sys.executable).parent)
        made = {"PATH": os.pathsep.join([commands, os.environ["PATH"]])}
        if "PYTHONPATH" in os.environ:
            made["PYTHONPATH"] = os.environ["PYTHONPATH"]
        for source in container["envFrom"]:
            made |= _secret(world, source["secretRef"]["name"])
        for variable in container["env"]:
            if "value" in variable:
                made[variable["name"]] = variable["value"].replace("/scratch", str(home))
                continue
            reference = variable["valueFrom"]["secretKeyRef"]
            held = _secret(world, reference["name"])
            if reference["key"] in held or not reference["optional"]:
                made[variable["name"]] = held[reference["key"]]
        return made


def _secret(world: World, name: str) -> dict[str, str]:
    data = world.api.get(SECRETS, ObjectKey(world.namespace, name)).get("data") or {}
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def make_secret(name: str, entries: dict[str, str]) -> Document:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": entries}


@dataclass(frozen=True, slots=True)
class Storage:
    """Where pictures come from and objects go to.

    Attributes:
        environ: what jobs are told of the store.
        source: of a Dataset of thirty plain pictures in two colours.
    """

    store_url: str
    environ: dict[str, str]
    source: dict[str, str]
    keys: dict[str, str]


def draw() -> Iterator[tuple[str, bytes]]:
    for label, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        for number in range(15):
            file = io.BytesIO()
            Image.new("RGB", (40, 40 + number), colour).save(file, "PNG")
            yield f"{label}/{number}.png", file.getvalue()


def in_files(folder: Path) -> Storage:
    for name, data in draw():
        path = folder / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    source = {"uri": str(folder / "pictures")}
    return Storage((folder / "store").as_uri(), {}, source, {})


def in_buckets(server: S3Server) -> Storage:
    pictures = server.make_bucket()
    for name, data in draw():
        server.client.put_object(pictures, name, io.BytesIO(data), len(data))
    source = {"uri": f"s3://{pictures}/", "secret": "pictures"}
    keys = {"accessKey": server.access_key, "secretKey": server.secret_key}
    return Storage(f"s3://{server.make_bucket()}/store", server.environ, source, keys)


@pytest.fixture(params=["files", pytest.param("buckets", marks=[pytest.mark.s3])])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "files":
        return in_files(tmp_path)
    return in_buckets(request.getfixturevalue("s3_server"))


@pytest.fixture
def world(tmp_path: Path, storage: Storage, postgres_server: PostgresServer) -> Iterator[World]:
    url = postgres_server.make_database()
    kubelet = Kubelet(tmp_path / "pods")
    with bare_plane(tmp_path / "plane") as plane:
        database = Database(url)
        made = World(plane, NAMESPACE, database, {"Dataset": kubelet, "Search": kubelet})
        places = {"STRANDLINE_STORE": storage.store_url, "STRANDLINE_CATALOG": url}
        plane.kubectl.apply(
            make_secret("strandline-storage", {**storage.environ, **places}),
            make_secret("pictures", storage.keys),
        )
        yield made
        database.close()


def test_pictures_become_a_model_in_the_store_of_the_namespace(
    world: World, storage: Storage
) -> None:
    world.apply("Dataset", "colours", {"source": storage.source})
    budget = {"trials": 1, "time": "20m"}
    search = {"dataset": {"name": "colours"}, "space": {"effort": "fast"}, "budget": budget}
    world.apply("Search", "quick", {**search, "model": {"name": "colours"}})
    with world.operator() as operator:
        world.go_on(operator, lambda: world.condition("Model", "colours")[0] == "True", 900)
        world.go_on(operator, lambda: world.condition("Search", "quick")[0] == "True")
    dataset = world.get("Dataset", "colours")
    assert dataset is not None
    assert (dataset["status"]["items"], dataset["status"]["labels"]) == (30, 2)
    done = world.get("Search", "quick")
    assert done is not None
    assert done["status"]["trials"]["completed"] == 1
    assert world.started == [("Dataset", "colours", 1), ("Search", "quick", 1)]
    version = world.catalog.get_model_version("colours")
    settings = load_settings(storage.environ).s3
    store = open_store(f"{storage.store_url}/{NAMESPACE}", settings)
    assert open_bundle(store.get(version.bundle)).manifest.name == "colours"
