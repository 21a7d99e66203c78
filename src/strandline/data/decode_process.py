"""The parent's end of one decoding process.

What is behind the socket may have been taken over by an image: it is told nothing it need
not know, and nothing it sends, or fails to send, can hold or mislead the import.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from multiprocessing.connection import Connection

from strandline.data.decode import DecodeLimits
from strandline.data.decode_worker import READY, Outcome, read_outcome

# Longest pause in the middle of a message: the other end reads and writes at once.
_STALL_SECONDS = 30
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "SYSTEMROOT", "TMPDIR")
_KEPT_PREFIXES = ("PYTHON", "LC_")


class DecodeProcess:
    """One process that decodes one image at a time."""

    def __init__(self, limits: DecodeLimits, timeout_seconds: float) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        stall = struct.pack("ll", _STALL_SECONDS, 0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, stall)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stall)
        with theirs:
            words = [theirs.fileno(), limits.max_bytes, limits.max_pixels, timeout_seconds]
            # -P: a `numpy.py` in the folder where the user stands must not be run.
            command = [sys.executable, "-P", "-m", "strandline.data.decode_worker"]
            self._process = subprocess.Popen(  # noqa: S603 – our own interpreter and module
                [*command, *(str(word) for word in words)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_bare_environment(),
            )
        self.connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def give(self, data: bytes) -> None:
        """Send an image."""
        try:
            self.connection.send_bytes(data)
        except OSError:
            return  # it died; reading its answer will tell

    def take_ready(self) -> None:
        """Read the first message, that the process has started.

        Raises:
            EOFError, OSError: it is gone, or says something else.
        """
        if self.connection.recv_bytes(len(READY)) != READY:
            raise OSError("the decoding process answers nonsense")

    def take(self) -> Outcome:
        """Read the answer.

        Raises:
            EOFError, OSError: the process is gone, stalls, or answers nonsense.
        """
        return read_outcome(self.connection, self._limits)

    def stop(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        self.connection.close()


def _bare_environment() -> dict[str, str]:
    """Return what Python needs, without keys and tokens that are none of an image's business."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
