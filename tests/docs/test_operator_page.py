"""The page about the operator names every field of its file, and the example is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from strandline.control.backoff import MAX_FAILURES
from strandline.control.placement import UNSATISFIABLE, WAITING
from strandline.spec.operator_config import OperatorConfig, read_operator_config
from strandline.spec.rules import SpecModel

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "operator.md").read_text("utf-8")
EXAMPLE = ROOT / "operators" / "strandline" / "operator.yaml"


def fields(model: type[SpecModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        yield path, str(field.description)
        for inner in _models(field.annotation):
            yield from fields(inner, f"{path}{_key(str(field.annotation))}.")


def _key(annotation: str) -> str:
    if "dict" not in annotation:
        return ""
    return ".KIND" if "Literal" in annotation else ".NAME"


def _models(annotation: Any) -> list[type[SpecModel]]:
    parts = (annotation, *get_args(annotation))
    return [part for part in parts if isinstance(part, type) and issubclass(part, SpecModel)]


def test_every_field_is_on_the_page_with_what_it_means() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    told = {row[0].strip("| `"): row[-1].removesuffix(" |") for row in rows}
    for path, description in fields(OperatorConfig):
        assert told.get(path) == description, path


def test_the_example_is_a_file_that_the_operator_reads() -> None:
    config = read_operator_config(EXAMPLE.read_text("utf-8"))
    assert config.jobs.resources_of("Search").memory == "8Gi"


def test_reasons_on_the_page_are_those_of_the_code() -> None:
    for reason in (UNSATISFIABLE, WAITING, "Preempted", "QuotaExceeded", "JobRefused", "Queued"):
        assert f"`{reason}`" in PAGE
    assert MAX_FAILURES == 6, "the page says six"
