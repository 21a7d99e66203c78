"""Freeze-thaw: every trial waits after its first steps, and the most promising ones go on.

Swersky et al. 2014 (arXiv 1406.3896), with the algorithm's own surrogate: it compares what is
expected of the trials that wait with what is expected of a new candidate. Nobody is turned
down for good by one noisy value, and nobody goes on only because the others were worse. Steps
after the thaw are ruled by ASHA, and all of them are where the algorithm cannot choose.
"""

from __future__ import annotations

from strandline.search.asha import Asha

_MOST_WAITING = 32


class FreezeThaw(Asha):
    """ASHA whose first rung is the algorithm's to decide about.

    Args:
        eta: of ASHA.
        grace: steps after which trials wait.
        waiting: trials that wait at most, for each keeps a checkpoint; of more, the worst ends.
    """

    def __init__(self, eta: float = 3.0, grace: int = 1, waiting: int = _MOST_WAITING) -> None:
        super().__init__(eta, grace)
        if waiting < 1:
            raise ValueError("freeze-thaw needs room for at least 1 trial that waits")
        self._waiting = waiting

    @property
    def freezing_step(self) -> int:
        return self._grace

    @property
    def most_frozen(self) -> int:
        return self._waiting
