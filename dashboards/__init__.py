"""Looking: stored measurements as plotly figures, a live Dash app and a report.

Example:
    >>> from dashboards import Server
    >>> with Server("no/such/gradlab.db", port=0) as server:
    ...     server.url.rpartition(":")[0]
    'http://127.0.0.1'
"""

from dashboards.server import Server, serve

__all__ = ["Server", "create_app", "serve"]


def __getattr__(name: str) -> object:
    # Dash takes half a second to import; a busy port is said before that.
    if name == "create_app":
        from dashboards.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
