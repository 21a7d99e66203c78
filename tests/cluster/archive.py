"""Container images as one file, in the form that `docker save` writes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_image(
    target: Path, tag: str, files: Mapping[str, Path], *, config: Mapping[str, Any]
) -> Path:
    """Write an image of one layer that holds the given files, all executable."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, source in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = source.stat().st_size, 0o755
            with source.open("rb") as program:
                tar.addfile(entry, program)
    content = layer.getvalue()
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(content)}"]},
    }
    _write(target, tag, json.dumps(document).encode(), [content])
    return target


def _write(target: Path, tag: str, config: bytes, layers: Sequence[bytes]) -> None:
    names = [f"{_digest(layer)}.tar" for layer in layers]
    name = f"{_digest(config)}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": names}]
    parts = {name: config, **dict(zip(names, layers, strict=True))}
    parts["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(target, "w") as tar:
        for part, content in parts.items():
            entry = tarfile.TarInfo(part)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
