"""One way to speak to any S3: patient with the network, plain about what is wrong.

Requests are repeated on errors that pass by themselves, spread by jitter, so that many
workers do not come back all at once. What does not pass becomes an error that says what
to do. Keys stand in no message: only the server's error code and our own words do.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TypeVar

import certifi
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError, MaxRetryError

from strandline.spec.errors import InvalidSpecError, StrandlineError, UnavailableError
from strandline.spec.settings import S3Settings

Result = TypeVar("Result")
FAILURES = (MinioException, HTTPError, OSError)
"""What a request, or reading its answer, may raise."""

_ATTEMPTS = 4
_TIMEOUT = Timeout(connect=10.0, read=60.0)
# The same request again; `attempt` repeats what this cannot see.
_RETRY = Retry(
    total=3,
    backoff_factor=0.2,
    backoff_jitter=0.3,
    backoff_max=5,
    status_forcelist=[429, 500, 502, 503, 504],
    allowed_methods=None,
)
_PASSING = {
    *("SlowDown", "SlowDownRead", "SlowDownWrite", "RequestTimeout", "InternalError"),
    *("ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict"),
}
_WRONG_KEYS = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
    *("TokenRefreshRequired", "InvalidTokenId", "MissingSecurityHeader"),
}
_ELSEWHERE = {
    *("PermanentRedirect", "Redirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"),
    "IllegalLocationConstraintException",
}
_extra_headers: ContextVar[Mapping[str, str] | None] = ContextVar("extra_headers", default=None)


class _Connections(PoolManager):
    """Adds headers for which the client has no argument; S3 asks for no signature on them."""

    def urlopen(  # type: ignore[override]  # as PoolManager's own is
        self, method: str, url: str, redirect: bool = True, **kw: Any
    ) -> BaseHTTPResponse:
        extra = _extra_headers.get()
        if extra:
            headers = kw["headers"].copy()
            headers.update(extra)
            kw["headers"] = headers
        return super().urlopen(method, url, redirect, **kw)


@contextmanager
def sending(headers: Mapping[str, str]) -> Iterator[None]:
    """Send these headers too with the requests that this thread makes inside."""
    token = _extra_headers.set(headers)
    try:
        yield
    finally:
        _extra_headers.reset(token)


def client_of(settings: S3Settings) -> Minio:
    """Return this process's client for `settings`, made once.

    Raises:
        InvalidSpecError: the settings cannot be right.
    """
    return _client_of_process(settings, os.getpid())


@lru_cache(maxsize=4)
def _client_of_process(settings: S3Settings, _pid: int) -> Minio:
    if (settings.access_key is None) != (settings.secret_key is None):
        raise InvalidSpecError(
            "set both STRANDLINE_S3_ACCESS_KEY and STRANDLINE_S3_SECRET_KEY, or neither "
            "for buckets that everybody may read"
        )
    connections = _Connections(
        maxsize=16,
        timeout=_TIMEOUT,
        retries=_RETRY,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
    try:
        return Minio(
            settings.endpoint,
            access_key=settings.access_key,
            secret_key=settings.secret_key,
            session_token=settings.session_token,
            region=settings.region,
            secure=settings.secure,
            http_client=connections,
        )
    except ValueError:  # its message would repeat an endpoint with a password in it
        raise InvalidSpecError(
            "STRANDLINE_S3_ENDPOINT is no address of an S3 server: write https://HOST[:PORT]"
        ) from None


def attempt(work: Callable[[], Result]) -> Result:
    """Return what `work` returns; repeat it when it failed for a reason that passes."""
    for number in range(1, _ATTEMPTS + 1):
        try:
            return work()
        except FAILURES as error:
            if number == _ATTEMPTS or not passes(error):
                raise
        pause(number)
    raise AssertionError("the last attempt returns or raises")


def pause(number: int) -> None:
    """Wait a random time that grows with the number of attempts made."""
    time.sleep(random.uniform(0, 0.2 * 2**number))  # noqa: S311 – only spreads the clients


def passes(error: BaseException) -> bool:
    """Return whether the same thing may work if it is tried again now."""
    if isinstance(error, S3Error):
        return error.code in _PASSING
    if isinstance(error, MaxRetryError):  # was tried several times already
        return False
    return isinstance(error, HTTPError | ConnectionError | TimeoutError)


def code_of(error: BaseException) -> str | None:
    """Return S3's own code of the error, for example `NoSuchKey`."""
    return error.code if isinstance(error, S3Error) else None


def has_wrong_keys(error: BaseException) -> bool:
    """Return whether the server knows the keys not at all: then nothing will work."""
    return code_of(error) in _WRONG_KEYS


def explained(error: BaseException, bucket: str, settings: S3Settings) -> StrandlineError:
    """Return the error a person or program can act on."""
    host = settings.endpoint.rpartition("@")[2]
    code = code_of(error)
    where = f"bucket {bucket!r} at {host}"
    if code == "NoSuchBucket":
        return UnavailableError(
            f"there is no {where}: create it (`aws s3 mb s3://{bucket}` or the server's "
            "console), or name another"
        )
    if has_wrong_keys(error):
        return UnavailableError(
            f"{host} does not accept the keys ({code}): check STRANDLINE_S3_ACCESS_KEY, "
            "STRANDLINE_S3_SECRET_KEY and STRANDLINE_S3_SESSION_TOKEN"
        )
    if code == "AccessDenied":
        return UnavailableError(_denial(where, settings))
    if code in _ELSEWHERE:
        return UnavailableError(f"{where} is in another region ({code}): set STRANDLINE_S3_REGION")
    if code == "RequestTimeTooSkewed":
        return UnavailableError(f"{host} refuses our requests: set the clock of this machine")
    return UnavailableError(f"{where} does not answer as it should ({_reason(error)}): try again")


def _denial(where: str, settings: S3Settings) -> str:
    if settings.access_key is None:
        return (
            f"{where} denies access to strangers: set STRANDLINE_S3_ACCESS_KEY and "
            "STRANDLINE_S3_SECRET_KEY"
        )
    return f"{where} denies access with these keys: grant them list, read, write and delete in it"


def _reason(error: BaseException) -> str:
    """Say what happened in words that hold no address, header or body of the request."""
    if isinstance(error, S3Error):
        return str(error.code)
    if isinstance(error, ServerError | InvalidResponseError):
        return str(error).splitlines()[0][:120]
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    return type(cause).__name__
