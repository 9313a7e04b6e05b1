"""The picture of the field at a step as one answer, which the browser keeps: see assets/pictures.js."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import Dash
from flask import Response, abort, request
from plotly.io.json import to_json_plotly

from dashboards import figures
from dashboards.drawn import plain, sent
from dashboards.figures.field_panel import planes
from dashboards.known_run import PRUNED
from dashboards.pages.field_panels import BESIDE, Chosen, gathered
from dashboards.records import Records
from dashboards.showing import theme_of
from dashboards.timeline import picture_at
from dashboards.trails import Trails

#: Where it is asked for.
ADDRESS = "/field/picture"
#: Pixels of a row of so many panels beside each other, and most pixels that a panel is wide.
ROWS = {1: 560, 2: 470, 3: 380}
_WIDEST = 640
#: The largest number that an address may say: that of SQLite's integers.
_LARGEST = 2**63 - 1


def register_picture(app: Dash, records: Records) -> None:
    """Gives an app the address of its pictures.

    It is no callback: those wait for each other, and what a callback answered cannot be kept for when it is asked
    again.

    Args:
        app: the app.
        records: what is known of the store.
    """
    trails = Trails(records)

    def answer() -> Response:
        said = request.args
        run, step = _number(said.get("run", "")), _number(said.get("step", ""))
        room = min(3, max(1, _number(said.get("room", "")) or 1))
        if run is not None and said.get("epoch", "") != records.epoch:
            # What the page means by this run is in a store that is not there any more.
            abort(409)
        others = [one for one in map(_number, said.get("compare", "").split(",")) if one is not None]
        token = {"run": run, "compared": {str(one): {} for one in others}} if run is not None else None
        beside = said.get("beside", "")
        picture = drawn(
            records, trails, token, step, (said.get("state"), said.get("critic"), said.get("plane")),
            beside if beside in BESIDE else "one", said.get("theme"), room,
        )  # fmt: skip
        return Response(to_json_plotly(picture), mimetype="application/json", headers={"Cache-Control": "no-store"})

    app.server.add_url_rule(ADDRESS, "field-picture", answer)


def drawn(
    records: Records,
    trails: Trails,
    token: Any,
    step: int | None,
    which: tuple[Any, Any, Any],
    beside: str,
    theme: Any,
    room: int,
) -> dict[str, Any]:
    """The picture nearest to a step, with what is said of it and how large it is.

    Args:
        records: what is known of the store.
        trails: where actors were before.
        token: the run and those beside it, as ``dashboards.showing.together`` reads them.
        step: the newest picture when None.
        which: state, critic and plane, as controls say them.
        beside: what is beside each other, of ``BESIDE``.
        theme: the browser's colour scheme.
        room: how many panels the browser has room for beside each other.
    """
    run = token["run"] if token else None
    found = picture_at(records, run, step)
    number = found[1] if found is not None else 0
    arrays = records.arrays(number) if found is not None else {}
    chosen = Chosen(token, run, step, *numbers(arrays, *which), beside)
    seen = gathered(records, trails, arrays, number, chosen)
    columns = min(len(seen.panels), 2 if len(seen.panels) == 4 else 3, room) or 1
    figure = plain(
        figures.fields(
            seen.panels, columns=columns, linked=seen.linked, shared=seen.shared, theme=theme_of(theme),
            # Zoom is kept from step to step, and lost where the axes become others.
            uirevision=f"field {run} {chosen.plane} {beside} {len(seen.panels)}",
            **({"nothing": PRUNED} if records.run(run).pruned("field") else {}),
        )
    )  # fmt: skip
    trouble = None
    if found is not None and (why := records.damage(number)):
        title = f"The picture of step {found[0]:,} cannot be read"
        trouble = dmc.Alert(f"{why}. Other steps are not affected.", title=title, color="orange", variant="light")
    rows = -(-max(1, len(seen.panels)) // columns)
    # A narrow screen has no use for more height than a plane is wide.
    height = rows * (430 if columns == 1 and room == 1 else ROWS[columns])
    # The state is at the right of one panel, and below several.
    width = _WIDEST if columns == 1 else 520 * columns + 60
    wide = {"maxWidth": f"{width}px", **({"flexBasis": f"{width - 100}px"} if columns > 1 else {})}
    return {
        "step": found[0] if found is not None else None,
        "figure": {"data": sent(figure["data"]), "layout": sent(figure["layout"])},
        "style": {"height": f"{height}px"}, "frame": wide, "note": seen.note, "trouble": trouble,
    }  # fmt: skip


def numbers(arrays: Mapping[str, Any], state: Any, critic: Any, plane: Any) -> tuple[int, int, int]:
    """State, critic and plane as controls say them, within what a picture has.

    Example:
        >>> numbers({}, "3", None, "²")
        (0, 0, 0)
    """
    sizes = arrays["q"].sizes if "q" in arrays else {"critic": 1, "state": 1}
    limits = (sizes["state"], sizes["critic"], max(1, len(planes(arrays))))
    found = [
        min(_number(str(one or "")) or 0, limit - 1) for one, limit in zip((state, critic, plane), limits, strict=True)
    ]
    return found[0], found[1], found[2]


def _number(text: str) -> int | None:
    """A whole number as an address says it; None where it says none."""
    found = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None
    return found if found is None or found <= _LARGEST else None
