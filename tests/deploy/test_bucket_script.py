"""The script of the chart's Job, run on a real server: bucket, user, and no more rights."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from io import BytesIO

import pytest
from minio import Minio
from minio.error import S3Error
from tests.deploy.chart import CHART
from tests.servers.s3 import S3Server

from strandline.adapters.stores import open_store

pytestmark = pytest.mark.s3

_BUCKET = "made-by-the-chart"
_USER, _KEY = "strandline", "a-key-of-its-own-0123456789"


def _run(server: S3Server, key: str = _KEY, user: str = _USER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHART / "files" / "make_bucket.py")],
        env={
            "MINIO_SERVER": server.endpoint,
            "MINIO_BUCKET": _BUCKET,
            "MINIO_ROOT_USER": server.access_key,
            "MINIO_ROOT_PASSWORD": server.secret_key,
            "STRANDLINE_S3_ACCESS_KEY": user,
            "STRANDLINE_S3_SECRET_KEY": key,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def _client(server: S3Server, key: str = _KEY) -> Minio:
    return Minio(
        server.endpoint, access_key=_USER, secret_key=key, region="us-east-1", secure=False
    )


def test_the_user_can_keep_a_store_in_the_bucket(s3_server: S3Server) -> None:
    done = _run(s3_server)
    assert done.returncode == 0, done.stderr
    settings = replace(s3_server.settings, access_key=_USER, secret_key=_KEY)
    store = open_store(f"s3://{_BUCKET}/team-a", settings)
    digest = store.put(b"shingle")
    assert store.get(digest) == b"shingle"
    assert list(store.digests()) == [digest]
    store.delete(digest)
    assert list(store.digests()) == []


def test_the_user_reads_other_buckets_and_writes_to_none(s3_server: S3Server) -> None:
    assert _run(s3_server).returncode == 0
    photos = s3_server.make_bucket()
    s3_server.client.put_object(photos, "gull.jpg", BytesIO(b"gull"), 4)
    client = _client(s3_server)
    assert client.get_object(photos, "gull.jpg").read() == b"gull"
    for write in (
        lambda: client.put_object(photos, "tern.jpg", BytesIO(b"tern"), 4),
        lambda: client.remove_object(photos, "gull.jpg"),
        lambda: client.make_bucket("another"),
        lambda: client.remove_bucket(_BUCKET),
    ):
        with pytest.raises(S3Error, match="Access Denied"):
            write()


def test_running_it_again_changes_nothing_but_a_key_that_is_new(s3_server: S3Server) -> None:
    assert _run(s3_server).returncode == 0
    _client(s3_server).put_object(_BUCKET, "kept", BytesIO(b"kept"), 4)
    assert _run(s3_server).returncode == 0
    assert _client(s3_server).get_object(_BUCKET, "kept").read() == b"kept"
    new = "another-key-0123456789"
    assert _run(s3_server, new).returncode == 0
    assert _client(s3_server, new).get_object(_BUCKET, "kept").read() == b"kept"
    with pytest.raises(S3Error):
        _client(s3_server).get_object(_BUCKET, "kept")


def test_with_the_administrators_own_key_there_is_no_user_to_make(s3_server: S3Server) -> None:
    done = _run(s3_server, s3_server.secret_key, s3_server.access_key)
    assert done.returncode == 0, done.stderr
