"""The algorithm of an Experiment, its settings and its early stopping, as a Search has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strandline.jobs.katib.algorithms import (
    KATIB_ALGORITHMS,
    LARGEST_SEED,
    MEDIAN_STOP,
    OWN_PREFIX,
    SEED,
    Setting,
    own_settings,
    parsed,
)
from strandline.jobs.katib.fates import Path
from strandline.jobs.katib.reader import Reader
from strandline.search.registry import ALGORITHMS
from strandline.spec.errors import InvalidSpecError
from strandline.spec.v1alpha1 import ONE_SHOT

_STOPPING = "earlyStopping."
_SPACE = "space."
_NAS: Path = ("spec", "nasConfig")
_RERANKED = 10
_ALGORITHM: Path = ("spec", "algorithm")
_OWN_SETTINGS: Path = (*_ALGORITHM, "algorithmSettings")
_STOP: Path = ("spec", "earlyStopping")
DEFAULT_ALGORITHM = "tpe"


def convert_algorithm(reader: Reader) -> dict[str, Any]:
    """Return `algorithm`, and `seed`, `earlyStopping`, `space`, `rerank` where it holds them.

    `space` is what is added to the space that the Experiment has.
    """
    path = (*_ALGORITHM, "algorithmName")
    name = reader.text(path)
    known = KATIB_ALGORITHMS.get(name)
    if known is None:
        return _other_algorithm(reader, path, name)
    target = "spec.algorithm.name"
    if known.early_stopping:
        target += " and spec.earlyStopping.name"
    if known.note:
        reader.report.approximated(path, target, f"{known.ours}: {known.note}")
    else:
        reader.report.converted(path, target, known.ours)
    found = _settings(reader, _ALGORITHM, name, known.settings, "spec.algorithm.settings")
    made: dict[str, Any] = {}
    if SEED in found:
        made["seed"] = found.pop(SEED)
    stopping = {k: found.pop(k) for k in list(found) if k.startswith(_STOPPING)}
    space = {k.removeprefix(_SPACE): found.pop(k) for k in list(found) if k.startswith(_SPACE)}
    made["algorithm"] = _choice(known.ours, found)
    if space:
        made["space"] = _nested(space)
    if known.early_stopping:
        settings = {key.removeprefix(_STOPPING): value for key, value in stopping.items()}
        made["earlyStopping"] = _choice(known.early_stopping, settings)
    if known.ours in ONE_SHOT:
        made |= _one_shot(reader, name)
    return made


def _one_shot(reader: Reader, name: str) -> dict[str, Any]:
    """Return what else a search with shared weights needs."""
    if not reader.has(_NAS):
        reader.refuse(_NAS, f"it is missing: {name} searches architectures, not parameters")
    best = 1 if reader.text((*_ALGORITHM[:1], "maxTrialCount")) == "1" else _RERANKED
    note = "so many of the best cells are trained by themselves: shared weights are no model"
    reader.report.added("spec.rerank.candidates", best, note)
    return {"rerank": {"candidates": best}}


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by path, `network.filters`, as documents."""
    made: dict[str, Any] = {}
    for path, value in values.items():
        above, _, name = path.rpartition(".")
        made.setdefault(above, {})[name] = value
    return made


