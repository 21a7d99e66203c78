"""Requests to one apiserver and its answers: timeouts, throttling, counting, errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = JSON,
        query: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> Document:
        """Make a call whose answer is a document."""
        data = self.fetch(method, path, body, content_type, query, timeout_seconds)
        try:
            document = json.loads(data)
        except ValueError as error:
            raise UnavailableError(f"{method} {path}: the answer is cut off") from error
        return document if isinstance(document, dict) else {}

    def fetch(
        self,
        method: str,
        path: str,
        body: Any,
        content_type: str,
        query: Mapping[str, Any] | None,
        timeout_seconds: float | None,
        accept: str = JSON,
    ) -> bytes:
        """Make a call and return the body of its answer.

        While the server throttles, it is made again, unless the caller has its own time limit.

        Raises:
            StrandlineError: the refusal as `answers.error_of` reads it, or no answer.
        """
        headers = {"Accept": accept, "Content-Type": content_type}
        limit = timeout_seconds or self._timeout_seconds
        timeout = (min(CONNECT_SECONDS, limit), limit)
        for turn in range(1, _MOST_THROTTLED + 1):
            answer = self.send(method, path, query or {}, dict(headers), body, timeout)
            data = self._read(answer, f"{method} {path}")
            wait = _throttle_seconds(answer)
            if wait is None or turn == _MOST_THROTTLED or timeout_seconds is not None:
                break
            self._sleep(wait)
        if answer.status >= 400:
            raise error_of(answer.status, status_of(data), f"{method} {path}")
        return data

    def _read(self, answer: Any, what: str) -> bytes:
        try:
            return bytes(answer.data)
        except (HTTPError, OSError) as error:
            raise UnavailableError(f"{what}: the answer broke off: {error}") from error
        finally:
            answer.release_conn()

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        headers: dict[str, str],
        body: Any,
        timeout: tuple[float, float],
    ) -> Any:
        """Send one request; return the answer with its body still unread."""
        given = {name: value for name, value in query.items() if value is not None}
        url = f"{self._base}{path}" + (f"?{urlencode(given)}" if given else "")
        headers["User-Agent"] = f"{self._agent}/{__version__}"
        token = self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            headers["Authorization"] = token
        code = "<error>"
        try:
            answer = self._client.request(
                method, url, headers, body=body, _request_timeout=timeout
            ).response
            code = str(answer.status)
            return answer
        except (HTTPError, OSError, ApiException) as error:
            raise UnavailableError(f"{method} {path}: no answer: {error}") from error
        finally:
            self._metrics.requests.labels(code, method, self._host).inc()


def _throttle_seconds(answer: Any) -> float | None:
    """Return how long the server asks to wait before the same call again, if it does."""
    if answer.status != 429:
        return None
    try:
        return min(float(answer.headers.get("Retry-After", "1")), _LONGEST_THROTTLE_SECONDS)
    except ValueError:
        return 1.0
