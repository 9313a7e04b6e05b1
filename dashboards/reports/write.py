"""The report as one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dashboards.one_run import Where, opened
from dashboards.reports.comparison import comparison
from dashboards.reports.embedded import asset, plotly_js, scripts, templates
from dashboards.reports.markup import Markup, joined, tag
from dashboards.reports.sections import Progress, answer_card, facts, section
from dashboards.run_figures import RunFigures, of_run
from gradlab.errors import GradlabError
from gradlab.files import check_target, replacing
from gradlab.store.chosen import chosen_run

#: Megabytes (of 10⁶ bytes) beyond which a report is no longer something to send and to open at once.
LARGEST = 6.0


def report_html(store: Where = "gradlab.db", runs: Sequence[int | str] = (), progress: Progress | None = None) -> str:
    """A report as HTML that holds all it needs: the answer first, then findings, figures, costs, how to make it again.

    The same runs in the same store give the same text, whenever it is made.

    Args:
        store: path or URL of the store, or an open one.
        runs: ids or names, in the order to show them; the newest when empty. Of several, what their algorithms differ
            in comes first, and an index.
        progress: is told after each figure how many of how many of a run's are drawn.

    Raises:
        GradlabError: there is no such store or run.
    """
    with opened(store) as source:
        ids = list(dict.fromkeys(chosen_run(source, run).id for run in runs)) or [chosen_run(source).id]
        shown = [of_run(source, run) for run in ids]
        places = [f"run-{run}" for run in ids]
        several = _index(shown, places, comparison(source, [one.run for one in shown])) if len(ids) > 1 else None
        parts = [section(one, place, progress) for one, place in zip(shown, places, strict=True)]
    script, policy = scripts()
    names = [one.info.name for one in shown]
    title = f"{names[0]} · gradlab" if len(names) == 1 else f"{len(names)} runs · gradlab"
    brand = tag("div", tag("span", class_="mark", aria_hidden="true"), "gradlab report", class_="brand")
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("style", Markup(asset("report.css"))),
        ),
        tag(
            "body",
            tag(
                "main",
                brand,
                tag("noscript", tag("p", "The figures need JavaScript; all numbers are in the tables.")),
                several,
                *parts,
                tag("footer", _FOOTER),
            ),
            templates(),
            script,
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


_FOOTER = (
    "Every number is an estimate: its interval is one of 95 %, n counts independent samples, and cosines are printed "
    "within what is possible. Nothing was fetched or sent to show this; the file works without a network."
)


def write_report(
    path: str | os.PathLike[str] = "report.html", store: Where = "gradlab.db", runs: Sequence[int | str] = ()
) -> Path:
    """Writes a report into a file, whole or not at all.

    Args:
        path: the file; one that is there is replaced.
        store: path or URL of the store, or an open one.
        runs: ids or names; the newest when empty.

    Returns:
        The file.

    Raises:
        GradlabError: there is no such store or run, the file cannot be written, or it would be larger than 6 MB.

    Example:
        >>> import tempfile
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/gradlab.db") as store:
        ...     store.start_run("mine", algorithm="TD3").finish()
        ...     page = write_report(directory.name + "/report.html", store)
        >>> "Waiting for the first measurement." in page.read_text(encoding="utf-8")
        True
        >>> directory.cleanup()
    """
    target = Path(path)
    check_target(target)
    content = report_html(store, runs).encode()
    check_size(content, str(target), len(runs))
    with replacing(target) as file:
        file.write(content)
    return target


def check_size(content: bytes, name: str, runs: int = 1) -> None:
    """Refuses a report that is larger than one may be.

    Args:
        content: of the file.
        name: of the file, for people.
        runs: how many it is of.

    Raises:
        GradlabError: it is larger than 6 MB.
    """
    if len(content) <= LARGEST * 1e6:
        return
    count = max(runs, 1)
    alone = len(plotly_js().encode())
    fit = int((LARGEST * 1e6 - alone) * count / (len(content) - alone))
    remedy = f"name {fit} of them" if count > 1 and fit else "gradlab export writes the numbers themselves"
    size = f"{len(content) / 1e6:.1f} MB of {count} {'run' if count == 1 else 'runs'}"
    raise GradlabError(f"{name}: would be {size}, more than the {LARGEST:g} that a report may be; {remedy}")


def _index(shown: Sequence[RunFigures], places: Sequence[str], differences: Markup | None) -> Markup:
    cards = [
        tag(
            "div",
            tag("h3", tag("a", one.info.name, href=f"#{place}")),
            tag("p", facts(one), class_="facts"),
            answer_card(one.answer),
        )
        for one, place in zip(shown, places, strict=True)
    ]
    index = tag("div", *cards, class_="stack index")
    return joined(
        tag("h1", f"{len(shown)} runs"),
        tag("div", differences, class_="stack"),
        tag("h2", "Each run"),
        index,
        tag("hr"),
    )
