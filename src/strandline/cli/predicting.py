"""`strandline predict` and `strandline export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from strandline.cli.completion import complete_names
from strandline.cli.output import output_option, plain, print_structured, printable
from strandline.cli.verbs import verbs

_ALTERNATIVES_SHOWN = 2


@click.command()
@click.argument("model", shell_complete=complete_names("Model"))
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=None,
    help="Answer only with at least this score (default: the model's own goal).",
)
@output_option("json", "jsonl")
@click.pass_context
def predict(
    ctx: click.Context,
    model: str,
    paths: tuple[str, ...],
    threshold: float | None,
    output: str | None,
) -> None:
    """Predict images with MODEL: NAME, NAME@VERSION or a bundle file.

    PATHS are images or folders of them. An image that cannot be read gets its reason and
    the rest goes on; the exit code is 7 when none could be read. `-o jsonl` prints each
    result as soon as it is there.
    """
    failed = total = 0
    collected: list[Any] = []
    for result in verbs().predict(model, paths, threshold=threshold):
        total += 1
        failed += result.error is not None
        if output == "jsonl":
            click.echo(json.dumps(plain(result), ensure_ascii=False))
        elif output == "json":
            collected.append(result)
        else:
            click.echo(_line(plain(result)))
    if output == "json":
        print_structured(collected, "json")
    if total and failed == total:
        ctx.exit(7)


def _line(result: dict[str, Any]) -> str:
    source = printable(result["source"])
    if result["error"]:
        return f"{source}: not read: {printable(result['error'])}"
    ranked = [f"{printable(p['label'])} {p['score']:.3f}" for p in result["predictions"]]
    shown = ", ".join(ranked[: _ALTERNATIVES_SHOWN + 1]) or "no label applies"
    return f"{source}: I don't know ({shown}?)" if result["abstained"] else f"{source}: {shown}"


@click.command()
@click.argument("model", shell_complete=complete_names("Model"))
@click.option(
    "--format",
    "export_format",
    type=click.Choice(["bundle", "onnx", "torchscript", "safetensors"]),
    default="bundle",
    show_default=True,
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@output_option()
def export(model: str, export_format: str, out: Path, force: bool, output: str | None) -> None:
    """Take MODEL away: write it to folder OUT in a form that needs no Strandline."""
    written = verbs().export(model, format=export_format, out=out, force=force)
    if output:
        print_structured({"model": model, "files": [str(path) for path in written]}, output)
        return
    for path in written:
        click.echo(path)


COMMANDS = (predict, export)
