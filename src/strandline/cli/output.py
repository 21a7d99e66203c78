"""Results go to stdout in the form asked for; everything else goes to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
import yaml
from pydantic import BaseModel

Command = Callable[..., Any]


def output_option(*choices: str) -> Callable[[Command], Command]:
    """Add `-o/--output` with these formats beside the readable default."""
    return click.option(
        "-o",
        "--output",
        "output",
        type=click.Choice(choices or ("json", "yaml")),
        default=None,
        help="Print the result in this form, for programs.",
    )


def plain(value: Any) -> Any:
    """Turn records into what JSON and YAML can hold."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(each) for each in value]
    return value


def count_labels(version: Mapping[str, Any]) -> int | str:
    """Return how many labels a listed version has: named, counted, or not known."""
    names = version["labels"]
    return len(names) if names is not None else version.get("label_count") or ""


def minute(stamp: str | None) -> str:
    """Return an ISO time as lists show it; empty when it is not known."""
    return f"{datetime.fromisoformat(stamp):%F %R}" if stamp else ""


def print_structured(value: Any, form: str) -> None:
    """Print `value` as JSON or YAML on stdout."""
    if form == "yaml":
        click.echo(yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns the way kubectl does: capitals, two or more spaces, no lines."""
    for line in table_lines(headings, rows):
        click.echo(line)


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a table.

    Control characters in cells are shown escaped: a label from outside must not be able
    to move the cursor of somebody's terminal.
    """
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in [list(headings), *cells]:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "   ".join(padded).rstrip()


def printable(text: str) -> str:
    """Escape what a terminal would act on."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def note(message: str) -> None:
    """Say something to the person, not to the program reading stdout."""
    print(message, file=sys.stderr)
