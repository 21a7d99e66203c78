"""What hyperparameter searches are compared on: functions of known optimum, and real models.

Every problem has a typed space and a value to maximise. What a searcher is judged by is the
value without noise of the candidate that looked best to it, noise included. The real ones are
scikit-learn's models on its bundled data sets, scored by three-fold cross-validation on fixed
folds. Their numbers are rounded to a grid, so that all there is to know is computed once,
before any search, and the true best is known; searchers see continuous ranges all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from strandline.search.parameters import Parameter
from strandline.search.space import Candidate, Categorical, Condition, Float, Int, Space
from strandline.spec.records import Scalar

Value = Callable[[Mapping[str, Any]], float]


@dataclass(frozen=True)
class Problem:
    """A space and what its candidates are worth.

    Attributes:
        best: the largest value there is.
        noise: standard deviation of what an evaluation adds to the value.
    """

    name: str
    space: Space
    value: Value
    best: float
    noise: float = 0.0


def _floats(names: str, low: float, high: float) -> tuple[Float, ...]:
    return tuple(Float(name, low, high) for name in names)


def _branin(at: Mapping[str, Any]) -> float:
    x, y = at["x"], at["y"]
    bent = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return -float(bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_HARTMANN_WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
_HARTMANN_SCALES = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_HARTMANN_CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def _hartmann(at: Mapping[str, Any]) -> float:
    point = np.array([at[name] for name in "abcdef"])
    apart = (_HARTMANN_SCALES * (point - _HARTMANN_CENTRES) ** 2).sum(1)
    return float(_HARTMANN_WEIGHTS @ np.exp(-apart))


def _ackley(at: Mapping[str, Any]) -> float:
    # The optimum is off the middle, where some searchers begin.
    point = np.array([at[name] for name in "abcde"]) - 7.3
    hole = 20 * math.exp(-0.2 * math.sqrt(float((point**2).mean())))
    return hole + math.exp(float(np.cos(2 * math.pi * point).mean())) - 20 - math.e


def _rosenbrock(at: Mapping[str, Any]) -> float:
    point = np.array([at[name] for name in "abcd"])
    valley = 100 * (point[1:] - point[:-1] ** 2) ** 2 + (1 - point[:-1]) ** 2
    return -math.log1p(float(valley.sum()))


def _conditional(at: Mapping[str, Any]) -> float:
    if at["kind"] == "tree":
        return float(0.8 - 0.05 * abs(at["depth"] - 7) - 0.3 * (at["share"] - 0.4) ** 2)
    off = (math.log10(at["rate"]) + 2.6) ** 2 / 8
    if at["kind"] == "linear":
        return 0.85 - off - (math.log10(at["decay"]) + 4) ** 2 / 50
    wide = (math.log2(at["width"]) - 7.5) ** 2 / 40
    return float(1.0 - 2 * off - wide - 0.04 * abs(at["layers"] - 3))


_CONDITIONAL = Space(
    (
        Categorical("kind", ("tree", "linear", "network")),
        Int("depth", 1, 20, when=Condition("kind", ("tree",))),
        Float("share", 0.05, 1.0, when=Condition("kind", ("tree",))),
        Float("rate", 1e-5, 1.0, log=True, when=Condition("kind", ("linear", "network"))),
        Float("decay", 1e-7, 1e-1, log=True, when=Condition("kind", ("linear",))),
        Int("layers", 1, 6, when=Condition("kind", ("network",))),
        Int("width", 8, 1024, log=True, when=Condition("kind", ("network",))),
    )
)
_GAINS = {"relu": 0.0, "tanh": -0.12, "gelu": 0.03, "elu": -0.04}
_RULES = {"sgd": (-1.3, 0.0), "adam": (-3.1, 0.02), "rmsprop": (-3.4, -0.05)}


def _categorical(at: Mapping[str, Any]) -> float:
    place, gain = _RULES[at["rule"]]
    rate = (math.log10(at["rate"]) - place) ** 2 / 6
    decay = (math.log10(at["decay"]) + 4.5) ** 2 / 30
    batch = (math.log2(at["batch"]) - 6 + place / 2) ** 2 / 60
    return float(
        gain + _GAINS[at["activation"]] - rate - decay - batch - (at["dropout"] - 0.2) ** 2
    )


_CATEGORICAL = Space(
    (
        Categorical("rule", tuple(_RULES)),
        Categorical("activation", tuple(_GAINS)),
        Float("rate", 1e-5, 1.0, log=True),
        Float("decay", 1e-7, 1e-1, log=True),
        Int("batch", 8, 512, log=True),
        Float("dropout", 0.0, 0.7),
    )
)
_WIDTH_BEST = 1.0 - (math.log2(181) - 7.5) ** 2 / 40
"""181 is the whole number nearest to 2 to the 7.5."""


def _best_batch() -> float:
    return max(
        _categorical({"rule": rule, "activation": "gelu", "rate": 10**place, "decay": 10**-4.5,
                      "batch": batch, "dropout": 0.2})
        for rule, (place, _) in _RULES.items()
        for batch in range(8, 513)
    )  # fmt: skip


def synthetic() -> list[Problem]:
    """Return the functions, three of them with and without noise."""
    exact = [
        Problem("branin", Space((Float("x", -5, 10), Float("y", 0, 15))), _branin, -0.39788736),
        Problem("hartmann6", Space(_floats("abcdef", 0, 1)), _hartmann, 3.32236801),
        Problem("ackley5", Space(_floats("abcde", -32.768, 32.768)), _ackley, 0.0),
        Problem("rosenbrock4", Space(_floats("abcd", -5, 10)), _rosenbrock, 0.0),
        Problem("conditional", _CONDITIONAL, _conditional, _WIDTH_BEST),
        Problem("categorical", _CATEGORICAL, _categorical, _best_batch()),
    ]
    noise = {"branin": 2.0, "hartmann6": 0.2, "conditional": 0.05}
    noisy = [
        Problem(f"{each.name}, noisy", each.space, each.value, each.best, noise[each.name])
        for each in exact
        if each.name in noise
    ]
    return exact + noisy


# ---------------------------------------------------------------- real models

LEVELS = 8
"""Of a continuous parameter's range, in a real problem."""

