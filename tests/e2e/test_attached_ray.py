"""A training whose trials run on a Ray elsewhere, through the end of its nodes and of its head.

The driver shares nothing with the workers but the store: their homes and caches are their own.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.test_crash_safety import TRAIN, Home, write_shapes
from tests.servers.ray import Node, ray_cluster

PATIENCE_SECONDS = 300.0


def wait_until(holds: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)


def has_begun(node: Node) -> bool:
    """Return whether a trial on the node works on its embeddings, or has them."""
    return (node.home / "strandline" / "cache" / "embeddings").is_dir()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_training_survives_its_nodes_and_the_head_and_finds_the_same(tmp_path: Path) -> None:
    pictures = tmp_path / "shapes"
    write_shapes(pictures, each=40)
    calm, hit = Home(tmp_path / "calm"), Home(tmp_path / "hit")
    calm.run("import", "shapes", str(pictures))
    trained = calm.run(*TRAIN)
    hit.run("import", "shapes", str(pictures))

    with ray_cluster() as cluster:
        hit.environ |= {**cluster.environ, "STRANDLINE_RAY_ADDRESS": cluster.address}
        lost, head = cluster.start_worker(), cluster.nodes[0]
        driver = hit.start(*TRAIN)
        wait_until(lambda: has_begun(lost), driver)
        lost.kill()
        following = cluster.start_worker()
        wait_until(lambda: has_begun(following), driver)
        following.freeze()  # or it may be done with all trials before the head is gone
        head.kill()
        out, err = driver.communicate(timeout=PATIENCE_SECONDS)
        assert driver.returncode not in (0, 2), (out, err)

        following.kill()
        cluster.start_head()
        last = cluster.start_worker()
        resumed = hit.run("search", "resume", "s")
        assert has_begun(last)
    assert resumed["best"] == trained["best"]
    assert resumed["trials"] == trained["trials"]
