"""How an Experiment is searched here: our algorithm, our space, and the way back to text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from strandline.jobs.katib.algorithms import (
    KATIB_ALGORITHMS,
    LARGEST_SEED,
    OWN_PREFIX,
    SEED,
    own_settings,
    parsed,
)
from strandline.jobs.katib.codecs import Codec, amounts_codec, codec_of
from strandline.jobs.katib.enas import ArchitectureCoder
from strandline.jobs.katib.halving import HYPERBAND, Resource, SuccessiveHalving, resource_of
from strandline.jobs.katib.requests import Assignments, Experiment
from strandline.search.algorithm import Algorithm
from strandline.search.registry import ALGORITHMS, make_algorithm
from strandline.search.space import Candidate, Space
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar


class Coder(Protocol):
    """Turns candidates of a space into a trial's assignments, and back."""

    @property
    def space(self) -> Space:
        """The space that algorithms search."""

    def assignments(self, candidate: Candidate) -> Assignments:
        """Return what the trial is given."""

    def candidate(self, assignments: Assignments) -> Candidate:
        """Return what was suggested.

        Raises:
            InvalidSpecError: it is not of this space.
        """


class ParameterCoder:
    """Codes each parameter of an Experiment by itself."""

    def __init__(self, codecs: Sequence[Codec]) -> None:
        self._codecs = {codec.parameter.name: codec for codec in codecs}
        self._space = Space(tuple(codec.parameter for codec in codecs))

    @property
    def space(self) -> Space:
        return self._space

    def assignments(self, candidate: Candidate) -> Assignments:
        return tuple((name, c.text(candidate[name])) for name, c in self._codecs.items())

    def candidate(self, assignments: Assignments) -> Candidate:
        given = dict(assignments)
        if given.keys() != self._codecs.keys():
            raise InvalidSpecError("the trial has other parameters than the Experiment")
        return {name: codec.value(given[name]) for name, codec in self._codecs.items()}


@dataclass(frozen=True, slots=True)
class Plan:
    """All that deciding needs of an Experiment.

    Attributes:
        identity: equal for requests that the same algorithm can answer.
        algorithm: name in our registry.
        ignored: settings of Katib's without equal here, each with the reason.
        resource: what the best trials are given more of, None without.
    """

    identity: str
    coder: Coder
    algorithm: str
    seed: int
    settings: Mapping[str, Scalar]
    maximize: bool
    ignored: tuple[str, ...] = ()
    resource: Resource | None = None

    def begin(self) -> Algorithm:
        """Return the algorithm before it has learned anything.

        Raises:
            InvalidSpecError: it does not take its settings or the space.
        """
        space = self.coder.space
        if self.resource is None:
            return make_algorithm(self.algorithm, space, self.seed, self.settings)
        rest = Space(tuple(p for p in space.parameters if p.name != self.resource.name))
        begin = make_algorithm(self.algorithm, rest, self.seed, self.settings)
        return SuccessiveHalving(self.resource, begin)


def plan_of(experiment: Experiment) -> Plan:
    """Return how the Experiment is searched.

    Raises:
        InvalidSpecError: it cannot be; the message says what to change.
    """
    if experiment.goal not in ("minimize", "maximize"):
        raise InvalidSpecError("objective.type must be minimize or maximize")
    if not experiment.metric:
        raise InvalidSpecError("objective.objectiveMetricName is missing: name the metric")
    name, seed, settings, ignored = _algorithm(experiment)
    resource = None
    if experiment.algorithm == HYPERBAND:
        integers = [each.name for each in experiment.parameters if each.type == "int"]
        resource = resource_of(experiment.settings, integers)
    coder = _coder(experiment, resource)
    size = coder.space.size()
    if experiment.most_trials > size:
        raise InvalidSpecError(
            f"maxTrialCount is {experiment.most_trials}, but there are only {size:.0f} different "
            f"trials: set it to {size:.0f} or less, or widen the feasible space"
        )
    same = replace(experiment, most_trials=0)  # it may be raised while the Experiment runs
    identity = hashlib.sha256(repr((same, name)).encode()).hexdigest()
    maximize = experiment.goal == "maximize"
    return Plan(identity, coder, name, seed, settings, maximize, ignored, resource)


def _coder(experiment: Experiment, resource: Resource | None) -> Coder:
    if experiment.nas is not None:
        if experiment.parameters:
            raise InvalidSpecError("parameters and nasConfig exclude each other: keep one of them")
        return ArchitectureCoder(experiment.nas)
    if not experiment.parameters:
        raise InvalidSpecError("parameters is missing: name at least one")
    names = [each.name for each in experiment.parameters]
    if "" in names:
        raise InvalidSpecError("a parameter has no name: give it one")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidSpecError(f"parameter {twice[0]!r} stands there twice: rename one of them")
    codecs = [
        amounts_codec(resource.name, resource.rungs)
        if resource is not None and each.name == resource.name
        else codec_of(each)
        for each in experiment.parameters
    ]
    if resource is not None and len(codecs) == 1:
        raise InvalidSpecError("hyperband needs a parameter beside its resource: add one")
    return ParameterCoder(codecs)


def _algorithm(
    experiment: Experiment,
) -> tuple[str, int, dict[str, Scalar], tuple[str, ...]]:
    """Return our name, the seed, our settings, and what is ignored."""
    asked = experiment.algorithm
    settings: dict[str, Scalar] = {}
    ignored: list[str] = []
    known = KATIB_ALGORITHMS.get(asked)
    if known is None or known.unserved:
        name = _own_name(asked)
        settings = own_settings(name, experiment.settings)
    else:
        name = known.ours
        for setting, text in experiment.settings if asked != HYPERBAND else ():
            value = parsed(asked, known.settings, setting, text)
            ours = known.settings[setting].ours
            if ours is None:
                ignored.append(f"{setting} = {text}: {known.settings[setting].note}")
            else:
                settings[ours] = value
    seed = settings.pop(SEED, None)
    if seed is None:
        digest = hashlib.sha256(experiment.name.encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
    if not isinstance(seed, int) or seed < 0:
        raise InvalidSpecError(f"{asked}: random_state is {seed!r}: write a whole number from 0")
    return name, seed % (LARGEST_SEED + 1), settings, tuple(ignored)


def _own_name(asked: str) -> str:
    name = asked.removeprefix(OWN_PREFIX)
    unserved = KATIB_ALGORITHMS[name].unserved if name in KATIB_ALGORITHMS else ""
    if unserved:
        raise InvalidSpecError(f"algorithm {asked!r} is not served: {unserved}")
    if name not in ALGORITHMS:
        katibs = [each for each, k in KATIB_ALGORITHMS.items() if not k.unserved]
        choices = ", ".join(dict.fromkeys([*katibs, *ALGORITHMS]))
        raise InvalidSpecError(f"no algorithm is called {asked!r}: choose {choices}")
    return name
