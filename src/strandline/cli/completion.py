"""Names for the shell to complete, read from the local catalog."""

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
        from strandline import compose
        from strandline.spec.errors import StrandlineError
        from strandline.spec.settings import load_settings

        settings = load_settings()
        if not settings.home.exists():  # completing must not create anything
            return []
        try:
            resources = compose.local(settings).catalog.list_resources(kind)
        except StrandlineError:
            return []
        return [CompletionItem(r.name) for r in resources if r.name.startswith(incomplete)]

    return complete
