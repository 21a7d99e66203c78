"""Names for the shell to complete, read from the place that the command line names."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_names(kind: str) -> Completer:
    """Return a completer of the names of all objects of `kind`."""

    def complete(
        ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from strandline.cli.place import open_place
        from strandline.cli.where import where
        from strandline.spec.errors import StrandlineError
        from strandline.spec.settings import load_settings

        with ctx.scope(cleanup=False):  # nothing runs, so no context is the current one
            if not where().cluster and not load_settings().home.exists():
                return []  # completing must not create anything
            try:
                names = [each.name for each in open_place().list_objects(kind)]
            except StrandlineError:
                return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete
