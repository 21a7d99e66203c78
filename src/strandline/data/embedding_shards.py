"""Embeddings on disk: append-only shards that survive `kill -9` and flipped bits.

A folder holds the embeddings of one graph. Each shard is one file, written under a
temporary name, fsynced and renamed, so it is there whole or not at all; its name is the
digest of its content, so two processes never overwrite each other's. A shard whose
content does not match its digest is removed, and its images are computed again.

A shard file is, in this order: one line of JSON (`format`, `rows`, `views`, `dim`) padded
with spaces to 128 bytes; `rows` times 32 bytes, the SHA-256 of each image; the features,
little-endian float32 [rows, views, dim].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from strandline.durable import UNFINISHED, replacing

Features = npt.NDArray[np.float32]

_FORMAT = "strandline-embeddings-1"
_HEADER_BYTES = 128
_SUFFIX = ".shard"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the features of one image are."""

    shard: str
    row: int


@dataclass(slots=True)
class ShardFolder:
    """The shards of one graph, and an index by image.

    Attributes:
        folder: where they lie; made when the first is written.
        views, dim: shape of one image's features.
    """

    folder: Path
    views: int
    dim: int
    _places: dict[str, _Place] = field(default_factory=dict)
    _shards: dict[str, Features] = field(default_factory=dict)

    def refresh(self) -> None:
        """Take in the shards that came since, removing those that are damaged."""
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            if path.name not in self._shards:
                self._take_in(path)

    def __contains__(self, image: str) -> bool:
        """Tell whether the features of the image with this digest are here."""
        return image in self._places

    def append(self, images: Sequence[str], features: Iterable[Features]) -> None:
        """Store the features, [views, dim] each, durably when this returns."""
        if not images:
            return
        block = np.stack(list(features)).astype("<f4", copy=False)
        content = (
            self._header(len(images))
            + b"".join(bytes.fromhex(image.removeprefix("sha256:")) for image in images)
            + block.tobytes()
        )
        path = self.folder / f"{hashlib.sha256(content).hexdigest()}{_SUFFIX}"
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(content)
        self._take_in(path)

    def gather(self, images: Sequence[str], out: Features) -> None:
        """Copy the features of `images`, all of them here, into `out` [n, views, dim]."""
        by_shard: dict[str, list[int]] = {}
        for position, image in enumerate(images):
            by_shard.setdefault(self._places[image].shard, []).append(position)
        for shard, positions in by_shard.items():
            rows = [self._places[images[position]].row for position in positions]
            out[positions] = self._shards[shard][rows]

    def remove_unfinished(self) -> None:
        """Remove what killed writers left; only for the holder of the folder's lock."""
        for left in self.folder.glob(f"{UNFINISHED}*"):
            left.unlink(missing_ok=True)

    def _take_in(self, path: Path) -> None:
        try:
            images, features = self._read(path)
        except FileNotFoundError:
            return  # somebody cleared the cache meanwhile
        except (OSError, ValueError):
            path.unlink(missing_ok=True)
            return
        self._shards[path.name] = features
        for row, image in enumerate(images):
            self._places.setdefault(image, _Place(path.name, row))

    def _read(self, path: Path) -> tuple[list[str], Features]:
        """Return the images and memory-mapped features of a shard that is whole.

        Raises:
            ValueError: it is not what its name and header say.
        """
        status = path.stat()
        if _hash_file(path, status.st_size, status.st_mtime_ns) != path.name.removesuffix(_SUFFIX):
            raise ValueError(f"{path} is damaged")
        with path.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
            rows = int(json.loads(header)["rows"])
            if self._header(rows) != header:
                raise ValueError(f"{path} holds other features than expected")
            keys = stream.read(32 * rows)
        images = [f"sha256:{keys[i : i + 32].hex()}" for i in range(0, 32 * rows, 32)]
        shape = (rows, self.views, self.dim)
        offset = _HEADER_BYTES + 32 * rows
        return images, np.memmap(path, dtype="<f4", mode="r", offset=offset, shape=shape)

    def _header(self, rows: int) -> bytes:
        fields = {"format": _FORMAT, "rows": rows, "views": self.views, "dim": self.dim}
        return json.dumps(fields).encode().ljust(_HEADER_BYTES - 1) + b"\n"


@lru_cache(maxsize=10_000)
def _hash_file(path: Path, size: int, modified_nanoseconds: int) -> str:
    """Return the hex SHA-256, computed once in a process while the file is unchanged."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
