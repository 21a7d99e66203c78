"""The names under which algorithms and early-stopping rules are found.

Adding one is its file and one line here. Modules are imported on use, so that listing
the names needs none of their libraries.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from strandline.search.algorithm import Algorithm
from strandline.search.scheduler import Scheduler
from strandline.search.space import Space
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar

ALGORITHMS = {
    "random": "strandline.search.random:RandomSearch",
    "tpe": "strandline.search.tpe:TpeSearch",
    "predictor-evolution": "strandline.search.predictor_evolution:PredictorEvolution",
    "grid": "strandline.search.grid:GridSearch",
    "quasi-random": "strandline.search.quasi_random:QuasiRandomSearch",
    "gaussian-process": "strandline.search.gaussian_process:GaussianProcessSearch",
    "cma-es": "strandline.search.cma_es:CmaEsSearch",
    "regularized-evolution": "strandline.search.regularized_evolution:RegularizedEvolution",
    "local-search": "strandline.search.local_search:LocalSearch",
    "reinforce": "strandline.search.reinforce:ReinforceSearch",
    "ppo": "strandline.search.ppo:PpoSearch",
    "enas": "strandline.search.enas:EnasSearch",
    "darts": "strandline.search.darts:DartsSearch",
    "pareto-predictor": "strandline.search.pareto_predictor:ParetoPredictor",
    "nsga2": "strandline.search.nsga2:Nsga2Search",
    "pbt": "strandline.search.population_based:PopulationBasedTraining",
}

AUTO = "auto"
"""The algorithm that suits the space: what a Search gets that names none."""

SCHEDULERS = {
    "none": "strandline.search.scheduler:NoEarlyStopping",
    "asha": "strandline.search.asha:Asha",
    "hyperband": "strandline.search.hyperband:Hyperband",
    "median": "strandline.search.median:MedianStopping",
    "curve-extrapolation": "strandline.search.curve_extrapolation:CurveExtrapolation",
    "freeze-thaw": "strandline.search.freeze_thaw:FreezeThaw",
}


def make_algorithm(
    name: str, space: Space, seed: int, settings: Mapping[str, Scalar] | None = None
) -> Algorithm:
    """Make the algorithm registered as `name`, or for `auto` the one that suits the space.

    Raises:
        InvalidSpecError: no such name or setting.
    """
    if name == AUTO:
        name = "tpe" if space.structure is None else "predictor-evolution"
    made: Algorithm = _make("algorithm", ALGORITHMS, name, settings, space=space, seed=seed)
    return made


def make_scheduler(name: str, settings: Mapping[str, Scalar] | None = None) -> Scheduler:
    """Make the early-stopping rule registered as `name`.

    Raises:
        InvalidSpecError: no such name or setting.
    """
    made: Scheduler = _make("early stopping", SCHEDULERS, name, settings)
    return made


def _make(
    what: str,
    registry: Mapping[str, str],
    name: str,
    settings: Mapping[str, Scalar] | None,
    **given: Any,
) -> Any:
    if name not in registry:
        raise InvalidSpecError(f"no {what} is called {name!r}: choose {', '.join(registry)}")
    module, _, attribute = registry[name].partition(":")
    cls = getattr(import_module(module), attribute)
    chosen = dict(settings or {})
    known = set(inspect.signature(cls).parameters) - set(given)
    if unknown := sorted(set(chosen) - known):
        allowed = ", ".join(sorted(known)) or "none"
        raise InvalidSpecError(f"{what} {name!r} has no setting {unknown[0]!r}: it has {allowed}")
    try:
        return cls(**given, **chosen)
    except (TypeError, ValueError) as error:
        raise InvalidSpecError(f"{what} {name!r}: {error}") from error
