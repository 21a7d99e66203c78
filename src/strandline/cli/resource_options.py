"""Options that several of the resource commands share."""

from __future__ import annotations

import click

filename_option = click.option(
    "-f", "--filename", "filenames", multiple=True, metavar="FILE|DIR|-", help="Documents to read."
)
recursive_option = click.option(
    "-R", "--recursive", is_flag=True, help="Read folders in folders too."
)
selector_option = click.option(
    "-l", "--selector", default=None, help="Labels, e.g. team=birds,stage!=test."
)
targets_argument = click.argument("words", nargs=-1, metavar="KIND [NAME…] | KIND/NAME…")
