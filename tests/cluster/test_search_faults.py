"""What goes wrong around a Search on a whole cluster costs it nothing: it finds the same.

Trials run one after the other, so the calm search says what each of the others has to find.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from tests.cluster.installed import SYSTEM, TEAM, Installation, search

from strandline.spec.records import Trial

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

TRIALS = 8
OUTAGE_SECONDS = 60.0

Fault = Callable[[Installation], None]


@pytest.fixture(scope="module")
def calm(installation: Installation) -> Mapping[str, Any]:
    """What the search finds when nothing goes wrong."""
    installation.apply(installation.dataset)
    installation.complete("datasets", "digits", "Ready")
    installation.apply(search("calm", TRIALS))
    status: Mapping[str, Any] = installation.complete("searches", "calm")["status"]
    return status


def outage(component: str, seconds: float = OUTAGE_SECONDS) -> Fault:
    """Return the absence of a part of the cluster."""
    return lambda installation: installation.cluster.faults.outage(component, seconds)


def kill(namespace: str, selector: str) -> Fault:
    """Return the loss of pods, without a word to them."""

    def strike(installation: Installation) -> None:
        where = ("-n", namespace, "-l", selector)
        installation.kubectl("delete", "pods", *where, "--force", "--grace-period=0")

    return strike


def fill_store(installation: Installation) -> None:
    """Leave MinIO no place for a while."""
    with installation.cluster.faults.full_store():
        time.sleep(OUTAGE_SECONDS / 2)


def drain(installation: Installation) -> None:
    """Evict everything from the node, the operator too."""
    with installation.cluster.faults.drained():
        time.sleep(5)


def has_begun(installation: Installation, name: str, trials: int) -> bool:
    """Return whether so many trials of a search have begun."""
    return installation.begun(name) >= trials


def things_of(installation: Installation) -> set[str]:
    """Return what may belong to a search without being labeled so."""
    kinds = "secrets,configmaps,services,persistentvolumeclaims,roles,rolebindings,serviceaccounts"
    return set(installation.kubectl("get", kinds, "-n", TEAM, "-o", "name").split())


def is_gone(installation: Installation, kind: str, label: str) -> bool:
    """Return whether the team has none of these any more."""
    return not installation.kubectl("get", kind, "-n", TEAM, "-l", label, "-o", "name")


FAULTS: Mapping[str, tuple[Fault, ...]] = {
    "control": (
        kill(SYSTEM, "app.kubernetes.io/component=operator"),
        outage("kube-apiserver"),
    ),
    "storage": (outage("minio"), fill_store, outage("postgres", 1)),
    "workers": (
        kill(SYSTEM, "app.kubernetes.io/component=ray-worker"),
        kill(SYSTEM, "app.kubernetes.io/component=ray-head"),
        kill(TEAM, "strandline.dev/kind=Search"),
        drain,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_search_finds_the_same_whatever_is_gone_for_a_while(
    installation: Installation, calm: Mapping[str, Any], name: str
) -> None:
    installation.apply(search(name, TRIALS))
    for number, strike in enumerate(FAULTS[name]):
        installation.until(partial(has_begun, installation, name, number + 1))
        assert not installation.is_over(name), f"over before the fault {number}"
        strike(installation)
    done = installation.complete("searches", name)["status"]
    assert done["trials"] == calm["trials"]
    assert done["best"] == calm["best"]
    # The operator writes the two statuses one after the other.
    assert installation.complete("models", name, "Ready")["status"]["versions"] == 1


MOMENTS: Mapping[str, Callable[[Installation, str], bool]] = {
    "at-once": lambda installation, uid: True,
    "starting": lambda installation, uid: bool(installation.drivers("starting")),
    "searching": lambda installation, uid: len(installation.rows(uid)) >= 2,
    "refitting": lambda installation, uid: ended(installation.rows(uid)) == 2,
}


def ended(trials: Sequence[Trial]) -> int:
    """Return how many of them have ended."""
    return sum(trial.ended_at is not None for trial in trials)


@pytest.mark.parametrize("name", MOMENTS)
def test_a_search_that_is_deleted_leaves_nothing(
    installation: Installation, calm: Mapping[str, Any], name: str
) -> None:
    before = things_of(installation)
    installation.apply(search(name, TRIALS if name == "searching" else 2))
    uid = installation.get("searches", name)["metadata"]["uid"]
    # A status comes later than the rows, and a small model is soon refitted.
    installation.until(lambda: MOMENTS[name](installation, uid), pause_seconds=0.1)
    assert not installation.is_over(name)
    installation.kubectl("delete", "search", name, "-n", TEAM, "--timeout=120s")
    label = f"strandline.dev/uid={uid}"
    for kind in ("jobs", "pods"):
        installation.until(partial(is_gone, installation, kind, label))
    installation.until(lambda: things_of(installation) <= before)
    installation.until(lambda: not installation.rows(uid))
    listed = installation.kubectl("get", "searches", "-n", TEAM, "-o", "name").split()
    assert f"search.strandline.dev/{name}" not in listed
