"""Cells that searches found: read for a training, a drawing or another program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from strandline.cells.registry import family
from strandline.ports import Catalog, Resource
from strandline.search.ledger import Ledger
from strandline.spec.errors import InvalidSpecError, NotFoundError
from strandline.spec.networks import CellFamily
from strandline.spec.records import Scalar, Trial
from strandline.spec.v1alpha1 import CellSource, SearchSpec

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class FoundCell:
    """A cell.

    Attributes:
        decisions: what the family asks for, by name.
        trial: that tried it; None when it was written out.
    """

    family: CellFamily
    decisions: Mapping[str, Scalar]
    trial: Trial | None = None


def find_cell(catalog: Catalog, source: CellSource) -> FoundCell:
    """Return the cell that a document names.

    Raises:
        NotFoundError: there is no such search, or it has no such trial.
        InvalidSpecError: the search's candidates are no cells; the genotype is none.
    """
    if source.search is not None:
        return cell_of_search(catalog, source.search, source.trial)
    assert source.family is not None, "a rule of the spec"
    assert source.genotype is not None, "a rule of the spec"
    family(source.family.value).validate(source.genotype)
    return FoundCell(source.family, source.genotype)


def cell_of_search(catalog: Catalog, name: str, number: int | None = None) -> FoundCell:
    """Return the cell of a search's trial; without a number, of the one that was chosen.

    Raises:
        as `find_cell`.
    """
    resource = catalog.get_resource("Search", name)
    spec = SearchSpec.model_validate(resource.spec)
    if spec.space.family is None:
        raise InvalidSpecError(
            f"search {name} has the preset {spec.space.preset.value}, whose candidates are no "
            "cells: name one with the preset cells"
        )
    trial = _choose(catalog, resource, spec, number)
    names = {choice.name for choice in family(spec.space.family.value).choices}
    decisions = {key: value for key, value in trial.candidate.items() if key in names}
    return FoundCell(spec.space.family, decisions, trial)


def _choose(catalog: Catalog, resource: Resource, spec: SearchSpec, number: int | None) -> Trial:
    reranked = resource.status.get("reranked") or []
    if number is None and reranked:
        number = int(reranked[0]["number"])
    if number is not None:
        found = list(catalog.list_trials(resource.uid, limit=1, after=number - 1))
        if not found or found[0].number != number:
            raise NotFoundError(f"search {resource.name} has no trial {number}")
        return found[0]
    ledger = Ledger(spec.objectives)
    for trial in _all_trials(catalog, resource.uid):
        ledger.put(trial)
    best = ledger.best()
    if best is None:
        raise NotFoundError(f"search {resource.name} has no trial with a result yet")
    return best


def _all_trials(catalog: Catalog, uid: str) -> Iterator[Trial]:
    after = -1
    while page := catalog.list_trials(uid, limit=_PAGE, after=after):
        yield from page
        after = page[-1].number
