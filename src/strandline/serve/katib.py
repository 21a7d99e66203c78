"""Serve our algorithms over Katib's gRPC `Suggestion`, for Katib's own controller to ask.

Only translation happens here; every decision is `jobs.katib.suggest`. Nothing has to be
kept between requests: a server that was killed goes on as if nothing had happened.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from strandline.jobs.katib.learners import Learners
from strandline.jobs.katib.suggest import suggest, validate
from strandline.serve.katib_messages import read_experiment, read_request, write_reply
from strandline.spec.errors import StrandlineError, UnavailableError, outcome_of
from strandline.wire.katib import suggestion_pb2 as wire, suggestion_pb2_grpc as wire_grpc

SERVICE = "api.v1.beta1.Suggestion"
HEALTH_NAMES = ("", SERVICE, "manager.v1beta1.Suggestion")
"""Names that health checks ask for: the last one is what Katib's controller configures."""
MIB = 1024 * 1024
# A trial of twenty parameters takes about a KiB, so this is some 60,000 of them.
MAX_MESSAGE_BYTES = 64 * MIB
_DECISIONS_AT_ONCE = 8
# Threads beyond the decisions, so that health checks are answered however busy it is.
_THREADS = _DECISIONS_AT_ONCE + 4
_GRACE_SECONDS = 10.0

_log = logging.getLogger(__name__)


class SuggestionService(wire_grpc.SuggestionServicer):
    """Katib's `Suggestion` service."""

    def __init__(self, learners: Learners | None = None) -> None:
        self._learners = learners if learners is not None else Learners()
        self._room = threading.BoundedSemaphore(_DECISIONS_AT_ONCE)
        # Requests of one Experiment wait for each other: the second finds learned what the
        # first has learned. Experiments that share a lock only wait a little longer.
        self._locks = [threading.Lock() for _ in range(64)]

    def GetSuggestions(  # noqa: N802  # Katib's name
        self, request: wire.GetSuggestionsRequest, context: grpc.ServicerContext
    ) -> wire.GetSuggestionsReply:
        with _answered(context), self._turn(request.experiment.name, context):
            return write_reply(suggest(read_request(request), self._learners))

    def ValidateAlgorithmSettings(  # noqa: N802  # Katib's name
        self, request: wire.ValidateAlgorithmSettingsRequest, context: grpc.ServicerContext
    ) -> wire.ValidateAlgorithmSettingsReply:
        with _answered(context), self._turn(request.experiment.name, context):
            validate(read_experiment(request.experiment))
            return wire.ValidateAlgorithmSettingsReply()

    @contextmanager
    def _turn(self, experiment: str, context: grpc.ServicerContext) -> Iterator[None]:
        if not self._room.acquire(blocking=False):
            raise UnavailableError(f"{_DECISIONS_AT_ONCE} requests are being answered: ask again")
        try:
            with self._locks[hash(experiment) % len(self._locks)]:
                if not context.is_active():
                    raise UnavailableError("the client did not wait for its turn")
                yield
        finally:
            self._room.release()


@contextmanager
def _answered(context: grpc.ServicerContext) -> Iterator[None]:
    """Turn errors into gRPC statuses: ours with their own words, others without secrets."""
    try:
        yield
    except StrandlineError as error:
        code = grpc.StatusCode[outcome_of(error).grpc]
        _refuse(context, code, str(error))
    except Exception:
        _log.exception("a request could not be answered")
        message = "the suggestion service failed: its log holds the reason"
        _refuse(context, grpc.StatusCode.INTERNAL, message)


def _refuse(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    if code is grpc.StatusCode.UNKNOWN:
        code = grpc.StatusCode.INTERNAL
    context.abort(code, message)
    raise AssertionError("abort raises")


class SuggestionServer:
    """A running server; its port is known before the first request.

    Args:
        address: host and port; port 0 takes any that is free.

    Raises:
        UnavailableError: nothing can listen there.
    """

    def __init__(self, address: str, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        sizes = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="katib"),
            options=[*((name, max_message_bytes) for name in sizes), ("grpc.so_reuseport", 0)],
        )
        wire_grpc.add_SuggestionServicer_to_server(SuggestionService(), self._server)  # type: ignore[no-untyped-call]  # generated
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise UnavailableError(
                f"cannot listen on {address}: choose a free port of this machine, as HOST:PORT"
            ) from None
        for name in HEALTH_NAMES:
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._server.start()

    def stop(self, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Refuse new requests, and end when those being answered are, or after the grace."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()


def run(
    address: str,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    on_ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until SIGTERM or SIGINT; only the main thread can.

    Args:
        on_ready: told the port when requests are answered.

    Raises:
        UnavailableError: nothing can listen there.
    """
    with _stop_signals() as wait_for_one:
        server = SuggestionServer(address, max_message_bytes)
        on_ready(server.port)
        wait_for_one()
        server.stop()


@contextmanager
def _stop_signals() -> Iterator[Callable[[], None]]:
    """Catch SIGTERM and SIGINT; yield what waits for the first of them.

    Through a socket that the signal itself writes to: a lock or an Event would sleep on when
    the signal comes just before it sleeps, as Python's handlers run between instructions only.
    """
    stops = (signal.SIGTERM, signal.SIGINT)
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        handlers = [signal.signal(each, lambda *_: None) for each in stops]

        def wait_for_one() -> None:
            while reader.recv(1)[0] not in stops:
                continue

        try:
            yield wait_for_one
        finally:
            for each, handler in zip(stops, handlers, strict=True):
                signal.signal(each, handler)
            signal.set_wakeup_fd(before)
