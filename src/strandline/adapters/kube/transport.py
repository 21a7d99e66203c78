"""Requests to one apiserver and its answers: timeouts, throttling, counting, errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from kubernetes.client.exceptions import ApiException
from kubernetes.client.rest import RESTClientObject
from urllib3.exceptions import HTTPError

from strandline import __version__
from strandline.adapters.kube.answers import error_of, status_of
from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.resources import Document
from strandline.spec.errors import UnavailableError

CONNECT_SECONDS = 5.0
JSON = "application/json"
# 429 says that nothing was done, so it may be repeated whatever the verb.
_MOST_THROTTLED = 4
_LONGEST_THROTTLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        query: its parameters; those that are None are left out.
        timeout_seconds: longest silence to bear; None for what is usual here.
    """

    method: str
    path: str
    body: Any = None
    content_type: str = JSON
    query: Mapping[str, Any] = field(default_factory=dict)
    accept: str = JSON
    timeout_seconds: float | None = None

    @property
    def target(self) -> str:
        """Path and parameters."""
        given = {name: value for name, value in self.query.items() if value is not None}
        return self.path + (f"?{urlencode(given)}" if given else "")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Transport:
    """The official client's connections, called with paths and plain documents."""

    def __init__(
        self,
        configuration: Any,
        agent: str,
        timeout_seconds: float,
        metrics: OperatorMetrics | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._configuration = configuration
        self._agent = agent
        self._client: Any = RESTClientObject(configuration)
        self._base = str(configuration.host).rstrip("/")
        self._host = urlsplit(self._base).netloc
        self._metrics = metrics or OperatorMetrics()
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep

    def close(self) -> None:
        """Close all idle connections."""
        self._client.close()

    def document(self, call: Call) -> Document:
        """Make a call whose answer is a document.

        Raises:
            StrandlineError: the refusal as `answers.error_of` reads it, or no answer.
        """
        try:
            document = json.loads(self.data(call))
        except ValueError as error:
            raise UnavailableError(f"{call}: the answer is cut off") from error
        return document if isinstance(document, dict) else {}

    def data(self, call: Call) -> bytes:
        """Make a call and return the body of its answer.

        While the server throttles it is made again, unless the caller has a limit of its own.

        Raises:
            StrandlineError: the refusal as `answers.error_of` reads it, or no answer.
        """
        limit = call.timeout_seconds or self._timeout_seconds
        for turn in range(1, _MOST_THROTTLED + 1):
            answer = self.open(call, limit)
            data = read_whole(answer, call)
            wait = _throttle_seconds(answer)
            if wait is None or turn == _MOST_THROTTLED or call.timeout_seconds is not None:
                break
            self._sleep(wait)
        if answer.status >= 400:
            raise error_of(answer.status, status_of(data), str(call))
        return data

    def open(self, call: Call, read_seconds: float) -> Any:
        """Send a request; return the answer with its body unread, whatever its status.

        Raises:
            UnavailableError: there was no answer.
        """
        timeout = (min(CONNECT_SECONDS, read_seconds), read_seconds)
        code = "<error>"
        try:
            answer = self._client.request(
                call.method,
                self._base + call.target,
                self._headers(call),
                body=call.body,
                _request_timeout=timeout,
            ).response
            code = str(answer.status)
            return answer
        except (HTTPError, OSError, ApiException) as error:
            raise UnavailableError(f"{call}: no answer: {error}") from error
        finally:
            self._metrics.requests.labels(code, call.method, self._host).inc()

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {"Accept": call.accept, "User-Agent": f"{self._agent}/{__version__}"}
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        token = self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            headers["Authorization"] = token
        return headers


def read_whole(answer: Any, call: Call) -> bytes:
    """Return the whole body of an answer and give its connection back.

    Raises:
        UnavailableError: it broke off.
    """
    try:
        return bytes(answer.data)
    except (HTTPError, OSError) as error:
        raise UnavailableError(f"{call}: the answer broke off: {error}") from error
    finally:
        answer.release_conn()


def _throttle_seconds(answer: Any) -> float | None:
    """Return how long the server asks to wait before the same call again, if it does."""
    if answer.status != 429:
        return None
    try:
        return min(float(answer.headers.get("Retry-After", "1")), _LONGEST_THROTTLE_SECONDS)
    except ValueError:
        return 1.0
