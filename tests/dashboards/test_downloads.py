"""Files that the server hands out: what is in them, what they are called, and who gets none."""

from __future__ import annotations

import http.client
import threading
import time

import pytest
from conftest import Recorder

from dashboards import Server
from dashboards.making import Reports
from dashboards.records import Records
from dashboards.reports import report_html
from gradlab.errors import GradlabError
from gradlab.store import open_store
from gradlab.store.export import export_configuration, export_measurements, export_scalars

EVIL = 'mine "x"\r\nX-Evil: 1; <b>é</b>/../..'


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server, and its store: a run, and one whose name would be a header, an element and a path."""
    path = tmp_path_factory.mktemp("downloads") / "gradlab.db"
    with open_store(path) as store:
        run = store.start_run("first", algorithm="TD3", config={"lr": 0.1})
        Recorder(run).record(1000)
        run.finish()
        Recorder(store.start_run(EVIL)).record(1000, simulator=False)
    with Server(str(path), port=0) as server:
        yield server, path


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.body = answer.read()
    connection.close()
    return answer


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_file_is_that_of_the_command_line(served, tmp_path, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    server, path = served
    for what, export in (("scalars", export_scalars), ("measurements", export_measurements)):
        answer = ask(server, f"/export/{what}.{form}?run=1")
        with open_store(path, readonly=True) as store:
            export(store, tmp_path / f"known.{form}", [1])
        assert answer.status == 200
        assert answer.body == (tmp_path / f"known.{form}").read_bytes()
        assert answer.getheader("Content-Disposition") == f"attachment; filename=first-{what}.{form}"
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert "default-src 'none'" in answer.getheader("Content-Security-Policy")
        assert answer.getheader("Cache-Control") == "no-store"


def test_the_configuration_is_that_of_the_command_line(served, tmp_path):
    server, path = served
    with open_store(path, readonly=True) as store:
        export_configuration(store, tmp_path / "known.json", [1])
    assert ask(server, "/export/configuration.json?run=1").body == (tmp_path / "known.json").read_bytes()


def test_a_name_is_no_header_no_path_and_no_element(served):
    server, _ = served
    answer = ask(server, "/export/measurements.csv?run=2")
    assert answer.status == 200
    assert answer.getheader("X-Evil") is None
    assert answer.getheader("Content-Disposition") == "attachment; filename=mine-x-x-evil-1-b-b-measurements.csv"
    assert answer.getheader("Content-Type").startswith("text/csv")


@pytest.mark.parametrize("where", ["/export/scalars.csv?run=1", "/report.html?run=1"])
def test_others_get_none(served, where):
    server, _ = served
    assert ask(server, where, Host="evil.example").status == 400
    assert ask(server, where, Origin="http://evil.example").status == 403
    assert ask(server, where, Sec_Fetch_Site="cross-site").status == 403
    assert ask(server, where, "POST").status == 405
    assert ask(server, where, "DELETE").status == 405


def test_another_machine_gets_none_without_the_token(served):
    _, path = served
    with Server(str(path), host="0.0.0.0", port=0) as server:
        assert ask(server, "/export/scalars.csv?run=1").status == 401
        assert ask(server, "/report.html?run=1").status == 401


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("/export/scalars.xlsx?run=1", "There is no export scalars.xlsx; there is scalars.csv"),
        ("/export/<b>.csv?run=1", "There is no export"),
        ("/export/scalars.csv", "There is no such run"),
        ("/export/scalars.csv?run=9", "There is no such run"),
        ("/export/scalars.csv?run=first", "There is no such run"),
        ("/report.html?run=1", "No report of this run was made yet"),
    ],
)
def test_what_cannot_be_had_is_one_line_of_text(served, where, said):
    server, _ = served
    answer = ask(server, where)
    assert answer.status == 404
    assert answer.getheader("Content-Type").startswith("text/plain")
    assert said in answer.body.decode()
    assert b"\n" not in answer.body


def test_a_third_export_at_once_is_asked_to_wait(served, monkeypatch):
    server, _ = served
    go, begun = threading.Event(), threading.Semaphore(0)
    real = Records.asked

    def slow(self, question):
        begun.release()
        assert go.wait(30)
        return real(self, question)

    monkeypatch.setattr(Records, "asked", slow)
    answers = []
    asking = [
        threading.Thread(target=lambda: answers.append(ask(server, "/export/scalars.csv?run=1").status)) for _ in "ab"
    ]
    for one in asking:
        one.start()
        assert begun.acquire(timeout=30)
    refused = ask(server, "/export/scalars.csv?run=1")
    # The pages go on meanwhile.
    assert ask(server, "/").status == 200
    go.set()
    for one in asking:
        one.join(30)
    assert answers == [200, 200]
    assert refused.status == 503
    assert b"ask again" in refused.body


def made(reports: Reports, run: int):
    end = time.monotonic() + 60
    while reports.of(run).busy:
        assert time.monotonic() < end
        time.sleep(0.02)
    return reports.of(run)


def test_a_report_is_made_beside_and_is_that_of_the_command_line(served):
    _, path = served
    records = Records(str(path))
    records.looking_at([1])
    reports = Reports(records)
    assert not reports.of(1).busy
    begun = reports.make(1)
    assert begun.busy
    assert reports.make(1).number == begun.number
    found = made(reports, 1)
    assert found.content.decode() == report_html(str(path), [1])
    assert found.said.startswith("The report is made: ")
    # Another making of it is another one.
    assert reports.make(1).number == begun.number + 1
    made(reports, 1)
    records.close()


@pytest.mark.parametrize("error", [GradlabError("store x: is gone; restore it"), ValueError("two\nlines")])
def test_a_report_that_cannot_be_made_says_why_in_a_line(served, error):
    _, path = served
    records = Records(str(path))
    records.looking_at([1])

    def fail(*_):
        raise error

    reports = Reports(records, fail)
    reports.make(1)
    found = made(reports, 1)
    assert found.said.startswith("No report: ")
    assert "\n" not in found.said
    assert found.content == b""
    records.close()
