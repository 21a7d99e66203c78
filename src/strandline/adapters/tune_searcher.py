"""Our search algorithms where Ray Tune's own are used: in a `Tuner` that somebody else wrote.

Tune names trials by texts, reports results as flat mappings, tells of ends in any order, and
saves a searcher now and then to go on from there later. An algorithm here knows candidates,
numbers and observations. `TuneSearcher` stands between the two, for every algorithm; a state
it saves is JSON, so restoring one runs no code that lay in a file.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray.tune.search.searcher import Searcher

from strandline.durable import replacing
from strandline.search.algorithm import Algorithm, Observation
from strandline.search.registry import make_algorithm
from strandline.search.space import Candidate, Space
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError
from strandline.spec.records import Scalar

_FORMAT = 1
_STEP = "training_iteration"


class TuneSearcher(Searcher):
    """One of our algorithms as a `ray.tune.search.Searcher`.

    Args:
        space: what is searched; `param_space` of the Tuner may only add constants.
        algorithm: a registered name, or what makes an algorithm for a space and a seed.
        settings: of the registered algorithm.
        metric: what trials report and is to improve, or several; those of `TuneConfig` if None,
            which Tune passes on only where `param_space` holds something.
        mode: `max` or `min`, as many as there are metrics.

    Raises:
        InvalidSpecError: no such algorithm, setting or mode.
    """

    CKPT_FILE_TMPL = "searcher-state-{}.json"
    _asked_in_vain: bool = False

    def __init__(
        self,
        space: Space,
        algorithm: str | Callable[[Space, int], Algorithm] = "tpe",
        *,
        seed: int = 0,
        settings: Mapping[str, Scalar] | None = None,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
    ) -> None:
        super().__init__()
        self._space = space
        self._choice = algorithm
        self._seed = seed
        self._settings = dict(settings or {})
        self._algorithm = self._make()
        self._forget()
        self._aim_at(metric, mode)

    # ------------------------------------------------------------ Tune's interface

    def set_search_properties(
        self, metric: Any, mode: Any, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Take metric and mode; False when `config` describes a space of its own."""
        from ray.tune.search.variant_generator import parse_spec_vars

        _, domains, grids = parse_spec_vars(dict(config or {}))
        if domains or grids:
            return False
        self._aim_at(metric or list(self._metrics), mode or list(self._modes))
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return a new candidate; None to be asked again when a trial ended; or FINISHED."""
        if not self._metrics or not self._modes:
            raise InvalidSpecError(
                "tell TuneSearcher what to improve: metric=… and mode=… (Tune passes those of "
                "TuneConfig on only where param_space holds something)"
            )
        if trial_id in self._trials:
            return dict(self._trials[trial_id][1])
        if self._asked_in_vain:
            return None  # nothing was learned since
        candidate = self._algorithm.suggest(self._next, list(self._running.values()))
        if candidate is None:
            self._asked_in_vain = bool(self._running)
            return None if self._running else Searcher.FINISHED
        self._enter(trial_id, candidate)
        return dict(candidate)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Keep the trial's value after this step, for algorithms that learn from curves."""
        values = self._values(result)
        step = result.get(_STEP)
        if values and isinstance(step, int) and trial_id in self._trials:
            curve = self._curves.setdefault(trial_id, {})
            curve[step] = values[0]

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Observe a trial that ended, also one that a lost state had suggested.

        A trial that was stopped before it said anything at its end is worth what it was
        worth last; one that failed, or gave no number, is worth nothing.
        """
        if trial_id not in self._trials and not self._recover(trial_id, result or {}):
            return
        number, candidate = self._trials[trial_id]
        curve = self._curves.pop(trial_id, {})
        values = () if error else self._values(result or {})
        complete = bool(values)
        if values and isinstance(step := (result or {}).get(_STEP), int):
            curve[step] = values[0]
        elif not values and curve and not error and result is None:
            values = (curve[max(curve)],) if len(self._metrics) == 1 else ()
        self._algorithm.observe(
            Observation(
                number,
                candidate,
                values[0] if values else None,
                complete=complete,
                values=values if len(values) > 1 else (),
                curve=tuple(sorted(curve.items())) if values else (),
            )
        )
        self._running.pop(trial_id, None)
        self._asked_in_vain = False

    def add_evaluated_point(
        self,
        parameters: Mapping[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Learn from what was tried elsewhere; what does not belong to the space is left out."""
        candidate = self._candidate(parameters)
        if candidate is None:
            return
        turned = None if error or value is None else _turned(value, (*self._modes, "max")[0])
        self._foreign -= 1
        self._algorithm.observe(Observation(self._foreign, candidate, turned, complete=not pruned))

    def get_state(self) -> dict[str, Any]:
        """Return all that was learned, as JSON can hold it."""
        return {
            "format": _FORMAT,
            "metric": list(self._metrics),
            "mode": list(self._modes),
            "next": self._next,
            "foreign": self._foreign,
            "trials": {
                name: [number, dict(candidate), name in self._running]
                for name, (number, candidate) in self._trials.items()
            },
            "curves": {name: sorted(curve.items()) for name, curve in self._curves.items()},
            "algorithm": base64.b64encode(self._algorithm.save()).decode("ascii"),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `get_state` gave; what was known before is forgotten.

        Raises:
            CorruptArtifactError: it is no such state.
        """
        algorithm = self._make()
        try:
            if state["format"] != _FORMAT:
                raise ValueError(f"format {state['format']} instead of {_FORMAT}")
            algorithm.load(base64.b64decode(state["algorithm"], validate=True))
            self._forget()
            self._aim_at(state["metric"], state["mode"])
            for name, (number, candidate, runs) in state["trials"].items():
                self._trials[name] = (int(number), candidate)
                if runs:
                    self._running[name] = candidate
            for name, points in state["curves"].items():
                self._curves[name] = {int(step): float(value) for step, value in points}
            self._next, self._foreign = int(state["next"]), int(state["foreign"])
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise CorruptArtifactError(f"this is no saved state of a searcher ({error})") from error
        self._algorithm = algorithm

    def save(self, checkpoint_path: str) -> None:
        """Write the state to a file, which is there whole or not at all."""
        with replacing(Path(checkpoint_path)) as out:
            out.write(json.dumps(self.get_state(), allow_nan=False).encode())

    def restore(self, checkpoint_path: str) -> None:
        """Take up what `save` wrote.

        Raises:
            CorruptArtifactError: the file holds no such state.
        """
        try:
            state = json.loads(Path(checkpoint_path).read_bytes())
        except (ValueError, RecursionError) as error:
            raise CorruptArtifactError(f"{checkpoint_path} is no state of a searcher") from error
        self.set_state(state)

    # Tune pickles the whole TuneConfig; what was learned goes along as the state it is.

    def __getstate__(self) -> dict[str, Any]:
        given = {
            "space": self._space,
            "algorithm": self._choice,
            "seed": self._seed,
            "settings": self._settings,
        }
        return {"given": given, "state": self.get_state()}

    def __setstate__(self, pickled: Mapping[str, Any]) -> None:
        given = dict(pickled["given"])
        TuneSearcher.__init__(self, given.pop("space"), given.pop("algorithm"), **given)
        self.set_state(pickled["state"])

    # ------------------------------------------------------------ inside

    def _make(self) -> Algorithm:
        if callable(self._choice):
            return self._choice(self._space, self._seed)
        return make_algorithm(self._choice, self._space, self._seed, self._settings)

    def _forget(self) -> None:
        self._trials: dict[str, tuple[int, Candidate]] = {}
        self._running: dict[str, Candidate] = {}
        self._curves: dict[str, dict[int, float]] = {}
        self._next = 0
        self._foreign = 0
        self._asked_in_vain = False

    def _aim_at(self, metric: Any, mode: Any) -> None:
        self._metrics = (metric,) if isinstance(metric, str) else tuple(metric or ())
        self._modes = (mode,) if isinstance(mode, str) else tuple(mode or ())
        if self._metrics and self._modes and len(self._metrics) != len(self._modes):
            raise InvalidSpecError("give as many modes as metrics")
        if wrong := sorted(set(self._modes) - {"min", "max"}):
            raise InvalidSpecError(f"mode {wrong[0]!r}: choose max or min")
        # What Tune looks at: one text, or a list of several.
        self._metric: Any = _alone(self._metrics)
        self._mode: Any = _alone(self._modes)

    def _enter(self, trial_id: str, candidate: Candidate) -> None:
        self._trials[trial_id] = (self._next, dict(candidate))
        self._running[trial_id] = dict(candidate)
        self._next += 1

    def _recover(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Enter a trial that Tune knows and we do not: our state is older than Tune's."""
        told = {
            name.removeprefix("config/"): value
            for name, value in result.items()
            if name.startswith("config/")
        }
        candidate = self._candidate(told)
        if candidate is not None:
            self._enter(trial_id, candidate)
        return candidate is not None

    def _candidate(self, parameters: Mapping[str, Any]) -> Candidate | None:
        names = {parameter.name for parameter in self._space.parameters}
        candidate = {name: value for name, value in parameters.items() if name in names}
        return candidate if self._space.contains(candidate) else None

    def _values(self, result: Mapping[str, Any]) -> tuple[float, ...]:
        """Return the objectives, each turned so that more is better; () if any is no number."""
        values = []
        for metric, mode in zip(self._metrics, self._modes, strict=True):
            value = result.get(metric)
            try:
                turned = _turned(float(value), mode)  # type: ignore[arg-type]  # refused below
            except (TypeError, ValueError):
                return ()
            if not math.isfinite(turned):
                return ()
            values.append(turned)
        return tuple(values)


def _turned(value: float, mode: str) -> float:
    return value if mode == "max" else -value


def _alone(values: tuple[str, ...]) -> str | list[str] | None:
    return values[0] if len(values) == 1 else list(values) or None
