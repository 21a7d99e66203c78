"""The workers' side of `ray_group`: one of the processes that run a trial together."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from strandline.adapters.failures import classify
from strandline.adapters.step_watchdog import step_watchdog
from strandline.ports import Assignment, StepReport, Trainable, TrainableFactory
from strandline.spec.records import Failure

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore

# Ray finds out that a peer is gone and the group is ended; this is for what Ray cannot see.
_PEER_PATIENCE = timedelta(minutes=30)
_PEER_WORDS = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "tcpstore")


@dataclass(frozen=True, slots=True)
class RankFailure:
    """What went wrong in one of the workers.

    Attributes:
        of_peer: it merely noticed that another one was gone.
    """

    failure: Failure
    of_peer: bool


class Rank:
    """One worker of a group; runs as an actor.

    Args:
        timeout: of one step, in seconds.
    """

    def __init__(
        self, factory: TrainableFactory, rank: int, ranks: int, timeout: float | None
    ) -> None:
        self._factory, self._rank, self._ranks, self._timeout = factory, rank, ranks, timeout
        self._trainable: Trainable | None = None
        self._meeting: TCPStore | None = None

    def open_meeting(self) -> tuple[str, int] | None:
        """Open, in rank 0, where the workers find each other; return its host and port."""
        if self._rank != 0 or self._ranks == 1:
            return None
        from ray.util import get_node_ip_address
        from torch._C._distributed_c10d import TCPStore  # where torch.distributed has it from

        host: str = get_node_ip_address()  # type: ignore[no-untyped-call]
        self._meeting = TCPStore(host, 0, self._ranks, is_master=True, wait_for_workers=False)
        return host, self._meeting.port

    def step(
        self, assignment: Assignment | None, meeting: tuple[str, int] | None
    ) -> StepReport | RankFailure:
        """Take up the trial, if one is given, and do its next step."""
        started = time.monotonic()
        try:
            with step_watchdog(self._timeout):
                if assignment is not None:
                    self._take_up(assignment, meeting)
                assert self._trainable is not None, "a trial comes first"
                report = self._trainable.step()
        except Exception as error:
            return RankFailure(classify(error), _is_of_peer(error))
        return replace(report, seconds=time.monotonic() - started)

    def _take_up(self, assignment: Assignment, meeting: tuple[str, int] | None) -> None:
        trainable = self._trainable = self._factory()
        if meeting is not None:
            self._meet(*meeting)
        trainable.reset(replace(assignment, rank=self._rank, ranks=self._ranks))

    def _meet(self, host: str, port: int) -> None:
        """Join the others: over NCCL where each has a GPU, which is the only one it sees."""
        import torch
        from torch import distributed
        from torch._C._distributed_c10d import TCPStore

        store = self._meeting or TCPStore(host, port, self._ranks, is_master=False)
        distributed.init_process_group(
            "nccl" if torch.cuda.is_available() else "gloo",
            store=store,
            rank=self._rank,
            world_size=self._ranks,
            timeout=_PEER_PATIENCE,
        )


def _is_of_peer(error: Exception) -> bool:
    """Return whether the error is of a connection to another worker."""
    said = f"{type(error).__name__} {error}".lower()
    return isinstance(error, RuntimeError) and any(word in said for word in _PEER_WORDS)
