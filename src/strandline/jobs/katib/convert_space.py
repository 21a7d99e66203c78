"""The parameters of an Experiment as the space of a Search."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from strandline.jobs.katib.declared import (
    LOG_DISTRIBUTIONS,
    NUMERIC,
    Declared,
    Range,
    distinct_values,
    problems_of,
    range_of,
)
from strandline.jobs.katib.fates import Path, shown
from strandline.jobs.katib.reader import Reader
from strandline.spec.networks import CellFamily
from strandline.spec.records import Task
from strandline.spec.search_space import SpacePreset

PARAMETERS: Path = ("spec", "parameters")
NAS: Path = ("spec", "nasConfig")
_MOST_PARAMETERS = 128
_MOST_VALUES = 256
_STRANGER = (
    "Strandline's own trials know no parameter of this name: give it the name of one that means "
    "the same (docs/reference/katib.md lists them)"
)


def convert_space(reader: Reader) -> dict[str, Any]:
    """Return the `space` of the Search, telling the fate of parameters and nasConfig."""
    places = reader.entries(PARAMETERS)
    if reader.has(NAS):
        if places:
            reader.refuse(PARAMETERS, "parameters and nasConfig exclude each other: keep one")
        return _architectures(reader)
    if not places:
        reader.refuse(PARAMETERS, "it is missing: an Experiment has parameters or a nasConfig")
    if len(places) > _MOST_PARAMETERS:
        reader.refuse(PARAMETERS, f"a Search takes {_MOST_PARAMETERS} parameters: leave some out")
    taken: set[str] = set()
    found = [_parameter(reader, path, place, taken) for place, path in enumerate(places)]
    return {"preset": "custom", "parameters": [each for each in found if each is not None]}


def declared_at(reader: Reader, path: Path) -> Declared:
    """Read one entry of a list of parameters."""
    space = (*path, "feasibleSpace")
    values = tuple(reader.text(each) for each in reader.entries((*space, "list")))
    low, high, step, distribution = (
        reader.text((*space, field)) for field in ("min", "max", "step", "distribution")
    )
    name, type_ = reader.text((*path, "name")), reader.text((*path, "parameterType"))
    return Declared(name, type_, low, high, step, values, distribution)


def _parameter(reader: Reader, path: Path, place: int, taken: set[str]) -> dict[str, Any] | None:
    declared = declared_at(reader, path)
    problems = list(problems_of(declared))
    for field, problem in problems:
        reader.refuse((*path, *field.split(".")), problem)
    target = f"spec.space.parameters[{place}]"
    name = _name(reader, (*path, "name"), declared.name, target, taken)
    if problems or not name:
        return None
    if declared.type not in NUMERIC:
        return {"name": name, **_listed(reader, path, declared, target)}
    numbers = range_of(declared)
    if numbers.low == numbers.high:
        return {"name": name, **_constant(reader, path, declared, target)}
    return {"name": name, **_ranged(reader, path, declared, numbers, target)}


def _name(reader: Reader, path: Path, name: str, target: str, taken: set[str]) -> str:
    if not name:
        reader.refuse(path, "it is missing: name the parameter")
        return ""
    ours = re.sub(r"[^A-Za-z0-9_.]", "_", name)[:120]
    ours = ours if ours[0].isalpha() or ours[0] == "_" else f"_{ours}"
    while ours in taken:
        ours += "_"
    taken.add(ours)
    known = "" if ours in known_parameters() else _STRANGER
    if ours != name:
        called = f"called {ours}: names here have letters, digits, _ and ., and differ"
        known = f"{called}. {known}".removesuffix(". ")
    if known:
        reader.report.approximated(path, f"{target}.name", known)
    else:
        reader.report.converted(path, f"{target}.name")
    return ours


@cache
def known_parameters() -> tuple[str, ...]:
    """Return the names of what Strandline's own trials can be given."""
    from strandline.learn.transfer_space import transfer_space
    from strandline.zoo.efficientnet_lite import VARIANTS

    space = transfer_space("best", [next(iter(VARIANTS))], Task.MULTICLASS)
    return tuple(parameter.name for parameter in space.parameters)


def _listed(reader: Reader, path: Path, declared: Declared, target: str) -> dict[str, Any]:
    report, field = reader.report, (*path, "feasibleSpace", "list")
    ordered = declared.type == "discrete"
    note = "an ordinal: discrete values have an order" if ordered else ""
    report.converted((*path, "parameterType"), f"{target}.type", note)
    kept = [v for v in distinct_values(declared) if 0 < len(v) <= 256][:_MOST_VALUES]
    if not kept:
        reader.refuse(field, "it has no value of 1 to 256 characters")
    for place, value in enumerate(declared.values):
        entry = (*field, place)
        if value not in kept:
            note = "left out: a value has 1 to 256 characters, a parameter 256 values"
            report.no_equal(entry, f"{note}; search a range instead")
        elif value in declared.values[:place]:
            report.converted(entry, f"{target}.values", "it stands there once")
        else:
            note = "values stand in ascending order" if ordered else ""
            report.converted(entry, f"{target}.values", note)
    distribution = (*path, "feasibleSpace", "distribution")
    if declared.distribution:
        report.no_equal(distribution, "a list has none: each value is equally likely")
    return {"type": "ordinal" if ordered else "categorical", "values": kept}


