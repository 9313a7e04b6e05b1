"""``gradlab curvature`` on real checkpoints: what is printed, written and drawn is what is measured."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import gymnasium
import pytest
import torch

import gradlab as package
from gradlab.cli import main
from gradlab.cli.curvature_document import cell
from gradlab.curvature import rank_correlation_over_training
from gradlab.curvature.report import measure_curvature
from gradlab.simulation import Simulator
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
RUN = [CHECKPOINTS / f"td3_pendulum_{step}.zip" for step in (1000, 2000, 3000, 5000)]
ONE, TWO = RUN[:2]
SMOOTH = CHECKPOINTS / "td3_silu_pendulum_1000.zip"
OPTIONS = ["--states", 8, "--episodes", 8, "--steps", 24]


@pytest.fixture
def gradlab(monkeypatch, capsys, tmp_path):
    """Run the command in an empty directory; gives exit code, output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "240")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gradlab", "curvature", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def regulator(monkeypatch):
    """A task of Pendulum's sizes that does not say how long a step takes."""
    world = LinearQuadratic(
        A=0.9 * torch.eye(3).double(), B=0.1 * torch.ones(3, 1).double(), Q=torch.eye(3).double(), R=1.0,
        gamma=0.9, K=0.1 * torch.ones(1, 3).double(),
    )  # fmt: skip
    name = "Regulator-v0"
    gymnasium.register(name, entry_point=lambda: LinearQuadraticEnvironment(world, 2.0), max_episode_steps=200)
    yield name
    del gymnasium.registry[name]


def rows_of(markdown, title):
    """The rows of the table under a title: first cell → the others by the name of their column."""
    section = markdown.split(f"## {title}\n")[1]
    lines = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("|")]
    rows = [[text.strip() for text in line.strip("|").split(" | ")] for line in lines]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}


def measured(checkpoint, task="Pendulum-v1", time_step=0.05, scale=0.1, seed=0):
    agent = package.load(checkpoint)
    runs = Simulator(task).episodes(agent, 8, seed=seed, stochastic=False, max_steps=24)
    return measure_curvature(agent, runs, time_step=time_step, states=8, scale=scale, seed=seed)


def test_prints_and_writes_what_is_measured(gradlab, tmp_path):
    # Not in the order of training, which the correlations of changes need.
    given = [*RUN[::-1], SMOOTH]
    more = ["--scale", 0.2, "--seed", 3, "--markdown", tmp_path / "it.md"]
    code, printed, errors = gradlab(*given, "--env", "Pendulum-v1", *OPTIONS, *more)
    assert code == 0, errors
    markdown = (tmp_path / "it.md").read_text(encoding="utf-8")
    command = shlex.split(next(line for line in markdown.splitlines() if line.startswith("gradlab curvature")))
    assert command[2:7] == [str(path) for path in given]
    titles = [
        "Curvature of the critic", "What it predicts of the policy", "The gradient field",
        "What was seen of the actions", "Rank correlations over states", "Rank correlations over training",
    ]  # fmt: skip
    for words in ("do not tell which task they were trained on", *titles):
        assert words in printed
        assert words in markdown
    assert "## Pictures" not in markdown

    reports = {path: measured(path, scale=0.2, seed=3) for path in given}
    labels = {path: f"TD3 Pendulum-v1, piecewise linear, {int(path.stem[13:]):,}" for path in RUN}
    labels[SMOOTH] = "TD3 Pendulum-v1, smooth, 1,000"
    numbers = {path: report.numbers() for path, report in reports.items()}
    columns = {
        "Curvature of the critic": {"M": "mixed_partial", "μ": "curvature", "M/μ": "ratio", "μ > 0": "valid_share"},
        "What it predicts of the policy": {"slack": "slack", "cosine": "cosine", "bound violated": "violated_share"},
        "The gradient field": {"mixed partial": "mixed_regulariser", "hinge": "hinge", "flips": "flip_rate"},
        "What was seen of the actions": {"Sm": "smoothness", "fast power": "high_frequency_share"},
    }
    for title, names in columns.items():
        rows = rows_of(markdown, title)
        assert list(rows) == [labels[path] for path in given]
        for path in given:
            found = rows[labels[path]]
            assert {column: found[column] for column in names} == {
                column: cell(numbers[path][name]) for column, name in names.items()
            }
    # What is on the screen is what is written.
    assert cell(numbers[ONE]["mixed_partial"]) in printed
    curvature = rows_of(markdown, "Curvature of the critic")
    for column, name in (("exact M", "mixed_partial"), ("exact μ", "curvature"), ("exact M/μ", "ratio")):
        assert [curvature[labels[path]][column] for path in RUN] == ["–"] * 4
        assert curvature[labels[SMOOTH]][column] == cell(numbers[SMOOTH][f"exact_{name}"]) != "–"
    field = rows_of(markdown, "The gradient field")
    assert float(field[labels[ONE]]["largest M"]) == pytest.approx(
        float(reports[ONE].geometry.mixed_partial.max()), rel=0.005
    )
    over_states = reports[SMOOTH].along.predictions.correlations()
    assert rows_of(markdown, "Rank correlations over states")[labels[SMOOTH]]["M/μ ~ ‖∂π/∂s‖"] == cell(
        over_states["ratio ~ actor"]
    )
    # One smooth checkpoint is no run to correlate over.
    training = rows_of(markdown, "Rank correlations over training")
    assert list(training) == ["TD3 Pendulum-v1, piecewise linear"]
    row = training["TD3 Pendulum-v1, piecewise linear"]
    assert row["checkpoints"] == "4"
    pair = [[numbers[path][name].value for path in RUN] for name in ("flip_rate", "high_frequency_share")]
    expected = rank_correlation_over_training(*pair)
    changes = f"; changes {expected.of_changes.value:.2f}"
    assert row["flips ~ fast power"] == f"{cell(expected.correlation)}, p = {expected.p_value:.2g}{changes}"


