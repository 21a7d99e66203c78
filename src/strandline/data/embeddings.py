"""Features of images, computed once: on all cores, cached, resumable.

Nearly all the time of a small search goes into running images through a backbone, so
that happens once for each (image, backbone, transform) on a machine, whoever asks.

Each of as many threads as there are CPUs decodes an image and runs it through the graph
on that one CPU. Measured, that is faster than one run at a time on all CPUs (whose
threads wait for each other after every layer, the longer the busier the machine) and
than batches (whose feature maps outgrow the cache); decoding overlaps with inference by
itself, images of different sizes need no padding, and features do not depend on what
else was in a batch. Other threads read ahead, so that a remote store does not leave CPUs
idle.

Cache layout: `CACHE/embeddings/<hex digest of the graph>/*.shard` and `lock`. All of it
may be deleted at any time, also while it is used: what is needed is computed again.
"""

from __future__ import annotations

import fcntl
import re
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from strandline.data.cpu import usable_cpus
from strandline.data.decode import decode_stored
from strandline.data.embedding_shards import Features, ShardFolder
from strandline.ports import ObjectStore
from strandline.spec.errors import (
    CorruptArtifactError,
    InterruptedRunError,
    InvalidSpecError,
    MissingExtraError,
)

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Progress = Callable[[int, int], None]

