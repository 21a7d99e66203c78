"""Where commands act: on this machine, or on a cluster that a kubeconfig names.

`--cluster` chooses; `--context`, `--kubeconfig` and `-n` are kubectl's and stand before or
after the verb, as kubectl's plugins get them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click


@dataclass(slots=True)
class Where:
    """What the command line says about where to act.

    Attributes:
        cluster: on a cluster; if not, on this machine.
        context, kubeconfig, namespace: kubectl's options; None is kubectl's default.
    """

    cluster: bool = False
    context: str | None = None
    kubeconfig: Path | None = None
    namespace: str | None = None


def where() -> Where:
    """Return where the running command acts.

    Raises:
        click.UsageError: an option of a cluster is there, and no `--cluster`.
    """
    context = click.get_current_context(silent=True)
    found = context.find_root().obj if context else None
    if not isinstance(found, Where):
        return Where()
    if not found.cluster and (found.context or found.kubeconfig or found.namespace):
        raise click.UsageError(
            "--context, --kubeconfig and --namespace are of a cluster: say `strandline --cluster …`"
        )
    return found


def cluster_options(hidden: bool) -> list[click.Option]:
    """Return kubectl's options that say where."""
    return [
        _option(("--context",), "Context of the kubeconfig.", hidden, metavar="NAME"),
        _option(
            ("--kubeconfig",),
            "Kubeconfig (default: KUBECONFIG, else ~/.kube/config).",
            hidden,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
        ),
        _option(
            ("-n", "--namespace"),
            "Namespace (default: that of the context).",
            hidden,
            metavar="NAME",
        ),
    ]


def take_cluster_options(command: click.Command) -> None:
    """Let every command below `command` take kubectl's options too."""
    for leaf in _leaves(command):
        taken = {name for each in leaf.params for name in each.opts}
        leaf.params += [each for each in cluster_options(True) if not taken & set(each.opts)]


def _leaves(command: click.Command) -> Iterator[click.Command]:
    if not isinstance(command, click.Group):
        yield command
        return
    for each in command.commands.values():
        yield from _leaves(each)


def _option(names: tuple[str, ...], text: str, hidden: bool, **more: Any) -> click.Option:
    return click.Option(
        names, help=text, hidden=hidden, expose_value=False, callback=_keep, is_eager=True, **more
    )


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and parameter.name is not None:
        setattr(context.find_root().ensure_object(Where), parameter.name, value)


def choose_cluster(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Take note of `--cluster`."""
    if value:
        context.find_root().ensure_object(Where).cluster = True
