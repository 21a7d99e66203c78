"""Searchers of other packages, asked and told as their documentation says.

Each is a function of (space, evaluate, budget, seed) that calls `evaluate` with `budget`
candidates. Packages that are absent are left out with the reason; only Optuna is a
dependency of this project.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from strandline.search.parameters import Parameter
from strandline.search.space import Candidate, Categorical, Int, Space
from strandline.spec.records import Scalar

Evaluate = Callable[[Candidate], float]
Search = Callable[[Space, Evaluate, int, int], None]


def missing(name: str) -> str | None:
    """Return why a rival cannot run; None if it can."""
    package = _PACKAGES[name]
    return None if find_spec(package) else f"{package} is not installed"


def _optuna(sampler: str, **settings: Any) -> Search:
    def search(space: Space, evaluate: Evaluate, budget: int, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = getattr(optuna.samplers, sampler)(seed=seed, **settings)
            study = optuna.create_study(direction="maximize", sampler=made)
            for _ in range(budget):
                trial = study.ask()
                candidate = space.walk(lambda parameter, trial=trial: _suggest(trial, parameter))  # type: ignore[misc]  # bound early
                study.tell(trial, evaluate(candidate))

    return search


def _suggest(trial: Any, parameter: Parameter) -> Scalar:
    name = parameter.name
    if isinstance(parameter, Categorical):
        chosen: Scalar = trial.suggest_categorical(name, parameter.values)
    elif isinstance(parameter, Int):
        chosen = trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log)
    else:
        chosen = trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
    return chosen


def _hyperopt(space: Space, evaluate: Evaluate, budget: int, seed: int) -> None:
    import hyperopt  # type: ignore[import-not-found]  # only where it is installed

    nodes = _hyperopt_nodes(space)
    top = {p.name: nodes[p.name] for p in space.parameters if p.when is None}

    def loss(chosen: Mapping[str, Any]) -> float:
        flat = _flatten(chosen)
        candidate = space.walk(lambda p: int(flat[p.name]) if isinstance(p, Int) else flat[p.name])
        return -evaluate(candidate)

    hyperopt.fmin(
        loss, top, algo=hyperopt.tpe.suggest, max_evals=budget,
        rstate=np.random.default_rng(seed), show_progressbar=False, verbose=False,
    )  # fmt: skip


def _hyperopt_nodes(space: Space) -> dict[str, Any]:
    """Return the parameters as nodes; a choice holds what depends on it."""
    from hyperopt import hp

    nodes: dict[str, Any] = {}
    for parameter in reversed(space.parameters):
        name = parameter.name
        if isinstance(parameter, Categorical):
            below = [p for p in space.parameters if p.when and p.when.parameter == name]
            options = [
                {name: value, "below": {p.name: nodes[p.name] for p in below
                                        if p.when and value in p.when.values}}
                for value in parameter.values
            ]  # fmt: skip
            nodes[name] = hp.choice(name, options)
        elif isinstance(parameter, Int) and parameter.log:
            low, high = np.log(parameter.low - 0.499), np.log(parameter.high + 0.499)
            nodes[name] = hp.qloguniform(name, low, high, 1)
        elif isinstance(parameter, Int):
            nodes[name] = hp.uniformint(name, parameter.low, parameter.high)
        elif parameter.log:
            nodes[name] = hp.loguniform(name, np.log(parameter.low), np.log(parameter.high))
        else:
            nodes[name] = hp.uniform(name, parameter.low, parameter.high)
    return nodes


def _flatten(chosen: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in chosen.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value)
        else:
            flat[name] = value
    return flat


def _nevergrad(space: Space, evaluate: Evaluate, budget: int, seed: int) -> None:
    import nevergrad  # type: ignore[import-not-found]  # only where it is installed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = {p.name: _nevergrad_parameter(p) for p in space.parameters}
        parametrization = nevergrad.p.Dict(**made)
        parametrization.random_state.seed(seed)
        optimizer = nevergrad.optimizers.NGOpt(parametrization, budget=budget)
        for _ in range(budget):
            asked = optimizer.ask()
            candidate = space.walk(lambda parameter, asked=asked: asked.value[parameter.name])  # type: ignore[misc]  # bound early
            optimizer.tell(asked, -evaluate(candidate))


def _nevergrad_parameter(parameter: Parameter) -> Any:
    from nevergrad import p

    if isinstance(parameter, Categorical):
        return p.Choice(list(parameter.values))
    kind = p.Log if parameter.log else p.Scalar
    made = kind(lower=parameter.low, upper=parameter.high)
    return made.set_integer_casting() if isinstance(parameter, Int) else made


RIVALS: dict[str, Search] = {
    "Optuna random": _optuna("RandomSampler"),
    "Optuna QMC": _optuna("QMCSampler", scramble=True),
    "Optuna TPE": _optuna("TPESampler"),
    "Optuna CMA-ES": _optuna("CmaEsSampler"),
    "Optuna GP": _optuna("GPSampler"),
    "Hyperopt TPE": _hyperopt,
    "Nevergrad NGOpt": _nevergrad,
}
_PACKAGES = {name: name.split()[0].lower() for name in RIVALS}
