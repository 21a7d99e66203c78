"""A TCP relay in front of a server: cut it, and whoever is behind it has lost the network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread

_CHUNK = 1 << 16


class Relay:
    """Passes connections to `target` on, until it is cut; and again after `mend`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._cut = False
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections; new ones break at once."""
        with self._lock:
            self._cut = True
            broken = list(self._open)
        for each in broken:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Pass new connections on again."""
        with self._lock:
            self._cut = False

    def close(self) -> None:
        """Break all, and listen no more."""
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                far = socket.create_connection(self._target, timeout=5)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self._lock:
                cut = self._cut
                self._open |= {near, far}
            if cut:
                for each in (near, far):
                    with suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
            Thread(target=self._pump, args=(near, far), daemon=True).start()
            Thread(target=self._pump, args=(far, near), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            known = source in self._open
            self._open.discard(source)
        if known:
            source.close()


@contextmanager
def relay(target: tuple[str, int]) -> Iterator[Relay]:
    """Run a relay to `target`."""
    running = Relay(target)
    try:
        yield running
    finally:
        running.close()
