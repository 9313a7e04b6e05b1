"""``gradlab bias`` on a real checkpoint: the tables that are printed and written are what is measured."""

import shlex
import sys
from pathlib import Path

import pytest
import torch

import gradlab as package
from gradlab.bias import measure_bias
from gradlab.cli import main
from gradlab.cli.bias_document import cell
from gradlab.references import SimulatorReference

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
REACHER = CHECKPOINTS / "td3_reacher_6000.zip"


@pytest.fixture
def gradlab(monkeypatch, capsys, tmp_path):
    """Run the command in an empty directory; gives exit code, output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gradlab", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *capsys.readouterr()

    return run


def rows_of(markdown, header):
    """The rows of the first table whose header begins like this: name → cells."""
    lines = markdown.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        name, *cells = (text.strip() for text in line.strip("|").split(" | "))
        rows[name.strip()] = cells
    return rows


def test_prints_and_writes_what_is_measured(gradlab, tmp_path):
    options = ["--states", 12, "--episodes", 6, "--draws", 8, "--seed", 3]
    against = ["--against", "simulator:3", "--against", "smoothed:2", "--smoothing-draws", 2]
    written = tmp_path / "table.md"
    code, printed, errors = gradlab("bias", REACHER, "--env", "Reacher-v5", *options, *against, "--markdown", written)
    assert code == 0, errors
    markdown = written.read_text(encoding="utf-8")
    assert "do not tell which task they were trained on" in printed
    assert "do not tell which task they were trained on" in markdown
    for words in ("against simulator, γ=0.99, H=3", "against smoothed simulator, γ=0.99, smoothed σ=0.1, H=2"):
        assert words in markdown
        assert words in printed
    command = shlex.split(next(line for line in markdown.splitlines() if line.startswith("gradlab bias")))
    assert command[2:] == [
        str(REACHER),
        "--env",
        "Reacher-v5",
        *map(str, options),
        *against[:-1],
        "2",
        "--markdown",
        str(written),
    ]

    agent = package.load(REACHER)
    reference = SimulatorReference("Reacher-v5", 3, seed=3)
    states = reference.simulator.visit(agent, 12, seed=3, episodes=6)
    report = measure_bias(agent, reference, states, draws=8, generator=torch.Generator().manual_seed(3))
    rows = rows_of(markdown, "state by state")
    assert list(rows) == list(report.at_states) == [
        "deterministic", "zeroth-order-2", "zeroth-order-2-clipped", "score-function", "score-function-leave-one-out",
    ]  # fmt: skip
    for name, error in report.at_states.items():
        parts = (error.bias_squared, error.variance, error.mse, error.cosine, error.norm_ratio, error.wrong_direction)
        assert rows[name] == [*map(cell, parts), cell(report.own[name])]
        for part in parts[:1]:
            assert cell(part) in printed
    # The deterministic gradient is the critic's own, and knows no draws.
    assert rows["deterministic"][1] == rows["deterministic"][-1] == "0"
    assert f"Gate open at {report.open} of 12 states" in markdown
    assert "97% of the weight of a task that goes on lies beyond the horizon" in markdown


def test_refuses_in_one_line(gradlab, tmp_path):
    def refused(*arguments):
        code, _, errors = gradlab("bias", *arguments)
        lines = [line for line in errors.splitlines() if line and not line.startswith("WARNING: compiler attribute")]
        assert code == 2
        assert len(lines) == 1, errors
        return lines[0]

    reacher = (REACHER, "--env", "Reacher-v5")
    assert "KIND:HORIZON" in refused(*reacher, "--against", "simulator")
    assert "KIND:HORIZON" in refused(*reacher, "--against", "oracle:50")
    # What was typed comes back as it was: ":x:" is a pictogram to some.
    assert refused(*reacher, "--against", "simulator:x").startswith("gradlab: --against simulator:x: not a reference")
    assert "one for all" in refused(REACHER, *reacher, "--env", "Reacher-v5", "--env", "Reacher-v5")
    assert "--markdown: there is no folder" in refused(*reacher, "--markdown", tmp_path / "none" / "bias.md")
    # The agent is refused by its shape before anything is measured or written.
    wrong = refused(REACHER, "--env", "HalfCheetah-v5", "--markdown", tmp_path / "bias.md")
    assert "HalfCheetah-v5" in wrong
    assert "17" in wrong
    assert not (tmp_path / "bias.md").exists()


def test_all_gates_closed_are_said_not_shown_as_numbers(gradlab, tmp_path):
    """InvertedPendulum pays until it falls: with falls within the horizon, no derivative of the return is one."""
    checkpoint = CHECKPOINTS / "sac_invertedpendulum_5000.zip"
    options = ["--states", 6, "--episodes", 3, "--draws", 4, "--markdown", tmp_path / "bias.md"]
    code, printed, _ = gradlab(
        "bias", checkpoint, "--env", "InvertedPendulum-v5", "--against", "simulator:100", *options
    )
    assert code == 1
    assert "Gate open at 0 of 6 states" in printed
    assert "closed at 6: termination jump" in printed
    rows = rows_of((tmp_path / "bias.md").read_text(encoding="utf-8"), "state by state")
    assert {cells[0] for cells in rows.values()} == {"–"}


def test_goes_on_from_the_rollouts_it_kept(gradlab, tmp_path):
    """A second run takes them from the folder: the same tables, though it is allowed no time to simulate any."""
    options = ["--states", 6, "--episodes", 6, "--draws", 4, "--resume", tmp_path]
    tables = []
    for more in ([], ["--seconds", 0]):
        written = tmp_path / "bias.md"
        code, _, errors = gradlab(
            "bias", REACHER, "--env", "Reacher-v5", "--against", "simulator:3", *options, *more, "--markdown", written
        )
        assert code == 0, errors
        tables.append(rows_of(written.read_text(encoding="utf-8"), "state by state"))
    assert (tmp_path / "td3_reacher_6000-simulator-3.rollouts").exists()
    assert tables[0] == tables[1]


def test_says_what_bias_the_critic_leaves(gradlab):
    options = ["--states", 6, "--episodes", 6, "--draws", 4]
    code, printed, errors = gradlab("bias", REACHER, "--env", "Reacher-v5", "--against", "bootstrapped:2", *options)
    assert code == 0, errors
    assert "against bootstrapped after 2 rewards, γ=0.99" in printed
    assert "bias of the critic after 2 rewards, against the simulator" in printed
