"""The trials that wait after their first steps until the algorithm goes on with them.

Who goes on is asked of the algorithm each time a worker is free, and rests on the rows alone:
which trials there are, what they gave, who waits, and who runs. Neither a budget nor the time
of asking plays a part, so a search that was cut off goes on as it would have.
"""

from __future__ import annotations

from collections.abc import Sequence

from strandline.search.algorithm import Algorithm, Thawing
from strandline.search.scheduler import Freezing, Scheduler
from strandline.search.space import Candidate


class Frozen:
    """The trials that wait, by number with their values.

    Trials run through where the rule lets nobody wait, the algorithm cannot choose, or there
    are several objectives: of those there is but one early value.
    """

    def __init__(self, rule: Scheduler, algorithm: Algorithm, objectives: int) -> None:
        self._rule = rule if isinstance(rule, Freezing) and objectives == 1 else None
        self._algorithm = algorithm if isinstance(algorithm, Thawing) else None
        self._values: dict[int, float] = {}

    @property
    def step(self) -> int | None:
        """The step after which trials wait, None where they do not."""
        return self._rule.freezing_step if self._rule and self._algorithm else None

    def add(self, number: int, value: float) -> None:
        """Let a trial wait."""
        self._values[number] = value

    def remove(self, number: int) -> None:
        """Forget a trial, which runs or ended, if it waited."""
        self._values.pop(number, None)

    def choose(self, number: int, running: Sequence[Candidate]) -> int | None:
        """Return the trial to go on with; None to begin trial `number` instead."""
        if not self._values or self._algorithm is None:
            return None
        return self._algorithm.thaw(number, sorted(self._values), running)

    def best(self) -> int | None:
        """Return the trial of the best value, the oldest of equals; None when nobody waits."""
        return min(self._values, key=lambda each: (-self._values[each], each), default=None)

    def surplus(self) -> Sequence[int]:
        """Return the worst of the trials, those that there is no room for."""
        most = self._rule.most_frozen if self._rule else 0
        # Of equals the older ones stay.
        order = sorted(self._values, key=lambda number: (-self._values[number], number))
        return order[most:]
