"""The object store contract over every adapter, and what each one promises besides."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.servers.s3 import S3Server

from strandline.adapters.files import FileStore
from strandline.adapters.object_names import object_key
from strandline.adapters.s3 import S3Store
from strandline.adapters.stores import open_store as open_any_store
from strandline.spec.errors import InvalidSpecError, UnavailableError
from strandline.spec.settings import S3Settings
from strandline.testing.object_store_contract import Damage, ObjectStoreContract, OpenStore


class TestFileStore(ObjectStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda: FileStore(tmp_path / "store")

    @pytest.fixture
    def damage(self, tmp_path: Path) -> Damage:
        def flip(digest: str) -> None:
            path = tmp_path / "store" / object_key(digest)
            data = path.read_bytes()
            path.write_bytes(bytes([data[0] ^ 1]) + data[1:])

        return flip

    def test_storing_a_damaged_object_again_mends_it(self, tmp_path: Path, damage: Damage) -> None:
        store = FileStore(tmp_path / "store")
        digest = store.put(b"some bytes")
        damage(digest)
        store.put(b"some bytes")
        assert store.get(digest) == b"some bytes"
        damage(digest)
        (tmp_path / "copy").write_bytes(b"some bytes")
        store.put_file(tmp_path / "copy")
        assert store.get(digest) == b"some bytes"

    def test_storing_again_flushes_what_another_writer_may_not_have(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = FileStore(tmp_path / "store")
        path = tmp_path / "store" / object_key(store.put(b"there already"))
        flushed: list[int] = []

        def fsync(handle: int, really: Callable[[int], None] = os.fsync) -> None:
            flushed.append(os.fstat(handle).st_ino)
            really(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        store.put(b"there already")
        assert flushed == [path.stat().st_ino, path.parent.stat().st_ino]

    def test_no_writer_leaves_a_temporary_file(self, tmp_path: Path) -> None:
        store = FileStore(tmp_path / "store")
        store.put(b"1")
        store.create("name", b"2")
        with pytest.raises(Exception, match="name"):
            store.create("name", b"3")
        assert list((tmp_path / "store" / "tmp").iterdir()) == []

    def test_opening_sweeps_what_dead_writers_left_and_spares_living_ones(
        self, tmp_path: Path
    ) -> None:
        store = FileStore(tmp_path / "store")
        leftover = tmp_path / "store" / "tmp" / "dead"
        leftover.write_bytes(b"half an obj")
        with store._writing() as (file, living):
            file.write(b"still being wri")
            FileStore(tmp_path / "store")
            assert living.exists()
        assert not leftover.exists()

    def test_a_folder_that_cannot_be_used_is_explained(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UnavailableError, match="cannot use the store"):
            FileStore(tmp_path / "file" / "store")


@pytest.mark.s3
class TestS3Store(ObjectStoreContract):
    @pytest.fixture
    def open_store(self, s3_server: S3Server, s3_bucket: str) -> OpenStore:
        return lambda: S3Store(s3_bucket, "some/prefix", s3_server.settings)

    @pytest.fixture
    def damage(self, s3_server: S3Server, s3_bucket: str) -> Damage:
        def flip(digest: str) -> None:
            key = f"some/prefix/{object_key(digest)}"
            data = s3_server.client.get_object(s3_bucket, key).read()
            broken = bytes([data[0] ^ 1]) + data[1:]
            s3_server.client.put_object(s3_bucket, key, io.BytesIO(broken), len(broken))

        return flip


def test_a_file_address_opens_a_folder(tmp_path: Path) -> None:
    root = tmp_path / "with space"
    store = open_any_store(root.as_uri(), S3Settings())
    store.create("here", b"")
    assert list(FileStore(root).names()) == ["here"]


@pytest.mark.parametrize("url", ["", "/tmp/x", "ftp://host/x", "file://host/x", "s3://", "s3:///x"])
def test_an_address_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidSpecError, match="is no store"):
        open_any_store(url, S3Settings())
