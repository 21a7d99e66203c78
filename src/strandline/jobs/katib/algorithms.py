"""What Katib's algorithms and their settings are here: the one table of both refuges.

Conversion writes our names into a Search; the Suggestion service runs the same ones. What
has no equal says why, and what to do instead.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module

from strandline.search.registry import ALGORITHMS
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar

SEED = "seed"
LARGEST_SEED = 2**31 - 1
OWN_PREFIX = "strandline-"
"""Before the name of one of our algorithms, so that it can stand beside Katib's own."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a Katib algorithm.

    Attributes:
        parse: turns Katib's text into a value, or raises ValueError saying what it must be.
        ours: the setting of our algorithm, or what begins with `earlyStopping.` or `space.`;
            `SEED` for the Search's seed; None without equal.
        note: why it has no equal and what to do, or how the meaning differs.
    """

    parse: Callable[[str], Scalar]
    ours: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A Katib algorithm.

    Attributes:
        ours: name in our registry of algorithms.
        settings: all settings that Katib's own service takes.
        note: how ours differs; empty when it is the same algorithm.
        early_stopping: the rule of ours that goes with it, where Katib has it in one.
        unserved: why the Suggestion service cannot run it, and what to do; else empty.
    """

    ours: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    note: str = ""
    early_stopping: str = ""
    unserved: str = ""


def _whole(low: int, high: int | None = None) -> Callable[[str], Scalar]:
    def parse(text: str) -> int:
        wanted = f"a whole number from {low}" + ("" if high is None else f" to {high}")
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"it must be {wanted}") from None
        if value < low or (high is not None and value > high):
            raise ValueError(f"it must be {wanted}")
        return value

    return parse


def _real(low: float, high: float = 1e300, *, open_low: bool = False) -> Callable[[str], Scalar]:
    def parse(text: str) -> float:
        bounds = f"{'above' if open_low else 'of at least'} {low:g}"
        bounds += f" and at most {high:g}" if high < 1e300 else ""
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"it must be a number {bounds}") from None
        if not low <= value <= high or (open_low and value == low):
            raise ValueError(f"it must be a number {bounds}")
        return value

    return parse


def _none_or(parse: Callable[[str], Scalar]) -> Callable[[str], Scalar]:
    return lambda text: None if text in ("None", "none") else parse(text)


def _one_of(*words: str) -> Callable[[str], Scalar]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"it must be one of {', '.join(words)}")
        return text

    return parse


def _any(text: str) -> Scalar:
    return text


_RANDOM_STATE = Setting(_whole(0), SEED)
_TPE = {
    "n_startup_trials": Setting(_whole(0), "startup"),
    "n_ei_candidates": Setting(_whole(1), "candidates"),
    "n_EI_candidates": Setting(_whole(1), "candidates"),
    "gamma": Setting(
        _real(0, 1, open_low=True), None, "our estimator sets the share of good trials itself"
    ),
    "prior_weight": Setting(
        _real(0, open_low=True), None, "our estimator weighs its prior by itself"
    ),
    "random_state": _RANDOM_STATE,
}
_GAUSSIAN = {
    "base_estimator": Setting(
        _one_of("GP", "RF", "ET", "GBRT"), None, "ours is always a Gaussian process"
    ),
    "n_initial_points": Setting(_whole(0), "startup"),
    "acq_func": Setting(
        _one_of("gp_hedge", "LCB", "EI", "PI", "EIps", "PIps"),
        None,
        "ours always takes the expected improvement",
    ),
    "acq_optimizer": Setting(
        _one_of("auto", "sampling", "lbfgs"), None, "ours chooses how to maximize by itself"
    ),
    "random_state": _RANDOM_STATE,
}
_CMA_ES = {
    "restart_strategy": Setting(
        _one_of("ipop", "None", "none"), None, "ours decides by itself when to start anew"
    ),
    "sigma": Setting(_real(0), None, "ours is a part of each range: set `sigma` (0.3) of cma-es"),
    "random_state": _RANDOM_STATE,
}
_HYPERBAND = {
    "eta": Setting(_real(1, open_low=True), "earlyStopping.eta"),
    "r_l": Setting(
        _real(1), None, "a trial's epochs are the trainable's own: state them in the space"
    ),
    "resource_name": Setting(
        _any, None, "our rungs count the steps that a trial reports, whatever they are called"
    ),
}
_HYPERBAND |= {
    name: Setting(_any, None, "bookkeeping that Katib's service keeps in the Experiment")
    for name in ("b_l", "s_max", "n", "r", "current_s", "current_i", "evaluating_trials")
}
_PBT = {
    "n_population": Setting(_whole(5), "population"),
    "truncation_threshold": Setting(_real(0, 1), "truncation"),
    "resample_probability": Setting(_real(0, 1), "resample"),
    "suggestion_trial_dir": Setting(
        _any, None, "checkpoints go through the store: nothing to mount"
    ),
}
_CONTROLLER = "the same of our controller, whose default is another"
_CONTROLLER_NOTE = "our controller has no such term: leave it out"
_ENAS = {
    "controller_hidden_size": Setting(_whole(1), "width", _CONTROLLER),
    "controller_temperature": Setting(_none_or(_real(0)), None, _CONTROLLER_NOTE),
    "controller_tanh_const": Setting(_none_or(_real(0)), None, _CONTROLLER_NOTE),
    "controller_entropy_weight": Setting(_none_or(_real(0)), None, _CONTROLLER_NOTE),
    "controller_baseline_decay": Setting(_real(0, 1), "decay", _CONTROLLER),
    "controller_learning_rate": Setting(_real(0, 1), "learning_rate", _CONTROLLER),
    "controller_skip_target": Setting(
        _real(0, 1), None, "our spaces say which connections are possible"
    ),
    "controller_skip_weight": Setting(
        _none_or(_real(0)), None, "our spaces say which connections are possible"
    ),
    "controller_train_steps": Setting(_whole(1), None, _CONTROLLER_NOTE),
    "controller_log_every_steps": Setting(_whole(1), None, "logging only: leave it out"),
}
_FIXED = "ours is fixed"
_DARTS = {
    "num_epochs": Setting(_whole(1), "epochs"),
    "w_lr": Setting(_real(0, 10, open_low=True), "space.schedule.learningRate"),
    "w_lr_min": Setting(_real(0), None, "our rate falls to 0"),
    "w_momentum": Setting(_real(0, 1), None, f"{_FIXED}: 0.9"),
    "w_weight_decay": Setting(_real(0, 1), "space.schedule.weightDecay"),
    "w_grad_clip": Setting(_real(0), None, f"{_FIXED}: a gradient has a length of 5 at most"),
    "alpha_lr": Setting(_real(0, open_low=True), "learning_rate"),
    "alpha_weight_decay": Setting(_real(0), "weight_decay"),
    "batch_size": Setting(_whole(2, 8192), "space.schedule.batchSize"),
    "num_workers": Setting(_whole(0), None, "images are read by a worker before it begins"),
    "init_channels": Setting(_whole(1, 512), "space.network.filters"),
    "print_step": Setting(_whole(1), None, "logging only: leave it out"),
    "num_nodes": Setting(_whole(1), None, f"{_FIXED} by the family: 4 nodes a cell"),
    "stem_multiplier": Setting(_whole(1), None, f"{_FIXED} by the family: 3"),
}

