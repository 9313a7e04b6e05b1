"""Files that a browser takes home: a run's numbers, its measurements, its configuration, its report.

They are plain addresses, read and never written, behind the same checks as every page. A file is made whole before any
of it is sent: what cannot be read is one line of text and no half of a file.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, request, send_file

from dashboards.making import Reports
from dashboards.records import Records
from gradlab.errors import GradlabError
from gradlab.store import RunInfo, Store
from gradlab.store.export import export_configuration, export_measurements, export_scalars

#: Exports that are made at once: each keeps one of the server's threads, which pages need as well.
_AT_ONCE = 2
#: What is exported → what writes it, and the forms it is offered in.
EXPORTS: dict[str, tuple[Callable[..., int], tuple[str, ...]]] = {
    "scalars": (export_scalars, ("csv", "parquet", "jsonl")),
    "measurements": (export_measurements, ("csv", "parquet", "jsonl")),
    "configuration": (export_configuration, ("json",)),
}
_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}


def register_downloads(server: Flask, records: Records, reports: Reports) -> None:
    """Gives a server ``/export/scalars.csv?run=1`` and its like, and ``/report.html?run=1``.

    Args:
        server: the server.
        records: what is known of the store.
        reports: those that were made.
    """
    turns = threading.BoundedSemaphore(_AT_ONCE)

    def export(what: str, form: str) -> Response:
        write, forms = EXPORTS.get(what, (None, ()))
        if write is None or form not in forms:
            return _no(404, f"There is no export {what}.{form}; there is {_offered()}.")
        run = _run(records)
        if run is None:
            return _no(404, "There is no such run in this store.")
        if not turns.acquire(blocking=False):
            return _no(503, f"{_AT_ONCE} exports are being made already; ask again when one of them is done.")
        folder = tempfile.TemporaryDirectory(prefix="gradlab-")
        try:
            path = Path(folder.name) / f"{what}.{form}"
            records.asked(lambda store: _written(write, store, path, run.id))
            answer = send_file(path, _TYPES[form], as_attachment=True, download_name=f"{slug(run)}-{what}.{form}")
        except (GradlabError, OSError) as error:
            folder.cleanup()
            # Where it was to be written says nothing to whoever asked.
            return _no(500, str(error).replace(f"{folder.name}/", ""))
        finally:
            turns.release()
        answer.call_on_close(folder.cleanup)
        return answer

    def report() -> Response:
        run = _run(records)
        if run is None:
            return _no(404, "There is no such run in this store.")
        made = reports.of(run.id)
        if not made.content:
            return _no(404, made.said or "No report of this run was made yet; the page Run makes one.")
        answer = Response(made.content, mimetype="text/html")
        answer.headers["Content-Disposition"] = f'attachment; filename="{slug(run)}-report.html"'
        return answer

    for address, name, view in (
        ("/export/<what>.<form>", "export", export),
        ("/report.html", "report", report),
    ):
        server.add_url_rule(address, name, _same_site(view), methods=["GET"])


def slug(run: RunInfo) -> str:
    """A run's name as part of a file's: letters, digits and hyphens.

    Example:
        >>> slug(RunInfo(3, 'TD3 "Reacher" <v5>/..', "", "", "", None, {}, 0.0, 0.0, 0, "running", ""))
        'td3-reacher-v5'
        >>> slug(RunInfo(3, "…", "", "", "", None, {}, 0.0, 0.0, 0, "running", ""))
        'run-3'
    """
    return re.sub(r"[^a-z0-9]+", "-", run.name.lower()).strip("-")[:60].strip("-") or f"run-{run.id}"


def _written(write: Callable[..., int], store: Store, path: Path, run: int) -> int:
    return write(store, path, [run])


def _run(records: Records) -> RunInfo | None:
    asked = request.args.get("run", "")
    return next((run for run in records.view().runs if str(run.id) == asked), None)


def _same_site(view: Callable[..., Response]) -> Callable[..., Response]:
    """Another site cannot read what it has a browser ask for; nor is it to keep this machine busy."""

    def checked(**named: str) -> Response:
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return _no(403, "The request comes from another page.")
        answer = view(**named)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return checked


def _no(status: int, why: str) -> Response:
    return Response(" ".join(why.split()), status, mimetype="text/plain")


def _offered() -> str:
    return ", ".join(f"{what}.{form}" for what, (_, forms) in EXPORTS.items() for form in forms)
