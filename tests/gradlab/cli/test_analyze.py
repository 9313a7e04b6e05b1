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
    measured = "field gradient curvature landscape estimators simulator smoothness returns health"
    assert done == dict.fromkeys(measured.split(), "ok")
    assert "deterministic/wrong_direction" in names
    # The report is that of the store, as the command for it writes it.
    assert report.read_text(encoding="utf-8") == report_html(str(store))
    assert "command" in run.config
    assert run.config["probes"]["gradient"]["draws"] == 32


def analyzed(monkeypatch, capsys, *arguments):
    monkeypatch.chdir(tempfile.mkdtemp())
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