_PENALTIES = Float("penalty", 1e-2, 1e3, log=True)


def _kernels(most: float) -> Space:
    curved = Condition("kernel", ("rbf", "poly"))
    return Space(
        (
            Categorical("kernel", ("linear", "rbf", "poly")),
            _PENALTIES,
            Float("gamma", 1e-5, most, log=True, when=curved),
            Int("degree", 2, 4, when=Condition("kernel", ("poly",))),
        )
    )


REAL_SPACES = {
    "digits, support vectors": _kernels(1.0),
    "breast cancer, gradient descent": Space(
        (
            Categorical("loss", ("hinge", "log_loss", "modified_huber")),
            Float("alpha", 1e-7, 1e0, log=True),
            Float("l1_ratio", 0.0, 1.0),
            Float("eta0", 1e-4, 1e1, log=True),
        )
    ),
    "wine, neighbours": Space(
        (
            Categorical("scaler", ("none", "standard", "range")),
            Categorical("weights", ("uniform", "distance")),
            Int("neighbours", 1, 30),
            Float("power", 1.0, 5.0),
        )
    ),
    "diabetes, support vectors": Space(
        (
            _PENALTIES,
            Float("gamma", 1e-4, 1e2, log=True),
            Float("epsilon", 1e-2, 1e2, log=True),
        )
    ),
}


def snap(space: Space, candidate: Candidate) -> dict[str, Scalar]:
    """Return the candidate with continuous values rounded to one of `LEVELS`."""
    by_name = {parameter.name: parameter for parameter in space.parameters}
    return {name: _rounded(by_name[name], value) for name, value in candidate.items()}


def _rounded(parameter: Parameter, value: Scalar) -> Scalar:
    if not isinstance(parameter, Float):
        return value
    level = min(LEVELS - 1, int(parameter.to_unit(value) * LEVELS))
    return parameter.from_unit((level + 0.5) / LEVELS)


def list_snapped(space: Space) -> Iterator[dict[str, Scalar]]:
    """List every candidate that `snap` can return."""
    levels = [(each + 0.5) / LEVELS for each in range(LEVELS)]
    values = [
        [parameter.from_unit(level) for level in levels]
        if isinstance(parameter, Float)
        else list(parameter.listed() or ())
        for parameter in space.parameters
    ]
    seen: set[tuple[tuple[str, Scalar], ...]] = set()
    for chosen in product(*values):
        named = dict(zip((p.name for p in space.parameters), chosen, strict=True))
        candidate = space.walk(lambda parameter, named=named: named[parameter.name])  # type: ignore[misc]  # bound early
        key = tuple(candidate.items())
        if key not in seen:
            seen.add(key)
            yield candidate


def train(name: str, candidate: Candidate) -> float:
    """Return the mean score of three folds: accuracy, or R² (at least -1) for diabetes."""
    from sklearn import datasets
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

    data = {"digits": "load_digits", "breast": "load_breast_cancer", "wine": "load_wine",
            "diabetes": "load_diabetes"}[name.replace(",", "").split()[0]]  # fmt: skip
    images, labels = getattr(datasets, data)(return_X_y=True)
    images, labels = images[:600], labels[:600]
    kind = KFold if data == "load_diabetes" else StratifiedKFold
    folds = kind(3, shuffle=True, random_state=0)
    score = cross_val_score(_model(name, candidate), images, labels, cv=folds).mean()
    return max(-1.0, float(score))


def _model(name: str, at: Candidate) -> Any:
    from sklearn import linear_model, neighbors, pipeline, preprocessing, svm

    if name.startswith("digits"):
        return pipeline.make_pipeline(
            preprocessing.MinMaxScaler(),
            svm.SVC(
                kernel=at["kernel"], C=at["penalty"],
                gamma=at.get("gamma", 1.0), degree=at.get("degree", 3),
            ),
        )  # fmt: skip
    if name.startswith("breast"):
        return pipeline.make_pipeline(
            preprocessing.StandardScaler(),
            linear_model.SGDClassifier(
                loss=at["loss"], penalty="elasticnet", alpha=at["alpha"], max_iter=30, tol=None,
                l1_ratio=at["l1_ratio"], learning_rate="invscaling", eta0=at["eta0"],
                random_state=0,
            ),
        )  # fmt: skip
    if name.startswith("wine"):
        scalers = {"none": "passthrough", "standard": preprocessing.StandardScaler(),
                   "range": preprocessing.MinMaxScaler()}  # fmt: skip
        nearest = neighbors.KNeighborsClassifier(
            n_neighbors=at["neighbours"], weights=at["weights"], p=at["power"]
        )
        return pipeline.Pipeline([("scale", scalers[str(at["scaler"])]), ("near", nearest)])
    model = svm.SVR(C=at["penalty"], gamma=at["gamma"], epsilon=at["epsilon"])
    return pipeline.make_pipeline(preprocessing.StandardScaler(), model)
