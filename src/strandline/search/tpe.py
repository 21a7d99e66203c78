"""Tree-structured Parzen estimator (Bergstra et al. 2011), by Optuna's sampler.

Optuna's sampler keeps one random stream over all its suggestions; here it is seeded anew
for each trial, so that a suggestion depends on the observations alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from strandline.search.algorithm import Observation
from strandline.search.random import draw_new
from strandline.search.space import Candidate, Categorical, Int, Parameter, Space, candidate_key
from strandline.spec.records import Scalar

_ATTEMPTS = 20


class TpeSearch:
    """TPE over a conditional space; random until it has seen `startup` trials."""

    def __init__(self, space: Space, seed: int, startup: int = 10, candidates: int = 24) -> None:
        self._space = space
        self._seed = seed
        self._startup = startup
        self._candidates = candidates
        self._seen: set[str] = set()
        self._observed = 0
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize")

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._seen | {candidate_key(candidate) for candidate in pending}
        if self._observed >= self._startup:
            for attempt in range(_ATTEMPTS):
                candidate = self._draw(number, attempt)
                if candidate_key(candidate) not in taken:
                    return candidate
        return draw_new(self._space, self._seed, number, taken)

    def observe(self, observation: Observation) -> None:
        self._seen.add(candidate_key(observation.candidate))
        if observation.value is None or not self._space.contains(observation.candidate):
            return  # the space was edited since, or the trial has nothing to tell
        self._observed += 1
        distributions = {
            parameter.name: _distribution(parameter)
            for parameter in self._space.parameters
            if parameter.name in observation.candidate
        }
        self._study.add_trial(
            optuna.trial.create_trial(
                params=dict(observation.candidate),
                distributions=distributions,
                value=observation.value,
            )
        )

    def _draw(self, number: int, attempt: int) -> Candidate:
        stream = (self._seed * 1_000_003 + number * 101 + attempt) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(
                seed=stream, n_startup_trials=self._startup, n_ei_candidates=self._candidates
            )
        trial = self._study.ask()
        candidate = self._space.walk(lambda parameter: _suggest(trial, parameter))
        self._study.tell(trial, state=TrialState.FAIL)  # what counts comes by observe()
        return candidate


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Scalar:
    if isinstance(parameter, Categorical):
        chosen: Scalar = trial.suggest_categorical(parameter.name, parameter.values)
        return chosen
    if isinstance(parameter, Int):
        return trial.suggest_int(
            parameter.name, parameter.low, parameter.high, step=parameter.step, log=parameter.log
        )
    return trial.suggest_float(parameter.name, parameter.low, parameter.high, log=parameter.log)


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Int):
        return IntDistribution(
            parameter.low, parameter.high, step=parameter.step, log=parameter.log
        )
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
