"""``gradlab export``: numbers, measurements, configurations and figures of a run as files of other programs."""

from __future__ import annotations

import base64
import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from gradlab.cli.screen import screen
from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from gradlab.store import Store

#: Pixels across of a figure that is drawn into a file.
_WIDTH = 1000
_GROUND = {"light": "#ffffff", "dark": "#1f2024"}


class What(StrEnum):
    """What of a run is written."""

    scalars = "scalars"
    measurements = "measurements"
    configuration = "configuration"


class Ground(StrEnum):
    """What a figure is drawn on."""

    light = "light"
    dark = "dark"


def export(
    to: Annotated[
        Path,
        typer.Option(
            help="The file; its suffix says the form: .csv, .jsonl, .parquet; .zip for a deposit, which others open as "
            "a store; of figures .json, .png, .svg."
        ),
    ],
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs by id or name; the newest by default.")
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option("--run", help="A run, likewise, as other commands take it; may be repeated.")
    ] = None,
    store: Annotated[str, typer.Option(help="Store: a path, sqlite:///… or postgresql+psycopg://…")] = "gradlab.db",
    what: Annotated[
        What,
        typer.Option(
            help="scalars: every estimate with its interval, n, reference and objective; measurements: what was "
            "measured, skipped or failed, and its cost; configuration: the runs and their settings, as .json."
        ),
    ] = What.scalars,
    figure: Annotated[
        str | None, typer.Option(help="A figure in place of numbers, by its name: field, landscape, …, a probe's name.")
    ] = None,
    theme: Annotated[Ground, typer.Option(help="Of a figure.")] = Ground.light,
) -> None:
    """Write a run's numbers into a file that other programs read, or one of its figures, or all of it into a deposit.

    Numbers keep all their digits, columns their order. Figures as .json are plotly's own form; .png and .svg need
    Chromium or Chrome.
    """
    from gradlab.store import open_store
    from gradlab.store.export import export_configuration, export_measurements, export_scalars

    chosen: list[int | str] = [*(runs or []), *(also or [])]
    with open_store(store, readonly=True) as opened:
        if to.suffix.lower() == ".zip" and figure is None:
            _deposit(opened, to, chosen)
            return
        if figure is not None:
            _figure(opened, to, chosen, figure, theme)
            said = f"The figure {figure} is in {to}"
        else:
            write = {
                What.scalars: export_scalars,
                What.measurements: export_measurements,
                What.configuration: export_configuration,
            }[what]
            count = write(opened, to, chosen)
            said = f"{count:,} {'run' if what is What.configuration else 'row'}{'s' * (count != 1)} in {to}"
    screen().print(said, markup=False, soft_wrap=True)


def _deposit(store: Store, to: Path, runs: list[int | str]) -> None:
    from gradlab.store.chosen import chosen_run
    from gradlab.store.deposit import write_deposit

    found = write_deposit(store, to, runs or [chosen_run(store).id])
    console = screen()
    listed = ", ".join(f"{run.id} ({run.name})" for run in found.runs)
    console.print(
        f"run{'s' * (len(found.runs) != 1)} {listed}: {found.measurements:,} measurements in {to}, "
        f"{found.size / 1e6:.1f} MB; others open it with: gradlab dashboard {to}",
        markup=False,
        soft_wrap=True,
    )
    for run in found.personal:
        console.print(
            f"run {run.id} ({run.name}): names your home directory {Path.home()}", markup=False, soft_wrap=True
        )


def _figure(store: Store, to: Path, runs: list[int | str], name: str, theme: Ground) -> None:
    from dashboards import of_run
    from gradlab.cli.pictures import require_browser, write_picture, write_vector
    from gradlab.files import check_target, replacing

    form = to.suffix.lower()
    if form not in (".json", ".png", ".svg"):
        raise GradlabError(f"{to}: {form or 'no suffix'} is no form of a figure; name the file .json, .png or .svg")
    if len(runs) > 1:
        raise GradlabError(f"--figure: is of one run, and {len(runs)} were given; name one")
    check_target(to)
    option = f"--to {to}"
    if form != ".json":
        require_browser(option)
    figures = of_run(store, runs[0] if runs else None)
    drawn = figures.figure(name, theme.value)
    if form == ".json":
        with replacing(to) as file:
            # Lists of numbers, for whatever reads it: plotly's own form of arrays is for itself.
            spec = json.loads(drawn.to_json(validate=False, engine="json"))
            file.write(json.dumps(_listed(spec), ensure_ascii=False).encode())
        return
    drawn.update_layout(paper_bgcolor=_GROUND[theme])
    write = write_picture if form == ".png" else write_vector
    write(drawn, to, width=_WIDTH, height=figures.height(name), option=option)


def _listed(value: Any) -> Any:
    """A figure in which plotly's packed arrays are lists; NaN is null, as in the rest of a figure.

    Example:
        >>> _listed({"x": {"dtype": "i2", "bdata": "AQACAA=="}, "y": [1.5]})
        {'x': [1, 2], 'y': [1.5]}
    """
    if isinstance(value, dict) and {"dtype", "bdata"} <= set(value):
        shape = [int(size) for size in str(value.get("shape", "-1")).split(",")]
        numbers = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"]).tolist()
        finite = [one if math.isfinite(one) else None for one in numbers]
        return np.array(finite, dtype=object).reshape(shape).tolist()
    if isinstance(value, dict):
        return {name: _listed(one) for name, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, list) else value
