"""``gradlab landscape`` on real checkpoints: what is printed, written and drawn is what is measured."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import gradlab as package
from gradlab.cli import main
from gradlab.cli.landscape_document import cell
from gradlab.landscape.training.report import follow_since, measure_landscape
from gradlab.landscape.truth.phantoms import phantom_optima
from gradlab.references import SimulatorReference

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
EARLY, LATE = CHECKPOINTS / "td3_reacher_1000.zip", CHECKPOINTS / "td3_reacher_6000.zip"
PENDULUM = CHECKPOINTS / "td3_invertedpendulum_1000.zip"


@pytest.fixture
def gradlab(monkeypatch, capsys, tmp_path):
    """Run the command in an empty directory; gives exit code, output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "220")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gradlab", "landscape", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *capsys.readouterr()

    return run


def rows_of(markdown, title):
    """The rows of the table under a title: first cell → the others."""
    section = markdown.split(f"## {title}\n")[1]
    lines = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("|")]
    rows = [[text.strip() for text in line.strip("|").split(" | ")] for line in lines[2:]]
    return {row[0]: row[1:] for row in rows}


def test_prints_and_writes_what_is_measured(gradlab, tmp_path):
    options = ["--states", 8, "--episodes", 4, "--starts", 16, "--horizon", 6, "--seed", 3]
    code, printed, errors = gradlab(EARLY, LATE, "--env", "Reacher-v5", *options, "--markdown", tmp_path / "it.md")
    assert code == 0, errors
    markdown = (tmp_path / "it.md").read_text(encoding="utf-8")
    command = shlex.split(next(line for line in markdown.splitlines() if line.startswith("gradlab landscape")))
    assert command[2:4] == [str(EARLY), str(LATE)]
    for words in ("do not tell which task they were trained on", "Against the simulator", "Over training"):
        assert words in printed
        assert words in markdown

    late, early = package.load(LATE), package.load(EARLY)
    reference = SimulatorReference("Reacher-v5", 6, seed=3)
    states = reference.simulator.visit(late, 8, seed=3, episodes=4)
    report = measure_landscape(late, states, starts=16, seed=3)
    label = "TD3 Reacher-v5, 6,000"
    counts = rows_of(markdown, "Local optima of the critic")[label]
    assert counts[1] == cell(min(report.curve.items(), key=lambda item: abs(item[0] - 0.01))[1])
    assert counts[-1] == cell(report.numbers["boundary_share"])
    standing = rows_of(markdown, "The actor in its critic's landscape")[label]
    names = ("gap", "relative_gap", "relative_own_fit", "relative_basin_choice", "best_basin_share", "best_distance")
    assert standing == [cell(report.numbers[name]) for name in names]
    truth = phantom_optima(late, states, reference, report.optima).means()
    held = rows_of(markdown, "Against the simulator")[label]
    assert held[0] == cell(truth.value_phantom)
    assert held[-2:] == [cell(truth.promised), cell(truth.real_gain)]
    followed = follow_since(early, late, report, starts=16, seed=3).estimates(states.episode, report.objective)
    (row,) = rows_of(markdown, "Over training").values()
    assert row[:3] == [cell(followed[name]) for name in ("births", "deaths", "moves")]
    missed = rows_of(markdown, "How much the search misses")[label]
    assert missed[-1] == cell(report.numbers["missed"])


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(
    shutil.which("chromium") is None and os.environ.get("GRADLAB_REQUIRE_BROWSER") != "1",
    reason="no Chromium on PATH; install Debian's chromium to run the browser tests",
)
def test_draws_pictures_and_links_them(gradlab, tmp_path):
    (tmp_path / "drawn").mkdir()
    (tmp_path / "text").mkdir()
    options = ["--states", 12, "--episodes", 6, "--starts", 8, "--horizon", 4, "--no-truth"]
    written = ["--pictures", "drawn", "--markdown", tmp_path / "text" / "it.md"]
    code, _, errors = gradlab(PENDULUM, "--env", "InvertedPendulum-v5", *options, *written)
    assert code == 0, errors
    markdown = (tmp_path / "text" / "it.md").read_text(encoding="utf-8")
    assert "## Against the simulator" not in markdown
    assert "## Over training" not in markdown
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == [
        "landscape_gap.png",
        "landscape_optima.png",
        "landscape_td3_invertedpendulum_largest.png",
        "landscape_td3_invertedpendulum_typical.png",
    ]
    for name in drawn:
        assert f"](../drawn/{name})" in markdown
        picture = (tmp_path / "drawn" / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        # Twice the width it has on the page, and more than a blank sheet.
        assert int.from_bytes(picture[16:20], "big") == 2000
        assert len(picture) > 15_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((EARLY, "--env", "Reachr-v5"), ("Reachr-v5", "Reacher-v5")),
        ((EARLY, LATE, "--env", "Reacher-v5", "--env", "Reacher-v5", "--env", "Reacher-v5"), ("--env: 3 for 2",)),
        (("nowhere.zip", "--env", "Reacher-v5"), ("nowhere.zip", "no such file")),
        ((PENDULUM, "--env", "Reacher-v5"), ("Reacher-v5",)),
        ((EARLY, "--env", "Reacher-v5", "--markdown", "missing/it.md"), ("--markdown", "make it first")),
        ((EARLY, "--env", "Reacher-v5", "--pictures", "missing"), ("--pictures", "make it first")),
        ((EARLY, "--env", "Reacher-v5", "--radius", "0"), ("--radius", "above 0")),
        ((EARLY, "--env", "Reacher-v5", "--radius", "nan"), ("--radius", "above 0")),
    ],
)
def test_wrong_input_is_one_line(gradlab, arguments, words):
    code, _, errors = gradlab(*arguments)
    assert code == 2, errors
    lines = [line for line in errors.splitlines() if line and not line.startswith("WARNING: compiler attribute")]
    assert len(lines) == 1
    assert lines[0].startswith("gradlab: ")
    for word in words:
        assert word in lines[0]


def test_pictures_without_a_browser_are_refused_before_anything_slow(gradlab, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, errors = gradlab(EARLY, "--env", "Reacher-v5", "--pictures", ".")
    assert code == 2
    assert "needs Chromium or Chrome on the PATH" in errors
