"""An object store in an S3 bucket, and S3 as a place that imports read from.

S3 shows an object whole or not at all, so content-addressed puts are atomic as they are.
Create-only names need more: `If-None-Match: *`, which older servers ignore without a
word. Opening a store therefore asks the server once to prove that it obeys.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from urllib3 import BaseHTTPResponse

from strandline.adapters.object_names import (
    check_link_life,
    check_range,
    digest_of_key,
    name_of_key,
    named_key,
    object_key,
)
from strandline.adapters.s3_client import (
    FAILURES,
    attempt,
    client_of,
    code_of,
    explained,
    passes,
    pause,
    sending,
)
from strandline.spec.errors import (
    AlreadyExistsError,
    CorruptArtifactError,
    NotFoundError,
    UnavailableError,
    UnusableDataError,
)
from strandline.spec.records import digest_of
from strandline.spec.settings import S3Settings

Result = TypeVar("Result")
_CHUNK_BYTES = 1 << 20
_PART_BYTES = 8 << 20  # up to five parts are in memory at a time
_MOST_PARTS = 9_000
_UPLOADS = 8
_ONLY_IF_ABSENT = {"If-None-Match": "*"}
_PROBE = "probe/create-only"
_ABSENT = {"NoSuchKey", "NoSuchObject"}


class S3Store:
    """`ports.ObjectStore` under `prefix` of an existing bucket."""

    def __init__(self, bucket: str, prefix: str, settings: S3Settings) -> None:
        self._bucket = bucket
        self._base = f"{prefix.strip('/')}/".lstrip("/")
        self._settings = settings
        self._client = client_of(settings)
        self._prove_create_only()

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        if self.size(digest) != len(data):
            self._ask(lambda: self._upload(object_key(digest), data))
        return digest

    def put_all(self, objects: Sequence[bytes]) -> list[str]:
        with ThreadPoolExecutor(_UPLOADS, "strandline-upload") as threads:
            return list(threads.map(self.put, objects))

    def put_file(self, path: Path) -> str:
        with _source(path) as file:
            digest = f"sha256:{_hash(file)}"
            size = file.tell()
            if self.size(digest) != size:
                self._upload_file(object_key(digest), file, size, digest)
        return digest

    def get(self, digest: str) -> bytes:
        with self.open(digest) as file:
            data = file.read()
        if digest_of(data) != digest:
            raise CorruptArtifactError(
                f"object {digest} is damaged in {self._address}: its bytes no longer match its "
                "name; delete it, then import or train again to restore it"
            )
        return data

    def read_range(self, digest: str, start: int, length: int) -> bytes:
        check_range(start, length)
        size = self.size(digest)
        if size is None:
            raise self._missing(digest)
        wanted = min(length, size - start)
        if wanted <= 0:
            return b""
        with self._translated(digest), self._body(digest, start, start + wanted) as file:
            return file.read()

    def open(self, digest: str) -> AbstractContextManager[BinaryIO]:
        size = self.size(digest)
        if size is None:
            raise self._missing(digest)
        return self._body(digest, 0, size)

    def size(self, digest: str) -> int | None:
        found = self._stat(object_key(digest))
        return None if found is None else cast("int", found.size)

    def delete(self, digest: str) -> None:
        key = self._base + object_key(digest)
        self._ask(lambda: self._client.remove_object(self._bucket, key))

    def digests(self) -> Iterator[str]:
        for key in self._keys("objects/"):
            digest = digest_of_key(key)
            if digest is not None:
                yield digest

    def create(self, name: str, data: bytes) -> None:
        if not self._create(named_key(name), data):
            raise AlreadyExistsError(f"{name} is there already and stays as it is")

    def read(self, name: str) -> bytes:
        key = self._base + named_key(name)

        def whole() -> bytes:
            with _closing(self._client.get_object(self._bucket, key)) as response:
                return response.read()

        try:
            return self._ask(whole)
        except NotFoundError:
            raise NotFoundError(f"{name} is not in {self._address}") from None

    def names(self, prefix: str = "") -> Iterator[str]:
        names = (name_of_key(key) for key in self._keys(f"named/{prefix}"))
        yield from sorted(name for name in names if name is not None)

    def presign(self, digest: str, expires: timedelta) -> str:
        check_link_life(expires)
        if self.size(digest) is None:
            raise self._missing(digest)
        key = self._base + object_key(digest)
        return self._ask(lambda: self._client.presigned_get_object(self._bucket, key, expires))

    # ------------------------------------------------------------ requests

    @property
    def _address(self) -> str:
        return f"s3://{self._bucket}/{self._base}".rstrip("/")

    def _prove_create_only(self) -> None:
        """Check that the server keeps a second writer from replacing the first one's object.

        Raises:
            UnavailableError: it does not, or the bucket cannot be used at all.
        """
        # The object stays: when it is there already, one request proves it.
        if self._create(_PROBE, b"") and self._create(_PROBE, b""):
            raise UnavailableError(
                f"{self._settings.endpoint} ignores conditional writes (If-None-Match), without "
                "which two processes could overwrite each other: use a server that knows them "
                "(Amazon S3, MinIO, Ceph 19 or newer …) or keep the store in files"
            )

    def _create(self, key: str, data: bytes) -> bool:
        """Upload unless the key is taken; return whether this call created it."""
        writer = uuid.uuid4().hex
        try:
            with sending(_ONLY_IF_ABSENT):
                self._ask(lambda: self._upload(key, data, {"strandline-writer": writer}))
        except AlreadyExistsError:
            # An answer may have been lost and the request repeated: then it was us.
            found = self._stat(key)
            metadata = {} if found is None else found.metadata
            return bool(metadata.get("x-amz-meta-strandline-writer") == writer)
        return True

    def _upload(self, key: str, data: bytes, metadata: dict[str, Any] | None = None) -> None:
        self._client.put_object(
            self._bucket, self._base + key, io.BytesIO(data), len(data), metadata=metadata
        )

    def _upload_file(self, key: str, file: BinaryIO, size: int, digest: str) -> None:
        part = max(_PART_BYTES, size // _MOST_PARTS + 1)

        def upload() -> None:
            file.seek(0)
            checked = cast("BinaryIO", _Checked(file, size, digest))
            self._client.put_object(self._bucket, self._base + key, checked, size, part_size=part)

        # Gone: the upload ended, its answer was lost, and the repetition found nothing.
        with suppress(NotFoundError):
            self._ask(upload)
        # A server may also fail late, in the body of an answer that began as a success.
        if self.size(digest) != size:
            raise UnavailableError(f"{self._address} lost an upload of {size:,} bytes: try again")

    def _stat(self, key: str) -> Any | None:
        try:
            return self._ask(lambda: self._client.stat_object(self._bucket, self._base + key))
        except NotFoundError:
            return None

    def _keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys under `prefix`, both relative to the store's own prefix."""
        start = self._base + prefix
        with self._translated(start):
            for found in self._client.list_objects(self._bucket, start, recursive=True):
                yield cast("str", found.object_name).removeprefix(self._base)

    def _body(self, digest: str, start: int, end: int) -> BinaryIO:
        key = self._base + object_key(digest)

        def fetch(offset: int) -> BaseHTTPResponse:
            return self._ask(
                lambda: self._client.get_object(self._bucket, key, offset, end - offset)
            )

        raw = _Body(fetch, start, end, lambda error: self._explain(error, digest))
        return cast("BinaryIO", io.BufferedReader(raw, _CHUNK_BYTES))

    def _ask(self, work: Callable[[], Result]) -> Result:
        with self._translated("the object"):
            return attempt(work)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            raise self._explain(error, what) from error

    def _explain(self, error: BaseException, what: str) -> Exception:
        code = code_of(error)
        if code in _ABSENT or code == "NoSuchUpload":
            return NotFoundError(f"{what} is not in {self._address}")
        if code == "PreconditionFailed":
            return AlreadyExistsError(f"{what} is there already and stays as it is")
        return explained(error, self._bucket, self._settings)

    def _missing(self, digest: str) -> NotFoundError:
        return NotFoundError(f"object {digest} is not in {self._address}")


