"""Tabular benchmarks: every candidate of a space, trained once by somebody else.

A table answers what a training would have given, so that a search costs no more than its
own decisions. `nasbench201` reads the one of the development data; `from_columns` makes one
of any table whose columns are choices and results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # none published
from numpy.typing import NDArray

from strandline.search.space import Candidate, Categorical, Space, Structure, candidate_key
from strandline.spec.records import Scalar

Floats = NDArray[np.float64]

NASBENCH201_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NASBENCH201_EDGES = ("op_0_1", "op_0_2", "op_1_2", "op_0_3", "op_1_3", "op_2_3")


@dataclass(frozen=True)
class Table:
    """A space with the results of all its candidates.

    Attributes:
        columns: results by name, one value a row.
        epochs: what a full training costs, and a short one.
    """

    name: str
    space: Space
    rows: Mapping[str, int]
    columns: Mapping[str, Floats]
    epochs: tuple[int, int] = (200, 12)

    def row(self, candidate: Candidate) -> int:
        """Return the candidate's row."""
        return self.rows[candidate_key(candidate)]


def from_columns(
    path: Path, choices: Sequence[str], results: Sequence[str], structure: Structure | None = None
) -> Table:
    """Read a parquet table: one column a choice, one a result; every row once."""
    table = pq.read_table(path)
    values = {name: table[name].to_pylist() for name in choices}
    return _build(path.stem, values, {r: table[r].to_numpy() for r in results}, structure)


def _build(
    name: str,
    values: Mapping[str, Sequence[Scalar]],
    results: Mapping[str, Floats],
    structure: Structure | None,
) -> Table:
    parameters = tuple(
        Categorical(choice, tuple(sorted(set(column), key=str)))
        for choice, column in values.items()
    )
    keys = [
        candidate_key(dict(zip(values, row, strict=True)))
        for row in zip(*values.values(), strict=True)
    ]
    rows = {key: place for place, key in enumerate(keys)}
    space = Space(parameters, structure=structure)
    return Table(name, space, rows, {k: np.asarray(v, np.float64) for k, v in results.items()})


def nasbench201(path: Path, structure: Structure | None = None) -> Table:
    """Read NAS-Bench-201 with its operations under their names."""
    table = pq.read_table(path)
    results = [
        name for name in table.column_names if name.endswith(("_val", "_test", "_12ep", "_cifar10"))
    ]
    values: dict[str, list[Scalar]] = {
        edge: [NASBENCH201_OPERATIONS[place] for place in table[edge].to_pylist()]
        for edge in NASBENCH201_EDGES
    }
    return _build("nasbench201", values, {r: table[r].to_numpy() for r in results}, structure)
