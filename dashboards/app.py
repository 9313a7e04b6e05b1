"""The Dash application: a shell with pages over one store."""

from __future__ import annotations

import logging
from pathlib import Path

from dash import Dash

from dashboards.callbacks import register
from dashboards.guard import Token, protect
from dashboards.records import Records
from dashboards.sharing import share
from dashboards.shell import shell
from dashboards.showing import digest

#: Where Dash serves plotly.js from this machine.
_PLOTLY = "/_dash-component-suites/plotly/package_data/plotly.min.js"
#: Dash's own, in English and without a footer beside the page's.
_INDEX = """<!DOCTYPE html>
<html lang="en">
    <head>
        {%metas%}
        <title>{%title%}</title>
        {%favicon%}
        {%css%}
    </head>
    <body>
        {%app_entry%}
        <div>
            {%config%}
            {%scripts%}
            {%renderer%}
        </div>
    </body>
</html>"""


def create_app(url: str, refresh: float = 1.0, host: str = "127.0.0.1", token: Token | None = None) -> Dash:
    """The dashboard of a store, ready to be served.

    Everything it needs is served by itself; it reads the store and never writes to it.

    Args:
        url: path or URL of the store; it need not exist yet.
        refresh: seconds between two looks of an open page.
        host: the address it will be served on, which is what requests may name as their Host.
        token: admission for other machines; None when only this machine can reach it.

    Raises:
        GradlabError: the path or URL is not one of a store.

    Example:
        >>> create_app("no/such/gradlab.db").title
        'gradlab'
    """
    records = Records(url, patience=min(0.3, refresh / 2))
    app = Dash(
        "gradlab",
        title="gradlab",
        index_string=_INDEX,
        update_title="",
        serve_locally=True,
        assets_folder=str(Path(__file__).parent / "assets"),
        compress=False,
        enable_mcp=False,
        add_log_handler=False,
        # Only the open page is in the layout: callbacks of the others are about what is not there.
        suppress_callback_exceptions=True,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    # Else it would be asked for when the first graph is there, and everything would wait for it then.
    app.index_string = app.index_string.replace(
        "{%css%}", f'{{%css%}}\n        <script src="{_PLOTLY}" defer></script>'
    )
    app.layout = shell(records.name, refresh)
    register(app, records)
    app.server.config["GRADLAB_ANSWERS"] = share(app, records)
    app.server.config["GRADLAB_RECORDS"] = records
    # Asked between two pulses, so that a page need not wait for the next one: changes when the store does.
    app.server.add_url_rule("/news", "news", lambda: (digest(records.news()), {"Cache-Control": "no-store"}))
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    protect(app.server, host, [f"'{value}'" if value[0] != "'" else value for value in app.csp_hashes()], token)
    return app
