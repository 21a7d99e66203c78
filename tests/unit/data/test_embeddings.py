from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save_model
from PIL import Image

from strandline.adapters.files import FileStore
from strandline.data.embeddings import count_missing, embed
from strandline.spec.errors import (
    CorruptArtifactError,
    InterruptedRunError,
    InvalidSpecError,
    NotFoundError,
    UnusableDataError,
)
from strandline.spec.records import digest_of

GRAPH_DIGEST = digest_of(b"mean colour")


def _mean_colour_graph(path: Path) -> Path:
    """Write `images` -> mean colour and its negative, [N, 2 views, 3]."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["first"]),
        helper.make_node("Neg", ["first"], ["second"]),
        helper.make_node("Concat", ["first", "second"], ["features"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 2, 3])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        ],
    )
    opsets = [helper.make_opsetid("", 18)]
    save_model(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def _png(number: int) -> bytes:
    """Return an image whose size and colour tell its number."""
    stream = io.BytesIO()
    Image.new("RGB", (2 + number % 5, 3), (number % 256, 7, number // 256)).save(stream, "PNG")
    return stream.getvalue()


class _World:
    """A store with images, a graph and a cache."""

    def __init__(self, root: Path, count: int) -> None:
        self.root = root
        self.store = FileStore(root / "store")
        self.images = [self.store.put(_png(number)) for number in range(count)]
        self.graph = _mean_colour_graph(root / "graph.onnx")
        self.cache = root / "cache"
        self.seen: list[tuple[int, int]] = []

    def embed(self, images: list[str] | None = None, stop_after: int | None = None) -> np.ndarray:
        self.seen = []
        return embed(
            self.store,
            self.images if images is None else images,
            self.graph,
            GRAPH_DIGEST,
            3,
            self.cache,
            2,
            progress=lambda done, total: self.seen.append((done, total)),
            should_stop=lambda: stop_after is not None and len(self.seen) > stop_after,
        )

    def missing(self) -> int:
        return count_missing(self.images, GRAPH_DIGEST, 3, self.cache, 2)

    def shards(self) -> list[Path]:
        return sorted(self.cache.rglob("*.shard"))

    def computed(self) -> int:
        return self.seen[-1][0] - self.seen[0][0]


def _rows(shards: list[Path]) -> int:
    return sum(json.loads(shard.read_bytes()[:128])["rows"] for shard in shards)


def _expected(count: int) -> np.ndarray:
    colours = np.array([(n % 256, 7, n // 256) for n in range(count)], np.float32)
    return np.stack([colours, -colours], axis=1)


def test_features_come_in_the_order_asked_with_views_apart(tmp_path: Path) -> None:
    world = _World(tmp_path, 30)
    order = [4, 29, 4, 0]
    features = world.embed([world.images[i] for i in order])
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, _expected(30)[order])


def test_no_images_give_an_empty_array(tmp_path: Path) -> None:
    assert _World(tmp_path, 0).embed().shape == (0, 2, 3)


def test_a_second_time_nothing_is_computed(tmp_path: Path) -> None:
    world = _World(tmp_path, 20)
    world.embed()
    assert (world.computed(), world.missing()) == (20, 0)
    world.graph.unlink()  # whoever computed anything would need it
    np.testing.assert_array_equal(world.embed(), _expected(20))
    assert world.seen == [(20, 20)]


def test_only_new_images_are_computed(tmp_path: Path) -> None:
    world = _World(tmp_path, 20)
    world.embed(world.images[:15])
    assert world.missing() == 5
    world.embed()
    assert world.seen[0] == (15, 20)
    assert world.seen[-1] == (20, 20)


def test_another_graph_has_features_of_its_own(tmp_path: Path) -> None:
    world = _World(tmp_path, 3)
    world.embed()
    assert count_missing(world.images, digest_of(b"other"), 3, world.cache, 2) == 3


def test_a_stopped_run_keeps_what_is_finished_and_goes_on_from_there(tmp_path: Path) -> None:
    world = _World(tmp_path, 60)
    with pytest.raises(InterruptedRunError, match="goes on from there"):
        world.embed(stop_after=10)
    left = world.missing()
    assert 0 < left <= 50
    np.testing.assert_array_equal(world.embed(), _expected(60))
    assert world.computed() == left


def test_an_unusable_image_stops_with_its_reason_and_the_rest_is_kept(tmp_path: Path) -> None:
    world = _World(tmp_path, 10)
    bad = world.store.put(b"this is no image")
    with pytest.raises(UnusableDataError):
        world.embed([*world.images, bad])
    assert world.missing() == 0


def test_a_missing_image_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        _World(tmp_path, 1).embed([digest_of(b"never stored")])


def test_a_damaged_shard_is_computed_again(tmp_path: Path) -> None:
    world = _World(tmp_path, 8)
    world.embed()
    (shard,) = world.shards()
    content = bytearray(shard.read_bytes())
    content[-2] ^= 64
    shard.write_bytes(content)
    np.testing.assert_array_equal(world.embed(), _expected(8))
    assert world.computed() == 8


def test_a_graph_of_another_shape_is_refused(tmp_path: Path) -> None:
    world = _World(tmp_path, 2)
    with pytest.raises(CorruptArtifactError, match="shape"):
        embed(world.store, world.images, world.graph, GRAPH_DIGEST, 4, world.cache, 2)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    world = _World(tmp_path, 2)
    world.graph.write_bytes(b"no graph")
    with pytest.raises(CorruptArtifactError, match="delete it"):
        world.embed()


@pytest.mark.parametrize("digest", ["../../etc", "sha256:../x", ""])
def test_what_is_not_a_digest_never_becomes_a_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(InvalidSpecError):
        count_missing([], digest, 3, tmp_path, 1)


# Prints progress after each image; pauses let the others come in between.
_CHILD = textwrap.dedent(
    """
    import json, sys, time
    from pathlib import Path
    from strandline.adapters.files import FileStore
    from strandline.data import embeddings

    job = json.loads(sys.argv[1])
    embeddings._SHARD_IMAGES = 7
    def progress(done, total):
        print(done, total, flush=True)
        time.sleep(job["pause"])
    features = embeddings.embed(
        FileStore(Path(job["store"])), job["images"], Path(job["graph"]), job["digest"], 3,
        Path(job["cache"]), 2, progress=progress,
    )
    print("sum", float(features.sum()), flush=True)
    """
)


def _child(world: _World, pause: float) -> subprocess.Popen[str]:
    job = {
        "store": str(world.root / "store"),
        "images": world.images,
        "graph": str(world.graph),
        "digest": GRAPH_DIGEST,
        "cache": str(world.cache),
        "pause": pause,
    }
    command = [sys.executable, "-c", _CHILD, json.dumps(job)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_run_loses_at_most_a_shard_and_leaves_no_lock(tmp_path: Path) -> None:
    world = _World(tmp_path, 60)
    for kill_after in (12, 30):
        child = _child(world, pause=0.01)
        assert child.stdout is not None
        done = 0
        while done < kill_after:
            done = int(child.stdout.readline().split()[0])
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        assert 60 - world.missing() > done - 7
    np.testing.assert_array_equal(world.embed(), _expected(60))
    assert not list(world.cache.rglob(".writing-*"))


def test_two_processes_never_compute_the_same_features(tmp_path: Path) -> None:
    world = _World(tmp_path, 40)
    children = [_child(world, pause=0.005) for _ in range(3)]
    outputs = [child.communicate()[0].splitlines() for child in children]
    assert _rows(world.shards()) == 40
    assert {lines[-1] for lines in outputs} == {f"sum {float(_expected(40).sum())}"}
    assert world.missing() == 0