class S3Source:
    """Objects of any bucket, read for an import."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._client = client_of(settings)

    def read_object(self, uri: str, max_bytes: int) -> bytes:
        """Return the object's bytes; more than `max_bytes` are never held.

        Raises:
            UnusableDataError: it is not there, not for us to read, or larger.
            UnavailableError: the server does not answer, or accepts none of our requests.
        """
        return self._ask(uri, lambda bucket, key: self._read(bucket, key, max_bytes))

    def version_of(self, uri: str) -> str:
        """Return what changes when the object's bytes do.

        Raises:
            as `read_object`.
        """
        found = self._ask(uri, self._client.stat_object)
        return f"{found.etag}:{found.size}"

    def _ask(self, uri: str, work: Callable[[str, str], Result]) -> Result:
        bucket, key = _split(uri)
        if not key:
            raise UnusableDataError(f"{uri} names no object")
        try:
            return attempt(lambda: work(bucket, key))
        except (*FAILURES, ValueError) as error:
            code = code_of(error)
            if code in _ABSENT:
                raise UnusableDataError(f"there is no such object in bucket {bucket!r}") from error
            if code == "NoSuchBucket" or isinstance(error, ValueError):
                raise UnusableDataError(f"there is no bucket {bucket!r}") from error
            if code == "AccessDenied":
                raise UnusableDataError("the S3 server denies access to it") from error
            raise explained(error, bucket, self._settings) from error

    def list_objects(self, prefix_uri: str) -> Iterator[tuple[str, int, str]]:
        """Yield (uri, bytes, etag) of the objects whose address starts with `prefix_uri`.

        Raises:
            NotFoundError: there is no such bucket.
            UnavailableError: the server does not answer, or denies the listing.
        """
        bucket, prefix = _split(prefix_uri)
        try:
            for found in self._client.list_objects(bucket, prefix, recursive=True):
                key = cast("str", found.object_name)
                if not key.endswith("/"):  # consoles make such objects to show empty folders
                    yield f"s3://{bucket}/{key}", found.size or 0, found.etag or ""
        except (*FAILURES, ValueError) as error:
            reason = explained(error, bucket, self._settings)
            if code_of(error) == "NoSuchBucket" or isinstance(error, ValueError):
                raise NotFoundError(f"there is no bucket {bucket!r}: check the address") from error
            raise reason from error

    def _read(self, bucket: str, key: str, max_bytes: int) -> bytes:
        with _closing(self._client.get_object(bucket, key)) as response:
            declared = int(response.headers.get("content-length") or 0)
            # Asked of urllib3 at once, so that a body cut short is seen as one.
            data = b"" if declared > max_bytes else response.read(max_bytes + 1)
        if declared > max_bytes or len(data) > max_bytes:
            raise UnusableDataError(f"the object is larger than the limit of {max_bytes:,} bytes")
        return data


class _Body(io.RawIOBase):
    """The bytes from `position` to `end` of an object, taken up again where a connection
    broke: objects are immutable, so both parts fit."""

    def __init__(
        self,
        fetch: Callable[[int], BaseHTTPResponse],
        position: int,
        end: int,
        explain: Callable[[BaseException], Exception],
    ) -> None:
        self._fetch = fetch
        self._position = position
        self._end = end
        self._explain = explain
        self._response: BaseHTTPResponse | None = None

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readall(self) -> bytes:
        chunks = []
        while chunk := self.read(_CHUNK_BYTES):
            chunks.append(chunk)
        return b"".join(chunks)

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._end - self._position)
        for number in range(1, 5):
            if wanted <= 0:
                return 0
            try:
                data = self._chunk(wanted)
            except FAILURES as error:
                self._drop()
                if number == 4 or not passes(error):
                    raise self._explain(error) from error
                pause(number)
                continue
            buffer[: len(data)] = data
            self._position += len(data)
            return len(data)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        self._drop()
        super().close()

    def _chunk(self, wanted: int) -> bytes:
        if self._response is None:
            self._response = self._fetch(self._position)
        data = self._response.read(wanted)
        if not data:
            raise ConnectionResetError("the answer ended too early")
        return data

    def _drop(self) -> None:
        if self._response is not None:
            response, self._response = self._response, None
            response.close()
            response.release_conn()


class _Checked:
    """A file whose last bytes are handed out only if all of them match the digest."""

    def __init__(self, file: BinaryIO, size: int, digest: str) -> None:
        self._file = file
        self._left = size
        self._digest = digest
        self._hasher = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hasher.update(data)
        self._left -= len(data)
        ended = self._left <= 0 if data else self._left > 0  # with its last byte, or before it
        if ended and f"sha256:{self._hasher.hexdigest()}" != self._digest:
            raise UnusableDataError("the file changed while it was stored: store it again")
        return data


@contextmanager
def _closing(response: BaseHTTPResponse) -> Iterator[BaseHTTPResponse]:
    try:
        yield response
    finally:
        response.close()
        response.release_conn()


@contextmanager
def _source(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise UnusableDataError(f"cannot read {path}: {error.strerror or error}") from error
    with file:
        yield file


def _hash(file: BinaryIO) -> str:
    hasher = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        hasher.update(chunk)
    return hasher.hexdigest()


def _split(uri: str) -> tuple[str, str]:
    """Split `s3://bucket/key`. Keys are taken as they stand: `%20` and `?` mean themselves."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
