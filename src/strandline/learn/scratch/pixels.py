"""Images at one size in one file, which all trials and workers of a machine map.

Decoding an image costs more than a step of a small network, so it happens once. The
pages of the file are shared by every process that reads it, whatever their number. Images
are resized by the very graph that the exported model resizes with.
"""

from __future__ import annotations

import fcntl
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from strandline.data.cpu import usable_cpus
from strandline.data.decode import decode_stored
from strandline.durable import replacing
from strandline.ports import ObjectStore
from strandline.spec.records import canonical_json, digest_of
from strandline.zoo.cells.image_graph import resize_model

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]

# Grows when the way from image to pixels changes.
_VERSION = 1


def load_pixels(
    open_store: Callable[[], ObjectStore],
    images: Sequence[str],
    size: int,
    cache_dir: Path,
    progress: Progress | None = None,
) -> Pixels:
    """Return uint8 [n, size, size, 3] in the order asked, read as it is used.

    Of several processes that want the same, one decodes while the others wait. A kill
    loses what was decoded: some hundred images a second and CPU.

    Raises:
        NotFoundError, UnusableDataError: an image is missing or cannot be decoded.
    """
    content = {"images": digest_of("\n".join(images).encode()), "size": size, "version": _VERSION}
    key = digest_of(canonical_json(content)).removeprefix("sha256:")
    folder = cache_dir / "pixels"
    path = folder / f"{key[:32]}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{key[:32]}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the system frees it however its holder ends
            if not path.exists():
                _write(path, open_store(), images, size, progress or (lambda done, total: None))
    pixels: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return pixels


def _write(
    path: Path, store: ObjectStore, images: Sequence[str], size: int, progress: Progress
) -> None:
    shape = (len(images), size, size, 3)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with replacing(path) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for done, pixels in enumerate(_resized(store, images, size)):
            stream.write(pixels.tobytes())
            progress(done + 1, len(images))


def _resized(store: ObjectStore, images: Sequence[str], size: int) -> Iterator[Pixels]:
    """Iterate over the images, uint8 [size, size, 3], in order; threads work ahead."""
    session = _open_session(size)

    def resize(image: str) -> Pixels:
        pixels = decode_stored(store.get(image)).pixels
        resized: Pixels = session.run(None, {"images": pixels[np.newaxis]})[0][0]
        return resized

    cpus = usable_cpus()
    pending: deque[Future[Pixels]] = deque()
    with ThreadPoolExecutor(cpus + 2, thread_name_prefix="pixels") as threads:
        try:
            for image in images:
                pending.append(threads.submit(resize, image))
                if len(pending) > 8 * cpus:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _open_session(size: int) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # each thread resizes its own image
    options.log_severity_level = 3
    session: InferenceSession = onnxruntime.InferenceSession(
        resize_model(size).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session
