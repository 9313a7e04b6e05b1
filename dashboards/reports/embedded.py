"""Figures inside a page: as data, with what changes in them on dark ground."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from dashboards.reports.markup import Markup, tag
from dashboards.style import GRAPH_CONFIG, Theme, drawing, layout


def figure_data(place: str, make: Callable[[Theme], go.Figure]) -> Markup:
    """A figure as data that the page's script draws; it is there once, and dark ground is a list of changes.

    Args:
        place: id of the element.
        make: draws it in a theme.
    """
    light, dark = (_plain(make(theme)) for theme in ("light", "dark"))
    for figure, template in ((light, _template("light")), (dark, _template("dark"))):
        # All figures have the same one, which is most of a small figure: it is there once.
        if figure["layout"].get("template") == template:
            del figure["layout"]["template"]
    return packed(place, {"figure": light, "dark": changes(light, dark), "config": GRAPH_CONFIG})


def templates() -> Markup:
    """What the layouts of all figures begin with, in each theme, as the page's script puts it into them."""
    return packed("templates", {"light": _template("light"), "dark": _template("dark")})


@cache
def _template(theme: Theme) -> Any:
    return _plain(drawing({"data": [], "layout": layout(theme, uirevision="")}))["layout"]["template"]


def _plain(figure: go.Figure) -> Any:
    return json.loads(pio.to_json(figure, validate=False, engine="json"))


def packed(place: str, value: Any) -> Markup:
    """A value as JSON, deflated, in base64, in an element that nothing runs: a quarter of what it is in full.

    Example:
        >>> element = packed("x", {"a": "</script>"})
        >>> element[:29], unpacked(element)
        ('<script type="text/plain" id=', {'a': '</script>'})
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return tag("script", base64.b64encode(zlib.compress(text.encode(), 9)).decode(), type_="text/plain", id_=place)


def unpacked(element: str) -> Any:
    """What an element that ``packed`` made holds."""
    content = element[element.index(">") + 1 : element.rindex("</")]
    return json.loads(zlib.decompress(base64.b64decode(content)))


def changes(old: Any, new: Any, path: tuple[str | int, ...] = ()) -> list[list[Any]]:
    """What makes one value of JSON from another: [path, value] to set, and [path] to take away.

    Example:
        >>> changes({"a": [1, 2], "b": 3}, {"a": [1, 5], "b": 3})
        [[['a', 1], 5]]
    """
    if isinstance(old, dict) and isinstance(new, dict):
        found = [[[*path, key]] for key in old if key not in new]
        for key, value in new.items():
            found += changes(old[key], value, (*path, key)) if key in old else [[[*path, key], value]]
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [one for i, value in enumerate(new) for one in changes(old[i], value, (*path, i))]
    return [] if old == new else [[list(path), new]]


def scripts() -> tuple[Markup, str]:
    """plotly.js and the page's own script, and the policy under which a page runs these two and nothing else."""
    texts = [plotly_js(), asset("report.js")]
    hashes = [base64.b64encode(sha256(text.encode()).digest()).decode() for text in texts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Markup("".join(f"<script>{text}</script>" for text in texts)), policy


@cache
def plotly_js() -> str:
    """plotly.js as the installed plotly brings it; never asked of another machine."""
    # The end of an element inside a string would end the element around it.
    return str(get_plotlyjs()).replace("</script", "<\\/script")


def asset(name: str) -> str:
    """A file beside this one."""
    return files("dashboards.reports").joinpath(name).read_text(encoding="utf-8")
