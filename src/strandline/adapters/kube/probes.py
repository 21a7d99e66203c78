"""The operator's HTTP side: /metrics for Prometheus, /healthz and /readyz for the kubelet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Check = Callable[[], bool]
_READ_TIMEOUT_SECONDS = 10.0


class ProbeServer:
    """Serves one registry and two sets of named checks.

    It listens on the loopback unless `host` says otherwise: the page is not secret, but
    whoever wants it seen says so.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        health: Mapping[str, Check] | None = None,
        ready: Mapping[str, Check] | None = None,
        host: str = "127.0.0.1",
        port: int = 8080,
    ) -> None:
        pages = {
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry)),
            "/healthz": lambda: _verdict(health or {}),
            "/readyz": lambda: _verdict(ready or {}),
        }
        self._server = ThreadingHTTPServer((host, port), _handler_of(pages))
        self._server.daemon_threads = True
        self._thread = Thread(
            target=self._server.serve_forever, name="strandline-probes", daemon=True
        )

    @property
    def port(self) -> int:
        """The port it listens on, also when it was asked for port 0."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


_Page = Callable[[], tuple[int, str, bytes]]


def _verdict(checks: Mapping[str, Check]) -> tuple[int, str, bytes]:
    """Answer like a kubelet's own pages: a line a check, 500 when one fails."""
    lines = []
    passed = True
    for name, check in checks.items():
        good = _holds(check)
        passed = passed and good
        lines.append(f"[{'+' if good else '-'}]{name} {'ok' if good else 'failed'}")
    lines.append("ok" if passed else "failed")
    return (200 if passed else 500), "text/plain; charset=utf-8", "\n".join(lines).encode()


def _holds(check: Check) -> bool:
    try:
        return check()
    except Exception:  # a check that breaks is a check that fails, whatever broke in it
        return False


def _handler_of(pages: Mapping[str, _Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _READ_TIMEOUT_SECONDS

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            if page is None:
                self.send_error(404)
                return
            code, content_type, body = page()
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: a kubelet asks every few seconds."""

    return Handler
