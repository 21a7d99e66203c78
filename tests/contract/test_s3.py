"""What S3 brings besides the store's contract: faulty networks, wrong keys, old servers."""

from __future__ import annotations

import io
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.servers.s3 import S3Server

from strandline.adapters import s3_client
from strandline.adapters.s3 import S3Source, S3Store
from strandline.spec.errors import (
    CorruptArtifactError,
    InvalidSpecError,
    NotFoundError,
    UnavailableError,
    UnusableDataError,
)
from strandline.spec.settings import S3Settings

pytestmark = pytest.mark.s3


@contextmanager
def cutting_proxy(
    server: S3Server, after_bytes: int, cuts: int, *, uploads: bool = False
) -> Iterator[str]:
    """Pass connections on to the server, cutting the first `cuts` that carry more bytes
    in their answers (or, with `uploads`, in their requests)."""
    host, port = server.endpoint.split(":")
    listener = socket.create_server(("127.0.0.1", 0))
    left = [cuts]

    def pump(source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                if limit is not None and passed > limit and left[0] > 0:
                    left[0] -= 1
                    break
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            upstream = socket.create_connection((host, int(port)))
            limits = (after_bytes, None) if uploads else (None, after_bytes)
            for args in ((client, upstream, limits[0]), (upstream, client, limits[1])):
                threading.Thread(target=pump, args=args, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        assert left == [0], "nothing was cut"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class OldServer(BaseHTTPRequestHandler):
    """An S3 server of the time before conditional writes: takes every upload."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def test_a_server_that_ignores_conditional_writes_is_refused() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OldServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = S3Settings(
            endpoint=f"127.0.0.1:{server.server_port}",
            region="us-east-1",
            access_key="someone",
            secret_key="something",
            secure=False,
        )
        with pytest.raises(UnavailableError, match="If-None-Match"):
            S3Store("bucket", "", settings)
        server.shutdown()


def test_a_body_cut_short_is_taken_up_where_it_broke(s3_server: S3Server, s3_bucket: str) -> None:
    data = bytes(range(256)) * 8192
    digest = S3Store(s3_bucket, "", s3_server.settings).put(data)
    with cutting_proxy(s3_server, after_bytes=500_000, cuts=2) as endpoint:
        store = S3Store(s3_bucket, "", replace(s3_server.settings, endpoint=endpoint))
        assert store.get(digest) == data


def test_a_large_file_comes_back_whole_after_a_multipart_upload(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(251)) * 100_000)
    store = S3Store(s3_bucket, "", s3_server.settings)
    digest = store.put_file(path)
    with store.open(digest) as file:
        assert file.read() == path.read_bytes()
    assert store.read_range(digest, 9_000_000, 10) == path.read_bytes()[9_000_000:9_000_010]


def test_an_upload_cut_short_is_sent_again(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(251)) * 50_000)
    with cutting_proxy(s3_server, after_bytes=3_000_000, cuts=2, uploads=True) as endpoint:
        store = S3Store(s3_bucket, "", replace(s3_server.settings, endpoint=endpoint))
        digest = store.put_file(path)
    assert S3Store(s3_bucket, "", s3_server.settings).get(digest) == path.read_bytes()


@pytest.mark.parametrize("new_bytes", [20_000_000, 12_000_000, 9_000_000, 0])
def test_a_file_that_changes_while_it_is_stored_is_not_stored(
    s3_server: S3Server,
    s3_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    new_bytes: int,
) -> None:
    store = S3Store(s3_bucket, "", s3_server.settings)
    path = tmp_path / "changing"
    path.write_bytes(b"a" * 12_000_000)

    def size(digest: str) -> None:
        """Tell that the object is not there; meanwhile somebody writes the file anew."""
        path.write_bytes(b"b" * new_bytes)

    monkeypatch.setattr(store, "size", size)
    with pytest.raises(UnusableDataError, match="changed while it was stored"):
        store.put_file(path)
    assert list(store.digests()) == []
    uploads = s3_server.client._list_multipart_uploads(s3_bucket)
    assert uploads.uploads == []


def test_prefixes_of_one_bucket_do_not_see_each_other(s3_server: S3Server, s3_bucket: str) -> None:
    one = S3Store(s3_bucket, "team/one", s3_server.settings)
    other = S3Store(s3_bucket, "team/other", s3_server.settings)
    digest = one.put(b"mine")
    one.create("name", b"mine")
    assert other.size(digest) is None
    assert list(other.names()) == []
    assert list(other.digests()) == []
    with pytest.raises(NotFoundError):
        other.get(digest)


def test_a_presigned_link_reads_without_keys_and_only_that_object(
    s3_server: S3Server, s3_bucket: str
) -> None:
    store = S3Store(s3_bucket, "", s3_server.settings)
    link = store.presign(store.put(b"shown"), timedelta(minutes=1))
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == b"shown"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(link.replace("objects/", "objects/0")).close()


def test_damage_behind_the_stores_back_is_noticed(s3_server: S3Server, s3_bucket: str) -> None:
    store = S3Store(s3_bucket, "", s3_server.settings)
    digest = store.put(b"sound")
    (key,) = [
        found.object_name
        for found in s3_server.client.list_objects(s3_bucket, "objects/", recursive=True)
    ]
    assert key is not None
    s3_server.client.put_object(s3_bucket, key, io.BytesIO(b"rotten"), 6)
    with pytest.raises(CorruptArtifactError):
        store.get(digest)


@pytest.mark.parametrize("field", ["access_key", "secret_key"])
def test_wrong_keys_are_named_but_never_shown(
    s3_server: S3Server, s3_bucket: str, field: str
) -> None:
    wrong = S3Settings(
        endpoint=s3_server.endpoint,
        region="us-east-1",
        access_key="AKnobody" if field == "access_key" else s3_server.access_key,
        secret_key="hush-hush" if field == "secret_key" else s3_server.secret_key,
        secure=False,
    )
    with pytest.raises(UnavailableError) as caught:
        S3Store(s3_bucket, "", wrong)
    text = str(caught.value)
    assert "STRANDLINE_S3_ACCESS_KEY" in text
    assert "hush" not in text
    assert s3_server.secret_key not in text


def test_half_a_pair_of_keys_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InvalidSpecError, match="STRANDLINE_S3_SECRET_KEY"):
        S3Store("bucket", "", S3Settings(endpoint="127.0.0.1:1", access_key="only"))


def test_a_missing_bucket_says_how_to_make_it(s3_server: S3Server) -> None:
    with pytest.raises(UnavailableError, match="aws s3 mb s3://absent-bucket"):
        S3Store("absent-bucket", "", s3_server.settings)


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "_ATTEMPTS", 1)
    settings = S3Settings("127.0.0.1:1", "us-east-1", "a", "b", secure=False)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        S3Store("bucket", "", settings)


def test_a_source_tells_missing_oversize_and_forbidden_objects_apart(
    s3_server: S3Server, s3_bucket: str
) -> None:
    s3_server.client.put_object(s3_bucket, "a b/ü.jpg", io.BytesIO(b"12345"), 5)
    source = S3Source(s3_server.settings)
    uri = f"s3://{s3_bucket}/a b/ü.jpg"
    assert source.read_object(uri, 5) == b"12345"
    with pytest.raises(UnusableDataError, match="larger than the limit of 4 bytes"):
        source.read_object(uri, 4)
    with pytest.raises(UnusableDataError, match="no such object"):
        source.read_object(f"s3://{s3_bucket}/other", 10)
    with pytest.raises(UnusableDataError, match="no bucket"):
        source.read_object("s3://absent-bucket/a", 10)
    with pytest.raises(UnusableDataError, match="names no object"):
        source.read_object(f"s3://{s3_bucket}", 10)
    assert [found[:2] for found in source.list_objects(f"s3://{s3_bucket}/a")] == [(uri, 5)]
    before = source.version_of(uri)
    s3_server.client.put_object(s3_bucket, "a b/ü.jpg", io.BytesIO(b"54321"), 5)
    assert source.version_of(uri) != before
