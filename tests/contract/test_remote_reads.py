"""A catalog and a store that another process holds are read as if they were here."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from strandline import api, compose
from strandline.adapters.remote_reads import (
    GREETING,
    Asking,
    answer_reads,
    remote_catalog,
    remote_store,
)
from strandline.compose import Platform
from strandline.spec.errors import CorruptArtifactError, NotFoundError, UnavailableError
from strandline.spec.records import Event, Trial, TrialState, digest_of
from strandline.spec.settings import load_settings
from strandline.testing.bundles import make_bundle
from strandline.testing.catalog_contract import make_dataset_version, make_model_version

SEARCH = {"dataset": {"name": "coast"}}


class Pipes:
    """The stdin and stdout of a process that answers."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._questions, self._answers = process.stdin, process.stdout

    def write(self, data: bytes) -> None:
        self._questions.write(data)
        self._questions.flush()

    def read(self, size: int) -> bytes:
        return self._answers.read(size)

    def read_line(self) -> bytes:
        return self._answers.readline()


@pytest.fixture
def there(tmp_path: Path) -> Platform:
    """A place with one of everything."""
    place = compose.local(load_settings({"STRANDLINE_HOME": str(tmp_path / "there")}))
    catalog = place.catalog
    uid = catalog.apply_resource("Search", "quick", SEARCH, {"team": "birds"})[0].uid
    catalog.apply_resource("Model", "coast", {})
    catalog.add_dataset_version(make_dataset_version(dataset="coast"))
    bundle = place.store.put(make_bundle(tmp_path / "bundle").read_bytes())
    version = make_model_version(model="coast", search=uid)
    catalog.add_model_version(version.model_copy(update={"bundle": bundle}))
    for number in range(3):
        catalog.record_trial(
            Trial(
                search=uid,
                number=number,
                candidate={"rate": 0.1 * number, "head": "mlp"},
                state=TrialState.COMPLETED,
                metrics={"val/log_loss": 1.0 / (number + 1)},
            )
        )
        catalog.record_metrics(uid, number, 1, {"val/log_loss": 0.5})
    now = place.clock.now()
    told = Event(kind="Search", name="quick", type="Normal", reason="R", message="m", at=now)
    catalog.record_event(told)
    catalog.swap_pointer(f"search/{uid}/elapsed", None, "12.5")
    return place


@pytest.fixture
def asking(there: Platform) -> Iterator[Asking]:
    with subprocess.Popen(
        [sys.executable, "-m", "strandline", "answer-reads"],
        env={**os.environ, "STRANDLINE_HOME": str(there.settings.home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield Asking(Pipes(process))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_everything_is_read_as_it_is_there(there: Platform, asking: Asking) -> None:
    own, far = there.catalog, remote_catalog(asking)
    uid = own.get_resource("Search", "quick").uid
    assert far.get_resource("Search", "quick") == own.get_resource("Search", "quick")
    assert far.list_resources("Search", {"team": "birds"}) == own.list_resources("Search")
    assert far.list_resources("Search", limit=5, after="quick") == []
    assert far.list_trials(uid) == own.list_trials(uid)
    assert far.list_trials(uid, limit=1, after=0) == own.list_trials(uid, limit=1, after=0)
    assert far.list_metrics(uid, 1) == own.list_metrics(uid, 1)
    assert far.get_dataset_version("coast") == own.get_dataset_version("coast")
    assert far.list_dataset_versions("coast") == own.list_dataset_versions("coast")
    assert far.get_model_version("coast", 1) == own.get_model_version("coast", 1)
    assert far.list_model_versions("coast") == own.list_model_versions("coast")
    assert far.list_events("Search", "quick") == own.list_events("Search", "quick")
    assert far.read_pointer(f"search/{uid}/elapsed") == "12.5"
    assert far.read_pointer("nothing") is None


def test_objects_come_whole_or_in_parts(there: Platform, asking: Asking) -> None:
    data = os.urandom(3 << 20)
    digest = there.store.put(data)
    there.store.create("marks/a", b"mark")
    far = remote_store(asking)
    assert far.get(digest) == data
    assert far.read_range(digest, 5, 10) == data[5:15]
    assert (far.size(digest), far.size(digest_of(b"absent"))) == (len(data), None)
    assert far.read("marks/a") == b"mark"
    with far.open(digest) as file:
        assert file.read(4) == data[:4]


def test_errors_are_of_the_class_they_had(asking: Asking) -> None:
    with pytest.raises(NotFoundError, match="quack"):
        remote_catalog(asking).get_resource("Search", "quack")
    with pytest.raises(NotFoundError):
        remote_store(asking).get(digest_of(b"absent"))
    assert remote_catalog(asking).read_pointer("still answers") is None


def test_nothing_can_be_written_or_called_that_is_no_reading(asking: Asking) -> None:
    for name in ("delete_resource", "put", "apply_resource", "__class__", "delete"):
        with pytest.raises(Exception, match="no reading by"):
            asking.ask(name, "Search", "quick")
    with pytest.raises(AttributeError):
        remote_catalog(asking).delete_resource("Search", "quick")


def test_the_verbs_work_on_it(there: Platform, asking: Asking, tmp_path: Path) -> None:
    far = Platform(there.settings, remote_store(asking), remote_catalog(asking), there.clock)
    assert api.search_progress("quick", platform=far) == api.search_progress(
        "quick", platform=there
    )
    assert api.list_models(platform=far) == api.list_models(platform=there)
    (near,) = api.export("coast", out=tmp_path / "near", platform=there)
    (away,) = api.export("coast", out=tmp_path / "away", platform=far)
    assert near.read_bytes() == away.read_bytes()


def test_what_is_not_a_number_arrives(there: Platform) -> None:
    uid = there.catalog.get_resource("Search", "quick").uid
    question = json.dumps({"call": "list_trials", "arguments": [uid, 10, -1]}).encode() + b"\n"

    class Odd:
        def list_trials(self, search: str, limit: int, after: int) -> list[Trial]:
            return [Trial(search=search, number=0, candidate={}, metrics={"x": math.nan})]

    answers = io.BytesIO()
    answer_reads(Odd(), there.store, io.BytesIO(question), answers)  # type: ignore[arg-type]
    answers.seek(0)

    class Recorded:
        def write(self, data: bytes) -> None:
            pass

        def read(self, size: int) -> bytes:
            return answers.read(size)

        def read_line(self) -> bytes:
            return answers.readline()

    (trial,) = remote_catalog(Asking(Recorded())).list_trials(uid)
    assert math.isnan(trial.metrics["x"])


class Scripted:
    """Answers what it was given."""

    def __init__(self, answers: bytes) -> None:
        self._answers = io.BytesIO(answers)

    def write(self, data: bytes) -> None:
        pass

    def read(self, size: int) -> bytes:
        return self._answers.read(size)

    def read_line(self) -> bytes:
        return self._answers.readline()


def test_another_version_is_not_talked_to() -> None:
    with pytest.raises(UnavailableError, match="not of this version"):
        Asking(Scripted(b"strandline-reads 2\n"))


def test_an_object_that_arrives_changed_is_refused() -> None:
    body = b"another"
    head = json.dumps({"size": len(body)}).encode() + b"\n"
    store = remote_store(Asking(Scripted(GREETING + head + body)))
    with pytest.raises(CorruptArtifactError):
        store.get(digest_of(b"meant"))
