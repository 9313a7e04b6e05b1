"""Every measurement of a run as the store has it: filtered, sorted and paged there; one of them opened shows all of it.

The newest are followed while they come in. Whoever looks at other pages, or in another order, sees them stand still.
"""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.exceptions import PreventUpdate

from dashboards.cards import card
from dashboards.pages.page import Query
from dashboards.pages.record_rows import detail, head, row
from dashboards.records import Records
from dashboards.showing import digest, run_of
from dashboards.summary import ProbeSummary
from gradlab.errors import GradlabError
from gradlab.store.records import MeasurementInfo, Record

#: Records on a page.
ROWS = 25
OUTCOMES = {"all": "all", "ok": "measured", "skipped": "skipped", "failed": "failed"}
#: Columns that the records can be in the order of → what they are called; with a minus the largest first.
ORDERS = {"id": "record", "step": "step", "time": "stored", "probe": "probe", "cost": "cost"}
#: What goes without saying.
USUAL = {"probe": "all", "outcome": "all", "order": "-id"}


def records_card(query: Query) -> Any:
    """The panel, with its controls as the address says."""
    probe = (query.any("probe") or [USUAL["probe"]])[0]
    outcome = query.one("outcome", USUAL["outcome"], list(OUTCOMES))
    order = query.one("order", USUAL["order"], [sign + name for name in ORDERS for sign in ("", "-")])
    controls = dmc.Group(
        [
            dmc.Select(
                id="probe", data=[{"value": probe, "label": "all probes" if probe == "all" else probe}], value=probe,
                size="xs", w=210, allowDeselect=False, checkIconPosition="right", searchable=True, openOnFocus=False,
                **{"aria-label": "Records of"},
            ),
            dmc.SegmentedControl(
                id="outcome", data=[{"value": value, "label": label} for value, label in OUTCOMES.items()],
                value=outcome, size="xs", **{"aria-label": "Records that were"},
            ),
        ],
        gap="xs",
    )  # fmt: skip
    return card(
        "Raw records",
        [
            dcc.Input(id="order", type="hidden", value=order),
            dcc.Store(id="opened", data=None),
            html.Div(
                html.Table(
                    [html.Thead(id="records-head", children=head(order)), html.Tbody(id="records")], className="records"
                ),
                className="records-frame",
                tabIndex=0,
                role="region",
                **{"aria-label": "Raw records"},
            ),
            dmc.Group(
                [
                    dmc.Text(id="records-count", size="xs", c="dimmed", className="number"),
                    html.Div(
                        # The first and the last are among the numbers; Mantine's arrows have no names.
                        dmc.Pagination(
                            id="records-page", total=1, value=1, size="xs", color="indigo.8", siblings=2,
                            withControls=False,
                        ),
                        role="group",
                        **{"aria-label": "Pages of records"},
                    ),
                ],
                justify="space-between",
                gap="xs",
            ),
        ],
        controls,
        about="Every measurement as it is stored; open one to see what it holds.",
    )  # fmt: skip


def register_records(app: Dash, records: Records) -> None:
    """Gives the app this panel's callbacks."""

    @app.callback(
        Output("records", "children"),
        Output("records-count", "children"),
        Output("records-head", "children"),
        Output("records-page", "total"),
        Output("records-page", "value"),
        Output("probe", "data"),
        Output("probe", "value"),
        Output("records-shown", "data"),
        Input("token", "data"),
        Input("probe", "value"),
        Input("outcome", "value"),
        Input("order", "value"),
        Input("records-page", "value"),
        Input("opened", "data"),
        State("records-shown", "data"),
    )
    def table(token: Any, probe: str, outcome: str, order: str, page: int, opened: Any, shown: Any) -> tuple[Any, ...]:
        run, shown = run_of(token), shown or {}
        if run is None:
            # The address may name a probe that is not known before the run is.
            raise PreventUpdate
        probes = dict(records.run(run).probes)
        probe = probe if probe in probes else "all"
        total = counted(probes, probe, outcome)
        pages = max(1, -(-total // ROWS))
        place = digest([records.epoch, run, probe, outcome, order])
        page = 1 if shown.get("place") != place else min(max(1, int(page or 1)), pages)
        what, read = digest([place, page, opened]), shown.get("total", 0)
        # The newest come in by themselves; a page that is full stays as it is while somebody reads it.
        follows = opened is None and ((order == "-id" and page == 1) or page * ROWS > read)
        rows: Any = no_update
        if what != shown.get("what") or (follows and total != read):
            rows, read = _rows(records, run, probe, outcome, order, page, opened), total
        listed = digest([sorted(probes), pages, page, order])
        mark = {"place": place, "what": what, "total": read, "listed": listed}
        beside = head(order), pages, page, _choices(probes), probe
        if listed == shown.get("listed"):
            beside = (no_update,) * 5
        return rows, _count(total, page, read), *beside, mark if mark != shown else no_update


def counted(probes: dict[str, ProbeSummary], probe: str, outcome: str) -> int:
    """How many records a filter lets through, by what is known already.

    Example:
        >>> counted({"field": ProbeSummary(ok=3, failed=1), "mine": ProbeSummary(failed=2)}, "all", "failed")
        3
    """
    chosen = [one for name, one in probes.items() if probe in ("all", name)]
    wanted = [outcome] if outcome in ("ok", "skipped", "failed") else ["ok", "skipped", "failed"]
    return sum(getattr(one, name) for one in chosen for name in wanted)


def _rows(records: Records, run: int | None, probe: str, outcome: str, order: str, page: int, opened: Any) -> list[Any]:
    try:
        found, held = _read(records, run, probe, outcome, order, page, opened)
    except GradlabError as error:
        return [html.Tr(html.Td(str(error), colSpan=8, className="trouble"))]
    if not found:
        return [html.Tr(html.Td("no such record", colSpan=8, className="nothing"))]
    rows = []
    for one in found:
        rows.append(row(one, opened=held is not None and held.info.id == one.id))
        if held is not None and held.info.id == one.id:
            rows.append(detail(held))
    return rows


def _read(
    records: Records, run: int | None, probe: str, outcome: str, order: str, page: int, opened: Any
) -> tuple[list[MeasurementInfo], Record | None]:
    if run is None:
        return [], None
    name = order.removeprefix("-")
    found = records.asked(
        lambda store: store.page(
            run,
            None if probe == "all" else probe,
            outcome if outcome in ("ok", "skipped", "failed") else None,  # type: ignore[arg-type]
            order=name if name in ORDERS else "id",  # type: ignore[arg-type]
            descending=order.startswith("-"),
            limit=ROWS,
            offset=(page - 1) * ROWS,
        )
    )
    there = any(one.id == opened for one in found)
    return found, records.asked(lambda store: store.record(opened)) if there else None


def _choices(probes: dict[str, ProbeSummary]) -> list[dict[str, str]]:
    return [{"value": "all", "label": "all probes"}, *({"value": name, "label": name} for name in sorted(probes))]


def _count(total: int, page: int, read: int) -> str:
    if not total:
        return "no record"
    first = (page - 1) * ROWS + 1
    newer = f"; {total - read:,} newer since this page was read" if total > read else ""
    return f"{first:,} to {min(first + ROWS - 1, total):,} of {total:,}{newer}"
