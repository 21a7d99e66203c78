"""Run a command in a pod and talk to its stdin and stdout, over the API's WebSocket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes.client.exceptions import ApiException
from kubernetes.stream.ws_client import (
    ERROR_CHANNEL,
    STDERR_CHANNEL,
    STDOUT_CHANNEL,
    WSClient,
    get_websocket_url,
)
from websocket import WebSocketBadStatusException, WebSocketException

from strandline.adapters.kube.answers import error_of, status_of
from strandline.adapters.kube.resources import PODS, ObjectKey
from strandline.spec.errors import UnavailableError

_SILENCE_SECONDS = 120.0
_MOST_WORDS = 2_000
_connect: Any = WSClient  # untyped
_address: Any = get_websocket_url
_BROKEN = (WebSocketException, ApiException, OSError)


class ExecChannel:
    """`adapters.remote_reads.Channel` to a command in a pod."""

    def __init__(self, client: Any, what: str) -> None:
        self._client = client
        self._what = what
        self._held = bytearray()
        self._words = b""

    def write(self, data: bytes) -> None:
        try:
            self._client.write_stdin(data)
        except _BROKEN as error:
            raise self._ended(error) from error

    def read(self, size: int) -> bytes:
        while len(self._held) < size:
            self._receive()
        return self._take(size)

    def read_line(self) -> bytes:
        while (end := self._held.find(b"\n")) < 0:
            self._receive()
        return self._take(end + 1)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def _receive(self) -> None:
        """Wait for more.

        Raises:
            UnavailableError: the command ended, or says nothing.
        """
        client = self._client
        try:
            came = client.read_channel(STDOUT_CHANNEL, timeout=_SILENCE_SECONDS)
            self._words = (self._words + client.read_channel(STDERR_CHANNEL))[-_MOST_WORDS:]
        except _BROKEN as error:
            raise self._ended(error) from error
        if came:
            self._held += came
        elif not client.is_open():
            raise self._ended(client.read_channel(ERROR_CHANNEL).decode("utf-8", "replace"))

    def _ended(self, why: object) -> UnavailableError:
        said = self._words.decode("utf-8", "replace").strip() or str(why)
        return UnavailableError(f"{self._what} ended: {said}")


@contextmanager
def open_exec(
    configuration: Any, key: ObjectKey, container: str, command: list[str]
) -> Iterator[ExecChannel]:
    """Run a command in a container of a pod while the body runs.

    Raises:
        PermissionDeniedError, …: the API refuses it.
        UnavailableError: it cannot be reached.
    """
    path = PODS.path(key.namespace, key.name, "exec")
    parameters = [("container", container), ("stdin", "true"), ("stdout", "true")]
    query = [*parameters, ("stderr", "true"), ("command", command)]
    url = _address(str(configuration.host).rstrip("/") + path, query)
    headers = {}
    if token := configuration.get_api_key_with_prefix("BearerToken"):
        headers["authorization"] = token
    what = f"POST {path}"
    try:
        client: Any = _connect(configuration, url, headers, capture_all=False, binary=True)
    except WebSocketBadStatusException as error:
        raise error_of(error.status_code, status_of(error.resp_body or b""), what) from error
    except _BROKEN as error:
        raise UnavailableError(f"{what}: no answer: {error}") from error
    try:
        yield ExecChannel(client, " ".join(command))
    finally:
        client.close()
