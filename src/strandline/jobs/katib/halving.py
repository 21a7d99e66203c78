"""Katib's `hyperband`: trials are given more of a resource while they are among the best.

Katib's own service plans whole brackets, and fails when a request does not ask for exactly
as many trials as the bracket has. This is asynchronous successive halving in its promoting
form (Li et al. 2020, arXiv 1810.05934, algorithm 2): whenever a trial is wanted, the best
1/eta of a rung that were not yet promoted come first, and a new one is begun when there is
none. So it answers any request, and what it says follows from the trials alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from strandline.jobs.katib.algorithms import KATIB_ALGORITHMS, parsed
from strandline.search.algorithm import Algorithm, Observation
from strandline.search.parameters import Candidate
from strandline.search.space import candidate_key
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError

HYPERBAND = "hyperband"
_MOST_RUNGS = 32
_KATIB_ETA = 3.0


@dataclass(frozen=True, slots=True)
class Resource:
    """What trials are given more of.

    Attributes:
        name: of the parameter that holds the amount.
        rungs: its amounts, ascending.
        eta: one in so many goes on from a rung to the next.
    """

    name: str
    rungs: tuple[int, ...]
    eta: float


def resource_of(settings: Iterable[tuple[str, str]], integers: Collection[str]) -> Resource:
    """Return the resource of an Experiment with algorithm `hyperband`.

    Args:
        settings: names and texts, as Katib's own service takes them.
        integers: names of the Experiment's int parameters.

    Raises:
        InvalidSpecError: a setting is missing, unknown or cannot be so.
    """
    known = KATIB_ALGORITHMS[HYPERBAND].settings
    given = {name: parsed(HYPERBAND, known, name, text) for name, text in settings}
    for needed in ("resource_name", "r_l"):
        if needed not in given:
            raise InvalidSpecError(f"hyperband: setting {needed} is missing: state it")
    name = str(given["resource_name"])
    if name not in integers:
        raise InvalidSpecError(f"hyperband: resource_name is {name!r}: name an int parameter")
    eta = float(str(given.get("eta", _KATIB_ETA)))
    return Resource(name, rungs_of(float(str(given["r_l"])), eta), eta)


def rungs_of(most: float, eta: float) -> tuple[int, ...]:
    """Return the amounts of the resource, ascending, each about eta times the one before.

    Args:
        most: of the resource for one trial, Katib's `r_l`.

    Raises:
        InvalidSpecError: there is nothing to halve.
    """
    found: list[int] = []
    amount = most
    while amount >= 1 and len(found) < _MOST_RUNGS:
        found.append(round(amount))
        amount /= eta
    if len(set(found)) < 2:
        raise InvalidSpecError(
            f"hyperband: r_l is {most:g} and eta {eta:g}: r_l must be at least eta, or every trial "
            "gets the whole resource"
        )
    return tuple(sorted(set(found)))


class SuccessiveHalving:
    """An `Algorithm` over configurations with an amount of the resource.

    Args:
        begin: suggests new configurations, without the resource.
    """

    def __init__(self, resource: Resource, begin: Algorithm) -> None:
        self._resource = resource.name
        self._rungs = resource.rungs
        self._eta = resource.eta
        self._begin = begin
        # By rung and configuration: what it gave; minus infinity when it failed.
        self._values: dict[int, dict[str, float]] = {amount: {} for amount in resource.rungs}
        self._configurations: dict[str, Candidate] = {}

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        running = [self._split(candidate) for candidate in pending]
        taken = {(amount, candidate_key(each)) for amount, each in running}
        for lower, higher in reversed(list(zip(self._rungs, self._rungs[1:], strict=False))):
            for key in self._best(lower):
                if key not in self._values[higher] and (higher, key) not in taken:
                    return {**self._configurations[key], self._resource: higher}
        begun = self._begin.suggest(number, [each for _, each in running])
        return None if begun is None else {**begun, self._resource: self._rungs[0]}

    def observe(self, observation: Observation) -> None:
        amount, configuration = self._split(observation.candidate)
        key = candidate_key(configuration)
        value = observation.value if observation.value is not None else -math.inf
        self._values[amount][key] = value
        self._configurations[key] = configuration
        if amount == self._rungs[0]:
            given = observation.value
            self._begin.observe(Observation(observation.number, configuration, given))

    def save(self) -> bytes:
        own = [[amount, list(values.items())] for amount, values in self._values.items()]
        begun = self._begin.save().hex()
        return json.dumps([own, list(self._configurations.items()), begun]).encode()

    def load(self, state: bytes) -> None:
        try:
            own, configurations, begun = json.loads(state)
            self._values = {amount: dict(values) for amount, values in own}
            self._configurations = dict(configurations)
            self._begin.load(bytes.fromhex(begun))
        except (ValueError, TypeError) as error:
            raise CorruptArtifactError(f"no saved state of hyperband: {error}") from error

    def _best(self, amount: int) -> list[str]:
        """Return the configurations of a rung that may go on, the best first."""
        values: Mapping[str, float] = self._values[amount]
        ranked = sorted(values, key=lambda key: (-values[key], key))
        return [key for key in ranked[: int(len(ranked) / self._eta)] if values[key] > -math.inf]

    def _split(self, candidate: Candidate) -> tuple[int, Candidate]:
        configuration = {k: v for k, v in candidate.items() if k != self._resource}
        amount = candidate[self._resource]
        assert isinstance(amount, int), "a rung"
        return amount, configuration