def _other_algorithm(reader: Reader, path: Path, name: str) -> dict[str, Any]:
    """Convert an algorithm of ours that Katib asked us for, or of an image we do not know."""
    if not name:
        reader.refuse(path, f"it is missing: Katib's own are {', '.join(KATIB_ALGORITHMS)}")
        return {}
    ours = name.removeprefix(OWN_PREFIX)
    if ours == name or ours not in ALGORITHMS:
        note = f"{name!r} is none of Katib's own ({', '.join(KATIB_ALGORITHMS)}): the Search takes "
        reader.report.no_equal(path, f"{note}{DEFAULT_ALGORITHM}; name another one there")
        reader.report.no_equal((*_ALGORITHM, "algorithmSettings"), f"a setting of {name!r}")
        reader.report.added("spec.algorithm.name", DEFAULT_ALGORITHM, f"instead of {name!r}")
        return {"algorithm": {"name": DEFAULT_ALGORITHM}}
    reader.report.converted(path, "spec.algorithm.name", ours)
    given = [(reader.text((*p, "name")), p) for p in reader.entries(_OWN_SETTINGS)]
    texts = tuple((setting, reader.text((*p, "value"))) for setting, p in given)
    try:
        settings = own_settings(ours, texts)
    except InvalidSpecError as error:
        reader.refuse(_OWN_SETTINGS, str(error))
        return {}
    for setting, each in given:
        is_seed = setting in (SEED, "random_state")
        target = "spec.seed" if is_seed else f"spec.algorithm.settings.{setting}"
        reader.report.converted((*each, "name"), target)
        reader.report.converted((*each, "value"), target)
    seed = {SEED: settings.pop(SEED)} if SEED in settings else {}
    return {**seed, "algorithm": _choice(ours, settings)}


def _choice(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "settings": dict(settings)} if settings else {"name": name}


def _settings(
    reader: Reader, above: Path, what: str, known: Mapping[str, Setting], target: str
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path in reader.entries((*above, "algorithmSettings")):
        name, text = reader.text((*path, "name")), reader.text((*path, "value"))
        try:
            value = parsed(what, known, name, text)
        except InvalidSpecError as error:
            reader.refuse(path, str(error))
            continue
        setting = known[name]
        if setting.ours in made:
            reader.refuse(path, f"{name} stands there twice: keep one")
        if setting.ours is not None:
            made[setting.ours] = value
        if setting.ours == SEED:
            made[SEED] = int(text) % (LARGEST_SEED + 1)
        for field in ((*path, "name"), (*path, "value")):
            _tell_setting(reader, field, name, setting, target, same=made.get(SEED) == value)
    return made


def _tell_setting(
    reader: Reader, path: Path, name: str, setting: Setting, target: str, *, same: bool
) -> None:
    ours = setting.ours
    if ours is None:
        reader.report.no_equal(path, f"{name}: {setting.note}")
    elif ours.startswith(_STOPPING):
        place = f"spec.earlyStopping.settings.{ours.removeprefix(_STOPPING)}"
        reader.report.converted(path, place, setting.note)
    elif ours.startswith(_SPACE):
        reader.report.converted(path, f"spec.{ours}", setting.note)
    elif ours != SEED:
        reader.report.converted(path, f"{target}.{ours}", setting.note)
    elif same:
        reader.report.converted(path, "spec.seed")
    else:
        reader.report.approximated(path, "spec.seed", "a seed is below 2^31: its remainder")


def convert_early_stopping(reader: Reader, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return `earlyStopping`, unless the algorithm has brought it into `spec`."""
    path = (*_STOP, "algorithmName")
    name = reader.text(path)
    if "earlyStopping" in spec:
        why = "the algorithm stops trials early by itself, and a Search has one rule for that"
        reader.report.no_equal(_STOP, why)
        return {}
    if not reader.has(_STOP):
        reader.report.added(
            "spec.earlyStopping.name", "none", "Katib stops no trial early unless told to"
        )
        return {"earlyStopping": {"name": "none"}}
    if name != "medianstop":
        note = f"{name!r} is not Katib's own (medianstop): the Search stops no trial early"
        reader.report.no_equal(path, f"{note}; name another rule there")
        reader.report.no_equal((*_STOP, "algorithmSettings"), f"a setting of {name!r}")
        reader.report.added("spec.earlyStopping.name", "none", f"instead of {name!r}")
        return {"earlyStopping": {"name": "none"}}
    note = "median: a trial is compared with the others' values at the same step"
    reader.report.converted(path, "spec.earlyStopping.name", note)
    target = "spec.earlyStopping.settings"
    return {"earlyStopping": _choice("median", _settings(reader, _STOP, name, MEDIAN_STOP, target))}