_SHARD_IMAGES = 512
_SHARD_BYTES = 16 * 2**20
_IN_MEMORY_BYTES = 2**30
_POLL_SECONDS = 0.1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def embed(
    store: ObjectStore,
    images: Sequence[str],
    graph: Path,
    graph_digest: str,
    dim: int,
    cache_dir: Path,
    views: int,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Features:
    """Return the features of `images`, float32 [N, views, dim], in the order asked.

    What is in the cache is read; the rest is computed and cached, a shard at a time: a
    kill loses at most one shard. Of several processes that want features of the same
    graph, one computes while the others wait for the result.

    Args:
        store: holds the images.
        images: digests, which may repeat.
        graph: ONNX file, `images` uint8 [1, H, W, 3] -> float32 [1, views, dim].
        graph_digest: names backbone, transform and views; the cache's key.
        progress: called with (distinct images done, distinct images in all), first with
            those that were cached, again once no other process computes any.
        should_stop: asked between images.

    Raises:
        InterruptedRunError: `should_stop` said so; everything finished is kept.
        NotFoundError, UnusableDataError: an image is missing or cannot be decoded;
            everything finished is kept.
        CorruptArtifactError: the graph cannot be loaded or gives another shape.
        MissingExtraError: onnxruntime is not installed.
    """
    shards = _open_shards(cache_dir, graph_digest, views, dim)
    wanted = list(dict.fromkeys(images))
    report = progress or (lambda done, total: None)
    stop = should_stop or (lambda: False)
    todo = _missing(shards, wanted)
    report(len(wanted) - len(todo), len(wanted))
    if todo:
        with _only_one_computes(shards, wanted, stop) as todo:
            report(len(wanted) - len(todo), len(wanted))
            if todo:
                run = _Run(store, _open_session(graph), shards, report, stop, len(wanted))
                run.compute(todo)
    out = _allocate((len(images), views, dim), cache_dir)
    shards.gather(images, out)
    return out


def count_missing(
    images: Sequence[str], graph_digest: str, dim: int, cache_dir: Path, views: int
) -> int:
    """Return how many distinct images `embed` would have to compute."""
    shards = _open_shards(cache_dir, graph_digest, views, dim)
    return len(_missing(shards, list(dict.fromkeys(images))))


@dataclass(slots=True)
class _Run:
    """One computation of missing features, by threads that each keep one CPU busy."""

    store: ObjectStore
    session: InferenceSession
    shards: ShardFolder
    report: Progress
    stop: Callable[[], bool]
    total: int

    def compute(self, todo: Sequence[str]) -> None:
        """Compute and cache the features of `todo`."""
        cpus = usable_cpus()
        pending: deque[tuple[str, Future[Features]]] = deque()
        buffer = _Buffer(self.shards)
        queue = iter(todo)
        done = self.total - len(todo)
        readers = ThreadPoolExecutor(cpus + 2, thread_name_prefix="read")
        workers = ThreadPoolExecutor(cpus, thread_name_prefix="embed")
        try:
            while True:
                # The window is long enough to keep all threads busy during an fsync.
                while len(pending) < 8 * cpus + 16 and (image := next(queue, None)):
                    data = readers.submit(self.store.get, image)
                    pending.append((image, workers.submit(self._features, data)))
                if not pending:
                    break
                if self.stop():
                    raise InterruptedRunError(
                        f"stopped with the features of {done} of {self.total} images, which "
                        "are kept: the same command goes on from there"
                    )
                image, future = pending.popleft()
                buffer.add(image, future.result())
                done += 1
                self.report(done, self.total)
        finally:
            readers.shutdown(wait=True, cancel_futures=True)
            workers.shutdown(wait=True, cancel_futures=True)
            for image, future in pending:
                if not future.cancelled() and future.exception() is None:
                    buffer.add(image, future.result())
            buffer.flush()

    def _features(self, data: Future[bytes]) -> Features:
        pixels = decode_stored(data.result()).pixels
        features: Features = self.session.run(None, {"images": pixels[np.newaxis]})[0]
        if features.shape != (1, self.shards.views, self.shards.dim):
            raise CorruptArtifactError(
                f"the graph gives features of shape {features.shape[1:]} instead of "
                f"{(self.shards.views, self.shards.dim)}: delete the cache folder"
            )
        first: Features = features[0]
        return first


class _Buffer:
    """Features on their way into a shard."""

    def __init__(self, shards: ShardFolder) -> None:
        self._shards = shards
        self._images: list[str] = []
        self._features: list[Features] = []
        bytes_each = 4 * shards.views * shards.dim
        self._rows = max(1, min(_SHARD_IMAGES, _SHARD_BYTES // bytes_each))

    def add(self, image: str, features: Features) -> None:
        self._images.append(image)
        self._features.append(features)
        if len(self._images) >= self._rows:
            self.flush()

    def flush(self) -> None:
        self._shards.append(self._images, self._features)
        self._images, self._features = [], []


@contextmanager
def _only_one_computes(
    shards: ShardFolder, wanted: Sequence[str], stop: Callable[[], bool]
) -> Iterator[list[str]]:
    """Hold the folder's lock, and give what is still missing then.

    The system frees the lock when its holder ends, however it ends.
    """
    shards.folder.mkdir(parents=True, exist_ok=True)
    with (shards.folder / "lock").open("ab") as stream:
        while not _try_lock(stream):
            if stop():
                raise InterruptedRunError(
                    "stopped while another process computes the same features: run again later"
                )
            time.sleep(_POLL_SECONDS)
        shards.remove_unfinished()
        shards.refresh()
        yield _missing(shards, wanted)


def _try_lock(stream: IO[bytes]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_shards(cache_dir: Path, graph_digest: str, views: int, dim: int) -> ShardFolder:
    if not _DIGEST.fullmatch(graph_digest):
        raise InvalidSpecError(f"{graph_digest!r} is not a digest, sha256: and 64 hex digits")
    folder = cache_dir / "embeddings" / graph_digest.removeprefix("sha256:")
    shards = ShardFolder(folder, views, dim)
    shards.refresh()
    return shards


def _missing(shards: ShardFolder, wanted: Sequence[str]) -> list[str]:
    return [image for image in wanted if image not in shards]


def _open_session(graph: Path) -> InferenceSession:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "computing features needs onnxruntime: run `pip install 'strandline[serve]'`"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # each calling thread runs its own image
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session: InferenceSession = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors share no public base class
        raise CorruptArtifactError(
            f"{graph} cannot be loaded ({error}): delete it, it is made again when needed"
        ) from error
    return session


def _allocate(shape: tuple[int, int, int], cache_dir: Path) -> Features:
    """Return an array in memory, or a large one in a file that vanishes with it."""
    if 4 * shape[0] * shape[1] * shape[2] <= _IN_MEMORY_BYTES:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(dir=cache_dir / "embeddings") as stream:
        array: Any = np.memmap(stream, dtype=np.float32, mode="w+", shape=shape)
        return array  # type: ignore[no-any-return]
