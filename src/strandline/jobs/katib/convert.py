"""Convert a Katib Experiment (`kubeflow.org/v1beta1`) into a Search, leaving nothing unsaid.

Every leaf of the Experiment is in the report with its fate, and the result has passed the
Search kind's own validation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strandline.jobs.katib.convert_algorithm import convert_algorithm, convert_early_stopping
from strandline.jobs.katib.convert_space import convert_space
from strandline.jobs.katib.fates import Fate, Path, shown
from strandline.jobs.katib.reader import Reader
from strandline.jobs.katib.surroundings import tell_surroundings
from strandline.spec.documents import parse_document
from strandline.spec.errors import InvalidSpecError
from strandline.spec.v1alpha1 import API_VERSION, Search

KATIB_API = "kubeflow.org/v1beta1"
PLACEHOLDER = "name-your-dataset"
_SPEC: Path = ("spec",)
_KATIB_PARALLEL = 3
_MOST_PARALLEL = 10_000
_MOST_TRIALS = 1_000_000


@dataclass(frozen=True, slots=True)
class Conversion:
    """A Search, and what became of every field of the Experiment it was made from.

    Attributes:
        document: the Search as a person would write it, without defaults.
    """

    search: Search
    document: Mapping[str, Any]
    fates: Sequence[Fate]


class InvalidExperimentError(InvalidSpecError):
    """An Experiment that cannot be converted; `problems` holds (path, what to mend)."""

    def __init__(self, problems: Sequence[tuple[Path, str]]) -> None:
        lines = [f"{shown(path)}: {text}" if path else text for path, text in problems]
        super().__init__("; ".join(lines))
        self.problems = problems


def is_experiment(document: Any) -> bool:
    """Return whether the document is a Katib Experiment of the version that is known."""
    return (
        isinstance(document, Mapping)
        and document.get("kind") == "Experiment"
        and document.get("apiVersion") == KATIB_API
    )


def convert(document: Any, dataset: str | None = None) -> Conversion:
    """Convert the plain data of one Experiment.

    Args:
        dataset: name of the Dataset that the Search learns from; a placeholder if None.

    Raises:
        InvalidExperimentError: it is no Experiment, or one that cannot be run.
    """
    if not is_experiment(document):
        what = f"a document of kind Experiment and apiVersion {KATIB_API}"
        raise InvalidExperimentError([((), f"it must be {what}")])
    reader = Reader(document)
    reader.report.converted(("apiVersion",), "apiVersion", API_VERSION)
    reader.report.converted(("kind",), "kind", "Search")
    metadata = _metadata(reader)
    spec: dict[str, Any] = {
        "dataset": _dataset(reader, dataset),
        "space": convert_space(reader),
    }
    spec |= _objective(reader)
    algorithm = convert_algorithm(reader)
    spec["space"] |= algorithm.pop("space", {})
    spec |= algorithm
    spec |= convert_early_stopping(reader, spec)
    spec |= _budget(reader)
    tell_surroundings(reader)
    if reader.problems:
        raise InvalidExperimentError(reader.problems)
    plain = {"apiVersion": API_VERSION, "kind": "Search", "metadata": metadata, "spec": spec}
    search = parse_document(plain)
    assert isinstance(search, Search), "made as one"
    return Conversion(search, plain, reader.report.fates())


def _dataset(reader: Reader, dataset: str | None) -> dict[str, Any]:
    note = (
        "Katib's trials bring their own data; a Search names a Dataset"
        if dataset
        else "a placeholder: name your Dataset here, or give --dataset NAME"
    )
    reader.report.added("spec.dataset.name", dataset or PLACEHOLDER, note)
    return {"name": dataset or PLACEHOLDER}


# ------------------------------------------------------------ metadata

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def _metadata(reader: Reader) -> dict[str, Any]:
    report, path = reader.report, ("metadata",)
    made: dict[str, Any] = {}
    for field in reader.keys(path):
        place = (*path, field)
        if field in ("name", "namespace"):
            made[field] = _dns_label(reader, place, reader.text(place) or field)
        elif field in ("labels", "annotations"):
            made[field] = _notes(reader, place)
        elif field == "generateName":
            if not reader.has((*path, "name")):
                made["name"] = _dns_label(reader, place, reader.text(place), "metadata.name")
            else:
                report.no_equal(place, "the name decides")
        else:
            report.no_equal(place, "the cluster sets it: nothing to carry over")
    if not reader.has((*path, "name")) and not reader.has((*path, "generateName")):
        reader.refuse((*path, "name"), "it is missing: name the Experiment")
    return made


def _dns_label(reader: Reader, path: Path, text: str, target: str = "") -> str:
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
    target = target or shown(path)
    if label == text:
        reader.report.converted(path, target)
    else:
        note = f"called {label}: a name has up to 63 lower-case letters, digits and -"
        reader.report.approximated(path, target, note)
    if not label:
        reader.refuse(path, f"{text!r} has no letter or digit to make a name of")
    return label


def _notes(reader: Reader, path: Path) -> dict[str, str]:
    kept: dict[str, str] = {}
    for key in reader.keys(path):
        place = (*path, key)
        value = reader.text(place)
        if key == "kubectl.kubernetes.io/last-applied-configuration":
            reader.report.no_equal(place, "kubectl's bookkeeping: nothing to carry over")
        elif _is_note(path[-1], key, value):
            kept[key] = value
            reader.report.converted(place, shown(place))
        else:
            reader.report.no_equal(place, "no label or annotation of Kubernetes: mend it there")
    return kept


_KEY = re.compile(
    r"([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?"
)
_VALUE = re.compile(r"([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")


def _is_note(field: str | int, key: str, value: str) -> bool:
    return bool(_KEY.fullmatch(key)) and (field == "annotations" or bool(_VALUE.fullmatch(value)))


# ------------------------------------------------------------ objective

_OBJECTIVE: Path = (*_SPEC, "objective")
_OWN_METRICS = "val/"
_STRANGER = (
    "Strandline's own trials report val/log_loss, val/error, val/precision_at_1, val/auc_pr and "
    "val/auc_roc: name the one that is meant"
)


def _objective(reader: Reader) -> dict[str, Any]:
    report = reader.report
    metric, kind = (*_OBJECTIVE, "objectiveMetricName"), (*_OBJECTIVE, "type")
    goal = reader.text(kind)
    if goal not in ("minimize", "maximize"):
        reader.refuse(kind, f"it is {goal!r}: choose minimize or maximize")
    report.converted(kind, "spec.objectives[0].goal")
    text = reader.text(metric)
    if not text:
        reader.refuse(metric, "it is missing: name the metric")
    name = re.sub(r"[^A-Za-z0-9_./@-]", "_", text)[:127]
    name = name if re.match(r"[A-Za-z_]", name) else f"_{name}"
    notes = [f"called {name}"] * (name != text) + [_STRANGER] * (not name.startswith(_OWN_METRICS))
    if notes:
        report.approximated(metric, "spec.objectives[0].metric", "; ".join(notes))
    else:
        report.converted(metric, "spec.objectives[0].metric")
    made: dict[str, Any] = {"objectives": [{"metric": name, "goal": goal}]}
    value = reader.number((*_OBJECTIVE, "goal"))
    if value is not None:
        report.converted((*_OBJECTIVE, "goal"), "spec.stop.goal")
        made["stop"] = {"goal": value}
    for path in reader.entries((*_OBJECTIVE, "additionalMetricNames")):
        report.approximated(path, "", "every metric that a trial reports is recorded")
    for path in reader.entries((*_OBJECTIVE, "metricStrategies")):
        _tell_strategy(reader, path)
    return made


def _tell_strategy(reader: Reader, path: Path) -> None:
    for field in ((*path, "name"), (*path, "value")):
        if reader.text((*path, "value")) == "latest":
            note = "what counts here too: the value after a trial's last step"
            reader.report.approximated(field, "", note)
        else:
            note = "a trial counts with its last step's value: report the best one as that"
            reader.report.no_equal(field, note)


# ------------------------------------------------------------ budget


def _budget(reader: Reader) -> dict[str, Any]:
    report, made = reader.report, dict[str, Any]()
    trials = reader.count((*_SPEC, "maxTrialCount"), 1)
    if trials is None:
        note = "Katib goes on until the goal is reached or somebody stops it; a Search has a budget"
        report.added("spec.budget.time", "10m", note)
    else:
        made["budget"] = {"trials": _at_most(reader, "maxTrialCount", "budget.trials", trials)}
    parallel = reader.count((*_SPEC, "parallelTrialCount"), 1)
    if parallel is None:
        report.added("spec.parallelism", _KATIB_PARALLEL, "Katib's own default")
        made["parallelism"] = _KATIB_PARALLEL
    else:
        made["parallelism"] = _at_most(reader, "parallelTrialCount", "parallelism", parallel)
    failed = reader.count((*_SPEC, "maxFailedTrialCount"), 0)
    if failed is not None:
        made["maxFailedTrials"] = min(failed, _MOST_TRIALS)
        note = "failures in a row count here, in Katib all of them"
        report.approximated((*_SPEC, "maxFailedTrialCount"), "spec.maxFailedTrials", note)
    return made


def _at_most(reader: Reader, field: str, target: str, value: int) -> int:
    most = _MOST_PARALLEL if field == "parallelTrialCount" else _MOST_TRIALS
    path = (*_SPEC, field)
    if value <= most:
        reader.report.converted(path, f"spec.{target}")
    else:
        reader.report.approximated(path, f"spec.{target}", f"a Search takes {most:,} at most")
    return min(value, most)
