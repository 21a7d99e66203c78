"""What every `ports.ObjectStore` keeps, as tests: subclass and say how to open yours.

class TestMyStore(ObjectStoreContract):
    @pytest.fixture
    def open_store(self) -> OpenStore: ...
    @pytest.fixture
    def damage(self) -> Damage: ...
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest

from strandline.ports import ObjectStore
from strandline.spec.errors import (
    AlreadyExistsError,
    CorruptArtifactError,
    InvalidSpecError,
    NotFoundError,
)
from strandline.spec.records import digest_of

OpenStore = Callable[[], ObjectStore]
Damage = Callable[[str], None]

ABSENT = digest_of(b"never stored")
LARGE_BYTES = 17 * 1024 * 1024 + 3  # more than one part of any multipart upload
BAD_DIGESTS = ("", "sha256:", "sha256:../../etc/passwd", "md5:" + "0" * 64, ABSENT.upper())
BAD_NAMES = ("", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a b", "ä", "a\n", "a" * 999)
RACERS = 8


class ObjectStoreContract:
    """The suite. `open_store` opens the same place anew at each call."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Return what opens the store under test; each call opens the same place."""
        raise NotImplementedError

    @pytest.fixture
    def damage(self) -> Damage:
        """Return what flips bits in a stored object behind the store's back."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: OpenStore) -> ObjectStore:
        """Return the store under test, empty."""
        return open_store()

    # ------------------------------------------------------------ objects

    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
    def test_an_object_comes_back_under_its_digest(self, store: ObjectStore, data: bytes) -> None:
        digest = store.put(data)
        assert digest == digest_of(data)
        assert (store.get(digest), store.size(digest)) == (data, len(data))

    def test_many_objects_are_stored_at_once_and_keep_their_order(
        self, open_store: OpenStore
    ) -> None:
        objects = [bytes([number]) * number for number in range(40)]
        store = open_store()
        store.put(objects[7])
        digests = store.put_all([*objects, objects[3]])
        assert digests == [digest_of(data) for data in [*objects, objects[3]]]
        assert [open_store().get(digest) for digest in digests[:40]] == objects
        assert store.put_all([]) == []

    def test_storing_again_keeps_one_object(self, store: ObjectStore) -> None:
        assert store.put(b"same") == store.put(b"same")
        assert list(store.digests()) == [digest_of(b"same")]

    def test_a_file_is_stored_under_the_digest_of_its_bytes(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        data = os.urandom(LARGE_BYTES)
        (tmp_path / "file").write_bytes(data)
        digest = store.put_file(tmp_path / "file")
        assert digest == digest_of(data)
        assert store.get(digest) == data
        assert store.put_file(tmp_path / "file") == digest

    def test_an_empty_file_is_an_object_too(self, store: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        assert store.get(store.put_file(tmp_path / "empty")) == b""

    def test_storing_a_missing_file_says_so(self, store: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="missing"):
            store.put_file(tmp_path / "missing")

    def test_what_was_stored_is_there_when_the_store_is_opened_again(
        self, store: ObjectStore, open_store: OpenStore
    ) -> None:
        digest = store.put(b"kept")
        store.create("kept", b"named")
        again = open_store()
        assert (again.get(digest), again.read("kept")) == (b"kept", b"named")

    def test_an_object_that_was_never_stored_is_not_found(self, store: ObjectStore) -> None:
        assert store.size(ABSENT) is None
        with pytest.raises(NotFoundError):
            store.get(ABSENT)
        with pytest.raises(NotFoundError):
            store.read_range(ABSENT, 0, 1)
        with pytest.raises(NotFoundError), store.open(ABSENT):
            pass
        with pytest.raises(NotFoundError):
            store.presign(ABSENT, timedelta(minutes=1))

    @pytest.mark.parametrize("digest", BAD_DIGESTS)
    def test_what_is_no_digest_never_becomes_a_place(self, store: ObjectStore, digest: str) -> None:
        for use in (store.get, store.size, store.delete, store.open):
            with pytest.raises(InvalidSpecError, match="digest"):
                use(digest)

    def test_damage_is_noticed_when_reading(self, store: ObjectStore, damage: Damage) -> None:
        digest = store.put(b"some bytes that will be damaged")
        damage(digest)
        with pytest.raises(CorruptArtifactError, match="damaged"):
            store.get(digest)

    def test_a_deleted_object_is_gone_and_may_be_deleted_again(self, store: ObjectStore) -> None:
        digest, other = store.put(b"short-lived"), store.put(b"other")
        store.delete(digest)
        store.delete(digest)
        assert store.size(digest) is None
        assert list(store.digests()) == [other]

    def test_digests_lists_objects_alone_and_sorted(self, store: ObjectStore) -> None:
        digests = sorted(store.put(b"%d" % number) for number in range(20))
        store.create("named", b"")
        assert list(store.digests()) == digests

    # ------------------------------------------------------------ reading in parts

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, 4, b"0123"),
            (3, 4, b"3456"),
            (8, 9, b"89"),
            (10, 1, b""),
            (99, 1, b""),
            (2, 0, b""),
            (0, 10, b"0123456789"),
        ],
    )
    def test_a_range_is_cut_at_the_end(
        self, store: ObjectStore, start: int, length: int, expected: bytes
    ) -> None:
        assert store.read_range(store.put(b"0123456789"), start, length) == expected

    def test_a_range_of_an_empty_object_is_empty(self, store: ObjectStore) -> None:
        assert store.read_range(store.put(b""), 0, 5) == b""

    @pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, -1)])
    def test_a_range_with_negative_numbers_is_refused(
        self, store: ObjectStore, start: int, length: int
    ) -> None:
        digest = store.put(b"0123456789")
        with pytest.raises(InvalidSpecError, match="range"):
            store.read_range(digest, start, length)

    def test_an_opened_object_reads_to_its_end_in_pieces(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        data = os.urandom(LARGE_BYTES)
        (tmp_path / "file").write_bytes(data)
        with store.open(store.put_file(tmp_path / "file")) as file:
            first = file.read(10)
            pieces = iter(lambda: file.read(1 << 20), b"")
            assert first + b"".join(pieces) == data

    # ------------------------------------------------------------ named objects

    def test_a_named_object_comes_back(self, store: ObjectStore) -> None:
        store.create("searches/a-1/manifest.json", b"{}")
        assert store.read("searches/a-1/manifest.json") == b"{}"

    @pytest.mark.parametrize("second", [b"second", b"first"])
    def test_a_name_is_taken_once_and_for_all(self, store: ObjectStore, second: bytes) -> None:
        store.create("taken", b"first")
        with pytest.raises(AlreadyExistsError, match="taken"):
            store.create("taken", second)
        assert store.read("taken") == b"first"

    def test_a_name_may_stand_below_another(self, store: ObjectStore) -> None:
        store.create("a", b"1")
        store.create("a/b", b"2")
        store.create("a/b/c", b"3")
        assert [store.read(name) for name in store.names()] == [b"1", b"2", b"3"]

    def test_names_are_listed_by_prefix_and_sorted(self, store: ObjectStore) -> None:
        for name in ("b/2", "b/10", "b-1", "B", "a", "bb/1"):
            store.create(name, b"")
        store.put(b"an object without a name")
        assert list(store.names()) == sorted(["b/2", "b/10", "b-1", "B", "a", "bb/1"])
        assert list(store.names("b/")) == ["b/10", "b/2"]
        assert list(store.names("b")) == ["b-1", "b/10", "b/2", "bb/1"]
        assert list(store.names("nothing")) == []

    def test_a_name_that_was_never_created_is_not_found(self, store: ObjectStore) -> None:
        store.create("a/b", b"")
        for name in ("a", "a/b/c", "c"):
            with pytest.raises(NotFoundError):
                store.read(name)

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_bad_name_is_refused(self, store: ObjectStore, name: str) -> None:
        with pytest.raises(InvalidSpecError):
            store.create(name, b"")
        with pytest.raises(InvalidSpecError):
            store.read(name)

    # ------------------------------------------------------------ races

    def test_of_racing_creators_one_wins_and_its_bytes_stay(self, open_store: OpenStore) -> None:
        stores = [open_store() for _ in range(RACERS)]
        for round_ in range(5):
            start = Barrier(RACERS)

            def race(number: int, name: str, start: Barrier) -> bool:
                start.wait()
                try:
                    stores[number].create(name, b"%d" % number)
                except AlreadyExistsError:
                    return False
                return True

            with ThreadPoolExecutor(RACERS) as threads:
                name = f"race/{round_}"
                jobs = [threads.submit(race, number, name, start) for number in range(RACERS)]
                won = [number for number, job in enumerate(jobs) if job.result()]
            assert len(won) == 1
            assert stores[0].read(name) == b"%d" % won[0]

    def test_racing_writers_of_the_same_bytes_all_succeed(self, open_store: OpenStore) -> None:
        data = os.urandom(200_000)
        stores = [open_store() for _ in range(RACERS)]
        with ThreadPoolExecutor(RACERS) as threads:
            digests = set(threads.map(lambda store: store.put(data), stores))
        assert digests == {digest_of(data)}
        assert stores[0].get(digests.pop()) == data

    # ------------------------------------------------------------ links

    def test_a_link_reads_the_object(self, store: ObjectStore) -> None:
        link = store.presign(store.put(b"linked"), timedelta(minutes=5))
        with urllib.request.urlopen(link, timeout=30) as response:  # noqa: S310 – ours
            assert response.read() == b"linked"

    @pytest.mark.parametrize("life", [timedelta(0), timedelta(days=8)])
    def test_a_link_cannot_live_longer_than_servers_sign(
        self, store: ObjectStore, life: timedelta
    ) -> None:
        digest = store.put(b"linked")
        with pytest.raises(InvalidSpecError, match="link"):
            store.presign(digest, life)
