"""``gradlab analyze`` on a real checkpoint: the table, and the same records as a live run's."""

import sys
import tempfile
from pathlib import Path

import pytest

from dashboards.reports import report_html
from gradlab.cli import main
from gradlab.store import open_store

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_prints_the_measurements_and_keeps_them(monkeypatch, capsys, tmp_path, algorithm):
    checkpoint = sorted(CHECKPOINTS.glob(f"*{algorithm}*.zip"))[-1]
    monkeypatch.setenv("COLUMNS", "80")
    store = tmp_path / "kept.db"
    report = tmp_path / "report.html"
    where = ["--store", str(store), "--report", str(report)]
    monkeypatch.setattr(sys, "argv", ["gradlab", "analyze", str(checkpoint), "--env", "Reacher-v5", *where])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr().out
    assert stop.value.code == 0, printed
    assert "points the wrong way on" in printed
    for word in ("against critic", "against simulator", "deterministic", "score-function-baseline", "ratio", "gap"):
        assert word in printed, printed
    with open_store(store, readonly=True) as opened:
        (run,) = opened.runs()
        assert run.status == "finished"
        assert run.algorithm == algorithm.upper()
        done = {m.probe: m.status for m in opened.measurements()}
        names = set(opened.scalars().name.tolist())
        field = next(m for m in opened.measurements() if m.probe == "field")
        assert opened.arrays(field.id)["q"].dims == ("critic", "state", "y", "x")
    measured = "checkpoint field gradient curvature landscape estimators simulator smoothness returns health"
    assert done == dict.fromkeys(measured.split(), "ok")
    assert "deterministic/wrong_direction" in names
    # The report is that of the store, as the command for it writes it.
    assert report.read_text(encoding="utf-8") == report_html(str(store))
    assert "command" in run.config
    assert run.config["probes"]["gradient"]["draws"] == 32


def analyzed(monkeypatch, capsys, *arguments):
    monkeypatch.chdir(tempfile.mkdtemp())
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(sys, "argv", ["gradlab", "analyze", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, "".join(capsys.readouterr())


def test_what_a_file_leaves_unsaid_is_asked_for_by_name(monkeypatch, capsys):
    path = str(CHECKPOINTS / "cleanrl_td3_pendulum_7000.cleanrl_model")
    code, printed = analyzed(monkeypatch, capsys, path, "--env", "Pendulum-v1")
    assert code == 2
    assert "pass discount=…, activation=…" in printed
    code, printed = analyzed(
        monkeypatch, capsys, path, "--env", "Pendulum-v1", "--discount", "0.99", "--activation", "Rely"
    )
    assert code == 2
    assert "'Rely' is none of torch.nn's" in printed


@pytest.mark.slow
def test_what_it_leaves_unsaid_is_said_by_options(monkeypatch, capsys):
    path = str(CHECKPOINTS / "cleanrl_td3_pendulum_7000.cleanrl_model")
    code, printed = analyzed(
        monkeypatch, capsys, path, "--env", "Pendulum-v1", "--discount", "0.99", "--activation", "ReLU"
    )
    assert code == 0, printed
    assert "TD3 on Pendulum-v1, step 7,000" in printed


PENDULUM = [str(CHECKPOINTS / f"td3_pendulum_{step}.zip") for step in (1000, 3000)]
CHEAP = ["--env", "Pendulum-v1", "--probes", "gradient,health", "--state-count", "8", "--workers", "1"]


def test_a_plan_is_shown_and_nothing_is_written(monkeypatch, capsys):
    code, printed = analyzed(monkeypatch, capsys, *PENDULUM, *CHEAP, "--dry-run")
    assert code == 0, printed
    for words in ("checkpoints/td3_pendulum", "1,000 to 3,000", "4 measurements to make", "a guess for", "new"):
        assert words in printed, printed
    assert list(Path.cwd().iterdir()) == []


def test_many_checkpoints_are_a_row_each_and_the_same_command_finds_them_known(monkeypatch, capsys, tmp_path):
    kept = ["--store", str(tmp_path / "kept.db")]
    code, printed = analyzed(monkeypatch, capsys, *PENDULUM, *CHEAP, *kept)
    assert code == 0, printed
    assert "2 checkpoints in 1 runs: 4 measurements" in printed
    assert "4 measured, 0 known before" in printed
    rows = [line.split()[0] for line in printed.splitlines() if "±" in line and line.split()[0][0].isdigit()]
    assert rows == ["1,000", "3,000"]
    code, printed = analyzed(monkeypatch, capsys, *PENDULUM, *CHEAP, *kept)
    assert code == 0, printed
    assert "0 measured, 4 known before" in printed
    code, printed = analyzed(monkeypatch, capsys, *PENDULUM, *CHEAP, *kept, "--dry-run")
    assert "0 measurements to make" in printed
    assert "run 1" in printed


def test_what_is_missing_is_named_and_the_exit_code_says_so(monkeypatch, capsys, tmp_path):
    (tmp_path / "cut.zip").write_bytes(Path(PENDULUM[0]).read_bytes()[:5000])
    other = str(CHECKPOINTS / "td3_reacher_1000.zip")
    code, printed = analyzed(monkeypatch, capsys, *PENDULUM, str(tmp_path / "cut.zip"), other, *CHEAP)
    assert code == 1, printed
    assert "cut.zip: not a zip file, or cut short" in printed
    assert "missing: " in printed
    assert "4 measured, 0 known before, 2 missing" in printed
    code, printed = analyzed(monkeypatch, capsys, str(tmp_path / "cut.zip"), *CHEAP)
    assert code == 2, printed
    code, printed = analyzed(monkeypatch, capsys, str(tmp_path / "cut.zip"), *CHEAP, "--dry-run")
    assert code == 2, printed


@pytest.mark.slow
def test_a_report_is_of_the_runs_that_were_analysed(monkeypatch, capsys, tmp_path):
    store, report = tmp_path / "kept.db", tmp_path / "report.html"
    with open_store(store) as opened:
        opened.start_run("another run").finish()
    code, printed = analyzed(monkeypatch, capsys, *PENDULUM, *CHEAP, "--store", str(store), "--report", str(report))
    assert code == 0, printed
    text = report.read_text(encoding="utf-8")
    assert "td3_pendulum" in text
    assert "another run" not in text


def test_an_engine_that_is_not_there_is_one_line(monkeypatch, capsys):
    code, printed = analyzed(monkeypatch, capsys, *PENDULUM, *CHEAP, "--engine", "slurm")
    assert code == 2
    assert "engine: 'slurm' is none of local, ray, dask" in printed