KATIB_ALGORITHMS: Mapping[str, Algorithm] = {
    "random": Algorithm("random", {"random_state": _RANDOM_STATE}),
    "grid": Algorithm("grid", {"random_state": _RANDOM_STATE}),
    "bayesianoptimization": Algorithm("gaussian-process", _GAUSSIAN),
    "tpe": Algorithm("tpe", _TPE),
    "multivariate-tpe": Algorithm(
        "tpe", _TPE, "ours models the parameters one by one, and their conditions"
    ),
    "cmaes": Algorithm("cma-es", _CMA_ES),
    "sobol": Algorithm("quasi-random", {"random_state": _RANDOM_STATE}),
    "hyperband": Algorithm(
        "random",
        _HYPERBAND,
        "the brackets are an early-stopping rule here: trials go on from their checkpoints "
        "instead of being started again with more of the resource",
        early_stopping="hyperband",
    ),
    "enas": Algorithm(
        "reinforce",
        _ENAS,
        "the controller learns from each trial's own result; weights are not shared between trials",
    ),
    "darts": Algorithm(
        "darts",
        _DARTS,
        "first order and one cell drawn for each step instead of a mixture (`relaxation: mixed` "
        "is that), at most two skip connections a cell; then the cells found are trials, and the "
        "best is trained by itself",
        unserved="its one trial searches by itself, so there is nothing to suggest: keep Katib's "
        "own image for it, or convert the Experiment with `strandline katib convert`",
    ),
    "pbt": Algorithm(
        "pbt",
        _PBT,
        "members of the population copy checkpoints through the store",
        unserved="it copies checkpoints between trials on a volume that only Katib's own image "
        "mounts: keep that image for it, or convert with `strandline katib convert`",
    ),
}

MEDIAN_STOP: Mapping[str, Setting] = {
    "min_trials_required": Setting(_whole(1), "least"),
    "start_step": Setting(_whole(1), "grace"),
}
"""Settings of Katib's early stopping `medianstop`, our `median`."""


def parsed(what: str, settings: Mapping[str, Setting], name: str, text: str) -> Scalar:
    """Return the value of one setting of the algorithm `what`.

    Raises:
        InvalidSpecError: there is no such setting, or it cannot have this value.
    """
    if name not in settings:
        known = ", ".join(settings) or "no settings at all"
        raise InvalidSpecError(f"{what} has no setting {name!r}: remove it; it takes {known}")
    try:
        return settings[name].parse(text)
    except ValueError as error:
        raise InvalidSpecError(f"{what}: setting {name} is {text!r}: {error}") from None


def _guessed(text: str) -> Scalar:
    """Read a setting whose default does not tell what it is."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return _TRUTHS.get(text, text)


_TRUTHS: Mapping[str, Scalar] = {"true": True, "false": False}
_READ: Mapping[type, Callable[[str], Scalar]] = {
    bool: _TRUTHS.__getitem__,
    type(None): _guessed,
}
_WRITTEN: Mapping[type, str] = {
    bool: "write true or false",
    int: "write a whole number",
    float: "write a number",
}


def own_settings(name: str, given: Iterable[tuple[str, str]]) -> dict[str, Scalar]:
    """Read settings of one of our algorithms, each as what its default is.

    Those it does not have are left to the registry to refuse.

    Args:
        given: names and texts; `random_state` is the seed.

    Raises:
        InvalidSpecError: one cannot be read.
    """
    module, _, attribute = ALGORITHMS[name].partition(":")
    known = inspect.signature(getattr(import_module(module), attribute)).parameters
    settings: dict[str, Scalar] = {}
    for setting, text in given:
        ours = SEED if setting == "random_state" else setting
        kind = int if ours == SEED else type(known[ours].default) if ours in known else str
        try:
            settings[ours] = _READ.get(kind, kind)(text)
        except (KeyError, ValueError, TypeError):
            what = _WRITTEN.get(kind, "leave it out")
            raise InvalidSpecError(f"{name}: setting {setting} is {text!r}: {what}") from None
    return settings
