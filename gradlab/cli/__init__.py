"""The command ``gradlab``; the only place that sees the science, the probes and the dashboards at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from gradlab.cli.analyze import analyze
from gradlab.cli.bias import bias
from gradlab.cli.calibrate import calibrate
from gradlab.cli.compare import compare
from gradlab.cli.curvature import curvature
from gradlab.cli.dashboard import dashboard
from gradlab.cli.demo import demo
from gradlab.cli.export import export
from gradlab.cli.landscape import landscape
from gradlab.cli.replay import replay
from gradlab.cli.report import report
from gradlab.cli.store import store
from gradlab.cli.watch import watch
from gradlab.errors import GradlabError

app = typer.Typer(
    name="gradlab",
    help="Measure how good a policy gradient really is: live, while a run trains, or from its checkpoints.",
    epilog="Start here: gradlab demo. To measure a run of your own: import probes; "
    "model.learn(..., callback=probes.attach(model)).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(dashboard)
app.command()(analyze)
app.command()(watch)
app.command()(compare)
app.command()(report)
app.command()(export)
app.command()(bias)
app.command()(landscape)
app.command()(curvature)
app.command()(calibrate)
app.command()(replay)
app.add_typer(store, name="store")


def _print_version(wanted: bool) -> None:
    if wanted:
        from gradlab import __version__

        typer.echo(f"gradlab {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command; what the user can put right is one line on standard error and exit code 2."""
    try:
        app()
    except GradlabError as error:
        Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(f"gradlab: {error}", markup=False)
        sys.exit(2)
