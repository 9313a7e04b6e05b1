"""Looking: stored measurements as plotly figures, a live Dash app and a report.

``of_run`` gives the figures of a run to Python and notebooks, ``write_report`` a page that holds them all.

Example:
    >>> from dashboards import Server
    >>> with Server("no/such/gradlab.db", port=0) as server:
    ...     server.url.rpartition(":")[0]
    'http://127.0.0.1'
"""

from importlib import import_module

from dashboards.server import Server, serve

__all__ = ["Server", "create_app", "of_run", "serve", "write_report"]

#: Dash and plotly take half a second to import; a busy port is said before that.
_LATER = {"create_app": "app", "of_run": "run_figures", "write_report": "reports"}


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(import_module(f"dashboards.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
