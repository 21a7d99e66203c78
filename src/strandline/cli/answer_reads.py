"""`strandline answer-reads`: for command lines far from store and catalog, not for people."""

from __future__ import annotations

import sys

import click


@click.command("answer-reads", hidden=True)
def answer_reads() -> None:
    """Answer questions about this place's catalog and store from stdin on stdout."""
    from strandline import compose
    from strandline.adapters.remote_reads import answer_reads as answer

    place = compose.local()
    answer(place.catalog, place.store, sys.stdin.buffer, sys.stdout.buffer)


COMMANDS = (answer_reads,)
