"""Images for a cluster without a registry: a base made here, the project's on top of it."""

from __future__ import annotations

import configparser
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.sandbox import Sandbox
from tests.cluster.site import Site

_SOCKET = "/run/containerd/containerd.sock"
_SUITE = "bookworm"
# What the project's Dockerfiles expect of BASE_IMAGE, and curl for a look into a pod.
_PACKAGES = ("ca-certificates", "python3.11", "python3-venv", "libgomp1", "curl")
_BASE = "localhost/strandline-base"
_MOST_LAYERS = 100
_CERTIFICATES = "/etc/ssl/certs"


def import_image(site: Site, archive: Path) -> None:
    """Give the node an image from a file; pods run it with `imagePullPolicy: IfNotPresent`."""
    _ctr(site, "images", "import", str(archive))


def image_names(site: Site) -> set[str]:
    """Return what the node has."""
    return set(_ctr(site, "images", "list", "--quiet").split())


def build_image(
    dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str] | None = None
) -> Path:
    """Build an image on the base made here, and return its file; unchanged layers are kept.

    Args:
        tag: whole, with a domain and a version, as in `strandline.dev/operator:test`.
        arguments: of the build, beside BASE_IMAGE.

    Raises:
        RuntimeError: the build failed; with the end of what it said.
    """
    base = base_image()
    values = {"BASE_IMAGE": base, **(arguments or {})}
    with tempfile.TemporaryDirectory() as scratch:
        said = Path(scratch) / "id"
        command = ["build", "--layers", "--pull-never", "--tag", tag, "--iidfile", str(said)]
        command += ["--file", str(dockerfile)]
        for name, value in values.items():
            command += ["--build-arg", f"{name}={value}"]
        for volume in _package_index(Path(scratch)):
            command += ["--volume", volume]
        _buildah(*command, str(context))
        _forget_old_layers()
        identity = said.read_text("ascii").strip().rpartition(":")[2][:12]
    stem = tag.replace("/", "_").replace(":", "_")
    target = _folder() / f"{stem}-{identity}.tar"
    if not target.exists():
        for older in _folder().glob(f"{stem}-*.tar"):
            older.unlink()
        _push(tag, target)
    return target


def base_image() -> str:
    """Return the name of the base, which is made and kept on first use (a minute or more)."""
    digest = hashlib.sha256(" ".join((_SUITE, *_PACKAGES)).encode()).hexdigest()[:12]
    name = f"{_BASE}:{digest}"
    if name not in _buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        root = _folder() / f"base-{digest}.tar"
        if not root.exists():
            _make_root(root)
        container = _buildah("from", "scratch").strip()
        _buildah("add", "--quiet", container, str(root), "/")
        _buildah("config", "--cmd", "/bin/bash", container)
        _buildah("commit", "--quiet", "--rm", container, name)
    return name


@dataclass(frozen=True, slots=True)
class Images:
    """What puts images on a cluster's nodes.

    Attributes:
        site: of the cluster; None for the user's own, where `STRANDLINE_TEST_LOAD_IMAGE` is
            the command that loads `{archive}`, as `kind load image-archive {archive}` does.
    """

    site: Site | None

    def load(self, archive: Path) -> None:
        """Give an image to the nodes."""
        if self.site is not None:
            import_image(self.site, archive)
            return
        command = os.environ.get("STRANDLINE_TEST_LOAD_IMAGE")
        if not command:
            raise RuntimeError("STRANDLINE_TEST_LOAD_IMAGE does not say how to load images")
        parts = [part.replace("{archive}", str(archive)) for part in command.split()]
        subprocess.run(parts, check=True, capture_output=True)

    def build(
        self, dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str] | None = None
    ) -> str:
        """Build an image as `build_image` does, give it to the nodes and return its tag."""
        self.load(build_image(dockerfile, context, tag, arguments))
        return tag

    def base(self) -> str:
        """Give the base to the nodes, and return its name: Debian with Python 3.11 and curl."""
        name = base_image()
        archive = _folder() / f"{name.rpartition(':')[2]}.tar"
        if not archive.exists():
            _push(name, archive)
        self.load(archive)
        return name


def _forget_old_layers() -> None:
    """Drop what earlier builds left once that is much; the next build then begins anew."""
    if len(_buildah("images", "--all", "--quiet").split()) > _MOST_LAYERS:
        _buildah("rmi", "--prune", "--force")


def _push(name: str, archive: Path) -> None:
    """Write an image as a file, there whole or not at all."""
    half = archive.with_suffix(".half")
    half.unlink(missing_ok=True)
    _buildah("push", "--quiet", name, f"docker-archive:{half}:{name}")
    half.replace(archive)


def _make_root(target: Path) -> None:
    """Write Debian's root file system as a tar file."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        root, tar = Path(scratch) / "root", Path(scratch) / "root.tar"
        include = f"--include={','.join(_PACKAGES)}"
        _run("debootstrap", "--variant=minbase", include, _SUITE, str(root))
        kept_out = ("./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*")
        excluding = [f"--exclude={pattern}" for pattern in kept_out]
        _run("tar", "-C", str(root), "-cf", str(tar), *excluding, ".")
        tar.replace(target)


def _package_index(scratch: Path) -> list[str]:
    """Return the volumes that let a build's pip reach what this machine's pip reaches.

    They are there during the build alone: no address gets into an image.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True
    )
    config = configparser.RawConfigParser()
    config["global"] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        config["global"][name.rpartition(".")[2]] = value.strip("'")
    with (scratch / "pip.conf").open("w") as target:
        config.write(target)
    wheels = config["global"].get("find-links", "")
    folders = [each for each in (_CERTIFICATES, wheels) if each and Path(each).is_dir()]
    return [f"{scratch}/pip.conf:/etc/pip.conf:ro", *(f"{each}:{each}:ro" for each in folders)]


def _folder() -> Path:
    target = binaries.cache_folder() / "images"
    target.mkdir(parents=True, exist_ok=True)
    return target


def _buildah(*arguments: str) -> str:
    return _run("buildah", *_storage(), *arguments)


@cache
def _storage() -> tuple[str, ...]:
    """Return buildah's options that say where images are kept: by overlay where that works.

    `vfs` works everywhere, and copies all of an image for each of its layers.
    """
    options: tuple[str, ...] = ()
    for driver in ("overlay", "vfs"):
        kept = _folder() / f"buildah-{driver}"
        places = ("--root", str(kept / "root"), "--runroot", str(kept / "run"))
        options = ("--storage-driver", driver, *places)
        with suppress(RuntimeError):
            _run("buildah", *options, "info")
            break
    return options


def _run(*command: str) -> str:
    # In a mount namespace of its own: what is mounted while it works ends with it.
    done = subprocess.run(
        ["unshare", "--mount", *command],
        capture_output=True,
        text=True,
        env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise RuntimeError(f"{' '.join(command[:6])} failed:\n{said}")
    return done.stdout


def _ctr(site: Site, *arguments: str) -> str:
    command = [str(binaries.path("ctr")), "--address", _SOCKET, "--namespace", "k8s.io"]
    return Sandbox(site).run(*command, *arguments)
