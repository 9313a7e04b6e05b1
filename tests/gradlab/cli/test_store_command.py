"""``gradlab store`` and deposits: what the commands do and say, and what they say to wrong input."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from gradlab.cli import main
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store, schema

OLDER = Path(__file__).parents[1] / "store" / "older"


@pytest.fixture
def gradlab(monkeypatch, capsys, tmp_path):
    """Run the command in an empty directory; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, typed=""):
        monkeypatch.setattr(sys, "argv", ["gradlab", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return run


@pytest.fixture
def store(tmp_path):
    """Two runs that have ended, one with markup in its name."""
    with open_store(tmp_path / "gradlab.db") as opened:
        for name in ("first", "[bold]second[/bold]"):
            run = opened.start_run(name, algorithm="TD3")
            for step in range(3):
                run.record(step, "gradient", Measurement({"cosine": Estimate(0.5, 0.1, 8)}))
            run.record(3, "field", status="skipped", message="over budget")
            run.finish()
        change = update(schema.runs).values(last_seen=time.time() - 7200)
        opened.backend.write(lambda connection: connection.execute(change))
    return tmp_path / "gradlab.db"


def test_info_says_what_there_is(gradlab, store, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = gradlab("store", "info")
    assert code == 0
    assert re.match(r"gradlab\.db: SQLite, schema 2, \d+\.\d kB; made by gradlab \S+ on \d{4}-\d\d-\d\d", out)
    (row,) = (line.split() for line in out.splitlines() if "second" in line)
    assert row == ["2", "[bold]second[/bold]", "finished", "3", "1", "0", "3", "0", "0", "B", "0", "B"]
    code, out, _ = gradlab("store", "info", store, "--json")
    found = json.loads(out)
    assert found["runs"][0]["measurements"] == {"ok": 3, "skipped": 1}
    assert found["runs"][1]["run"]["name"] == "[bold]second[/bold]"


def test_info_fits_a_narrow_terminal(gradlab, store, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = gradlab("store", "info")
    head, *lines = out.splitlines()
    assert head.startswith("gradlab.db")
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == [
        "run",
        "name",
        "status",
        "ok",
        "skipped",
        "failed",
        "numbers",
        "arrays",
        "stored",
        "of",
    ]
    assert "…" not in out


def test_upgrade_brings_a_store_up_to_date(gradlab, tmp_path):
    shutil.copy(OLDER / "schema_1.sqlite", tmp_path / "old one.db")
    code, out, err = gradlab("export", "--store", "old one.db", "--to", "a.csv", "1")
    assert (code, err) == (0, "")
    code, out, err = gradlab("store", "copy", "old one.db", "old one.db")
    assert code == 2
    assert err.endswith("run: gradlab store upgrade 'old one.db'\n")
    code, out, _ = gradlab("store", "upgrade", "old one.db")
    assert (code, out) == (0, "old one.db: upgraded from schema 1 to 2\n")
    code, out, _ = gradlab("store", "upgrade", "old one.db")
    assert (code, out) == (0, "old one.db: has schema 2 already\n")


def test_copy_says_what_it_copied(gradlab, store, tmp_path):
    code, out, _ = gradlab("store", "copy", "gradlab.db", "other.db", "--run", "[bold]second[/bold]")
    assert (code, out) == (0, "run 2 ([bold]second[/bold]) → run 2: 4 measurements\n")
    code, out, _ = gradlab("store", "copy", "gradlab.db", "other.db")
    assert code == 0
    assert out.splitlines() == [
        "run 1 (first) → run 1: 4 measurements",
        "run 2 ([bold]second[/bold]) → run 2: 0 measurements, 4 were there",
    ]


def test_prune_asks_first(gradlab, store):
    said = "run 1 (first): 4 measurements, 3 numbers, 0 arrays of 0 B"
    code, out, _ = gradlab("store", "prune", "first", "--dry-run")
    assert (code, out) == (0, f"Would remove {said}\n")
    code, out, _ = gradlab("store", "prune", "first", typed="n\n")
    assert code == 1
    assert out.startswith(f"Remove {said} from gradlab.db for good? [y/N]:")
    with open_store(store, readonly=True) as opened:
        assert len(opened.runs()) == 2
    code, out, _ = gradlab("store", "prune", "first", typed="y\n")
    assert (code, out.splitlines()[-1].rpartition("Removed ")[2]) == (0, said)
    code, out, _ = gradlab("store", "prune", "2", "--arrays", "--probe", "field", "--yes")
    assert (code, out) == (0, "Removed 0 arrays of 0 B of run 2 ([bold]second[/bold])\n")
    code, out, _ = gradlab("store", "vacuum")
    assert code == 0
    assert re.fullmatch(r"gradlab\.db: \S+ kB before, \S+ kB now\n", out)


def test_a_deposit_is_exported_and_read_by_every_command(gradlab, store, tmp_path):
    code, out, _ = gradlab("export", "--run", "first", "--to", "run.zip")
    assert code == 0
    assert re.fullmatch(
        r"run 1 \(first\): 4 measurements in run\.zip, 0\.0 MB; others open it with: gradlab dashboard run\.zip\n", out
    )
    store.unlink()
    code, out, _ = gradlab("store", "info", "run.zip")
    assert code == 0
    assert out.startswith("run.zip: deposit, schema 2")
    code, out, _ = gradlab("export", "--store", "run.zip", "--to", "numbers.csv")
    assert (code, out) == (0, "3 rows in numbers.csv\n")
    code, out, _ = gradlab("store", "export", "--store", "run.zip", "--to", "numbers.jsonl")
    assert (code, out) == (0, "3 rows in numbers.jsonl\n")
    code, out, _ = gradlab("report", "--store", "run.zip", "-o", "report.html")
    assert code == 0
    assert "first" in (tmp_path / "report.html").read_text(encoding="utf-8")
    code, out, _ = gradlab("store", "copy", "run.zip", "mine.db")
    assert (code, out) == (0, "run 1 (first) → run 1: 4 measurements\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("info", "no.db"), "store no.db: there is no such file; check the path"),
        (("vacuum", "no.db"), "store no.db: there is no such file; check the path"),
        (("upgrade", "no.db"), "store no.db: there is no such file; check the path"),
        (("copy", "no.db", "to.db"), "store no.db: there is no such file; check the path"),
        (("copy", "gradlab.db", "gradlab.db"), "is the store to copy from"),
        (("copy", "gradlab.db", "no/to.db"), "there is no directory"),
        (("prune", "third"), "run 'third': is not in store gradlab.db, which has 2"),
        (("prune", "1", "--probe", "field"), "--probe: says which arrays; give --arrays, too"),
        (("prune", "1", "--before", "5"), "--before: says which arrays; give --arrays, too"),
    ],
)
def test_wrong_input_is_one_line(gradlab, store, tmp_path, arguments, said):
    code, out, err = gradlab("store", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("gradlab: ")
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "no.db").exists()
    assert not (tmp_path / "to.db").exists()
