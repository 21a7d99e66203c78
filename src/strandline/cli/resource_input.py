"""Read the documents that `-f` names: files, directories and stdin, as kubectl does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from strandline.cli.resource_names import shown
from strandline.spec.documents import Document, parse_documents
from strandline.spec.errors import InvalidSpecError, NotFoundError
from strandline.spec.v1alpha1 import BatchPrediction, Dataset, DatasetSource, Kind
from strandline.spec.yaml_text import MAX_BYTES

_SUFFIXES = (".yaml", ".yml", ".json")


def read_documents(names: Sequence[str], recursive: bool) -> list[Document]:
    """Read and check every document; each knows where relative paths in it start.

    Raises:
        InvalidSpecError: any of them is wrong (all problems are named), the same object
            stands there twice, or there is none.
        NotFoundError: a file does not exist.
    """
    documents: list[Document] = []
    problems: list[str] = []
    for name in names:
        for source, base, text in _texts(name, recursive):
            try:
                parsed = parse_documents(text, source)
            except InvalidSpecError as error:
                problems.append(str(error))
                continue
            documents += [replace(each, folder=base) for each in parsed]
    problems += _repetitions(documents)
    if problems:
        raise InvalidSpecError("\n".join(problems))
    if not documents:
        raise InvalidSpecError(f"there is no document in {', '.join(names)}")
    return documents


def _texts(name: str, recursive: bool) -> Iterator[tuple[str, Path, bytes]]:
    """Yield (name for messages, folder of relative paths, content)."""
    if name == "-":
        # One byte more than allowed is enough to be refused as too large.
        yield "stdin", Path.cwd(), sys.stdin.buffer.read(MAX_BYTES + 1)
        return
    if "://" in name:
        raise InvalidSpecError(f"{name}: download it first, then apply the file")
    path = Path(name)
    if not path.exists():
        raise NotFoundError(f"the path {name} does not exist")
    for file in _files(path, recursive):
        with file.open("rb") as opened:
            yield str(file), file.parent.absolute(), opened.read(MAX_BYTES + 1)


def _files(path: Path, recursive: bool) -> list[Path]:
    if path.is_file():
        return [path]
    inside = path.rglob("*") if recursive else path.iterdir()
    return sorted(each for each in inside if each.suffix in _SUFFIXES and each.is_file())


def _repetitions(documents: Sequence[Document]) -> Iterator[str]:
    seen: dict[tuple[str, str], Document] = {}
    for document in documents:
        key = (document.model.kind, document.model.metadata.name)
        first = seen.setdefault(key, document)
        if first is not document:
            yield (
                f"{shown(*key)} stands in {first.source}, document {first.index}, and in "
                f"{document.source}, document {document.index}: keep one of them"
            )


def anchored(model: Kind, base: Path | None) -> Kind:
    """Make relative paths absolute, starting at `base`: a job runs in another folder."""
    if base is None:
        return model
    if isinstance(model, Dataset):
        changed: dict[str, Any] = {"source": _anchored_source(model.spec.source, base)}
    elif isinstance(model, BatchPrediction):
        output = model.spec.output
        changed = {"output": output.model_copy(update={"uri": _absolute(output.uri, base)})}
        if model.spec.source is not None:
            changed["source"] = _anchored_source(model.spec.source, base)
    else:
        return model
    return model.model_copy(update={"spec": model.spec.model_copy(update=changed)})


def _anchored_source(source: DatasetSource, base: Path) -> DatasetSource:
    root = None if source.root is None else _absolute(source.root, base)
    return source.model_copy(update={"uri": _absolute(source.uri, base), "root": root})


def _absolute(uri: str, base: Path) -> str:
    if "://" in uri:
        return uri
    return str(base / Path(uri).expanduser())
