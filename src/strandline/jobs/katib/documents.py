"""Convert all Experiments of some YAML texts, naming file, document and line of each problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strandline.jobs.katib.convert import KATIB_API, InvalidExperimentError, convert
from strandline.jobs.katib.fates import Fate, Path, Report, shown
from strandline.spec.errors import InvalidSpecError
from strandline.spec.yaml_text import YamlDocument, read_yaml

_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Converted:
    """One document of the input.

    Attributes:
        origin: source and place, as `experiment.yaml#1`.
        document: the Search; None when the document is no Experiment.
    """

    origin: str
    document: Mapping[str, Any] | None
    fates: Sequence[Fate]


def convert_documents(
    texts: Sequence[tuple[str, bytes | str]], dataset: str | None = None
) -> list[Converted]:
    """Convert every Experiment in `texts`, each a source's name and its content.

    Documents of other kinds are reported and left out.

    Raises:
        InvalidSpecError: a text is no YAML, an Experiment is wrong (the message lists
            every problem of all of them), or there is none.
    """
    found: list[Converted] = []
    problems: list[str] = []
    for source, text in texts:
        for index, document in enumerate(read_yaml(text, source), start=1):
            for data, path in _items(document.data):
                origin = "".join([f"{source}#{index}", shown(path) and f".{shown(path)}"])
                try:
                    found.append(_convert(data, origin, dataset))
                except InvalidExperimentError as error:
                    problems += _located(error, f"{source}, document {index}", document, path)
                except InvalidSpecError as error:
                    problems.append(f"{source}, document {index}: {error}")
    if problems:
        hidden = len(problems) - _MOST_PROBLEMS
        more = [f"… and {hidden} more problems"] if hidden > 0 else []
        raise InvalidSpecError("\n".join([*problems[:_MOST_PROBLEMS], *more]))
    if not any(each.document for each in found):
        names = ", ".join(source for source, _ in texts)
        raise InvalidSpecError(
            f"there is no Katib Experiment (apiVersion {KATIB_API}, kind Experiment) in {names}"
        )
    return found


def _items(data: Any) -> Iterator[tuple[Any, Path]]:
    """Yield a document, or the documents in a list (what `kubectl get -o yaml` prints)."""
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if kind in ("List", "ExperimentList") and isinstance(data.get("items"), list):
        for place, item in enumerate(data["items"]):
            yield item, ("items", place)
    else:
        yield data, ()


def _convert(data: Any, origin: str, dataset: str | None) -> Converted:
    if isinstance(data, Mapping) and data.get("kind") != "Experiment" and "kind" in data:
        report = Report(data)
        report.no_equal((), f"a {data['kind']}, not an Experiment: left out")
        return Converted(origin, None, report.fates())
    conversion = convert(data, dataset)
    return Converted(origin, conversion.document, conversion.fates)


def _located(
    error: InvalidExperimentError, where: str, document: YamlDocument, above: Path
) -> Iterator[str]:
    for path, text in error.problems:
        line = document.line_of([*above, *path])
        yield f"{where}, line {line}: {shown((*above, *path))}: {text}".replace(": : ", ": ")
