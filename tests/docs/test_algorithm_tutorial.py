"""The tutorial's algorithm is one file and one line, and keeps the contract."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from strandline.search import registry
from strandline.search.registry import make_algorithm
from strandline.spec.documents import parse_document
from strandline.spec.v1alpha1 import Search
from strandline.testing.algorithm_contract import SMALL, AlgorithmContract, MakeAlgorithm

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "add-a-search-algorithm.md"
FILE, LINE, TEST = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
(DOCUMENT,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.S)
MODULE = "strandline.search.annealed_mutation"


@pytest.fixture(scope="module")
def algorithm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Load the page's file as if it lay where the page says."""
    path = tmp_path_factory.mktemp("search") / "annealed_mutation.py"
    path.write_text(FILE, "utf-8")
    spec = spec_from_file_location(MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[MODULE] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[MODULE])
    yield sys.modules[MODULE].AnnealedMutation
    del sys.modules[MODULE]


class TestTutorialsAlgorithm(AlgorithmContract):
    @pytest.fixture
    def make(self, algorithm: Any) -> MakeAlgorithm:
        return lambda space, seed: algorithm(space, seed)


def test_the_line_registers_it_under_the_name_of_the_document(
    algorithm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, place = re.findall(r'"([^"]+)"', LINE)
    assert len(LINE.strip().splitlines()) == 1
    monkeypatch.setitem(registry.ALGORITHMS, name, place)
    search = parse_document(yaml.safe_load(DOCUMENT))
    assert isinstance(search, Search)
    assert search.spec.algorithm.name == name
    made = make_algorithm(name, SMALL, 0, search.spec.algorithm.settings)
    assert isinstance(made, algorithm)


def test_the_test_of_an_algorithm_from_elsewhere_is_one(algorithm: Any) -> None:
    names: dict[str, Any] = {}
    exec(compile(TEST, str(PAGE), "exec"), names)
    suite = names["TestAnnealedMutation"]()
    assert isinstance(suite, AlgorithmContract)
    suite.test_a_space_is_exhausted_when_all_of_it_was_tried(algorithm)