def _constant(reader: Reader, path: Path, declared: Declared, target: str) -> dict[str, Any]:
    report, space = reader.report, (*path, "feasibleSpace")
    note = "min equals max, so it is a constant: a categorical with this one value"
    report.approximated((*path, "parameterType"), f"{target}.type", note)
    for field in ("min", "max"):
        report.converted((*space, field), f"{target}.values[0]", "a constant")
    for field in ("step", "distribution", "list"):
        if reader.has((*space, field)):
            report.no_equal((*space, field), "a constant needs none: remove it")
    return {"type": "categorical", "values": [declared.min]}


def _ranged(
    reader: Reader, path: Path, declared: Declared, numbers: Range, target: str
) -> dict[str, Any]:
    report, space = reader.report, (*path, "feasibleSpace")
    kind = "int" if declared.type == "int" else "float"
    log = declared.distribution in LOG_DISTRIBUTIONS
    entry: dict[str, Any] = {"type": kind, "min": float(numbers.low), "max": float(numbers.high)}
    report.converted((*path, "parameterType"), f"{target}.type")
    report.converted((*space, "min"), f"{target}.min")
    report.converted((*space, "max"), f"{target}.max")
    if reader.has((*space, "list")):
        report.no_equal((*space, "list"), "a range takes no list")
    if log:
        entry["log"] = True
    if reader.has((*space, "step")):
        entry |= _step(reader, (*space, "step"), numbers, log, target)
    if reader.has((*space, "distribution")):
        _distribution(reader, (*space, "distribution"), declared.distribution, target)
    return entry


def _step(reader: Reader, path: Path, numbers: Range, log: bool, target: str) -> dict[str, Any]:
    assert numbers.step is not None, "stated"
    if numbers.step == 1 and numbers.low == int(numbers.low) and log:
        reader.report.converted(path, f"{target}.type", "the step of an int is 1")
        return {}
    if log:
        reader.report.no_equal(
            path, "a logarithmic range has no step: round in the trainable, or list the values"
        )
        return {}
    reader.report.converted(path, f"{target}.step")
    return {"step": float(numbers.step)}


def _distribution(reader: Reader, path: Path, distribution: str, target: str) -> None:
    log = f"{target}.log"
    match distribution:
        case "logUniform":
            reader.report.converted(path, log)
        case "logNormal":
            note = "uniform on the logarithm between min and max: no value is preferred beforehand"
            reader.report.approximated(path, log, note)
        case "normal":
            note = "uniform between min and max: no value is preferred beforehand"
            reader.report.approximated(path, target, note)
        case _:
            reader.report.converted(path, target, "what a range is here anyway")


def _architectures(reader: Reader) -> dict[str, Any]:
    """Choose the preset of cells; what the operations were is told, but not carried over."""
    report = reader.report
    algorithm = reader.text(("spec", "algorithm", "algorithmName"))
    family = CellFamily.DARTS if algorithm == "darts" else CellFamily.NASNET
    preset, cells, nearest = SpacePreset.CELLS.value, family.value, _NEAREST[family]
    note = f"the Search takes the {preset} preset with the cells of {cells}"
    report.no_equal(
        NAS, f"{note}, which has its own operations: see the reference of architecture spaces"
    )
    graph = (*NAS, "graphConfig")
    if reader.has((*graph, "numLayers")):
        report.no_equal(
            (*graph, "numLayers"),
            f"{note}, whose networks stack cells: their number is a setting of the space",
        )
    for field in ("inputSizes", "outputSizes"):
        if reader.has((*graph, field)):
            why = f"{note}: sizes are those of the dataset's images and labels"
            report.no_equal((*graph, field), why)
    for path in reader.entries((*NAS, "operations")):
        operation = reader.text((*path, "operationType"))
        for parameter in reader.entries((*path, "parameters")):
            for field, problem in problems_of(declared_at(reader, parameter)):
                reader.refuse((*parameter, *field.split(".")), problem)
        near = nearest.get(operation, "none")
        why = f"{note}, which has its own operations; nearest to {operation!r}: {near}"
        report.no_equal(path, why)
    report.added("spec.space.preset", preset, f"instead of {shown(NAS)}")
    report.added("spec.space.family", cells, "convolutions, pooling and how they are joined")
    return {"preset": preset, "family": cells}


_NEAREST = {
    CellFamily.NASNET: {
        "convolution": "convolutions 1x1, 3x3, 1x3-3x1, 1x7-7x1",
        "separable_convolution": "separable convolutions 3x3, 5x5, 7x7",
        "depthwise_convolution": "separable convolutions 3x3, 5x5, 7x7",
        "dilated_convolution": "the dilated convolution 3x3",
        "max_pooling": "max pooling 3x3, 5x5, 7x7",
        "avg_pooling": "average pooling 3x3",
        "reduction": "the reduction cell, which the search finds as well",
        "skip_connection": "identity",
    },
    CellFamily.DARTS: {
        "separable_convolution": "separable convolutions 3x3, 5x5",
        "dilated_convolution": "dilated separable convolutions 3x3, 5x5",
        "max_pooling": "max pooling 3x3",
        "avg_pooling": "average pooling 3x3",
        "skip_connection": "the skip connection",
    },
}
"""Operations of our cells (arXiv 1707.07012, 1806.09055) nearest to Katib's."""
