"""Optuna's samplers behind our interface.

An Optuna sampler keeps one random stream over all its suggestions and every trial it was
told; here it is seeded anew for each trial, so that a suggestion depends on the observations
alone, and told of a bounded number of them, so that the ten-thousandth costs what the
thousandth did.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from heapq import nlargest

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from strandline.search.algorithm import Observation
from strandline.search.moves import mutate
from strandline.search.random import draw_new
from strandline.search.record import Learner
from strandline.search.space import Candidate, Categorical, Int, Parameter, Space, candidate_key
from strandline.spec.records import Scalar

# Draws from the sampler, then changes of what it drew, before a candidate is drawn at random:
# a sampler that is sure of its choice makes the same one again.
_DRAWS, _CHANGES = 3, 20


class OptunaSearch(Learner):
    """One of Optuna's samplers; random until it has seen `startup` trials.

    Args:
        most: so many of the newest observations the sampler is told of at least, and of at
            most twice as many.
        draws: from the sampler, before what it drew is changed.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        startup: int,
        most: int,
        repeats: bool = False,
        draws: int = _DRAWS,
    ) -> None:
        super().__init__(space, seed, repeats=repeats)
        self._startup = startup
        self._most = most
        self._draws = draws
        self._study: optuna.Study | None = None
        self._told: list[Observation] = []
        self._told_version = -1
        self._ordered = {p.name: _values(p) for p in space.parameters if _is_ordinal(p)}
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    @abstractmethod
    def _sampler(self, seed: int) -> BaseSampler:
        """Return the sampler, seeded."""

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._unavailable(pending)
        study = self._study_of_now()
        if len(study.get_trials(deepcopy=False)) >= self._startup:
            for candidate in self._stream(study, number):
                is_new = self._repeats or candidate_key(candidate) not in taken
                if is_new and self._space.feasible(candidate):
                    return candidate
        return draw_new(self._space, self._seed, number, taken)

    def _stream(self, study: optuna.Study, number: int) -> Iterator[Candidate]:
        drawn = []
        for attempt in range(self._draws):
            drawn.append(self._draw(study, number, attempt))
            yield drawn[-1]
        rng = self._rng(number)
        for attempt in range(_CHANGES):
            yield mutate(self._space, drawn[attempt % len(drawn)], rng)

    def _study_of_now(self) -> optuna.Study:
        """Return a study that was told what is known now."""
        if self._study is None or self._told_version != self._version:
            chosen = self._chosen()
            told = len(self._told)
            if self._study is None or chosen[:told] != self._told:
                self._study, told = optuna.create_study(direction="maximize"), 0
            self._study.add_trials([self._frozen(each) for each in chosen[told:]])
            self._told, self._told_version = chosen, self._version
        return self._study

    def _chosen(self) -> list[Observation]:
        """Return the newest `most` to 2 `most` observations and a tenth as many good ones before.

        What is left out changes once in `most` trials only, so that in between the study is
        told of the new ones alone.
        """
        known = self._usable()
        old = max(0, len(known) // self._most - 1) * self._most
        best = nlargest(self._most // 10, known[:old], key=lambda each: each.value or 0.0)
        return sorted(best, key=lambda each: each.number) + known[old:]

    def _frozen(self, observation: Observation) -> FrozenTrial:
        present = [p for p in self._space.parameters if p.name in observation.candidate]
        return optuna.trial.create_trial(
            params={p.name: self._to_optuna(p, observation.candidate[p.name]) for p in present},
            distributions={p.name: _distribution(p) for p in present},
            value=observation.value,
        )

    def _draw(self, study: optuna.Study, number: int, attempt: int) -> Candidate:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = self._sampler(self._stream_of(number, attempt))
            trial = study.ask()
            candidate = self._space.walk(lambda parameter: self._suggest(trial, parameter))
        # What counts comes by observe(); a failed trial is no evidence to any sampler.
        study.tell(trial, state=TrialState.FAIL)
        return candidate

    def _stream_of(self, number: int, attempt: int) -> int:
        """Return the seed of a draw."""
        return (self._seed * 1_000_003 + number * 101 + attempt) % 2**32

    def _suggest(self, trial: optuna.Trial, parameter: Parameter) -> Scalar:
        name = parameter.name
        if name in self._ordered:
            return self._ordered[name][trial.suggest_int(name, 0, len(self._ordered[name]) - 1)]
        if isinstance(parameter, Categorical):
            chosen: Scalar = trial.suggest_categorical(name, parameter.values)
            return chosen
        if isinstance(parameter, Int):
            return trial.suggest_int(
                name, parameter.low, parameter.high, step=parameter.step, log=parameter.log
            )
        return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)

    def _to_optuna(self, parameter: Parameter, value: Scalar) -> Scalar:
        values = self._ordered.get(parameter.name)
        return value if values is None else values.index(value)


def _is_ordinal(parameter: Parameter) -> bool:
    """Return whether the values are best told to Optuna by their places."""
    if isinstance(parameter, Categorical):
        return parameter.ordered
    return not isinstance(parameter, Int) and parameter.step is not None


def _values(parameter: Parameter) -> tuple[Scalar, ...]:
    return parameter.listed() or ()


def _distribution(parameter: Parameter) -> BaseDistribution:
    if _is_ordinal(parameter):
        return IntDistribution(0, len(_values(parameter)) - 1)
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Int):
        return IntDistribution(
            parameter.low, parameter.high, step=parameter.step, log=parameter.log
        )
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
