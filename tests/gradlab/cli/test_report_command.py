"""``gradlab report`` and ``gradlab export``: what they write, what they say, and what they say to wrong input."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from contextlib import closing

import plotly.io as pio
import pytest

from dashboards.run_figures import of_run
from gradlab.cli import main
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


@pytest.fixture
def gradlab(monkeypatch, capsys, tmp_path):
    """Run the command in an empty directory; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gradlab", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return run


@pytest.fixture
def store(tmp_path):
    """Two runs in the default store: numbers over training, and a probe of its own."""
    with open_store(tmp_path / "gradlab.db") as opened:
        for name in ("first", "second"):
            run = opened.start_run(name, algorithm="TD3", environment="Reacher-v5", seed=3)
            for step in (1000, 2000):
                wrong = Estimate(0.1 + step / 1e4, 0.05, 16, "simulator, H=50", scale="share")
                run.record(step, "simulator", Measurement({"deterministic/wrong_direction": wrong}), cost=0.2)
                run.record(step, "mine", Measurement({"depth": Estimate(3.0, 0.5, 9)}), cost=0.1)
            run.finish()
    return tmp_path / "gradlab.db"


def test_a_report_of_the_newest_by_default(gradlab, store, tmp_path):
    code, out, err = gradlab("report")
    assert (code, err) == (0, "")
    assert out.startswith("Report of a run: report.html (4.")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<h1 id="run-2">second</h1>' in page
    assert "run-1" not in page


def test_reports_of_runs_by_id_and_name_and_of_all(gradlab, store, tmp_path):
    code, out, _ = gradlab("report", "first", "2", "-o", "two.html", "--store", f"sqlite:///{store}")
    assert (code, out.split(":")[0]) == (0, "Report of 2 runs")
    named = (tmp_path / "two.html").read_bytes()
    assert gradlab("report", "--all", "--out", "all.html", "--store", f"sqlite:///{store}")[0] == 0
    assert (tmp_path / "all.html").read_bytes() == named


def test_an_export_has_every_number(gradlab, store, tmp_path):
    code, out, err = gradlab("export", "1", "--to", "n.csv")
    assert (code, out, err) == (0, "4 rows in n.csv\n", "")
    with (tmp_path / "n.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with open_store(store) as opened:
        assert [float(row["value"]) for row in rows] == opened.scalars(run=1).value.tolist()
    assert gradlab("export", "--to", "m.jsonl", "--what", "measurements")[1] == "4 rows in m.jsonl\n"
    assert gradlab("export", "first", "second", "--to", "c.json", "--what", "configuration")[1] == "2 runs in c.json\n"
    assert [one["seed"] for one in json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))] == [3, 3]


def test_a_figure_as_json_is_read_back_by_plotly(gradlab, store, tmp_path):
    assert gradlab("export", "1", "--figure", "wrong-direction", "--to", "f.json")[0] == 0
    read = pio.read_json(tmp_path / "f.json")
    assert list(read.data[1].y) == of_run(store, 1).wrong_direction().data[1].y.tolist()
    assert gradlab("export", "--figure", "mine", "--theme", "dark", "--to", "f.json")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "--store", "none.db"], ["none.db", "no such file"]),
        (["report", "third"], ["'third'", "2 (second), 1 (first)"]),
        (["report", "1", "--all"], ["--all"]),
        (["report", "-o", "none/r.html"], ["there is no directory none"]),
        (["report", "-o", "gradlab.db"], ["is a store"]),
        (["report", "--store", "notes.txt"], ["not a SQLite file"]),
        (["export", "--to", "n.xlsx"], [".xlsx", ".csv, .jsonl or .parquet"]),
        (["export", "9", "--to", "n.csv"], ["'9'"]),
        (["export", "--to", "c.csv", "--what", "configuration"], [".json"]),
        (["export", "--figure", "feild", "--to", "f.json"], ["feild", "wrong-direction"]),
        (["export", "--figure", "landscape", "--to", "f.json"], ["this run has no probe landscape"]),
        (["export", "--figure", "mine", "--to", "f.gif"], [".gif", ".json, .png or .svg"]),
        (["export", "1", "2", "--figure", "mine", "--to", "f.json"], ["one run"]),
        (["export", "--to", "gradlab.db"], [".db"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0] in ("report", "export") else "said",
)
def test_wrong_input_is_one_line_and_leaves_nothing(gradlab, store, tmp_path, arguments, words):
    (tmp_path / "notes.txt").write_text("notes\n" * 100, encoding="utf-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code, out, err = gradlab(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("gradlab: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_pictures_need_a_browser(gradlab, store, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = gradlab("export", "--figure", "mine", "--to", "f.png")
    assert code == 2
    assert (
        err == "gradlab: --to f.png: needs Chromium or Chrome on the PATH to draw them; install one, or leave it out\n"
    )


@pytest.mark.parametrize(
    "change",
    [
        "update runs set config = '{'",
        "update measurements set notes = '{' where id = 8",
        "update measurements set cost = 'abc' where id = 8",
        "update scalars set value = 'abc' where measurement_id = 8",
        "delete from series where id > 1",
        "drop table scalars",
    ],
)
def test_a_damaged_record_is_one_line(gradlab, store, tmp_path, change):
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(change)
        connection.commit()
    code, out, err = gradlab("report")
    assert (code, out) == (2, "")
    assert err.startswith("gradlab: store gradlab.db: ")
    assert "restore a copy" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
    if "scalars" in change or "runs" in change:
        code, _, err = gradlab("export", "--to", "n.csv")
        assert (code, err.count("\n")) == (2, 1)
