"""The `strandline` command: wiring of its subcommands, and how errors end a process.

Exit codes are those of `spec.errors.OUTCOMES`; 2 is a usage error (click's own).
"""

from __future__ import annotations

import sys

import click

from strandline import __version__
from strandline.cli import (
    answer_reads,
    data,
    katib,
    learning,
    networks,
    predicting,
    resources,
    search_progress,
)
from strandline.cli.output import note
from strandline.cli.where import Where, choose_cluster, cluster_options, take_cluster_options
from strandline.spec.errors import StrandlineError, outcome_of


class StrandlineGroup(click.Group):
    """Turns errors of ours into one clear line and their exit code."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except StrandlineError as error:
            note(f"error: {error}")
            sys.exit(outcome_of(error).exit_code)
        except KeyboardInterrupt:
            note("stopped")
            sys.exit(130)


@click.group(cls=StrandlineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--cluster",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=choose_cluster,
    help="Act on the cluster of the kubeconfig, as `kubectl strandline` does.",
)
@click.version_option(__version__, prog_name="strandline")
def main() -> None:
    """From a folder of images to a trustworthy prediction.

    \b
    strandline import birds ~/Pictures/birds     one folder a label, a zip, CSV, JSONL
    strandline train birds --budget 10m          search, refit, calibrate, evaluate
    strandline evaluate birds --report out.html  numbers with intervals, and plots
    strandline predict birds photo.jpg           label, score, or "I don't know"
    """


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion script.

    \b
    bash:  eval "$(strandline completion bash)"
    """
    from click.shell_completion import get_completion_class

    cls = get_completion_class(shell)
    if cls is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(cls(main, {}, "strandline", "_STRANDLINE_COMPLETE").source())


for _module in (
    data,
    learning,
    networks,
    search_progress,
    predicting,
    resources,
    katib,
    answer_reads,
):
    for _command in _module.COMMANDS:
        main.add_command(_command)

take_cluster_options(main)
main.params += cluster_options(hidden=False)


def kubectl_main() -> None:
    """Be `kubectl strandline`: the same commands on the cluster of the kubeconfig."""
    main(prog_name="kubectl strandline", obj=Where(cluster=True))


def complete_for_kubectl() -> None:
    """Be `kubectl_complete-strandline`: print what the last argument may be, as kubectl asks.

    One candidate a line, then `:` and a number; 4 keeps the shell from offering files.
    """
    from click.shell_completion import ShellComplete

    *words, incomplete = sys.argv[1:] or [""]
    complete = ShellComplete(main, {"obj": Where(cluster=True)}, "kubectl strandline", "")
    for item in complete.get_completions(words, incomplete):
        if item.type == "plain":
            click.echo(item.value)
    click.echo(":4")