def test_a_time_step_is_asked_for_where_the_environment_does_not_say(gradlab, regulator, tmp_path):
    code, _, errors = gradlab(ONE, "--env", regulator, *OPTIONS)
    assert code == 2
    assert len(errors.splitlines()) == 1
    assert regulator in errors
    assert "--time-step" in errors
    for seconds in (0.1, 0.5):
        path = tmp_path / f"{seconds}.md"
        code, _, errors = gradlab(
            ONE, "--env", regulator, *OPTIONS, "--time-step", seconds, "--markdown", path
        )  # fmt: skip
        assert code == 0, errors
        markdown = path.read_text(encoding="utf-8")
        assert "over training" not in markdown
        (row,) = rows_of(markdown, "What was seen of the actions").values()
        numbers = measured(ONE, regulator, seconds).numbers()
        assert [row["Sm"], row["fast power"]] == [cell(numbers[n]) for n in ("smoothness", "high_frequency_share")]


def test_runs_of_one_title_are_told_apart(gradlab, regulator, tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    shutil.copy(ONE, tmp_path / "first" / "model_1000.zip")
    shutil.copy(TWO, tmp_path / "second" / "model_2000.zip")
    shutil.copy(TWO, tmp_path / "second" / "other_2000.zip")
    given = ["first/model_1000.zip", "second/model_2000.zip", "second/other_2000.zip"]
    tasks = ["--env", "Pendulum-v1"]
    code, _, errors = gradlab(*given, *tasks, *OPTIONS, "--markdown", "it.md")
    assert code == 0, errors
    markdown = (tmp_path / "it.md").read_text(encoding="utf-8")
    kind = "TD3 Pendulum-v1, piecewise linear"
    assert list(rows_of(markdown, "The gradient field")) == [
        f"{kind} (first/model), 1,000", f"{kind} (second/model), 2,000", f"{kind} (other), 2,000",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(
    shutil.which("chromium") is None and os.environ.get("GRADLAB_REQUIRE_BROWSER") != "1",
    reason="no Chromium on PATH; install Debian's chromium to run the browser tests",
)
def test_draws_pictures_and_links_them(gradlab, tmp_path):
    for folder in ("drawn", "text"):
        (tmp_path / folder).mkdir()
    written = ["--pictures", "drawn", "--markdown", tmp_path / "text" / "it.md"]
    code, _, errors = gradlab(ONE, TWO, SMOOTH, "--env", "Pendulum-v1", *OPTIONS, *written)
    assert code == 0, errors
    markdown = (tmp_path / "text" / "it.md").read_text(encoding="utf-8")
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == ["curvature_over_training.png", "curvature_predictions.png"]
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
        ((ONE, "--env", "Pendulum-v9"), ("Pendulum-v9",)),
        ((ONE, "--env", "CartPole-v1"), ("CartPole-v1", "discrete")),
        ((ONE, "--env", "Reacher-v5"), ("Reacher-v5",)),
        ((ONE, TWO, "--env", "Pendulum-v1", "--env", "Pendulum-v1", "--env", "Pendulum-v1"), ("--env: 3 for 2",)),
        ((ONE, TWO, ONE, "--env", "Pendulum-v1"), (ONE.name, "twice")),
        (("nowhere.zip", "--env", "Pendulum-v1"), ("nowhere.zip", "no such file")),
        ((__file__, "--env", "Pendulum-v1"), (Path(__file__).name,)),
        ((ONE, "--env", "Pendulum-v1", "--markdown", "missing/it.md"), ("--markdown", "make it first")),
        ((ONE, "--env", "Pendulum-v1", "--pictures", "missing"), ("--pictures", "make it first")),
        ((ONE, "--env", "Pendulum-v1", "--scale", "0"), ("--scale: 0", "above zero")),
        ((ONE, "--env", "Pendulum-v1", "--scale", "nan"), ("--scale: nan", "above zero")),
        ((ONE, "--env", "Pendulum-v1", "--time-step", "-1"), ("--time-step: -1", "above zero")),
        ((ONE, "--env", "Pendulum-v1", "--time-step", "inf"), ("--time-step: inf", "above zero")),
    ],
)
def test_wrong_input_is_one_line(gradlab, arguments, words, tmp_path):
    code, printed, errors = gradlab(*arguments)
    assert code == 2, errors
    assert printed == ""
    lines = [line for line in errors.splitlines() if line and not line.startswith("WARNING: compiler attribute")]
    assert len(lines) == 1
    assert lines[0].startswith("gradlab: ")
    for word in words:
        assert word in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--env", "Pendulum-v1"), "checkpoints"),
        ((ONE,), "--env"),
        ((ONE, "--env", "Pendulum-v1", "--states", "7"), "--states"),
        ((ONE, "--env", "Pendulum-v1", "--episodes", "2"), "--episodes"),
    ],
)
def test_what_is_missing_or_too_few_is_named(gradlab, arguments, word):
    code, _, errors = gradlab(*arguments)
    assert code == 2
    assert word in errors.splitlines()[-1]


def test_pictures_without_a_browser_are_refused_before_anything_slow(gradlab, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, errors = gradlab(ONE, "--env", "Pendulum-v1", "--pictures", ".")
    assert code == 2
    assert "needs Chromium or Chrome on the PATH" in errors
