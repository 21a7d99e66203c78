"""`strandline katib`: a refuge for Katib's users."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from strandline.cli.output import note, output_option, table_lines
from strandline.jobs.katib.fates import Outcome
from strandline.spec.errors import InvalidSpecError, MissingExtraError, NotFoundError

_WIDEST_VALUE = 40
_HEADINGS = ("DOCUMENT", "FIELD", "VALUE", "OUTCOME", "GOES TO", "NOTE")


@click.group()
def katib() -> None:
    """Convert Katib Experiments; suggest trials to a Katib installation."""


@katib.command("convert")
@click.argument("files", nargs=-1, required=True, metavar="FILE|-…")
@click.option("--dataset", default=None, help="Dataset that the Searches learn from.")
@click.option(
    "--report",
    "report_path",
    metavar="FILE|-",
    default=None,
    help="Write the report there (as JSON if it ends in .json); - prints it instead of the "
    "Searches, in the form that -o asks for.",
)
@output_option("yaml", "json")
def convert_command(
    files: Sequence[str], dataset: str | None, report_path: str | None, output: str | None
) -> None:
    """Turn Katib Experiments into Searches, and report what became of every field.

    Reads kubeflow.org/v1beta1 Experiments from files, several in one, or stdin. The
    Searches go to stdout, the report to stderr unless --report names a place.

    \b
    strandline katib convert experiment.yaml --dataset birds > search.yaml
    strandline katib convert experiment.yaml --report report.json > search.yaml
    """
    from strandline.jobs.katib.documents import convert_documents

    found = convert_documents([_read(name) for name in files], dataset)
    rows = [{"document": each.origin, **_plain(fate)} for each in found for fate in each.fates]
    if report_path == "-":
        click.echo(_report(rows, output == "json"), nl=False)
    else:
        _print_searches([each.document for each in found if each.document], output)
        _place_report(rows, report_path)
    _summarize(rows)


def _read(name: str) -> tuple[str, bytes]:
    from strandline.spec.yaml_text import MAX_BYTES

    if name == "-":
        return "stdin", sys.stdin.buffer.read(MAX_BYTES + 1)
    path = Path(name)
    if not path.exists():
        raise NotFoundError(f"the path {name} does not exist")
    if path.is_dir():
        raise InvalidSpecError(f"{name} is a folder: name the files in it")
    try:
        with path.open("rb") as opened:
            return name, opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidSpecError(f"{name} cannot be read: {error.strerror}") from None


def _plain(fate: Any) -> dict[str, str]:
    return {
        "field": fate.path,
        "value": fate.value,
        "outcome": fate.outcome.value,
        "target": fate.target,
        "note": fate.note,
    }


def _print_searches(searches: Sequence[Any], output: str | None) -> None:
    if output == "json":
        whole = searches[0] if len(searches) == 1 else _as_list(searches)
        click.echo(json.dumps(whole, ensure_ascii=False, indent=2, allow_nan=False))
        return
    text = yaml.safe_dump_all(searches, sort_keys=False, allow_unicode=True)
    click.echo(text, nl=False)


def _as_list(searches: Sequence[Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(searches)}


def _place_report(rows: Sequence[dict[str, str]], report_path: str | None) -> None:
    if report_path is None:
        click.echo(_report(rows, as_json=False), nl=False, err=True)
        return
    from strandline.durable import replacing

    path = Path(report_path)
    try:
        with replacing(path) as opened:
            opened.write(_report(rows, path.suffix == ".json").encode())
    except OSError as error:
        raise InvalidSpecError(f"{path} cannot be written: {error.strerror}") from None


def _report(rows: Sequence[dict[str, str]], as_json: bool) -> str:
    if as_json:
        return json.dumps(list(rows), ensure_ascii=False, indent=2) + "\n"
    return "".join(f"{line}\n" for line in table_lines(_HEADINGS, list(_cells(rows))))


def _cells(rows: Sequence[dict[str, str]]) -> Iterator[list[str]]:
    """Shorten values, and repeat no note that stands in the line above."""
    above = ""
    for row in rows:
        cells = list(row.values())
        if len(cells[2]) > _WIDEST_VALUE:
            cells[2] = cells[2][: _WIDEST_VALUE - 1] + "…"
        cells[-1], above = ("〃" if cells[-1] and cells[-1] == above else cells[-1]), cells[-1]
        yield cells


def _summarize(rows: Sequence[dict[str, str]]) -> None:
    counts = Counter(row["outcome"] for row in rows)
    fields = sum(counts.values()) - counts["added"]
    parts = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
    note(f"{fields} fields: {', '.join(parts)}")


@katib.command("serve")
@click.option(
    "--address",
    default="127.0.0.1:6789",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; in a pod [::]:6789, which Katib's controller asks.",
)
@click.option(
    "--max-message-mib",
    type=click.IntRange(1, 1024),
    default=64,
    show_default=True,
    help="Largest request: about 1 KiB for each past trial of 20 parameters.",
)
def serve_command(address: str, max_message_mib: int) -> None:
    """Serve our algorithms to Katib: its gRPC Suggestion service, until SIGTERM.

    Katib's controller sends all trials with each request, so nothing is kept: kill it,
    start it again, and it goes on. There is neither authentication nor encryption, as in
    Katib: keep the port inside the cluster.
    """
    try:
        from strandline.serve.katib import MIB, run
    except ImportError as error:
        raise MissingExtraError(f"{error}: install strandline[serve]") from None
    host = address.rpartition(":")[0]
    run(address, max_message_mib * MIB, lambda port: note(f"serving on {host}:{port}"))


COMMANDS = (katib,)
