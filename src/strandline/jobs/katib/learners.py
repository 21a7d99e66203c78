"""Algorithms that have learned what an Experiment's trials showed, kept between requests.

Katib sends all trials with every request. An algorithm that has already observed the
first n of them needs only the rest; whether it has is told by a digest over those n, so an
answer never depends on what was kept: only how long it takes does.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from strandline.jobs.katib.requests import Trial
from strandline.search.algorithm import Algorithm


@dataclass(slots=True)
class Learner:
    """An algorithm, and what it has observed.

    Attributes:
        plan: identity of the plan it searches by.
        observed: how many trials it has observed.
        digest: over them, in the order in which it observed them.
    """

    plan: str
    algorithm: Algorithm
    observed: int
    digest: bytes


class Learners:
    """Keeps the learners used last; safe to share between threads.

    Args:
        most: learners kept.
        most_trials: trials that all of them may have observed together, which bounds
            memory; the one used last is kept in any case.
    """

    def __init__(self, most: int = 32, most_trials: int = 200_000) -> None:
        self._most = most
        self._most_trials = most_trials
        self._kept: list[Learner] = []  # the one used last stands last
        self._lock = threading.Lock()

    def lengths(self, plan: str) -> set[int]:
        """Return how many trials the learners of `plan` have observed."""
        with self._lock:
            return {each.observed for each in self._kept if each.plan == plan}

    def take(self, plan: str, prefixes: Mapping[int, bytes]) -> Learner | None:
        """Take out the learner of `plan` that knows most trials of a list, and only these.

        Args:
            prefixes: digest over the first n trials of the list, by n.
        """
        with self._lock:
            known = [each for each in self._kept if each.plan == plan]
            fitting = [each for each in known if prefixes.get(each.observed) == each.digest]
            if not fitting:
                return None
            found = max(fitting, key=lambda each: each.observed)
            self._kept = [each for each in self._kept if each is not found]
            return found

    def put(self, learner: Learner) -> None:
        """Keep a learner, dropping those that were not used for longest."""
        with self._lock:
            self._kept.append(learner)
            while len(self._kept) > 1 and (
                len(self._kept) > self._most
                or sum(each.observed for each in self._kept) > self._most_trials
            ):
                self._kept.pop(0)


def prefix_digests(trials: Sequence[Trial], lengths: Collection[int]) -> dict[int, bytes]:
    """Return the digest over the first n trials, for each n that is asked for."""
    running, found = hashlib.blake2b(digest_size=16), {}
    for place, trial in enumerate(trials):
        if place in lengths:
            found[place] = running.copy().digest()
        # Led by its length, so that no two lists of trials read alike.
        running.update(b"%d:%b" % (len(trial.key), trial.key))
    if len(trials) in lengths:
        found[len(trials)] = running.digest()
    return found
